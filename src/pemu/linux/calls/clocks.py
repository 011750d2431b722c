"""Clocks and sleeping."""

from __future__ import annotations

import errno
import time

from pemu.linux.hostcalls import NR, address_of
from pemu.linux.structs.time import (
    NANOSECONDS,
    TIMESPEC,
    TIMESPEC64,
    TIMEVAL,
    TIMEZONE,
    TMS,
    interval,
    pack_nanoseconds,
)
from pemu.linux.syscall import (
    ERESTART_RESTARTBLOCK,
    ERESTARTNOHAND,
    ERESTARTSYS,
    Restart,
    passthrough,
    syscall,
)
from pemu.linux.types.names import Bits, ClockId
from pemu.linux.types.pointers import In, Out, Ptr
from pemu.linux.types.time import InTimespec64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread
    from pemu.linux.structs.layout import Struct

CLOCK_REALTIME, CLOCK_MONOTONIC = 0, 1
TIMER_ABSTIME = 1
_INTERRUPTED = (-errno.EINTR, -ERESTARTSYS)
_32BIT = ("o32", "n32")

TimerFlags = Bits("int", "TIMER_ABSTIME 1")

passthrough("settimeofday", In(TIMEVAL), In(TIMEZONE))
passthrough("times", Out(TMS))
passthrough("clock_settime", ClockId, In(TIMESPEC))
passthrough("clock_settime64", ClockId, InTimespec64, abis=_32BIT, host="clock_settime")
passthrough("clock_getres", ClockId, Out(TIMESPEC))
passthrough("clock_getres_time64", ClockId, Out(TIMESPEC64), abis=_32BIT, host="clock_getres")


@syscall("time", Ptr, abis=("o32",))
def seconds(t: Thread, result: int) -> int:
    now = int(time.time())
    if result:
        t.mem.put_u32(result, now & 0xFFFFFFFF)
    return now & 0x7FFFFFFF


@syscall("stime", Ptr, abis=("o32",))
def stime(t: Thread, value: int) -> int:
    new = pack_nanoseconds(t.mem.u32(value) * NANOSECONDS)
    return t.host_syscall(NR["clock_settime"], CLOCK_REALTIME, address_of(new))


@syscall("nanosleep", In(TIMESPEC), Out(TIMESPEC))
def nanosleep(t: Thread, request: int, remaining: int) -> int:
    return _sleep(t, CLOCK_MONOTONIC, 0, request, remaining, TIMESPEC)


@syscall("clock_nanosleep", ClockId, TimerFlags, In(TIMESPEC), Out(TIMESPEC))
def clock_nanosleep(t: Thread, clock: int, flags: int, request: int, remaining: int) -> int:
    return _sleep(t, clock, flags, request, remaining, TIMESPEC)


@syscall(
    "clock_nanosleep_time64",
    ClockId,
    TimerFlags,
    In(TIMESPEC64),
    Out(TIMESPEC64),
    abis=_32BIT,
)
def clock_nanosleep_time64(t: Thread, clock: int, flags: int, request: int, remaining: int) -> int:
    return _sleep(t, clock, flags, request, remaining, TIMESPEC64)


def _sleep(t: Thread, clock: int, flags: int, request: int, remaining: int, layout: Struct) -> int:
    duration = interval(t.mem, request, layout)
    if flags & TIMER_ABSTIME:
        deadline = pack_nanoseconds(duration)
        result = t.host_syscall(
            NR["clock_nanosleep"], clock, TIMER_ABSTIME, address_of(deadline), 0
        )
        if result in _INTERRUPTED:
            raise Restart(ERESTARTNOHAND)
        return result
    if clock == CLOCK_REALTIME:
        clock = CLOCK_MONOTONIC  # a relative sleep takes no notice of a clock that is set
    return _sleep_until(t, clock, time.clock_gettime_ns(clock) + duration, remaining, layout)


def _sleep_until(t: Thread, clock: int, deadline: int, remaining: int, layout: Struct) -> int:
    """Sleep; interrupted, tell the guest what remains and be ready to go on to the same end."""
    until = pack_nanoseconds(deadline)
    result = t.host_syscall(NR["clock_nanosleep"], clock, TIMER_ABSTIME, address_of(until), 0)
    if result not in _INTERRUPTED:
        return result
    left = deadline - time.clock_gettime_ns(clock)
    if left <= 0:
        return 0
    if remaining:
        sec, nsec = divmod(left, NANOSECONDS)
        layout.write(t.mem, remaining, tv_sec=sec, tv_nsec=nsec)
    raise Restart(
        ERESTART_RESTARTBLOCK, lambda t: _sleep_until(t, clock, deadline, remaining, layout)
    )
