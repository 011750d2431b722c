"""Files and block devices of the host, with the locks by which QEMU keeps others away."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Sequence

from pemu.block.image import SECTOR, Buffers, Image
from pemu.options.error import OptionError

_OFD_GETLK, _OFD_SETLK = 36, 37
_FLOCK = "hhqqi4x"

# Locks are on bytes of the file, one for each permission: from 100 on that it is used, from 200 on
# that others must not use it. So QEMU does it (block/file-posix.c), and both then see each other.
_USED, _UNSHARED = 100, 200
_PERMISSIONS = {"consistent read": 0, "write": 1, "resize": 3}

_LARGEST = 1 << 30
"""Bytes of one system call: the kernel's own limit is a little below 2 GiB."""

_MOST_PIECES = 1024
"""Pieces of one system call (IOV_MAX)."""

_FALLOC_KEEP_SIZE, _FALLOC_PUNCH_HOLE, _FALLOC_ZERO_RANGE = 1, 2, 16


class File(Image):
    """A file or block device as it is. Raises OptionError where it cannot be opened.

    What is missing from the last sector of a file reads as zeros.
    lock: False to share the file with whoever uses it.
    """

    format = "file"

    def __init__(self, name: str, *, readonly: bool, lock: bool = True) -> None:
        flags = (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC
        try:
            self.fd = os.open(name, flags)
        except IsADirectoryError:
            raise OptionError(f"'file' driver requires '{name}' to be a regular file") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise OptionError(f"Could not open '{name}': {reason}") from None
        try:
            kind = os.fstat(self.fd).st_mode
            if not stat.S_ISREG(kind) and not stat.S_ISBLK(kind):
                raise OptionError(f"'file' driver requires '{name}' to be a regular file")
            if lock:
                self._lock(name, readonly)
            length = os.lseek(self.fd, 0, os.SEEK_END)
        except BaseException:
            os.close(self.fd)
            raise
        super().__init__(name, -(-length // SECTOR) * SECTOR, readonly=readonly)
        self._length = length
        self._punches = True

    def _lock(self, name: str, readonly: bool) -> None:
        used = ["consistent read"] if readonly else ["consistent read", "write"]
        unshared = ["write", "resize"] if readonly else ["write"]
        offsets = [_USED + _PERMISSIONS[one] for one in used]
        offsets += [_UNSHARED + _PERMISSIONS[one] for one in unshared]
        try:
            for offset in offsets:
                fcntl.fcntl(self.fd, _OFD_SETLK, _flock(fcntl.F_RDLCK, offset))
            for one in used:
                self._expect_free(_UNSHARED + _PERMISSIONS[one], f'"{one}" lock', name)
            for one in unshared:
                self._expect_free(_USED + _PERMISSIONS[one], f'shared "{one}" lock', name)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
                raise OptionError(f"Failed to lock '{name}': {error.strerror}") from None

    def _expect_free(self, offset: int, what: str, name: str) -> None:
        answer = fcntl.fcntl(self.fd, _OFD_GETLK, _flock(fcntl.F_WRLCK, offset))
        if struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK:
            raise OptionError(f"Failed to get {what}\nIs another process using the image [{name}]?")

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        for start, group in _groups(offset, buffers):
            self._read_group(start, group)

    def _read_group(self, offset: int, buffers: Buffers) -> None:
        wanted = sum(map(len, buffers))
        done = os.preadv(self.fd, buffers, offset)
        while done < wanted:
            rest = _after(buffers, done)
            count = os.preadv(self.fd, rest, offset + done)
            if not count:  # beyond the end
                for view in rest:
                    view[:] = bytes(len(view))
                return
            done += count

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        wanted = sum(map(len, buffers))
        if len(buffers) > _MOST_PIECES or offset < 0 or offset + wanted > self._length:
            return False
        try:
            return os.preadv(self.fd, buffers, offset, os.RWF_NOWAIT) == wanted
        except OSError:  # not in the host's memory, or a file system that cannot tell
            return False

    def _write_from(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        for start, group in _groups(offset, [memoryview(piece) for piece in pieces]):
            wanted = sum(map(len, group))
            done = 0
            while done < wanted:
                done += os.pwritev(self.fd, _after(group, done), start + done)
            self._length = max(self._length, start + wanted)

    def flush(self) -> None:
        os.fdatasync(self.fd)

    def discard(self, offset: int, length: int) -> None:
        super().discard(offset, length)
        if self._punches and length:
            self._punches = _fallocate(
                self.fd, _FALLOC_PUNCH_HOLE | _FALLOC_KEEP_SIZE, offset, length
            )

    def write_zeroes(self, offset: int, length: int) -> None:
        self.check(offset, length, writes=True)
        inside = offset + length <= self._length
        if not length or (inside and _fallocate(self.fd, _FALLOC_ZERO_RANGE, offset, length)):
            return
        super().write_zeroes(offset, length)

    def close(self) -> None:
        os.close(self.fd)


def _flock(kind: int, offset: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, offset, 1, 0)


def _fallocate(fd: int, mode: int, offset: int, length: int) -> bool:
    """Whether the file system could do it."""
    import ctypes

    libc = ctypes.CDLL(None)
    done = libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length))
    return bool(done == 0)


def _after(buffers: Buffers, skip: int) -> list[memoryview]:
    """What is left of `buffers` after `skip` bytes."""
    if not skip:
        return list(buffers)
    rest = []
    for view in buffers:
        if skip < len(view):
            rest.append(view[skip:])
        skip = max(skip - len(view), 0)
    return rest


def _groups(offset: int, buffers: Buffers) -> list[tuple[int, Buffers]]:
    """`buffers` and where each group of them goes, as many to a group as a system call takes."""
    if len(buffers) <= _MOST_PIECES and sum(map(len, buffers)) <= _LARGEST:
        return [(offset, buffers)]
    groups: list[tuple[int, Buffers]] = []
    group: list[memoryview] = []
    length = 0
    for view in buffers:
        if len(group) == _MOST_PIECES or (group and length + len(view) > _LARGEST):
            groups.append((offset, group))
            offset += length
            group, length = [], 0
        group.append(view)
        length += len(view)
    groups.append((offset, group))
    return groups
