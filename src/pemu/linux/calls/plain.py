"""The most frequent calls, which the host makes with the same arguments.

Where a guest's descriptor needs a conversion of its data (`fdtable`), reading and writing go
through functions here.
"""

from __future__ import annotations

import errno

from pemu.engine.layout import call_table as k
from pemu.linux import fdtable
from pemu.linux.host_ranges import host_range, host_range_for_writing
from pemu.linux.hostcalls import NR, HostBuffer
from pemu.linux.native_argument import moves
from pemu.linux.native_forms import Form, Moved
from pemu.linux.structs.time import TIMESPEC, TIMESPEC64, TIMEVAL, TIMEZONE
from pemu.linux.syscall import passthrough, syscall
from pemu.linux.types.base import Fd, Int, Mode, Off, Off64, Size
from pemu.linux.types.names import Bits, ClockId, Named
from pemu.linux.types.pointers import InBuf, Out, OutBuf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread
    from pemu.linux.structs.layout import Struct


Whence = Named("whence", "SEEK_SET SEEK_CUR SEEK_END SEEK_DATA SEEK_HOLE")
LockOperation = Bits("flock operation", "LOCK_SH 1 LOCK_EX 2 LOCK_UN 8 LOCK_NB 4")


def read_special(t: Thread, fd: int, start: int, size: int) -> int:
    """read(2) for a descriptor that may have a translator."""
    translator = fdtable.translator(fdtable.check(fd))
    if translator is None:
        return t.host_syscall(NR["read"], fd, host_range_for_writing(t.mem, start, size), size)
    buffer = HostBuffer(min(size, fdtable.TRANSLATED_LIMIT))
    result = t.host_syscall(NR["read"], fd, buffer.address, buffer.size)
    if result > 0:
        t.mem.write(start, translator.from_host(t, buffer.raw[:result]))
    return result


def write_special(t: Thread, fd: int, start: int, size: int) -> int:
    """write(2) for a descriptor that may have a translator."""
    translator = fdtable.translator(fdtable.check(fd))
    if translator is None:
        return t.host_syscall(NR["write"], fd, host_range(t.mem, start, size), size)
    data = translator.to_host(t, t.mem.read(start, min(size, fdtable.TRANSLATED_LIMIT)))
    buffer = HostBuffer(len(data), data)
    return t.host_syscall(NR["write"], fd, buffer.address, len(data))


def close_special(t: Thread, fd: int) -> int:
    """close(2) of a descriptor that may have a translator."""
    result = t.host_syscall(NR["close"], fdtable.check(fd))
    if result != -errno.EBADF:
        fdtable.forget(fd)
    return result


def dup_special(t: Thread, fd: int) -> int:
    """dup(2), with which a translator is duplicated, too."""
    result = t.host_syscall(NR["dup"], fdtable.check(fd))
    if result >= 0:
        fdtable.duplicated(fd, result)
    return result


SEEK_SET = 0


def seek(t: Thread, fd: int, offset: int, whence: int) -> int:
    """lseek for a descriptor that may be a directory with translated offsets."""
    if not isinstance(fdtable.translator(fdtable.check(fd)), fdtable.DirectoryOffsets):
        return t.host_syscall(NR["lseek"], fd, offset, whence)
    shift = fdtable.DirectoryOffsets.SHIFT
    result = t.host_syscall(
        NR["lseek"], fd, offset << shift if whence == SEEK_SET else offset, whence
    )
    return result >> shift if result >= 0 else result


passthrough("read", Fd, OutBuf(2), Size, special=read_special)
passthrough("write", Fd, InBuf(2), Size, special=write_special)
passthrough("close", Fd, special=close_special)
passthrough("dup", Fd, special=dup_special)
passthrough("pread64", Fd, OutBuf(2), Size, Off64)
passthrough("pwrite64", Fd, InBuf(2), Size, Off64)
passthrough("lseek", Fd, Off, Whence, special=seek)
passthrough("ftruncate", Fd, Off)
passthrough("fsync", Fd)
passthrough("fdatasync", Fd)
passthrough("fchmod", Fd, Mode)
passthrough("flock", Fd, LockOperation)
passthrough("umask", Mode, returns="o")
passthrough("getpid")
passthrough("getppid")
passthrough("gettid")
passthrough("getuid")
passthrough("geteuid")
passthrough("getgid")
passthrough("getegid")
passthrough("getpgrp")
passthrough("getpgid", Int)
passthrough("getsid", Int)
passthrough("sched_yield")


def _native_clock(layout: Struct) -> Callable[[Abi], Forms]:
    """Through the host's C library, which needs no call of the kernel."""

    def program(abi: Abi) -> bytes:
        return moves(layout.layout(abi.word, abi.order), layout.host())

    return lambda abi: Form("read_clock", ClockId, Moved(k.LEAVING, program))


@syscall("clock_gettime", ClockId, Out(TIMESPEC), native=_native_clock(TIMESPEC))
def clock_gettime(t: Thread, clock: int, result: int) -> int:
    return _time_of(t, clock, result, TIMESPEC)


@syscall(
    *("clock_gettime64", ClockId, Out(TIMESPEC64)),
    abis=("o32", "n32"),
    native=_native_clock(TIMESPEC64),
)
def clock_gettime64(t: Thread, clock: int, result: int) -> int:
    return _time_of(t, clock, result, TIMESPEC64)


def _time_of(t: Thread, clock: int, start: int, layout: Struct) -> int:
    buffer = HostBuffer(layout.host().size)
    result = t.host_syscall(NR["clock_gettime"], clock, buffer.address)
    if result >= 0:
        t.mem.write(start, layout.convert(buffer.raw, layout.host(), layout.of(t.mem)))
    return result


passthrough("gettimeofday", Out(TIMEVAL), Out(TIMEZONE))
