"""Programs come to life here: the first one of a process, and those that it executes after that.

A guest's execve() of a program for the same target stays in the host process. The host's own would
start Python once more for each program, which takes longer than most commands of a shell script,
and it could not find Python in a chroot. What the host's kernel undoes at an execve is undone here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

from pemu.engine.memory.access import GuestFault
from pemu.isa.mips.cpu import MODE_FR0, MODE_FR1
from pemu.isa.mips.models import FIR_F64, model
from pemu.isa.mips.names import SP
from pemu.linux import fdtable, title
from pemu.linux.hostcalls import NR
from pemu.linux.process import AT_EXECUTE
from pemu.linux.programs.elf import ElfError
from pemu.linux.programs.initial_stack import Start
from pemu.linux.programs.loader import (
    MIN_STACK,
    STACK_GAP,
    load,
    open_program,
    translate_path,
    wants_fr1,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.vcpu import Cpu
    from pemu.linux.process import Process, Thread

_libc = ctypes.CDLL(None)

INFINITY = (1 << 64) - 1
"""A resource limit that is none."""

_RLIMIT_STACK = 3
_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS = 4, 8
_CAPABILITY_VERSION = 0x20080522


def begin(
    process: Process, cpu: Cpu, program: str, name: bytes, argv: list[bytes], environ: list[bytes]
) -> None:
    """Load the program at host path `program` into empty memory and let `cpu` start it.

    `name`: what it was executed as. Raises ElfError.
    """
    options = process.options
    chosen = model(options.cpu or process.target.default_cpu, process.target.xlen)
    start = Start(
        name,
        argv,
        environ,
        stack_size=_stack_size(process),
        page_size=process.mem.page_size,
        hwcap=chosen.hwcap,
        platform=chosen.base_platform,
        random=_random(options.seed),
    )
    image = load(process.mem, process.target, program, start, process.prefix)
    able = bool(chosen.fir & FIR_F64) and "mips32r2" in chosen.features
    wide = process.target.abi != "o32" or wants_fr1(image.fp_abis, able)
    process.argv = argv
    process.environ = environ
    process.exe = os.path.realpath(program)
    process.exe_image = image
    status = os.stat(program)
    process.engine.open_regions(process.exe, f"{status.st_size} {status.st_mtime_ns}")
    cpu.pc = image.start
    cpu.gpr[SP] = image.stack.sp
    cpu.mode = MODE_FR1 if wide else MODE_FR0
    cpu.fcr0 = chosen.fir
    if process.log.enabled("page"):
        from pemu.linux.pagelog import layout

        process.log.write(layout(process))


def _stack_size(process: Process) -> int:
    """Bytes of the main stack: what -s says, else the process's limit."""
    # Address space is all that a large stack costs; 32-bit programs have little of it.
    size = process.options.stack_size or min(default_stack_size(), process.mem.top // 8)
    return -(-max(size, MIN_STACK) // 4096) * 4096


def default_stack_size() -> int:
    """Bytes of the main stack where -s does not say them."""
    limit = stack_limit()
    return limit if limit < INFINITY else STACK_GAP


def stack_limit() -> int:
    """The guest's soft limit of its stack in bytes, INFINITY for none."""
    limits = sys.modules.get("pemu.linux.calls.limits")
    kept: int | None = limits.kept_limit(_RLIMIT_STACK) if limits else None
    if kept is not None:
        return kept
    limit = (ctypes.c_uint64 * 2)()
    _libc.getrlimit(_RLIMIT_STACK, limit)
    return limit[0]


def _random(seed: int | None) -> bytes:
    if seed is None:
        return os.urandom(16)
    return (seed * 0x9E3779B97F4A7C15F39CC0605CEDC835 & (1 << 128) - 1).to_bytes(16, "big")


def can_replace(t: Thread) -> bool:
    """True if `replace` is as good as the host's execve.

    It cannot end other threads, nor raise or drop capabilities as that does.
    """
    return len(t.process.threads) == 1 and (os.geteuid() == 0 or not _capable())


def _capable() -> bool:
    """Whether the thread is permitted anything that an execve would take away."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    data = (ctypes.c_uint32 * 6)()
    _libc.syscall(NR["capget"], header, data)
    return bool(data[1] or data[4])


def check_program(process: Process, program: bytes) -> None:
    """Raise OSError as execve(2) does for a program that cannot be loaded."""
    path = os.fsdecode(program)
    try:
        fd, elf = open_program(path, process.target)
    except ElfError as error:
        raise OSError(errno.ENOEXEC, str(error)) from error
    os.close(fd)
    if elf.interp:
        path = os.fsdecode(translate_path(process.prefix, elf.interp))
        os.stat(path)
        try:
            fd, _ = open_program(path, process.target)
        except ElfError as error:
            raise OSError(errno.ELIBBAD, str(error)) from error
        os.close(fd)


def replace(
    t: Thread, program: bytes, name: bytes, argv: list[bytes], environ: list[bytes]
) -> None:
    """Put another program, which `check_program` has found good, in place of the running one.

    `program`: host path of the ELF file; `name`: last path that execve was given, which the process
    is called after.
    """
    process = t.process
    _leave_old(t)
    process.mem.clear()
    process.engine.renew()
    t.cpu.clear()
    try:
        begin(process, t.cpu, os.fsdecode(program), name, argv, environ)
    except (ElfError, GuestFault) as error:
        message = f"pemu-{process.target.name}: {os.fsdecode(program)}: {error}\n"
        os.write(2, message.encode("utf-8", "surrogateescape"))
        process.exit(1)
    fdtable.close_on_exec()
    title.show(name, argv, environ)
    if process.debugger is not None:
        process.debugger.executed(t)


def _leave_old(t: Thread) -> None:
    """Undo what the old program has arranged with the kernel."""
    from pemu.linux import signals
    from pemu.linux.mips.signals import SS_DISABLE
    from pemu.linux.running import leave
    from pemu.linux.sigactions import SIG_DFL, SIG_IGN, Action

    process = t.process
    t.clear_child_tid = 0
    leave(t)
    t.robust_list = 0
    t.altstack = (0, SS_DISABLE, 0)
    t.saved_mask = None
    for signo in process.sigactions:
        handler = process.sigactions[signo].handler
        if handler == SIG_IGN:
            process.sigactions[signo] = Action(handler, 0, 0)
        else:
            signals.set_action(process, signo, Action(SIG_DFL, 0, 0))
    for undo in AT_EXECUTE:
        undo()
    _libc.prctl(_PR_SET_KEEPCAPS, 0, 0, 0, 0)
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    # Not through the C library, which would have every thread of Pemu's own do the same.
    _libc.syscall(NR["setresuid"], -1, -1, os.geteuid())
    _libc.syscall(NR["setresgid"], -1, -1, os.getegid())
