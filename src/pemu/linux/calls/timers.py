"""Timers: POSIX timers by clock, the interval timers of a process, and alarm.

A timer's signal is the host's, translated as any other when it arrives.
"""

from __future__ import annotations

import ctypes

from pemu.engine.memory.access import GuestFault
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.process import AT_EXECUTE
from pemu.linux.structs.sigevent import host_sigevent
from pemu.linux.structs.time import ITIMERSPEC, ITIMERSPEC64, ITIMERVAL, settime64
from pemu.linux.syscall import passthrough, syscall
from pemu.linux.types.base import Int, UInt
from pemu.linux.types.names import Bits, ClockId, Named
from pemu.linux.types.pointers import In, Out, Ptr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

_libc = ctypes.CDLL(None)

_32BIT = ("o32", "n32")

Timer = Named("timer", "ITIMER_REAL ITIMER_VIRTUAL ITIMER_PROF")
TimerFlags = Bits("int", "TIMER_ABSTIME 1")

passthrough("setitimer", Timer, In(ITIMERVAL), Out(ITIMERVAL))
passthrough("getitimer", Timer, Out(ITIMERVAL))
passthrough("alarm", UInt)
passthrough("timer_settime", Int, TimerFlags, In(ITIMERSPEC), Out(ITIMERSPEC))
passthrough("timer_gettime", Int, Out(ITIMERSPEC))
passthrough("timer_gettime64", Int, Out(ITIMERSPEC64), abis=_32BIT, host="timer_gettime")
passthrough("timer_getoverrun", Int)
passthrough("timer_delete", Int)


_created: list[int] = []
"""The host's numbers of the timers that this process has made; some are deleted again."""


def _delete_all() -> None:
    while _created:
        _libc.syscall(NR["timer_delete"], _created.pop())


AT_EXECUTE.append(_delete_all)


@syscall("timer_create", ClockId, Ptr, Ptr)
def timer_create(t: Thread, clock: int, event: int, result: int) -> int:
    notify = host_sigevent(t, event) if event else b""
    timer = HostBuffer(4)
    done = t.host_syscall(
        NR["timer_create"], clock, address_of(notify) if notify else 0, timer.address
    )
    if done >= 0:
        number = int.from_bytes(timer.raw, "little")
        _created.append(number)
        try:
            t.mem.put_u32(result, number)
        except GuestFault:
            t.host_syscall(NR["timer_delete"], number)
            raise
    return done


@syscall("timer_settime64", Int, TimerFlags, In(ITIMERSPEC64), Out(ITIMERSPEC64), abis=_32BIT)
def timer_settime64(t: Thread, timer: int, flags: int, new: int, old: int) -> int:
    return settime64(t, NR["timer_settime"], timer, flags, new, old)
