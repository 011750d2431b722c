"""The time structures of the kernel's interface.

Names with 64 are those of the calls that 32-bit ABIs got for the time after 2038.
"""

from __future__ import annotations

import errno
import struct

from pemu.engine.memory.access import GuestFault
from pemu.linux.hostcalls import HostBuffer, address_of
from pemu.linux.structs.layout import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.memory.process import AddressSpace
    from pemu.linux.process import Thread

TIMESPEC = Struct("timespec", "long tv_sec", "long tv_nsec")
TIMESPEC64 = Struct("timespec", "s64 tv_sec", "s64 tv_nsec")
TIMEVAL = Struct("timeval", "long tv_sec", "long tv_usec")
TIMEVAL64 = Struct("timeval", "s64 tv_sec", "s64 tv_usec")
TIMEZONE = Struct("timezone", "int tz_minuteswest", "int tz_dsttime")
ITIMERSPEC = Struct("itimerspec", (TIMESPEC, "it_interval"), (TIMESPEC, "it_value"))
ITIMERSPEC64 = Struct("itimerspec", (TIMESPEC64, "it_interval"), (TIMESPEC64, "it_value"))
ITIMERVAL = Struct("itimerval", (TIMEVAL, "it_interval"), (TIMEVAL, "it_value"))
TMS = Struct("tms", "long tms_utime", "long tms_stime", "long tms_cutime", "long tms_cstime")
RUSAGE = Struct(
    "rusage",
    (TIMEVAL, "ru_utime"),
    (TIMEVAL, "ru_stime"),
    "long ru_maxrss",
    "long ru_ixrss",
    "long ru_idrss",
    "long ru_isrss",
    "long ru_minflt",
    "long ru_majflt",
    "long ru_nswap",
    "long ru_inblock",
    "long ru_oublock",
    "long ru_msgsnd",
    "long ru_msgrcv",
    "long ru_nsignals",
    "long ru_nvcsw",
    "long ru_nivcsw",
)

NANOSECONDS = 1_000_000_000

_HOST_TIMESPEC = struct.Struct("<qq")


def read_timespec(mem: AddressSpace, address: int, layout: Struct) -> tuple[int, int]:
    """Seconds and nanoseconds of the guest's `layout` (TIMESPEC or TIMESPEC64), not checked.

    With a 32-bit long the upper half of a 64-bit tv_nsec is padding.
    """
    value = layout.read(mem, address)
    nsec: int = value.tv_nsec
    if layout is TIMESPEC64 and mem.word_size == 4:
        nsec = ((nsec & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
    return value.tv_sec, nsec


def host_timespec(mem: AddressSpace, address: int, layout: Struct) -> bytes | None:
    """The guest's `layout` as the host has it; None for NULL."""
    return _HOST_TIMESPEC.pack(*read_timespec(mem, address, layout)) if address else None


def settime64(t: Thread, number: int, timer: int, flags: int, new: int, old: int) -> int:
    """Make timer_settime or timerfd_settime, host call `number`, with guest ITIMERSPEC64s.

    The upper half of tv_nsec is padding in a 32-bit guest, so that the host cannot have its memory.
    """
    value = b""
    if new:
        second = new + TIMESPEC64.size(t.mem)
        value = _HOST_TIMESPEC.pack(*read_timespec(t.mem, new, TIMESPEC64))
        value += _HOST_TIMESPEC.pack(*read_timespec(t.mem, second, TIMESPEC64))
    before = HostBuffer(32)
    result = t.host_syscall(
        number, timer, flags, address_of(value) if new else 0, before.address if old else 0
    )
    if result >= 0 and old:
        layout = ITIMERSPEC64.of(t.mem)
        t.mem.write(old, ITIMERSPEC64.convert(before.raw, ITIMERSPEC64.host(), layout))
    return result


def interval(mem: AddressSpace, address: int, layout: Struct) -> int:
    """The nanoseconds of a guest's timespec; raises OSError(EINVAL) when it is not normalized."""
    sec, nsec = read_timespec(mem, address, layout)
    if sec < 0 or not 0 <= nsec < NANOSECONDS:
        raise OSError(errno.EINVAL, "Invalid argument")
    return sec * NANOSECONDS + nsec


class TimeLimit:
    """How long a guest lets a call wait: a `layout` of its at `address`, 0 for as long as it takes.

    host: address of the host's struct timespec with the same, or 0. Raises OSError(EINVAL).
    """

    __slots__ = ("_address", "_buffer", "_given", "_layout", "_mem", "host")

    def __init__(self, mem: AddressSpace, address: int, layout: Struct) -> None:
        self._mem, self._address, self._layout = mem, address, layout
        self.host = 0
        if address:
            self._given = self._nanoseconds()
            self._buffer = HostBuffer(16, pack_nanoseconds(self._given))
            self.host = self._buffer.address

    def _nanoseconds(self) -> int:
        if self._layout is not TIMEVAL:
            return interval(self._mem, self._address, self._layout)
        value = TIMEVAL.read(self._mem, self._address)  # of which tv_usec may be any number
        if value.tv_sec < 0 or value.tv_usec < 0:
            raise OSError(errno.EINVAL, "Invalid argument")
        sec: int = value.tv_sec
        usec: int = value.tv_usec
        return sec * NANOSECONDS + usec * 1000

    def write_left(self) -> None:
        """Tell the guest the time that was left, as the kernel does, if its memory lets.

        It is less than what was given also where a signal came before the host's call was made.
        """
        if not self._address:
            return
        sec, nsec = _HOST_TIMESPEC.unpack(self._buffer.raw)
        left = max(min(sec * NANOSECONDS + nsec, self._given - 1), 0)
        sec, nsec = divmod(left, NANOSECONDS)
        part = {"tv_usec": nsec // 1000} if self._layout is TIMEVAL else {"tv_nsec": nsec}
        try:
            self._layout.write(self._mem, self._address, tv_sec=sec, **part)
        except GuestFault:
            pass


def pack_nanoseconds(value: int) -> bytes:
    """A host timespec of `value` nanoseconds, at most what a signed 64-bit count holds."""
    return _HOST_TIMESPEC.pack(*divmod(min(value, (1 << 63) - 1), NANOSECONDS))
