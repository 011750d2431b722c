"""Descriptors for events: eventfd, signalfd, timerfd."""

from __future__ import annotations

import errno

from pemu.linux import fdtable, translators
from pemu.linux.flags import Flags
from pemu.linux.hostcalls import NR, address_of
from pemu.linux.mips.signals import SIGSET_BYTES, guest_to_host_sigset
from pemu.linux.structs.time import ITIMERSPEC, ITIMERSPEC64, settime64
from pemu.linux.syscall import passthrough, syscall
from pemu.linux.types.base import Fd, FlagsType, Int, Size, UInt
from pemu.linux.types.names import Bits, ClockId
from pemu.linux.types.pointers import In, Out, Ptr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

_32BIT = ("o32", "n32")

_DESCRIPTOR_FLAGS = """
    {0}_NONBLOCK 0x80 0x800
    {0}_CLOEXEC 0x80000
"""
EventfdFlags = FlagsType(
    "int", Flags("EFD_SEMAPHORE 1\n" + _DESCRIPTOR_FLAGS.format("EFD"), keep=True)
)
SignalfdFlags = FlagsType("int", Flags(_DESCRIPTOR_FLAGS.format("SFD"), keep=True))
TimerfdFlags = FlagsType("int", Flags(_DESCRIPTOR_FLAGS.format("TFD"), keep=True))
TimerfdSetFlags = Bits("int", "TFD_TIMER_ABSTIME 1 TFD_TIMER_CANCEL_ON_SET 2")

# eventfd


@syscall("eventfd", UInt)
def eventfd(t: Thread, count: int) -> int:
    return translators.counter(t, t.host_syscall(NR["eventfd2"], count, 0))


@syscall("eventfd2", UInt, EventfdFlags)
def eventfd2(t: Thread, count: int, flags: int) -> int:
    return translators.counter(t, t.host_syscall(NR["eventfd2"], count, flags))


# signalfd


def _signalfd(t: Thread, fd: int, mask: int, size: int, flags: int) -> int:
    if size != SIGSET_BYTES:
        return -errno.EINVAL
    signals = guest_to_host_sigset(t.mem.read(mask, size), t.target)
    data = signals.to_bytes(8, "little")
    result = t.host_syscall(NR["signalfd4"], fd, address_of(data), 8, flags)
    if result >= 0 and fd == -1:
        fdtable.set_translator(result, translators.SignalInfo())
    return result


@syscall("signalfd", Int, Ptr, Size)
def signalfd(t: Thread, fd: int, mask: int, size: int) -> int:
    return _signalfd(t, fd, mask, size, 0)


@syscall("signalfd4", Int, Ptr, Size, SignalfdFlags)
def signalfd4(t: Thread, fd: int, mask: int, size: int, flags: int) -> int:
    return _signalfd(t, fd, mask, size, flags)


# timerfd

passthrough("timerfd_settime", Fd, TimerfdSetFlags, In(ITIMERSPEC), Out(ITIMERSPEC))
passthrough("timerfd_gettime", Fd, Out(ITIMERSPEC))
passthrough("timerfd_gettime64", Fd, Out(ITIMERSPEC64), abis=_32BIT, host="timerfd_gettime")


@syscall("timerfd_create", ClockId, TimerfdFlags)
def timerfd_create(t: Thread, clock: int, flags: int) -> int:
    return translators.counter(t, t.host_syscall(NR["timerfd_create"], clock, flags))


@syscall("timerfd_settime64", Fd, TimerfdSetFlags, In(ITIMERSPEC64), Out(ITIMERSPEC64), abis=_32BIT)
def timerfd_settime64(t: Thread, fd: int, flags: int, new: int, old: int) -> int:
    return settime64(t, NR["timerfd_settime"], fd, flags, new, old)
