"""Status, access, owners, modes and times of files."""

from __future__ import annotations

import errno
import struct

from pemu.engine.layout import call_table as k
from pemu.linux.host_ranges import host_range_for_writing
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.mips.fcntl import AccessFlags, AccessMode, AtFlags, StatxFlags
from pemu.linux.native_argument import moves_of
from pemu.linux.native_forms import Form, Moved
from pemu.linux.paths import followed
from pemu.linux.structs.layout import Struct
from pemu.linux.structs.stat import HOST_STAT, STAT_64, STAT_O32, STATX
from pemu.linux.structs.time import TIMESPEC, TIMESPEC64, TIMEVAL, read_timespec
from pemu.linux.syscall import passthrough, syscall
from pemu.linux.types.base import AtFd, Fd, Int, Mode
from pemu.linux.types.names import Bits
from pemu.linux.types.pointers import In, InArray, OptionalString, Out, Path, PlainPath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
_HOST_STAT = HOST_STAT.host()
_NEWFSTATAT, _STATX = NR["newfstatat"], NR["statx"]
_PADDING = (0,) * 14
_O32 = ("o32",)
_64 = ("n32", "n64")


def write_status(t: Thread, dirfd: int, path: bytes, flags: int, start: int, form: Struct) -> int:
    """Find the status of a file and write it to `start` as `form`."""
    if not flags & AT_SYMLINK_NOFOLLOW:
        path = followed(t, path, dirfd)
    buffer = HostBuffer(_HOST_STAT.size)
    result = t.host_syscall(_NEWFSTATAT, dirfd, address_of(path), buffer.address, flags)
    if result < 0:
        return result
    dev, ino, links, mode, user, group, _, rdev, size, block, blocks, *times = (
        _HOST_STAT.flat.unpack(buffer.raw)
    )
    old = form is STAT_O32
    if old and max(size, ino >> 1) >> 31:
        return -errno.EOVERFLOW
    dev &= 0xFFFFFFFF
    rdev &= 0xFFFFFFFF
    head = (dev, 0, 0, 0, ino, mode, links, user, group, rdev)
    # Both structures keep seconds in 32 bits: STAT_O32 signed, STAT_64 unsigned.
    moments = [moment & 0xFFFFFFFF for moment in times[:6]]
    pack = form.of(t.mem).flat.pack
    if old:
        moments[::2] = [(moment ^ 0x80000000) - 0x80000000 for moment in moments[::2]]
        data = pack(*head, 0, 0, size, 0, *moments, block, blocks, *_PADDING)
    else:
        data = pack(*head, 0, 0, 0, size, *moments, block, 0, blocks)
    t.mem.write(start, data)
    return 0


@syscall("stat", Path, Out(STAT_O32), abis=_O32)
def stat_o32(t: Thread, path: bytes, start: int) -> int:
    return write_status(t, AT_FDCWD, path, 0, start, STAT_O32)


@syscall("lstat", Path, Out(STAT_O32), abis=_O32)
def lstat_o32(t: Thread, path: bytes, start: int) -> int:
    return write_status(t, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, start, STAT_O32)


@syscall("fstat", Fd, Out(STAT_O32), abis=_O32)
def fstat_o32(t: Thread, fd: int, start: int) -> int:
    return write_status(t, _descriptor(fd), b"", AT_EMPTY_PATH, start, STAT_O32)


@syscall("stat", Path, Out(STAT_64, HOST_STAT), abis=_64, native="stat")
@syscall("stat64", Path, Out(STAT_64, HOST_STAT), native="stat")
def stat(t: Thread, path: bytes, start: int) -> int:
    return write_status(t, AT_FDCWD, path, 0, start, STAT_64)


@syscall("lstat", Path, Out(STAT_64, HOST_STAT), abis=_64, native="lstat")
@syscall("lstat64", Path, Out(STAT_64, HOST_STAT), native="lstat")
def lstat(t: Thread, path: bytes, start: int) -> int:
    return write_status(t, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, start, STAT_64)


@syscall("fstat", Fd, Out(STAT_64, HOST_STAT), abis=_64, native="fstat")
@syscall("fstat64", Fd, Out(STAT_64, HOST_STAT), native="fstat")
def fstat(t: Thread, fd: int, start: int) -> int:
    return write_status(t, _descriptor(fd), b"", AT_EMPTY_PATH, start, STAT_64)


def _descriptor(fd: int) -> int:
    """`fd` for newfstatat, where AT_FDCWD would mean the current directory."""
    if fd < 0:
        raise OSError(errno.EBADF, "Bad file descriptor")
    return fd


@syscall("newfstatat", AtFd, Path, Out(STAT_64, HOST_STAT), AtFlags, native="newfstatat")
@syscall("fstatat64", AtFd, Path, Out(STAT_64, HOST_STAT), AtFlags, native="newfstatat")
def fstatat(t: Thread, dirfd: int, path: bytes, start: int, flags: int) -> int:
    return write_status(t, dirfd, path, flags, start, STAT_64)


StatxMask = Bits(
    "statx mask",
    "STATX_BASIC_STATS 0x7ff STATX_TYPE 1 STATX_MODE 2 STATX_NLINK 4 STATX_UID 8 STATX_GID 0x10"
    " STATX_ATIME 0x20 STATX_MTIME 0x40 STATX_CTIME 0x80 STATX_INO 0x100 STATX_SIZE 0x200"
    " STATX_BLOCKS 0x400 STATX_BTIME 0x800 STATX_MNT_ID 0x1000 STATX_DIOALIGN 0x2000",
)


@syscall("statx", AtFd, Path, StatxFlags, StatxMask, Out(STATX), native="statx")
def statx(t: Thread, dirfd: int, path: bytes, flags: int, mask: int, start: int) -> int:
    if not flags & AT_SYMLINK_NOFOLLOW:
        path = followed(t, path, dirfd)
    host = STATX.host()
    if not t.target.big_endian:
        place = host_range_for_writing(t.mem, start, host.size)
        return t.host_syscall(_STATX, dirfd, address_of(path), flags, mask, place)
    buffer = HostBuffer(host.size)
    result = t.host_syscall(_STATX, dirfd, address_of(path), flags, mask, buffer.address)
    if result >= 0:
        t.mem.write(start, STATX.convert(buffer.raw, host, STATX.of(t.mem)))
    return result


@syscall("access", Path, AccessMode, native="access")
def access(t: Thread, path: bytes, mode: int) -> int:
    path = followed(t, path)
    return t.host_syscall(NR["access"], address_of(path), mode)


@syscall("faccessat", AtFd, Path, AccessMode, native="faccessat")
def faccessat(t: Thread, dirfd: int, path: bytes, mode: int) -> int:
    path = followed(t, path, dirfd)
    return t.host_syscall(NR["faccessat"], dirfd, address_of(path), mode)


@syscall("faccessat2", AtFd, Path, AccessMode, AccessFlags, native="faccessat2")
def faccessat2(t: Thread, dirfd: int, path: bytes, mode: int, flags: int) -> int:
    path = followed(t, path, dirfd)
    return t.host_syscall(NR["faccessat2"], dirfd, address_of(path), mode, flags)


passthrough("chmod", PlainPath, Mode)
passthrough("fchmodat", AtFd, PlainPath, Mode)
passthrough("chown", PlainPath, Int, Int)
passthrough("lchown", PlainPath, Int, Int)
passthrough("fchown", Fd, Int, Int)
passthrough("fchownat", AtFd, PlainPath, Int, Int, AtFlags)


UTIMBUF = Struct("utimbuf", "long actime", "long modtime")
_TIMES = struct.Struct("<qqqq")


def set_times(
    t: Thread, dirfd: int, path: bytes | None, times: tuple[int, ...], flags: int = 0
) -> int:
    """Seconds and nanoseconds of access and change; empty for now."""
    host = _TIMES.pack(*times) if times else b""
    name = 0 if path is None else address_of(path)
    return t.host_syscall(NR["utimensat"], dirfd, name, address_of(host) if times else 0, flags)


@syscall("utime", PlainPath, In(UTIMBUF))
def utime(t: Thread, path: bytes, start: int) -> int:
    if not start:
        return set_times(t, AT_FDCWD, path, ())
    times = UTIMBUF.read(t.mem, start)
    return set_times(t, AT_FDCWD, path, (times.actime, 0, times.modtime, 0))


def _timevals(t: Thread, start: int) -> tuple[int, ...]:
    if not start:
        return ()
    first, second = TIMEVAL.read_array(t.mem, start, 2)
    if not (0 <= first.tv_usec < 1000000 and 0 <= second.tv_usec < 1000000):
        raise OSError(errno.EINVAL, "Invalid argument")
    return (first.tv_sec, first.tv_usec * 1000, second.tv_sec, second.tv_usec * 1000)


@syscall("utimes", PlainPath, InArray(TIMEVAL, 2))
def utimes(t: Thread, path: bytes, start: int) -> int:
    return set_times(t, AT_FDCWD, path, _timevals(t, start))


@syscall("futimesat", AtFd, OptionalString, InArray(TIMEVAL, 2))
def futimesat(t: Thread, dirfd: int, path: bytes | None, start: int) -> int:
    return set_times(t, dirfd, path, _timevals(t, start))


def _timespecs(t: Thread, start: int, form: Struct) -> tuple[int, ...]:
    if not start:
        return ()
    second = start + form.size(t.mem)
    return read_timespec(t.mem, start, form) + read_timespec(t.mem, second, form)


def _native_utimensat(form: Struct) -> Callable[[Abi], Forms]:
    def moves(abi: Abi) -> bytes:
        layout = form.layout(abi.word, abi.order)
        at = layout.offsets["tv_nsec"]
        # With a 32-bit long the upper half of a 64-bit tv_nsec is padding.
        at += layout.size - at - abi.word if abi.big_endian else 0
        how = k.FIELD_ENTERS | k.FIELD_SIGNED
        seconds = (0, 0, layout.offsets["tv_nsec"], 8, how)
        return moves_of(layout.size, 16, [seconds, (at, 8, abi.word, 8, how)])

    times = Moved(k.ENTERING, moves, 2)
    return lambda abi: Form("utimensat", AtFd, OptionalString, times, AtFlags)


@syscall(
    *("utimensat", AtFd, OptionalString, InArray(TIMESPEC, 2), AtFlags),
    native=_native_utimensat(TIMESPEC),
)
def utimensat(t: Thread, dirfd: int, path: bytes | None, start: int, flags: int) -> int:
    return set_times(t, dirfd, path, _timespecs(t, start, TIMESPEC), flags)


@syscall(
    *("utimensat_time64", AtFd, OptionalString, InArray(TIMESPEC64, 2), AtFlags),
    native=_native_utimensat(TIMESPEC64),
)
def utimensat_time64(t: Thread, dirfd: int, path: bytes | None, start: int, flags: int) -> int:
    return set_times(t, dirfd, path, _timespecs(t, start, TIMESPEC64), flags)
