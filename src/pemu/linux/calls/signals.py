"""Signals: actions, masks, alternate stack, waiting, sending."""

from __future__ import annotations

import errno

from pemu.engine.layout import call_table as k
from pemu.engine.layout.signal_table import ACTION, BLOCK, FLAGS, HANDLER, MASK, SET, UNBLOCK
from pemu.engine.memory.access import GuestFault
from pemu.isa.mips.names import SP
from pemu.linux import signals
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.mips import signals as ms
from pemu.linux.native_argument import moves_of
from pemu.linux.native_forms import Choice, Constant, Exactly, Form, Given, Moved, NullOnly
from pemu.linux.sigactions import Action
from pemu.linux.structs.time import TIMESPEC, TIMESPEC64, host_timespec
from pemu.linux.syscall import ERESTARTNOHAND, Restart, passthrough, syscall
from pemu.linux.types.base import Fd, Int, Size, UInt
from pemu.linux.types.pointers import Ptr
from pemu.linux.types.signals import ActionIn, ActionOut, MaskHow, SetIn, SetOut, Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread

SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK = 1, 2, 3
MINSIGSTKSZ = 2048
_FIRST_WORD = 0xFFFFFFFF
"""What the calls that are older than real-time signals see of a set."""


def _read_set(t: Thread, address: int) -> int:
    return ms.guest_sigset(t.mem.read(address, ms.SIGSET_BYTES), t.target)


def _write_set(t: Thread, address: int, bits: int) -> None:
    t.mem.write(address, ms.pack_sigset(bits, t.target))


def _check_size(size: int) -> None:
    if size != ms.SIGSET_BYTES:
        raise OSError(errno.EINVAL, "size of a signal set")


_MOVED = k.FIELD_ENTERS | k.FIELD_LEAVES


def _set_moves(word: int, start: int, host: int) -> list[tuple[int, int, int, int, int]]:
    """Moves of a signal set at `start` in the guest's structure, and at `host` in the host's."""
    at = range(0, ms.SIGSET_BYTES, word)
    return [(start + i, host + i, word, word, _MOVED) for i in at]


def _mask_moves(abi: Abi) -> bytes:
    return moves_of(ms.SIGSET_BYTES, ms.SIGSET_BYTES, _set_moves(abi.word, 0, 0))


def _action_moves(abi: Abi) -> bytes:
    """struct sigaction to `syscalls.signals`' action."""
    word = abi.word
    rows = [(0, FLAGS, 4, 8, _MOVED), (word, HANDLER, word, 8, _MOVED)]
    rows += _set_moves(word, 2 * word, MASK)
    return moves_of(2 * word + ms.SIGSET_BYTES, ACTION, rows)


_SET_SIZE = Exactly(ms.SIGSET_BYTES, 0)


def _native_sigaction(abi: Abi) -> Forms:
    new, old = Moved(k.ENTERING, _action_moves), Moved(k.LEAVING, _action_moves)
    return Form("change_action", UInt, new, old, _SET_SIZE)


def _native_sigprocmask(abi: Abi) -> Forms:
    new, old = Moved(k.ENTERING, _mask_moves), Moved(k.LEAVING, _mask_moves)
    forms = {0: Form("change_mask", Constant(0), NullOnly, old, _SET_SIZE)}
    for how, number in ((SIG_BLOCK, BLOCK), (SIG_UNBLOCK, UNBLOCK), (SIG_SETMASK, SET)):
        forms[how] = Form("change_mask", Constant(number), new, old, _SET_SIZE)
    return Choice(0, forms)


@syscall("rt_sigaction", Signal, ActionIn, ActionOut, Size, native=_native_sigaction)
def rt_sigaction(t: Thread, signo: int, new: int, old: int, size: int) -> int:
    _check_size(size)
    return _change_action(t, signo, new, old, ms.SIGSET_BYTES)


@syscall("sigaction", Signal, ActionIn, ActionOut, abis=("o32",))
def sigaction(t: Thread, signo: int, new: int, old: int) -> int:
    """The same structure, of whose set only the first word counts."""
    return _change_action(t, signo, new, old, 4)


def _change_action(t: Thread, signo: int, new: int, old: int, set_bytes: int) -> int:
    """struct sigaction of MIPS: unsigned flags, handler, mask."""
    word = t.target.word
    _check_signal(signo)
    action = None
    if new:
        _check_catchable(signo)
        handler = t.mem.word(new + word)
        mask = ms.guest_sigset(t.mem.read(new + 2 * word, set_bytes), t.target)
        action = Action(handler, t.mem.u32(new), mask & ~signals.UNBLOCKABLE)
    if old:
        previous = signals.action_of(t.process, signo)
        t.mem.put_u32(old, previous.flags)
        t.mem.put_word(old + word, previous.handler)
        _write_set(t, old + 2 * word, previous.mask)
    if action is not None:
        signals.set_action(t.process, signo, action)
    return 0


def _check_signal(signo: int) -> None:
    if not 0 < signo <= ms.NSIG:
        raise OSError(errno.EINVAL, "signal number")


def _check_catchable(signo: int) -> None:
    if signo in (ms.SIGKILL, ms.SIGSTOP):
        raise OSError(errno.EINVAL, "signal that cannot be caught")


@syscall("signal", Signal, Ptr, abis=("o32",), returns="x")
def signal(t: Thread, signo: int, handler: int) -> int:
    """signal(2) as System V has it: the handler serves once, and is not masked."""
    _check_signal(signo)
    _check_catchable(signo)
    previous = signals.action_of(t.process, signo).handler
    flags = ms.SA_RESETHAND | ms.SA_NODEFER
    signals.set_action(t.process, signo, Action(handler, flags, 0))
    return previous


@syscall("rt_sigprocmask", MaskHow, SetIn, SetOut, Size, native=_native_sigprocmask)
def rt_sigprocmask(t: Thread, how: int, new: int, old: int, size: int) -> int:
    _check_size(size)
    before = t.sigmask
    if new:
        _change_mask(t, how, _read_set(t, new), -1)
    if old:
        _write_set(t, old, before)
    return 0


@syscall("sigprocmask", MaskHow, SetIn, SetOut, abis=("o32",))
def sigprocmask(t: Thread, how: int, new: int, old: int) -> int:
    before = t.sigmask
    if new:
        _change_mask(t, how, t.mem.u32(new), _FIRST_WORD)
    if old:
        t.mem.put_u32(old, before & _FIRST_WORD)
    return 0


def _change_mask(t: Thread, how: int, bits: int, reach: int) -> None:
    """Change those signals of the mask that are in `reach`, a set."""
    if how == SIG_BLOCK:
        signals.change_mask(t, t.sigmask | bits)
    elif how == SIG_UNBLOCK:
        signals.change_mask(t, t.sigmask & ~bits)
    elif how == SIG_SETMASK:
        signals.change_mask(t, t.sigmask & ~reach | bits)
    else:
        raise OSError(errno.EINVAL, "how")


@syscall("sgetmask", abis=("o32",), returns="x")
def sgetmask(t: Thread) -> int:
    return t.sigmask & _FIRST_WORD


@syscall("ssetmask", UInt, abis=("o32",), returns="x")
def ssetmask(t: Thread, mask: int) -> int:
    before = t.sigmask
    signals.change_mask(t, mask)
    return before & _FIRST_WORD


def _pending(t: Thread) -> bytes:
    buffer = HostBuffer(8)
    t.host_syscall(NR["rt_sigpending"], buffer.address, 8)
    bits = ms.guest_bits(int.from_bytes(buffer.raw, "little"))
    for info in t.held:
        bits |= 1 << (info.signo - 1)
    return ms.pack_sigset(bits, t.target)


@syscall("rt_sigpending", SetOut, Size)
def rt_sigpending(t: Thread, result: int, size: int) -> int:
    if size > ms.SIGSET_BYTES:
        raise OSError(errno.EINVAL, "size of a signal set")
    t.mem.write(result, _pending(t)[:size])
    return 0


@syscall("sigpending", SetOut, abis=("o32",))
def sigpending(t: Thread, result: int) -> int:
    t.mem.write(result, _pending(t)[:4])
    return 0


@syscall("rt_sigsuspend", SetIn, Size)
def rt_sigsuspend(t: Thread, mask: int, size: int) -> int:
    _check_size(size)
    return sigsuspend(t, mask)


@syscall("sigsuspend", SetIn, abis=("o32",))
def sigsuspend(t: Thread, mask: int) -> int:
    """Wait under another mask, which is the one that a handler runs with."""
    before = t.sigmask
    signals.change_mask(t, _read_set(t, mask))
    t.saved_mask = before
    result = t.host_syscall(NR["pause"])
    if result in (-errno.EINTR, -512):
        raise Restart(ERESTARTNOHAND)
    return result


@syscall("pause")
def pause(t: Thread) -> int:
    result = t.host_syscall(NR["pause"])
    if result in (-errno.EINTR, -512):
        raise Restart(ERESTARTNOHAND)
    return result


def _timed_wait(t: Thread, mask: int, info: int, limit: bytes | None) -> int:
    wanted = _read_set(t, mask)
    for held in t.held:
        if wanted >> (held.signo - 1) & 1:
            signals.release(t, held)
            if info:
                t.mem.write(info, held.pack(t.target))
            return held.signo
    value = ms.host_bits(wanted).to_bytes(8, "little")
    buffer = HostBuffer(128)
    at = address_of(limit) if limit else 0
    number = NR["rt_sigtimedwait"]
    result = t.host_syscall(number, address_of(value), buffer.address, at, 8)
    if result == -512:
        raise Restart(ERESTARTNOHAND)
    if result < 0:
        return result
    if info:
        t.mem.write(info, ms.from_host(bytes(buffer.raw)).pack(t.target))
    return ms.host_to_guest_signal(result)


@syscall("rt_sigtimedwait", SetIn, Ptr, Ptr, Size)
def rt_sigtimedwait(t: Thread, mask: int, info: int, timeout: int, size: int) -> int:
    _check_size(size)
    return _timed_wait(t, mask, info, host_timespec(t.mem, timeout, TIMESPEC))


@syscall("rt_sigtimedwait_time64", SetIn, Ptr, Ptr, Size, abis=("o32", "n32"))
def rt_sigtimedwait_time64(t: Thread, mask: int, info: int, timeout: int, size: int) -> int:
    _check_size(size)
    return _timed_wait(t, mask, info, host_timespec(t.mem, timeout, TIMESPEC64))


def _stack_moves(abi: Abi) -> bytes:
    """stack_t of MIPS, address, size and flags, to `syscalls.signals`' stack."""
    word = abi.word
    rows = [(0, 0, word, 8, _MOVED), (word, 8, word, 8, _MOVED), (2 * word, 16, 4, 8, _MOVED)]
    return moves_of(3 * word, 24, rows)


def _native_sigaltstack(abi: Abi) -> Forms:
    new, old = Moved(k.ENTERING, _stack_moves), Moved(k.LEAVING, _stack_moves)
    return Form("change_stack", new, old, Given(k.REGISTER, SP))


@syscall("sigaltstack", Ptr, Ptr, native=_native_sigaltstack)
def sigaltstack(t: Thread, new: int, old: int) -> int:
    from pemu.linux import handlers

    word = t.target.word
    sp = t.cpu.gpr[SP]
    before = handlers.pack_stack(t, sp)
    if new:
        start, size = t.mem.word(new), t.mem.word(new + word)
        flags = t.mem.u32(new + 2 * word)
        if handlers.on_altstack(t, sp):
            raise OSError(errno.EPERM, "on the alternate stack")
        mode = flags & ~ms.SS_AUTODISARM
        if mode not in (0, ms.SS_ONSTACK, ms.SS_DISABLE):
            raise OSError(errno.EINVAL, "flags")
        if mode == ms.SS_DISABLE:
            t.altstack = (0, ms.SS_DISABLE, 0)
        elif size < MINSIGSTKSZ:
            raise OSError(errno.ENOMEM, "alternate stack too small")
        else:
            t.altstack = (start, flags, size)
    if old:
        t.mem.write(old, before)
    return 0


def _return_from_handler(t: Thread, rt: bool) -> None:
    from pemu.linux import handlers

    try:
        mask = handlers.leave(t, rt)
    except GuestFault:
        signals.raise_signal(t, ms.SigInfo(ms.SIGSEGV, ms.SI_KERNEL, "kill"))
        return
    t.restart = 0
    signals.set_mask(t, mask)


@syscall("sigreturn")
def sigreturn(t: Thread) -> int | None:
    _return_from_handler(t, rt=False)
    return None


@syscall("rt_sigreturn")
def rt_sigreturn(t: Thread) -> int | None:
    _return_from_handler(t, rt=True)
    return None


def _host_number(signo: int) -> int:
    if not 0 <= signo <= ms.NSIG:
        raise OSError(errno.EINVAL, "signal number")
    host = ms.guest_to_host_signal(signo)
    if host > 64:
        raise OSError(errno.EINVAL, "real-time signal that the host does not have")
    return host


@syscall("kill", Int, Signal, native="kill")
def kill(t: Thread, pid: int, signo: int) -> int:
    return t.host_syscall(NR["kill"], pid, _host_number(signo))


@syscall("tkill", Int, Signal, native="tkill")
def tkill(t: Thread, tid: int, signo: int) -> int:
    return t.host_syscall(NR["tkill"], tid, _host_number(signo))


@syscall("tgkill", Int, Int, Signal, native="tgkill")
def tgkill(t: Thread, pid: int, tid: int, signo: int) -> int:
    return t.host_syscall(NR["tgkill"], pid, tid, _host_number(signo))


@syscall("rt_sigqueueinfo", Int, Signal, Ptr)
def rt_sigqueueinfo(t: Thread, pid: int, signo: int, info: int) -> int:
    data = ms.to_host(t.mem.read(info, 128), t.target)
    return t.host_syscall(NR["rt_sigqueueinfo"], pid, _host_number(signo), address_of(data))


@syscall("rt_tgsigqueueinfo", Int, Int, Signal, Ptr)
def rt_tgsigqueueinfo(t: Thread, pid: int, tid: int, signo: int, info: int) -> int:
    data = ms.to_host(t.mem.read(info, 128), t.target)
    return t.host_syscall(NR["rt_tgsigqueueinfo"], pid, tid, _host_number(signo), address_of(data))


passthrough("pidfd_open", Int, UInt)


@syscall("pidfd_send_signal", Fd, Signal, Ptr, UInt)
def pidfd_send_signal(t: Thread, pidfd: int, signo: int, info: int, flags: int) -> int:
    data = ms.to_host(t.mem.read(info, 128), t.target) if info else b""
    at = address_of(data) if data else 0
    return t.host_syscall(NR["pidfd_send_signal"], pidfd, _host_number(signo), at, flags)
