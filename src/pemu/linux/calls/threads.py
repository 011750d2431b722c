"""Threads: their end, their memory words, and futexes."""

from __future__ import annotations

import errno

from pemu.engine.layout import call_table as k
from pemu.linux.hostcalls import NR, address_of
from pemu.linux.native_forms import Choice, Constant, Form, Given, NullOnly
from pemu.linux.process import ThreadExit
from pemu.linux.syscall import syscall
from pemu.linux.types.base import Int, Size, UInt
from pemu.linux.types.pointers import InFixed, Ptr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread

_FUTEX_COMMAND = 0x7F
_PRIVATE = 128
_CLOCK_REALTIME = 256
(
    _WAIT,
    _WAKE,
    _FD,
    _REQUEUE,
    _CMP_REQUEUE,
    _WAKE_OP,
    _LOCK_PI,
    _UNLOCK_PI,
    _TRYLOCK_PI,
    _WAIT_BITSET,
    _WAKE_BITSET,
    _WAIT_REQUEUE_PI,
    _CMP_REQUEUE_PI,
    _LOCK_PI2,
) = range(14)


@syscall("exit", Int, returns="")
def exit_(t: Thread, status: int) -> int:
    raise ThreadExit(status & 0xFF)


@syscall("exit_group", Int, returns="")
def exit_group(t: Thread, status: int) -> int:
    t.process.exit(status & 0xFF)


@syscall("set_tid_address", Ptr)
def set_tid_address(t: Thread, address: int) -> int:
    t.clear_child_tid = address
    return t.tid


@syscall("set_robust_list", Ptr, Size)
def set_robust_list(t: Thread, head: int, size: int) -> int:
    if size != 3 * t.target.word:
        raise OSError(errno.EINVAL, "size of a robust list head")
    t.robust_list = head
    return 0


@syscall("get_robust_list", Int, Ptr, Ptr)
def get_robust_list(t: Thread, tid: int, head: int, size: int) -> int:
    other = t if not tid else t.process.threads.get(tid)
    if other is None:
        raise OSError(errno.ESRCH, "no such thread")
    t.mem.put_word(head, other.robust_list)
    t.mem.put_word(size, 3 * t.target.word)
    return 0


@syscall("set_thread_area", Ptr)
def set_thread_area(t: Thread, address: int) -> int:
    t.cpu.userlocal = address
    return 0


def _timeout(t: Thread, address: int, wide: bool) -> bytes:
    if wide or t.target.word == 8:
        seconds, nanoseconds = t.mem.u64(address), t.mem.u64(address + 8)
    else:
        seconds, nanoseconds = t.mem.u32(address), t.mem.u32(address + 4)
        if seconds >> 31:
            seconds |= 0xFFFFFFFF00000000
    return seconds.to_bytes(8, "little") + (nanoseconds & 0xFFFFFFFF).to_bytes(8, "little")


def _swapped(t: Thread, value: int) -> int:
    """A futex word's value as the host's kernel sees it."""
    value &= 0xFFFFFFFF
    return int.from_bytes(value.to_bytes(4, "big"), "little") if t.target.big_endian else value


def _futex(
    t: Thread,
    word: int,
    operation: int,
    value: int,
    timeout: int,
    second: int,
    third: int,
    wide: bool,
) -> int:
    command = operation & _FUTEX_COMMAND
    host = t.mem.host(word)
    if word & 3:
        return -errno.EINVAL
    if not t.mem.readable(word, 4):
        return -errno.EFAULT
    other = t.mem.host(second) if second else 0
    if command in (_WAIT, _WAIT_BITSET):
        limit = _timeout(t, timeout, wide) if timeout else b""
        at = address_of(limit) if limit else 0
        return t.host_syscall(NR["futex"], host, operation, _swapped(t, value), at, 0, third)
    if command in (_WAKE, _WAKE_BITSET):
        return t.host_syscall(NR["futex"], host, operation, value, 0, 0, third)
    if command == _REQUEUE:
        return t.host_syscall(NR["futex"], host, operation, value, timeout, other, 0)
    if command == _CMP_REQUEUE:
        return t.host_syscall(
            NR["futex"], host, operation, value, timeout, other, _swapped(t, third)
        )
    if command == _WAKE_OP and not t.target.big_endian:
        return t.host_syscall(NR["futex"], host, operation, value, timeout, other, third)
    if command == _WAKE_OP:
        return _wake_op(t, word, second, operation & ~_FUTEX_COMMAND, value, timeout, third)
    if t.target.big_endian:
        # The host's kernel would write the owner's number in its own byte order.
        return -errno.ENOSYS
    limit = _timeout(t, timeout, wide) if timeout and command in (_LOCK_PI, _LOCK_PI2) else b""
    at = address_of(limit) if limit else timeout
    return t.host_syscall(NR["futex"], host, operation, value, at, other, third)


def _wake_op(
    t: Thread, word: int, second: int, private: int, count: int, others: int, encoded: int
) -> int:
    """FUTEX_WAKE_OP for a big-endian guest, whose words the host cannot calculate with."""
    op, compare = encoded >> 28 & 15, encoded >> 24 & 15
    argument, against = encoded >> 12 & 0xFFF, encoded & 0xFFF
    if op & 8:
        argument = 1 << (argument & 31)
    with t.mem.changing:
        old = t.mem.u32(second)
        new = (argument, old + argument, old | argument, old & ~argument, old ^ argument)[op & 7]
        t.mem.put_u32(second, new & 0xFFFFFFFF)
    signed = old - (1 << 32) if old >> 31 else old
    holds = (
        signed == against,
        signed != against,
        signed < against,
        signed <= against,
        signed > against,
        signed >= against,
    )[compare]
    woken = t.host_syscall(NR["futex"], t.mem.host(word), _WAKE | private, count)
    if woken >= 0 and holds:
        woken += t.host_syscall(NR["futex"], t.mem.host(second), _WAKE | private, others)
    return woken


def _native_futex(abi: Abi) -> Forms:
    """Waking, and waiting without a time limit."""
    word, none = InFixed(4), Constant(0)
    short_wait = Form("futex", word, Int, Given(k.SWAPPED), NullOnly)
    wait = Form("futex", word, Int, Given(k.SWAPPED), NullOnly, none, UInt)
    wake = Form("futex", word, Int, UInt, none, none, UInt)
    forms = {}
    for private in (0, _PRIVATE):
        forms[_WAIT | private] = short_wait
        forms[_WAKE | private] = Form("futex", word, Int, UInt)
        forms[_WAIT_BITSET | private] = forms[_WAIT_BITSET | private | _CLOCK_REALTIME] = wait
        forms[_WAKE_BITSET | private] = wake
    return Choice(1, forms)


@syscall("futex", Ptr, Int, UInt, Ptr, Ptr, UInt, native=_native_futex)
def futex(
    t: Thread, word: int, operation: int, value: int, timeout: int, second: int, third: int
) -> int:
    return _futex(t, word, operation, value, timeout, second, third, False)


@syscall(
    *("futex_time64", Ptr, Int, UInt, Ptr, Ptr, UInt), abis=("o32", "n32"), native=_native_futex
)
def futex_time64(
    t: Thread, word: int, operation: int, value: int, timeout: int, second: int, third: int
) -> int:
    return _futex(t, word, operation, value, timeout, second, third, True)
