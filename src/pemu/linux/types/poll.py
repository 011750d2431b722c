"""Argument types of calls that wait for descriptors, with names for -strace."""

from __future__ import annotations

from pemu.linux.show import show_pointer
from pemu.linux.types.base import signed
from pemu.linux.types.names import Bits
from pemu.linux.types.pointers import PointeeType, PointerType, address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pemu.linux.process import Thread

_EVENTS = "POLLIN 1 POLLPRI 2 POLLOUT 4 POLLERR 8 POLLHUP 0x10 POLLNVAL 0x20"
PollEvents = Bits(
    "events", _EVENTS + " POLLRDNORM 0x40 POLLRDBAND 0x80 POLLWRBAND 0x100 POLLRDHUP 0x2000"
)
EpollEvents = Bits(
    "events",
    "EPOLLIN 1 EPOLLPRI 2 EPOLLOUT 4 EPOLLERR 8 EPOLLHUP 0x10 EPOLLRDNORM 0x40 EPOLLRDBAND 0x80"
    " EPOLLWRNORM 0x100 EPOLLWRBAND 0x200 EPOLLMSG 0x400 EPOLLRDHUP 0x2000"
    " EPOLLEXCLUSIVE 0x10000000 EPOLLWAKEUP 0x20000000 EPOLLONESHOT 0x40000000 EPOLLET 0x80000000",
)
SHOWN = 32
"""Elements of an array that -strace shows."""

POLLFD_BYTES, EVENT_BYTES = 8, 16


class PollFdsType(PointerType):
    """The address of an array of `struct pollfd`; the next argument says how many."""

    __slots__ = ()

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        return _array(t, address(t, raw[index]), raw[index + 1], POLLFD_BYTES, _wanted)


def show_happened(t: Thread, raw: Sequence[int], result: int) -> str:
    """What -strace adds to the result of poll."""
    if result <= 0:
        return " (Timeout)" if result == 0 else ""
    return f" ({_array(t, address(t, raw[0]), raw[1], POLLFD_BYTES, _happened)})"


def _array(t: Thread, start: int, count: int, size: int, show: Callable[[Thread, int], str]) -> str:
    """Elements of an array of structures; those shown empty are left out."""
    from pemu.engine.memory.access import GuestFault

    if not start:
        return show_pointer(start)
    count &= 0xFFFFFFFF
    try:
        parts = [show(t, start + size * i) for i in range(min(count, SHOWN))]
    except GuestFault:
        return show_pointer(start)
    more = ["..."] if count > SHOWN else []
    return "[" + ", ".join([part for part in parts if part] + more) + "]"


def _wanted(t: Thread, start: int) -> str:
    events = PollEvents.show(t, (t.mem.u16(start + 4),), 0, None)
    return f"{{fd={signed(t.mem.u32(start), 32)}, events={events}}}"


def _happened(t: Thread, start: int) -> str:
    found = t.mem.u16(start + 6)
    if not found:
        return ""
    events = PollEvents.show(t, (found,), 0, None)
    return f"{{fd={signed(t.mem.u32(start), 32)}, revents={events}}}"


class FdSetType(PointerType):
    """The address of a set of descriptors below the first argument."""

    __slots__ = ()

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        start = address(t, raw[index])
        return show_pointer(start) if not start else _descriptors(t, start, raw[0])


def _descriptors(t: Thread, start: int, count: int) -> str:
    from pemu.engine.memory.access import GuestFault

    word = t.target.word
    members = []
    try:
        for fd in range(min(max(signed(count, 32), 0), 1024)):
            if t.mem.word(start + fd // (8 * word) * word) >> fd % (8 * word) & 1:
                members.append(str(fd))
    except GuestFault:
        return show_pointer(start)
    return "[" + " ".join(members) + "]"


def show_selected(t: Thread, raw: Sequence[int], result: int) -> str:
    """What -strace adds to the result of select."""
    if result <= 0:
        return " (Timeout)" if result == 0 else ""
    parts = []
    for name, start in zip(("in", "out", "except"), raw[1:4], strict=True):
        shown = _descriptors(t, address(t, start), raw[0]) if start else "[]"
        if shown != "[]":
            parts.append(f"{name} {shown}")
    return f" ({', '.join(parts)})"


class EventsType(PointerType):
    """The address of an array of `struct epoll_event` that the call fills."""

    __slots__ = ()

    leaves = True

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        start = address(t, raw[index])
        if result is None or result < 0:
            return show_pointer(start)
        return _array(t, start, result, EVENT_BYTES, _event)


def _event(t: Thread, start: int, after: Sequence[int] = (), result: int | None = None) -> str:
    events = EpollEvents.show(t, (t.mem.u32(start),), 0, None)
    whole = t.mem.u64(start + 8)
    part = whole >> 32 if t.target.big_endian else whole & 0xFFFFFFFF
    return f"{{events={events}, data={{u32={part}, u64={whole}}}}}"


PollFds = PollFdsType("struct pollfd *")
FdSet = FdSetType("fd_set *")
EventIn = PointeeType("struct epoll_event *", _event)
EventsOut = EventsType("struct epoll_event *")
