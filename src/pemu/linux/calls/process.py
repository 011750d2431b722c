"""Processes: clone, fork, execve, wait."""

from __future__ import annotations

import errno
import os
from _thread import allocate_lock, get_native_id, start_new_thread

from pemu.engine.host.forking import fork as fork_host
from pemu.engine.layout import call_table as k
from pemu.engine.memory.access import GuestFault
from pemu.isa.mips.names import A3, SP, V0
from pemu.linux import fdtable, signals
from pemu.linux.hostcalls import NR, HostBuffer
from pemu.linux.mips.signals import SIGCHLD, host_to_guest_signal
from pemu.linux.native_argument import moves, moves_of
from pemu.linux.native_forms import Constant, Form, Moved
from pemu.linux.paths import followed, under_prefix, whole
from pemu.linux.process import AT_EXECUTE
from pemu.linux.process import Thread as GuestThread
from pemu.linux.programs.elf import target_name
from pemu.linux.running import run_thread
from pemu.linux.structs.layout import Struct
from pemu.linux.structs.time import RUSAGE
from pemu.linux.syscall import ERESTARTNOINTR, Restart, syscall
from pemu.linux.types.base import AtFd, Int, Size
from pemu.linux.types.names import Named
from pemu.linux.types.pointers import Arguments, Environment, In, Path, Ptr
from pemu.linux.types.processes import CloneFlags, Pointer, Status, WaitOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread

PAGE = 4096
CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND = 0x100, 0x200, 0x400, 0x800
CLONE_VFORK, CLONE_THREAD = 0x4000, 0x10000
CLONE_SETTLS, CLONE_PARENT_SETTID = 0x80000, 0x100000
CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID = 0x200000, 0x1000000
CLONE_PTRACE, CLONE_SYSVSEM, CLONE_DETACHED = 0x2000, 0x40000, 0x400000
CLONE_UNTRACED, CLONE_IO = 0x800000, 0x80000000
CSIGNAL = 0xFF
_FORK_FLAGS = CLONE_VM | CLONE_VFORK | CLONE_SETTLS | CLONE_PARENT_SETTID
_FORK_FLAGS |= CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID
_FORK_FLAGS |= CLONE_PTRACE | CLONE_SYSVSEM | CLONE_DETACHED | CLONE_UNTRACED | CLONE_IO
"""What a process may share, or what makes no difference where it is not honoured."""
AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH = -100, 0x100, 0x1000
_THREAD_FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD

MAX_STRING = 32 * 4096
"""Bytes of one argument or variable of execve, with its end."""

MIN_ARGUMENTS, MAX_ARGUMENTS = 128 << 10, 6 << 20
"""What Linux lets arguments and environment take of the stack's limit, of which they get a fourth:
at least, and at most."""


@syscall(
    *("clone", CloneFlags, Pointer("child_stack"), Pointer("parent_tidptr")),
    *(Pointer("tls"), Pointer("child_tidptr")),
)
def clone(t: Thread, flags: int, stack: int, parent_tid: int, tls: int, child_tid: int) -> int:
    if flags & CLONE_THREAD:
        if flags & _THREAD_FLAGS != _THREAD_FLAGS:
            raise OSError(errno.EINVAL, "flags of a thread")
        return _new_thread(t, flags, stack, parent_tid, tls, child_tid)
    if flags & CSIGNAL != SIGCHLD or flags & ~(CSIGNAL | _FORK_FLAGS):
        log = t.process.log
        if log.enabled("unimp"):
            log.write(f"Unsupported clone flags {flags:#x} at pc {t.cpu.pc - 4:#010x}")
        raise OSError(errno.EINVAL, "flags of a process")
    return _fork(t, flags, stack, parent_tid, tls, child_tid)


CLONE_ARGS = Struct(
    "clone_args",
    *("u64 flags", "u64 pidfd", "u64 child_tid", "u64 parent_tid", "u64 exit_signal", "u64 stack"),
    *("u64 stack_size", "u64 tls", "u64 set_tid", "u64 set_tid_size", "u64 cgroup"),
)
_CLONE_ARGS_FIRST = 64
"""Bytes of the structure's first version."""


@syscall("clone3", In(CLONE_ARGS), Size)
def clone3(t: Thread, start: int, size: int) -> int:
    """The same with room for more; what Pemu's `clone` has not is EINVAL."""
    known = CLONE_ARGS.size(t.mem)
    if size > PAGE:
        return -errno.E2BIG
    if size < _CLONE_ARGS_FIRST:
        return -errno.EINVAL
    data = t.mem.read(start, size)
    if any(data[known:]):
        return -errno.E2BIG
    given = CLONE_ARGS.of(t.mem).unpack(data[:known].ljust(known, b"\0"))
    unknown = given.pidfd, given.set_tid, given.set_tid_size, given.cgroup
    if any(unknown) or bool(given.stack) != bool(given.stack_size):
        return -errno.EINVAL
    flags, stack = given.flags | given.exit_signal, given.stack + given.stack_size
    return clone(t, flags, stack, given.parent_tid, given.tls, given.child_tid)


@syscall("fork")
def fork(t: Thread) -> int:
    return _fork(t, 0, 0, 0, 0, 0)


def _begin_child(t: Thread, flags: int, stack: int, tls: int) -> None:
    """Set the registers with which a clone returns in the child."""
    gpr = t.cpu.gpr
    gpr[V0] = 0
    gpr[A3] = 0
    if stack:
        gpr[SP] = stack
    if flags & CLONE_SETTLS:
        t.cpu.userlocal = tls


def _new_thread(
    t: Thread, flags: int, stack: int, parent_tid: int, tls: int, child_tid: int
) -> int:
    engine = t.process.engine
    # A signal handler finds its thread by the signal stack, which a new thread does not have yet.
    if not signals.set_host_mask(t, signals.EVERY_SIGNAL):
        raise Restart(ERESTARTNOINTR)
    cpu = engine.new_cpu()
    cpu.copy_from(t.cpu)
    started = allocate_lock()
    started.acquire()
    made: list[GuestThread] = []

    def begin() -> GuestThread:
        cpu.attach()
        thread = GuestThread(t.process, cpu)
        thread.sigmask = t.sigmask
        _begin_child(thread, flags, stack, tls)
        if flags & CLONE_CHILD_CLEARTID:
            thread.clear_child_tid = child_tid
        if flags & CLONE_CHILD_SETTID:
            _put_tid(thread, child_tid, thread.tid)
        if flags & CLONE_PARENT_SETTID:
            # Before the new thread runs: it may end, and clear the same word, at once.
            _put_tid(thread, parent_tid, thread.tid)
        t.process.threads[thread.tid] = thread
        return thread

    def body() -> None:
        try:
            thread = begin()
            made.append(thread)
        except OSError:
            return  # the host has no memory for its signal stack
        finally:
            started.release()
        signals.apply_mask(thread)
        run_thread(thread)

    try:
        start_new_thread(body, ())
        started.acquire()
    except RuntimeError:
        pass  # the host has no more threads
    finally:
        signals.apply_mask(t)
    if not made:
        engine.remove_cpu(cpu)
        raise OSError(errno.EAGAIN, "no more threads")
    return made[0].tid


def _put_tid(t: Thread, address: int, tid: int) -> None:
    """Tell the guest a thread's number, if it gave a place that can be written."""
    try:
        t.mem.put_u32(address, tid)
    except GuestFault:
        pass


def _fork(t: Thread, flags: int, stack: int, parent_tid: int, tls: int, child_tid: int) -> int:
    """Make a child process.

    CLONE_VM is not honoured outside of threads: the child of a vfork has memory of its own, and
    the parent waits until it executes a program or ends.
    """
    engine = t.process.engine
    reader = writer = -1
    if not signals.set_host_mask(t, signals.EVERY_SIGNAL):
        raise Restart(ERESTARTNOINTR)
    # Nobody may be changing mappings, or the child's would be half changed, and locked.
    with t.mem.changing:
        engine.before_fork()
        try:
            if flags & CLONE_VFORK:
                reader, writer = fdtable.pipe()
            pid = fork_host()
        except OSError:
            engine.after_fork_parent()
            for end in (reader, writer):
                if end >= 0:
                    fdtable.drop(end)
            signals.apply_mask(t)
            raise
        if pid:
            engine.after_fork_parent()
            if writer >= 0:
                fdtable.drop(writer)  # before another thread forks a child that would have it
        else:
            t.tid = get_native_id()
            engine.after_fork_child(t.cpu)
    if pid:
        signals.apply_mask(t)
        if flags & CLONE_PARENT_SETTID:
            _put_tid(t, parent_tid, pid)
        if reader >= 0:
            while not _ended(reader):
                pass
            fdtable.drop(reader)
        return pid
    if reader >= 0:
        fdtable.drop(reader)
    _go_on_as_child(t, flags, child_tid, writer)
    signals.apply_mask(t)
    _begin_child(t, flags, stack, tls)
    return 0


def _go_on_as_child(t: Thread, flags: int, child_tid: int, waited_for: int) -> None:
    """Forget what is the parent's alone.

    `waited_for`: the end of a pipe that the parent waits for, -1 if it does not wait.
    """
    t.process.threads = {t.tid: t}
    if t.process.debugger is not None:
        t.process.debugger.forked()
    t.robust_list = 0
    t.clear_child_tid = child_tid if flags & CLONE_CHILD_CLEARTID else 0
    if flags & CLONE_CHILD_SETTID:
        _put_tid(t, child_tid, t.tid)
    _release_parent()  # that which the present one may be keeping waiting is not this one's
    if waited_for >= 0:
        _vforked.append(waited_for)


_vforked: list[int] = []
"""The end of a pipe, in a vforked child whose parent waits until it is closed."""


def _release_parent() -> None:
    while _vforked:
        fdtable.drop(_vforked.pop())


AT_EXECUTE.append(_release_parent)


def _ended(reader: int) -> bool:
    """Wait on the pipe that closes when a vforked child is done."""
    try:
        return not os.read(reader, 1)
    except InterruptedError:
        return False


# execve


def _strings(t: Thread, address: int) -> list[bytes]:
    """The strings of an argv or envp in guest memory."""
    word = t.target.word
    result = []
    while address:
        pointer = t.mem.word(address)
        if not pointer:
            break
        result.append(t.mem.read_cstr(pointer, MAX_STRING))
        address += word
    return result


def _execute(t: Thread, path: bytes, argv: list[bytes], environ: list[bytes]) -> None:
    from pemu.linux.execute import can_replace, check_program, replace, stack_limit
    from pemu.linux.programs.scripts import find_program

    host = under_prefix(t, followed(t, path))
    program, argv, head = find_program(t.process.prefix, host, path, argv or [b""])
    # Each string takes a byte and a pointer more than its length.
    lengths = [len(string) + 1 for string in (*argv, *environ)]
    room = min(max(stack_limit() // 4, MIN_ARGUMENTS), MAX_ARGUMENTS)
    if max(lengths) > MAX_STRING or sum(lengths) + t.target.word * len(lengths) > room:
        raise OSError(errno.E2BIG, "arguments and environment are too long")
    if target_name(head) != t.target.name:
        _execute_on_host(program, argv, environ)
    check_program(t.process, program)
    # What is executed by a descriptor is called as it is called where it lies.
    name = os.path.realpath(host) if path.startswith(b"/proc/self/fd/") else path
    if can_replace(t):
        replace(t, program, name, argv, environ)
        return
    t.process.engine.close()
    t.process.options.called = os.fsdecode(name)
    command = [os.fsencode(word) for word in t.process.options.child_command()]
    words = [*command, program, *argv]
    _execute_on_host(command[0], words, t.process.options.child_environ(environ))


def _execute_on_host(program: bytes, argv: list[bytes], environ: list[bytes]) -> NoReturn:
    """The host's execve, with an environment of any form, which Python's does not take."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    vectors = [
        (ctypes.c_char_p * (len(strings) + 1))(*strings, None) for strings in (argv, environ)
    ]
    libc.execve(ctypes.c_char_p(program), *vectors)
    error = ctypes.get_errno()
    raise OSError(error, os.strerror(error))


@syscall("execve", Path, Arguments, Environment)
def execve(t: Thread, path: bytes, argv: int, environ: int) -> None:
    _execute(t, path, _strings(t, argv), _strings(t, environ))


@syscall("execveat", AtFd, Path, Arguments, Environment, Int)
def execveat(t: Thread, dirfd: int, path: bytes, argv: int, environ: int, flags: int) -> None:
    if flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW):
        raise OSError(errno.EINVAL, "flags")
    if flags & AT_EMPTY_PATH and not path:
        path = b"/proc/self/fd/%d" % dirfd
    elif not (path := whole(dirfd, path)).startswith(b"/") and dirfd != AT_FDCWD:
        path = b"/proc/self/fd/%d/%s" % (dirfd, path)
    if flags & AT_SYMLINK_NOFOLLOW and os.path.islink(path) and not flags & AT_EMPTY_PATH:
        raise OSError(errno.ELOOP, "a symbolic link")
    _execute(t, path, _strings(t, argv), _strings(t, environ))


# wait


WaitKind = Named("idtype", "P_ALL P_PID P_PGID P_PIDFD")


def guest_status(status: int) -> int:
    """A wait status with the guest's signal numbers."""
    if status & 0xFF == 0x7F and status != 0xFFFF:
        return host_to_guest_signal(status >> 8 & 0xFF) << 8 | 0x7F | status & ~0xFFFF
    if status & 0x7F and status != 0xFFFF:
        return host_to_guest_signal(status & 0x7F) | status & ~0x7F
    return status


def _put_usage(t: Thread, address: int, usage: bytes) -> None:
    t.mem.write(address, RUSAGE.convert(usage, RUSAGE.host(), RUSAGE.of(t.mem)))


def _wait(t: Thread, pid: int, status: int, options: int, usage: int) -> int:
    buffer, usage_buffer = HostBuffer(4), HostBuffer(144)
    result = t.host_syscall(NR["wait4"], pid, buffer.address, options, usage_buffer.address)
    if result > 0:
        if status:
            t.mem.put_u32(status, guest_status(int.from_bytes(buffer.raw, "little")))
        if usage:
            _put_usage(t, usage, bytes(usage_buffer.raw))
    return result


def _status_moves(abi: Abi) -> bytes:
    return moves_of(4, 4, [(0, 0, 4, 4, k.FIELD_LEAVES | k.FIELD_STATUS)])


def _usage_moves(abi: Abi) -> bytes:
    return moves(RUSAGE.layout(abi.word, abi.order), RUSAGE.host())


def _native_wait(abi: Abi) -> Forms:
    usage = Moved(k.FOUND, _usage_moves)
    return Form("wait4", Int, Moved(k.FOUND, _status_moves), WaitOptions, usage)


def _native_waitpid(abi: Abi) -> Forms:
    return Form("wait4", Int, Moved(k.FOUND, _status_moves), WaitOptions, Constant(0))


@syscall("wait4", Int, Status, WaitOptions, Ptr, native=_native_wait)
def wait4(t: Thread, pid: int, status: int, options: int, usage: int) -> int:
    return _wait(t, pid, status, options, usage)


@syscall("waitpid", Int, Status, WaitOptions, native=_native_waitpid)
def waitpid(t: Thread, pid: int, status: int, options: int) -> int:
    return _wait(t, pid, status, options, 0)


@syscall("waitid", WaitKind, Int, Ptr, WaitOptions, Ptr)
def waitid(t: Thread, kind: int, number: int, info: int, options: int, usage: int) -> int:
    from pemu.linux.mips.signals import from_host

    buffer, usage_buffer = HostBuffer(128), HostBuffer(144)
    result = t.host_syscall(
        NR["waitid"], kind, number, buffer.address, options, usage_buffer.address
    )
    if result >= 0:
        if info:
            raw = bytes(buffer.raw)
            data = from_host(raw).pack(t.target) if raw[0] else bytes(128)
            t.mem.write(info, data)
        if usage:
            _put_usage(t, usage, bytes(usage_buffer.raw))
    return result
