"""Signals: actions, masks, alternate stack, waiting, sending."""

from __future__ import annotations

import errno

from pemu.linux import signals
from pemu.linux.argtypes import Int, Ptr, Size, UInt
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.mips import signals as ms
from pemu.linux.syscall import Restart, passthrough, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

ERESTARTNOHAND = 514
_UNBLOCKABLE = 1 << (ms.SIGKILL - 1) | 1 << (ms.SIGSTOP - 1)


def _read_set(t: Thread, address: int) -> int:
    return ms.guest_sigset(t.mem.read(address, ms.SIGSET_BYTES), t.target)


def _write_set(t: Thread, address: int, bits: int) -> None:
    t.mem.write(address, ms.pack_sigset(bits, t.target))


def _check_size(size: int) -> None:
    if size != ms.SIGSET_BYTES:
        raise OSError(errno.EINVAL, "size of a signal set")


@syscall("rt_sigaction", Int, Ptr, Ptr, Size)
def rt_sigaction(t: Thread, signo: int, new: int, old: int, size: int) -> int:
    _check_size(size)
    word = t.target.word
    if not 0 < signo < ms.NSIG or (new and signo in (ms.SIGKILL, ms.SIGSTOP)):
        raise OSError(errno.EINVAL, "signal number")
    # struct sigaction of MIPS: unsigned flags, handler, mask (n64: mask of two longs).
    previous = signals.action_of(t.process, signo)
    action = None
    if new:
        flags = t.mem.u32(new)
        handler = t.mem.u64(new + 8) if word == 8 else t.mem.u32(new + 4)
        mask = _read_set(t, new + 2 * word) & ~_UNBLOCKABLE
        action = signals.Action(handler, flags, mask)
    if old:
        t.mem.put_u32(old, previous.flags)
        if word == 8:
            t.mem.put_u64(old + 8, previous.handler)
        else:
            t.mem.put_u32(old + 4, previous.handler)
        _write_set(t, old + 2 * word, previous.mask)
    if action is not None:
        signals.set_action(t.process, signo, action)
    return 0


@syscall("rt_sigprocmask", Int, Ptr, Ptr, Size)
def rt_sigprocmask(t: Thread, how: int, new: int, old: int, size: int) -> int:
    _check_size(size)
    before = t.sigmask
    if new:
        bits = _read_set(t, new) & ~_UNBLOCKABLE
        # MIPS: SIG_BLOCK 1, SIG_UNBLOCK 2, SIG_SETMASK 3.
        if how == 1:
            t.sigmask = before | bits
        elif how == 2:
            t.sigmask = before & ~bits
        elif how == 3:
            t.sigmask = bits
        else:
            raise OSError(errno.EINVAL, "how")
        signals.set_host_mask(t.sigmask)
    if old:
        _write_set(t, old, before)
    return 0


@syscall("rt_sigpending", Ptr, Size)
def rt_sigpending(t: Thread, result: int, size: int) -> int:
    buffer = HostBuffer(8)
    t.host_syscall(NR["rt_sigpending"], buffer.address, 8)
    bits = ms.guest_bits(int.from_bytes(buffer.raw, "little"))
    t.mem.write(result, ms.pack_sigset(bits, t.target)[: min(size, ms.SIGSET_BYTES)])
    return 0


@syscall("rt_sigsuspend", Ptr, Size)
def rt_sigsuspend(t: Thread, mask: int, size: int) -> int:
    _check_size(size)
    bits = ms.host_bits(_read_set(t, mask) & ~_UNBLOCKABLE)
    value = bits.to_bytes(8, "little")
    result = t.host_syscall(NR["rt_sigsuspend"], address_of(value), 8)
    if result in (-errno.EINTR, -512):
        # The handler of what arrived runs with the mask of before to go back to.
        if t.saved_mask is None:
            t.saved_mask = t.sigmask
        raise Restart(ERESTARTNOHAND)
    return result


@syscall("pause")
def pause(t: Thread) -> int:
    result = t.host_syscall(NR["pause"])
    if result in (-errno.EINTR, -512):
        raise Restart(ERESTARTNOHAND)
    return result


def _timed_wait(t: Thread, mask: int, info: int, timeout: tuple[int, int] | None) -> int:
    bits = ms.host_bits(_read_set(t, mask))
    value = bits.to_bytes(8, "little")
    buffer = HostBuffer(128)
    limit = b""
    if timeout is not None:
        limit = timeout[0].to_bytes(8, "little", signed=True) + timeout[1].to_bytes(8, "little")
    result = t.host_syscall(
        NR["rt_sigtimedwait"],
        address_of(value),
        buffer.address,
        address_of(limit) if limit else 0,
        8,
    )
    if result == -512:
        return -errno.EINTR
    if result < 0:
        return result
    if info:
        t.mem.write(info, ms.from_host(bytes(buffer.raw)).pack(t.target))
    return ms.host_to_guest_signal(result)


@syscall("rt_sigtimedwait", Ptr, Ptr, Ptr, Size)
def rt_sigtimedwait(t: Thread, mask: int, info: int, timeout: int, size: int) -> int:
    _check_size(size)
    limit = None
    if timeout:
        word = t.target.word
        limit = (t.mem.word(timeout), t.mem.word(timeout + word))
    return _timed_wait(t, mask, info, limit)


@syscall("rt_sigtimedwait_time64", Ptr, Ptr, Ptr, Size, abis=("o32", "n32"))
def rt_sigtimedwait_time64(t: Thread, mask: int, info: int, timeout: int, size: int) -> int:
    _check_size(size)
    limit = (t.mem.u64(timeout), t.mem.u64(timeout + 8)) if timeout else None
    return _timed_wait(t, mask, info, limit)


@syscall("sigaltstack", Ptr, Ptr)
def sigaltstack(t: Thread, new: int, old: int) -> int:
    word = t.target.word
    sp = t.cpu.gpr[29]
    before = signals.pack_stack(t, sp)
    if new:
        start, size = t.mem.word(new), t.mem.word(new + word)
        flags = t.mem.u32(new + 2 * word)
        if signals.on_altstack(t, sp):
            raise OSError(errno.EPERM, "on the alternate stack")
        if flags & ~(signals.SS_DISABLE | signals.SS_ONSTACK | 1 << 31):
            raise OSError(errno.EINVAL, "flags")
        if not flags & signals.SS_DISABLE and size < 2048:
            raise OSError(errno.ENOMEM, "alternate stack too small")
        if flags & signals.SS_DISABLE:
            t.altstack = (0, signals.SS_DISABLE, 0)
        else:
            t.altstack = (start, 0, size)
    if old:
        t.mem.write(old, before)
    return 0


@syscall("sigreturn")
def sigreturn(t: Thread) -> int | None:
    signals.return_from_handler(t, rt=False)
    return None


@syscall("rt_sigreturn")
def rt_sigreturn(t: Thread) -> int | None:
    signals.return_from_handler(t, rt=True)
    return None


def _host_number(signo: int) -> int:
    if signo < 0 or signo >= ms.NSIG:
        raise OSError(errno.EINVAL, "signal number")
    host = ms.guest_to_host_signal(signo)
    if host > 64:
        raise OSError(errno.EINVAL, "real-time signal that the host does not have")
    return host


@syscall("kill", Int, Int)
def kill(t: Thread, pid: int, signo: int) -> int:
    return t.host_syscall(NR["kill"], pid, _host_number(signo))


@syscall("tkill", Int, Int)
def tkill(t: Thread, tid: int, signo: int) -> int:
    return t.host_syscall(NR["tkill"], tid, _host_number(signo))


@syscall("tgkill", Int, Int, Int)
def tgkill(t: Thread, pid: int, tid: int, signo: int) -> int:
    return t.host_syscall(NR["tgkill"], pid, tid, _host_number(signo))


@syscall("rt_sigqueueinfo", Int, Int, Ptr)
def rt_sigqueueinfo(t: Thread, pid: int, signo: int, info: int) -> int:
    data = ms.to_host(t.mem.read(info, 128), t.target)
    return t.host_syscall(NR["rt_sigqueueinfo"], pid, _host_number(signo), address_of(data))


@syscall("rt_tgsigqueueinfo", Int, Int, Int, Ptr)
def rt_tgsigqueueinfo(t: Thread, pid: int, tid: int, signo: int, info: int) -> int:
    data = ms.to_host(t.mem.read(info, 128), t.target)
    return t.host_syscall(NR["rt_tgsigqueueinfo"], pid, tid, _host_number(signo), address_of(data))


passthrough("pidfd_open", Int, UInt)
