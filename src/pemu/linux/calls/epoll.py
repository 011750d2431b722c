"""Waiting for descriptors: epoll.

The host packs `struct epoll_event`, MIPS aligns its 64-bit half.
"""

from __future__ import annotations

import errno
import struct
import time

from pemu.engine.layout import call_table as k
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.mips.signals import SIGSET_BYTES
from pemu.linux.native_argument import moves_of
from pemu.linux.native_forms import Form, Given, Milliseconds, Moved, Waiting
from pemu.linux.sigmask import HOST_SIGSET_BYTES, INTERRUPTED, MaskSize, call_with_mask
from pemu.linux.structs.time import TIMESPEC64, interval
from pemu.linux.syscall import ERESTART_RESTARTBLOCK, Restart, passthrough, syscall
from pemu.linux.types.base import Fd, Int, Size
from pemu.linux.types.names import Bits, Named
from pemu.linux.types.pointers import In
from pemu.linux.types.poll import EVENT_BYTES, EventIn, EventsOut
from pemu.linux.types.signals import SetIn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.abi import Abi
    from pemu.linux.process import Thread

_HOST_EVENT = struct.Struct("<IQ")
EVENTS_MAX = 0x7FFFFFFF // EVENT_BYTES
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
    return moves_of(EVENT_BYTES, _HOST_EVENT.size, rows)


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
        values = struct.unpack(_event_format(t), t.mem.read(event, EVENT_BYTES))
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
            if result in INTERRUPTED:
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
        *(Waiting(SIGSET_BYTES, 3, pointer=False), MaskSize),
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
