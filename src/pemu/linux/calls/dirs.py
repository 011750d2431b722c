"""Directories, names and links."""

from __future__ import annotations

import errno
import struct

from pemu.linux import fdtable
from pemu.linux.host_ranges import host_range_for_writing
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.mips.fcntl import AtFlags, RenameFlags, UnlinkFlags
from pemu.linux.native_forms import Form
from pemu.linux.paths import note_directory, special_link
from pemu.linux.syscall import passthrough, syscall
from pemu.linux.types.base import AtFd, Fd, Int, Mode, Size, UInt
from pemu.linux.types.pointers import OutBuf, Path, PlainPath, Ptr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pemu.linux.process import Thread

LISTING_LIMIT = 1 << 16
"""Bytes of a directory that one call asks the host for at most."""

# getdents64: inode, offset of the next entry, size of the record, type; then the name.
_HEADER = struct.Struct("<QqHB")
_OFFSET_AND_SIZE = struct.Struct("<qH")
_HEADER_BE = struct.Struct(">QqHB")


def _entries(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Inode, next offset, type and name of the entries in the host's records."""
    position = 0
    while position < len(data):
        inode, following, size, kind = _HEADER.unpack_from(data, position)
        name = data[position + _HEADER.size : position + size]
        yield inode, following, kind, name[: name.index(b"\0")]
        position += size


def _list(t: Thread, fd: int, size: int) -> bytes:
    """Up to `size` bytes of the host's records; raises OSError."""
    buffer = HostBuffer(min(size, LISTING_LIMIT))
    result = t.host_syscall(NR["getdents64"], fd, buffer.address, buffer.size)
    if result < 0:
        raise OSError(-result, "getdents64")
    return buffer.raw[:result]


def _hidden(fd: int, data: bytes) -> frozenset[bytes]:
    """The names of Pemu's own descriptors, when this is a listing of /proc/PID/fd."""
    own = frozenset(str(number).encode() for number in fdtable.own_fds())
    if not any(b"%s\0" % name in data for name in own):
        return frozenset()
    import os

    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return frozenset()
    shows_descriptors = path.startswith("/proc/") and path.endswith(("/fd", "/fdinfo"))
    return own if shows_descriptors else frozenset()


def _align(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


@syscall("getdents64", Fd, OutBuf(2), UInt)
def getdents64(t: Thread, fd: int, start: int, size: int) -> int:
    host_range_for_writing(t.mem, start, size)
    while True:
        records: bytes | bytearray
        records = data = _list(t, fd, size)
        hidden = _hidden(fd, data)
        shift = _offset_shift(t, fd, data)
        if t.target.big_endian or hidden or shift:
            records = _records64(t, data, hidden, shift)
            if not records and hidden:
                continue
        t.mem.write(start, records)
        return len(records)


def _offset_shift(t: Thread, fd: int, data: bytes) -> int:
    """By how many bits to shift the offsets of a directory so that the guest's long holds them."""
    if t.target.word == 8:
        return 0
    if not isinstance(fdtable.translator(fd), fdtable.DirectoryOffsets):
        if not _has_wide_offset(data):
            return 0
        fdtable.set_translator(fd, fdtable.DirectoryOffsets())
    return fdtable.DirectoryOffsets.SHIFT


def _has_wide_offset(data: bytes) -> bool:
    position = 0
    while position < len(data):
        following, size = _OFFSET_AND_SIZE.unpack_from(data, position + 8)
        if following >> 31:
            return True
        position += size
    return False


def _records64(t: Thread, data: bytes, hidden: frozenset[bytes], shift: int) -> bytes | bytearray:
    header = _HEADER_BE if t.target.big_endian else _HEADER
    if not hidden:
        # The same records with other numbers in their heads.
        changed = bytearray(data)
        position = 0
        while position < len(data):
            inode, following, size, kind = _HEADER.unpack_from(data, position)
            header.pack_into(changed, position, inode, following >> shift, size, kind)
            position += size
        return changed
    records = []
    for inode, following, kind, name in _entries(data):
        if name not in hidden:
            size = _align(header.size + len(name) + 1, 8)
            record = header.pack(inode, following >> shift, size, kind) + name
            records.append(record.ljust(size, b"\0"))
    return b"".join(records)


@syscall("getdents", Fd, OutBuf(2), UInt)
def getdents(t: Thread, fd: int, start: int, size: int) -> int:
    """The type stands in the last byte of a record, which is never longer than the host's."""
    host_range_for_writing(t.mem, start, size)
    word = t.target.word
    order = ">" if t.target.big_endian else "<"
    header = struct.Struct(order + ("QQH" if word == 8 else "IIH"))
    mask = (1 << 8 * word) - 1
    while True:
        data = _list(t, fd, size)
        hidden = _hidden(fd, data)
        shift = _offset_shift(t, fd, data)
        records = []
        for inode, following, kind, name in _entries(data):
            if name in hidden:
                continue
            length = _align(header.size + len(name) + 2, word)
            record = header.pack(inode & mask, following >> shift & mask, length) + name
            records.append(record.ljust(length - 1, b"\0") + bytes((kind,)))
        if records or not data:
            t.mem.write(start, b"".join(records))
            return sum(map(len, records))


@syscall("readdir", Fd, Ptr, UInt)
def readdir(t: Thread, fd: int, start: int, count: int) -> int:
    """One entry: inode, offset, length of the name, name."""
    data = _list(t, fd, 512)
    for inode, following, _, name in _entries(data):
        result = t.host_syscall(NR["lseek"], fd, following, 0)
        if result < 0:
            return result
        form = (">" if t.target.big_endian else "<") + "IIH"
        offset = following >> _offset_shift(t, fd, data) & 0xFFFFFFFF
        fields = struct.pack(form, inode & 0xFFFFFFFF, offset, len(name))
        t.mem.write(start, fields + name + b"\0")
        return 1
    return 0


LATE = (
    *("difflib", "fcntl", "fnmatch", "html", "pkgutil", "random", "resource", "signal", "socket"),
    "traceback",
)
"""Modules of Python's own that Pemu imports within functions."""


def keep_everything(t: Thread) -> None:
    """Get hold of what a change of the root directory would put out of reach."""
    from pemu.engine.host import maps as host_maps

    load_everything()
    host_maps.hold(fdtable.reserve)
    cache = t.process.engine.cache
    if cache is not None:
        cache.hold(fdtable.reserve)


PACKAGES = ("engine", "isa", "linux", "monitor/gdb", "options")
"""Where what runs programs is; the modules of machines are elsewhere, but for MACHINES."""

MACHINES = ("monitor/gdb/front.py", "monitor/gdb/machine.py")


def own_modules() -> list[str]:
    """The paths of the modules that may be needed later, from Pemu's directory on."""
    from pemu import latemodules

    return [path for path in latemodules.own(PACKAGES) if path not in MACHINES]


def load_everything() -> None:
    """Import what may be needed later."""
    from pemu import latemodules

    latemodules.load(LATE, own_modules())


def load_what_others_cannot() -> None:
    """Import what may be needed later, if only the present user can read it."""
    from pemu import latemodules

    if latemodules.hidden_from_others():
        load_everything()


def _identity(path: str) -> tuple[int, int] | None:
    """Device and inode of a directory, or None where there is none."""
    import os

    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def change_root(t: Thread, number: int, *arguments: int) -> int:
    """Make a host call that changes what absolute paths lead to.

    The directory of -L counts no longer if its path now leads elsewhere.
    """
    keep_everything(t)
    prefix = t.process.prefix
    before = _identity(prefix)
    result = t.host_syscall(number, *arguments)
    note_directory()
    if result >= 0 and prefix and _identity(prefix) != before:
        t.process.prefix = ""
        t.process.engine.set_path_prefix(b"")
    return result


@syscall("chroot", PlainPath)
def chroot(t: Thread, path: bytes) -> int:
    return change_root(t, NR["chroot"], address_of(path))


@syscall("pivot_root", PlainPath, PlainPath)
def pivot_root(t: Thread, new: bytes, old: bytes) -> int:
    return change_root(t, NR["pivot_root"], address_of(new), address_of(old))


@syscall("readlink", Path, OutBuf(2), Int, native="readlink")
def readlink(t: Thread, path: bytes, start: int, size: int) -> int:
    return _read_link(t, -100, path, start, size)


@syscall("readlinkat", AtFd, Path, OutBuf(3), Int, native="readlinkat")
def readlinkat(t: Thread, dirfd: int, path: bytes, start: int, size: int) -> int:
    return _read_link(t, dirfd, path, start, size)


def _read_link(t: Thread, dirfd: int, path: bytes, start: int, size: int) -> int:
    if size <= 0:
        return -errno.EINVAL
    target = special_link(t, path, dirfd)
    if target is None:
        place = host_range_for_writing(t.mem, start, size)
        return t.host_syscall(NR["readlinkat"], dirfd, address_of(path), place, size)
    t.mem.write(start, target[:size])
    return len(target[:size])


passthrough("getcwd", OutBuf(1), Size)


@syscall("chdir", PlainPath, native=lambda abi: Form("change_directory", PlainPath))
def chdir(t: Thread, path: bytes) -> int:
    result = t.host_syscall(NR["chdir"], address_of(path))
    note_directory()
    return result


@syscall("fchdir", Fd, native=lambda abi: Form("change_to_descriptor", Fd))
def fchdir(t: Thread, fd: int) -> int:
    result = t.host_syscall(NR["fchdir"], fdtable.check(fd))
    note_directory()
    return result


passthrough("mkdir", PlainPath, Mode)
passthrough("mkdirat", AtFd, PlainPath, Mode)
passthrough("rmdir", PlainPath)
passthrough("mknod", PlainPath, Mode, UInt)
passthrough("mknodat", AtFd, PlainPath, Mode, UInt)
passthrough("link", PlainPath, PlainPath)
passthrough("linkat", AtFd, PlainPath, AtFd, PlainPath, AtFlags)
passthrough("symlink", PlainPath, PlainPath)
passthrough("symlinkat", PlainPath, AtFd, PlainPath)
passthrough("unlink", PlainPath)
passthrough("unlinkat", AtFd, PlainPath, UnlinkFlags)
passthrough("rename", PlainPath, PlainPath)
passthrough("renameat", AtFd, PlainPath, AtFd, PlainPath)
passthrough("renameat2", AtFd, PlainPath, AtFd, PlainPath, RenameFlags)
