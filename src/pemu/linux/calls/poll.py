"""Waiting for descriptors: poll.

A call that a signal interrupts without a handler being run goes on with the time it has left.
"""

from __future__ import annotations

import errno
import struct
import time

from pemu.engine.layout import call_table as k
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.mips.signals import SIGSET_BYTES
from pemu.linux.native_argument import moves_of
from pemu.linux.native_forms import Form, Interval, Milliseconds, Moved, Waiting
from pemu.linux.sigmask import HOST_SIGSET_BYTES, INTERRUPTED, MaskSize, wait_with_mask
from pemu.linux.structs.time import (
    NANOSECONDS,
    TIMESPEC,
    TIMESPEC64,
    TimeLimit,
    pack_nanoseconds,
)
from pemu.linux.syscall import ERESTART_RESTARTBLOCK, Restart, syscall
from pemu.linux.types.base import Int, Size, UInt
from pemu.linux.types.pointers import In
from pemu.linux.types.poll import POLLFD_BYTES, PollFds
from pemu.linux.types.signals import SetIn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread
    from pemu.linux.structs.layout import Struct

POLLOUT, POLLWRNORM, POLLWRBAND = 0x004, 0x100, 0x200
MIPS_POLLWRBAND = 0x100
"""On MIPS POLLWRNORM is POLLOUT, and POLLWRBAND has the host's POLLWRNORM's bit."""

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


def _native_poll(abi: Abi) -> Forms:
    return Form("poll", _PollFds, UInt, Milliseconds)


def _native_ppoll(layout: Struct) -> Callable[[Abi], Forms]:
    limit = Interval(layout, NANOSECONDS)
    return lambda abi: Form("ppoll", _PollFds, UInt, limit, Waiting(SIGSET_BYTES, 2), MaskSize)


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
    if result in INTERRUPTED:
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
    limit = TimeLimit(t.mem, timeout, layout)
    polled = _Polled(t, fds, count)

    def call(host_limit: int, host_mask: int) -> int:
        return t.host_syscall(
            *(NR["ppoll"], polled.buffer.address, polled.count),
            *(host_limit, host_mask, HOST_SIGSET_BYTES),
        )

    return wait_with_mask(t, limit, mask, size, call, polled.finish)


@syscall("ppoll", PollFds, UInt, In(TIMESPEC), SetIn, Size, native=_native_ppoll(TIMESPEC))
def ppoll(t: Thread, fds: int, count: int, timeout: int, mask: int, size: int) -> int:
    return _ppoll(t, fds, count, timeout, mask, size, TIMESPEC)


@syscall(
    *("ppoll_time64", PollFds, UInt, In(TIMESPEC64), SetIn, Size),
    abis=("o32", "n32"),
    native=_native_ppoll(TIMESPEC64),
)
def ppoll_time64(t: Thread, fds: int, count: int, timeout: int, mask: int, size: int) -> int:
    return _ppoll(t, fds, count, timeout, mask, size, TIMESPEC64)
