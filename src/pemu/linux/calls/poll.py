"""Waiting for descriptors: poll, select and epoll.

A call that a signal interrupts without a handler being run goes on with the time it has left.
"""

from __future__ import annotations

import errno
import struct
import time

from pemu.engine import call_table as k
from pemu.linux.argtypes import Fd, Int, Size, UInt
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.mips.signals import SIGSET_BYTES
from pemu.linux.nametypes import Bits, Named
from pemu.linux.native_argument import moves_of
from pemu.linux.native_forms import (
    Constant,
    Exactly,
    Form,
    Given,
    Interval,
    Milliseconds,
    Moved,
    Waiting,
)
from pemu.linux.pointer_types import In, Ptr
from pemu.linux.poll_types import EventIn, EventsOut, FdSet, PollFds
from pemu.linux.sigmask import HOST_SIGSET_BYTES, call_with_mask
from pemu.linux.signal_types import SetIn
from pemu.linux.syscall import (
    ERESTART_RESTARTBLOCK,
    ERESTARTNOHAND,
    ERESTARTSYS,
    Restart,
    passthrough,
    syscall,
)
from pemu.linux.time_structs import (
    NANOSECONDS,
    TIMESPEC,
    TIMESPEC64,
    TIMEVAL,
    host_timespec,
    interval,
    pack_nanoseconds,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread
    from pemu.linux.structs import Struct

_32BIT = ("o32", "n32")
_INTERRUPTED = (-errno.EINTR, -ERESTARTSYS)

# --- poll ----------------------------------------------------------------------------------------

POLLOUT, POLLWRNORM, POLLWRBAND = 0x004, 0x100, 0x200
MIPS_POLLWRBAND = 0x100
"""On MIPS POLLWRNORM is POLLOUT, and POLLWRBAND has the host's POLLWRNORM's bit."""

POLLFD_BYTES = 8
_SAME_EVENTS = 0xFFFF & ~(POLLWRNORM | POLLWRBAND)


def _events_to_host(events: int) -> int:
    host = events & _SAME_EVENTS
    if events & POLLOUT:
        host |= POLLWRNORM
    return host | POLLWRBAND if events & MIPS_POLLWRBAND else host


def _events_to_guest(events: int) -> int:
    guest = events & _SAME_EVENTS
    if events & POLLWRNORM:
        guest |= POLLOUT
    return guest | MIPS_POLLWRBAND if events & POLLWRBAND else guest


def _pollfd_moves(abi: Abi) -> bytes:
    """Events whose bits the host has elsewhere are left to Python."""
    rows = [
        (0, 0, 4, 4, k.FIELD_ENTERS),
        (4, 4, 2, 2, k.FIELD_ENTERS | k.FIELD_CHECKED),
        (6, 6, 2, 2, k.FIELD_LEAVES),
    ]
    return moves_of(POLLFD_BYTES, POLLFD_BYTES, rows, refused=POLLWRNORM | POLLWRBAND)


_PollFds = Moved(k.BOTH, _pollfd_moves, other=1)
_MaskSize = Exactly(SIGSET_BYTES, HOST_SIGSET_BYTES)
"""The size of a signal mask to wait under: native code only tells what has happened already."""


def _native_poll(abi: Abi) -> Forms:
    return Form("poll", _PollFds, UInt, Milliseconds)


def _native_ppoll(layout: Struct) -> Callable[[Abi], Forms]:
    limit = Interval(layout, NANOSECONDS)
    return lambda abi: Form("ppoll", _PollFds, UInt, limit, Waiting(SIGSET_BYTES, 2), _MaskSize)


class _Polled:
    """The array of a poll call, in the host's form."""

    __slots__ = ("_address", "_fields", "_format", "_wanted", "buffer", "count")

    def __init__(self, t: Thread, address: int, count: int) -> None:
        if count > 1 << 20:
            raise OSError(errno.EINVAL, "Invalid argument")
        self.count = count
        self._address = address
        self._format = f"{'>' if t.target.big_endian else '<'}" + "iHH" * count
        data = t.mem.read(address, POLLFD_BYTES * count) if count else b""
        fields = self._fields = list(struct.unpack(self._format, data))
        self._wanted = fields[1::3]
        fields[1::3] = [_events_to_host(events) for events in self._wanted]
        fields[2::3] = [0] * count
        self.buffer = HostBuffer(
            POLLFD_BYTES * count or 1, struct.pack("<" + "iHH" * count, *fields)
        )

    def finish(self, t: Thread) -> None:
        """Write the array back with the events that happened."""
        if not self.count:
            return
        fields = self._fields
        happened = struct.unpack("<" + "iHH" * self.count, self.buffer.raw)[2::3]
        fields[1::3] = self._wanted
        fields[2::3] = [_events_to_guest(events) if events else 0 for events in happened]
        t.mem.write(self._address, struct.pack(self._format, *fields))


def _poll_until(t: Thread, polled: _Polled, deadline: int | None) -> int:
    """Poll until `deadline`, nanoseconds of CLOCK_MONOTONIC."""
    timeout = None
    if deadline is not None:
        timeout = pack_nanoseconds(max(0, deadline - time.monotonic_ns()))
    result = t.host_syscall(
        NR["ppoll"],
        polled.buffer.address,
        polled.count,
        address_of(timeout) if timeout is not None else 0,
        0,
        8,
    )
    if result in _INTERRUPTED:
        raise Restart(ERESTART_RESTARTBLOCK, lambda t: _poll_until(t, polled, deadline))
    if result >= 0:
        polled.finish(t)
    return result


@syscall("poll", PollFds, UInt, Int, native=_native_poll)
def poll(t: Thread, fds: int, count: int, milliseconds: int) -> int:
    polled = _Polled(t, fds, count)
    if milliseconds < 0:
        return _poll_until(t, polled, None)
    if milliseconds == 0:
        result = t.host_syscall(NR["poll"], polled.buffer.address, count, 0)
        if result >= 0:
            polled.finish(t)
        return result
    return _poll_until(t, polled, time.monotonic_ns() + milliseconds * 1_000_000)


def _ppoll(
    t: Thread, fds: int, count: int, timeout: int, mask: int, size: int, layout: Struct
) -> int:
    limit = pack_nanoseconds(interval(t.mem, timeout, layout)) if timeout else b""
    left = HostBuffer(16, limit)
    polled = _Polled(t, fds, count)

    def wait(host_mask: int) -> int:
        result = t.host_syscall(
            NR["ppoll"],
            polled.buffer.address,
            polled.count,
            left.address if timeout else 0,
            host_mask,
            HOST_SIGSET_BYTES,
        )
        _write_left(t, timeout, layout, left)
        if result in _INTERRUPTED:
            raise Restart(ERESTARTNOHAND)
        if result >= 0:
            polled.finish(t)
        return result

    return call_with_mask(t, mask, size, wait)


def _write_left(t: Thread, timeout: int, layout: Struct, left: HostBuffer) -> None:
    """Tell the guest the time that was left, as the kernel does, if its memory lets."""
    if timeout:
        from pemu.engine.faults import GuestFault

        sec, nsec = struct.unpack("<qq", left.raw)
        try:
            if layout is TIMEVAL:
                layout.write(t.mem, timeout, tv_sec=sec, tv_usec=nsec // 1000)
            else:
                layout.write(t.mem, timeout, tv_sec=sec, tv_nsec=nsec)
        except GuestFault:
            pass


@syscall("ppoll", PollFds, UInt, In(TIMESPEC), SetIn, Size, native=_native_ppoll(TIMESPEC))
def ppoll(t: Thread, fds: int, count: int, timeout: int, mask: int, size: int) -> int:
    return _ppoll(t, fds, count, timeout, mask, size, TIMESPEC)


@syscall(
    *("ppoll_time64", PollFds, UInt, In(TIMESPEC64), SetIn, Size),
    abis=_32BIT,
    native=_native_ppoll(TIMESPEC64),
)
def ppoll_time64(t: Thread, fds: int, count: int, timeout: int, mask: int, size: int) -> int:
    return _ppoll(t, fds, count, timeout, mask, size, TIMESPEC64)


# --- select --------------------------------------------------------------------------------------


def _set_moves(abi: Abi) -> bytes:
    """A set is an array of longs; in little-endian order longs of any width are the same."""
    both = k.FIELD_ENTERS | k.FIELD_LEAVES
    rows = [(0, 0, abi.word, abi.word, both)]
    return moves_of(abi.word, abi.word, rows, divisor=8 * abi.word)


_Set = Moved(k.BOTH, _set_moves, other=0)


def _native_select(layout: Struct) -> Callable[[Abi], Forms]:
    """A time limit is only tried as one that has passed: the host's form of it is always zeros."""
    limit = Interval(layout, 1_000_000 if layout is TIMEVAL else NANOSECONDS)

    def form(abi: Abi) -> Forms:
        mask = Constant(0) if layout is TIMEVAL else Waiting(2 * abi.word, 4)
        return Form("pselect6", Int, _Set, _Set, _Set, limit, mask)

    return form


class _Sets:
    """The three sets of a select call: in the guest arrays of longs, bit n of the whole is fd n."""

    __slots__ = ("_addresses", "_bytes", "_span", "addresses", "buffer")

    def __init__(self, t: Thread, count: int, addresses: tuple[int, int, int]) -> None:
        word = t.target.word
        self._bytes = -(-count // (8 * word)) * word
        self._span = -(-count // 64) * 8
        self._addresses = addresses
        content = bytearray(3 * self._span)
        for i, address in enumerate(addresses):
            if address:
                data = _turn(t, t.mem.read(address, self._bytes))
                content[i * self._span : i * self._span + self._bytes] = data
        self.buffer = HostBuffer(len(content) or 1, bytes(content))
        self.addresses = [
            self.buffer.address + i * self._span if address else 0
            for i, address in enumerate(addresses)
        ]

    def finish(self, t: Thread) -> None:
        data = self.buffer.raw
        for i, address in enumerate(self._addresses):
            if address:
                start = i * self._span
                t.mem.write(address, _turn(t, data[start : start + self._bytes]))


def _turn(t: Thread, data: bytes) -> bytes:
    if not t.target.big_endian:
        return data
    word = t.target.word
    return b"".join(data[i : i + word][::-1] for i in range(0, len(data), word))


def _select(
    t: Thread,
    count: int,
    sets: tuple[int, int, int],
    timeout: int,
    layout: Struct,
    limit: bytes | None,
    mask: int = 0,
    mask_size: int = 0,
) -> int:
    if count < 0:
        return -errno.EINVAL
    held = _Sets(t, min(count, 1 << 20), sets)
    left = HostBuffer(16, limit or b"")

    def wait(host_mask: int) -> int:
        set_and_size = struct.pack("<QQ", host_mask, HOST_SIGSET_BYTES)
        result = t.host_syscall(
            NR["pselect6"],
            min(count, 1 << 20),
            *held.addresses,
            0 if limit is None else left.address,
            address_of(set_and_size),
        )
        _write_left(t, timeout, layout, left)
        if result in _INTERRUPTED:
            raise Restart(ERESTARTNOHAND)
        if result >= 0:
            held.finish(t)
        return result

    return call_with_mask(t, mask, mask_size, wait)


@syscall("_newselect", Int, FdSet, FdSet, FdSet, In(TIMEVAL), native=_native_select(TIMEVAL))
def newselect(t: Thread, count: int, read: int, write: int, other: int, timeout: int) -> int:
    limit = None
    if timeout:
        value = TIMEVAL.read(t.mem, timeout)
        sec = value.tv_sec + value.tv_usec // 1_000_000
        nsec = value.tv_usec % 1_000_000 * 1000
        if value.tv_sec < 0 or value.tv_usec < 0:
            return -errno.EINVAL
        limit = pack_nanoseconds(sec * NANOSECONDS + nsec)
    return _select(t, count, (read, write, other), timeout, TIMEVAL, limit)


def _pselect(
    t: Thread, count: int, sets: tuple[int, int, int], timeout: int, mask: int, layout: Struct
) -> int:
    limit = host_timespec(t.mem, timeout, layout)
    address = size = 0
    if mask:
        address = t.mem.word(mask)
        size = t.mem.word(mask + t.target.word)
    return _select(t, count, sets, timeout, layout, limit, address, size)


@syscall("pselect6", Int, FdSet, FdSet, FdSet, In(TIMESPEC), Ptr, native=_native_select(TIMESPEC))
def pselect6(
    t: Thread, count: int, read: int, write: int, other: int, timeout: int, mask: int
) -> int:
    return _pselect(t, count, (read, write, other), timeout, mask, TIMESPEC)


@syscall(
    *("pselect6_time64", Int, FdSet, FdSet, FdSet, In(TIMESPEC64), Ptr),
    abis=_32BIT,
    native=_native_select(TIMESPEC64),
)
def pselect6_time64(
    t: Thread, count: int, read: int, write: int, other: int, timeout: int, mask: int
) -> int:
    return _pselect(t, count, (read, write, other), timeout, mask, TIMESPEC64)


# --- epoll: the host packs `struct epoll_event`, MIPS aligns its 64-bit half --------------------

EPOLL_EVENT_BYTES = 16
_HOST_EVENT = struct.Struct("<IQ")
EVENTS_MAX = 0x7FFFFFFF // EPOLL_EVENT_BYTES
EVENTS_AT_ONCE = 1024
"""Events that one call returns at most; the kernel leaves the others for the next call."""

EpollOp = Named("int", "EPOLL_CTL_ADD EPOLL_CTL_DEL EPOLL_CTL_MOD", 1)
EpollFlags = Bits("int", "EPOLL_CLOEXEC 0x80000")

passthrough("epoll_create", Int)
passthrough("epoll_create1", EpollFlags)


def _event_format(t: Thread, count: int = 1) -> str:
    return (">" if t.target.big_endian else "<") + "I4xQ" * count


def _event_moves(abi: Abi) -> bytes:
    both = k.FIELD_ENTERS | k.FIELD_LEAVES
    rows = [(0, 0, 4, 4, both), (8, 4, 8, 8, both)]
    return moves_of(EPOLL_EVENT_BYTES, _HOST_EVENT.size, rows)


_NATIVE_EVENTS = 100
"""Events that native code returns at most, as many as it has room for."""

_Events = Moved(k.RESULTING, _event_moves, _NATIVE_EVENTS, other=2)
_MostEvents = Given(k.LIMITED, _NATIVE_EVENTS)


@syscall(
    *("epoll_ctl", Fd, EpollOp, Fd, EventIn),
    native=lambda abi: Form("epoll_ctl", Fd, Int, Fd, Moved(k.ENTERING, _event_moves)),
)
def epoll_ctl(t: Thread, epfd: int, operation: int, fd: int, event: int) -> int:
    data = None
    if event and operation != 2:
        values = struct.unpack(_event_format(t), t.mem.read(event, EPOLL_EVENT_BYTES))
        data = _HOST_EVENT.pack(*values)
    return t.host_syscall(
        NR["epoll_ctl"], epfd, operation, fd, address_of(data) if data is not None else 0
    )


class _Waited:
    """One call's room for events."""

    __slots__ = ("_address", "_count", "_epfd", "buffer")

    def __init__(self, epfd: int, address: int, count: int) -> None:
        if not 0 < count <= EVENTS_MAX:
            raise OSError(errno.EINVAL, "Invalid argument")
        self._epfd = epfd
        self._address = address
        self._count = min(count, EVENTS_AT_ONCE)
        self.buffer = HostBuffer(_HOST_EVENT.size * self._count)

    def wait(self, t: Thread, deadline: int | None, mask: int = 0) -> int:
        """Wait until `deadline`, nanoseconds of CLOCK_MONOTONIC; 0 does not wait, None always.

        `mask`: the guest's signal set to wait under, or 0.
        """
        timeout = -1
        if deadline is not None:
            left = max(0, deadline - time.monotonic_ns()) if deadline else 0
            timeout = min(-(-left // 1_000_000), 0x7FFFFFFF)

        def wait(host_mask: int) -> int:
            result = t.host_syscall(
                NR["epoll_pwait"],
                self._epfd,
                self.buffer.address,
                self._count,
                timeout,
                host_mask,
                HOST_SIGSET_BYTES,
            )
            if result in _INTERRUPTED:
                raise Restart(ERESTART_RESTARTBLOCK, lambda t: self.wait(t, deadline, mask))
            return result

        result = call_with_mask(t, mask, SIGSET_BYTES, wait)
        if result > 0:
            values = struct.unpack_from("<" + "IQ" * result, self.buffer.raw)
            t.mem.write(self._address, struct.pack(_event_format(t, result), *values))
        return result


def _epoll(
    t: Thread, epfd: int, events: int, count: int, deadline: int | None, mask: int, size: int
) -> int:
    if mask and size != SIGSET_BYTES:
        return -errno.EINVAL
    return _Waited(epfd, events, count).wait(t, deadline, mask)


def _millisecond_deadline(timeout: int) -> int | None:
    if timeout <= 0:
        return None if timeout else 0
    return time.monotonic_ns() + timeout * 1_000_000


@syscall(
    *("epoll_wait", Fd, EventsOut, Int, Int),
    native=lambda abi: Form("epoll_wait", Fd, _Events, _MostEvents, Milliseconds),
)
def epoll_wait(t: Thread, epfd: int, events: int, count: int, timeout: int) -> int:
    return _Waited(epfd, events, count).wait(t, _millisecond_deadline(timeout))


@syscall(
    *("epoll_pwait", Fd, EventsOut, Int, Int, SetIn, Size),
    native=lambda abi: Form(
        *("epoll_pwait", Fd, _Events, _MostEvents, Milliseconds),
        *(Waiting(SIGSET_BYTES, 3, pointer=False), _MaskSize),
    ),
)
def epoll_pwait(
    t: Thread, epfd: int, events: int, count: int, timeout: int, mask: int, size: int
) -> int:
    return _epoll(t, epfd, events, count, _millisecond_deadline(timeout), mask, size)


@syscall("epoll_pwait2", Fd, EventsOut, Int, In(TIMESPEC64), SetIn, Size)
def epoll_pwait2(
    t: Thread, epfd: int, events: int, count: int, timeout: int, mask: int, size: int
) -> int:
    deadline: int | None = None
    if timeout:
        left = interval(t.mem, timeout, TIMESPEC64)
        deadline = time.monotonic_ns() + left if left else 0
    return _epoll(t, epfd, events, count, deadline, mask, size)
