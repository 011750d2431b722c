"""Files and block devices of the host."""

from __future__ import annotations

import errno
import os
import stat

from pemu.block.error import ImageError
from pemu.block.image import SECTOR, Extent, Image
from pemu.block.opening import Mode
from pemu.block.pieces import Buffers, Pieces, clear, take
from pemu.block.protocols.locks import lock, unlock
from pemu.fdsets import open_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, ClassVar

_LARGEST = 1 << 30
"""Bytes of one system call: the kernel's own limit is a little below 2 GiB."""

_MOST_PIECES = 1024
"""Pieces of one system call (IOV_MAX)."""

_FIRST_BLOCK = 4096
"""Bytes at the beginning of a new file that are not left as a hole."""

PREALLOCATION = ("off", "falloc", "full")


class File(Image):
    """A file or block device as it is. Raises ImageError or OSError where it cannot be opened.

    What is missing from the last sector of a file reads as zeros.
    """

    format: ClassVar[str] = "file"
    _flags: ClassVar[int] = 0
    """Of open(2), besides the usual ones."""
    direct: ClassVar[bool] = False
    """Whether it passes the host's page cache by."""

    def __init__(self, path: str, mode: Mode, *, locks: bool = True) -> None:
        if "\0" in path:
            raise ImageError("a file's name cannot have a byte of zero in it")
        flags = (os.O_RDONLY if mode.readonly else os.O_RDWR) | self._flags
        try:
            self.fd = open_path(path, flags)
        except IsADirectoryError:
            raise ImageError(f"'file' driver requires '{path}' to be a regular file") from None
        self._locks = locks and not mode.share
        self.grows = mode.grows
        try:
            kind = os.fstat(self.fd).st_mode
            self.device = stat.S_ISBLK(kind) or stat.S_ISCHR(kind)
            if not stat.S_ISREG(kind) and not self.device:
                raise ImageError(f"'file' driver requires '{path}' to be a regular file")
            if self._locks:
                lock(self.fd, path, readonly=mode.readonly, grows=mode.grows)
            length = os.lseek(self.fd, 0, os.SEEK_END)
        except BaseException:
            os.close(self.fd)
            raise
        super().__init__(path, length, readonly=mode.readonly)
        self.path = path
        self.no_flush = mode.no_flush
        self._punches = True
        self._zeroes = True

    def within(self, offset: int, length: int, *, writes: bool = False) -> None:
        end = -(-self.size // SECTOR) * SECTOR
        if offset < 0 or length < 0 or (offset + length > end and not (writes and self.grows)):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if writes and self.readonly:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        for start, group in _groups(offset, buffers):
            self._read_group(start, group)

    def _read_group(self, offset: int, buffers: Buffers) -> None:
        wanted = sum(map(len, buffers))
        done = os.preadv(self.fd, buffers, offset)
        while done < wanted:
            rest = take(buffers, done)[1]
            count = os.preadv(self.fd, rest, offset + done)
            if not count:  # beyond the end
                for view in rest:
                    clear(view)
                return
            done += count

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        wanted = sum(map(len, buffers))
        if len(buffers) > _MOST_PIECES or offset < 0 or offset + wanted > self.size:
            return False
        try:
            return os.preadv(self.fd, buffers, offset, os.RWF_NOWAIT) == wanted
        except OSError:  # not in the host's memory, or a file system that cannot tell
            return False

    def prefetch(self, offset: int, length: int) -> bool:
        try:
            os.posix_fadvise(self.fd, offset, length, os.POSIX_FADV_WILLNEED)
        except OSError:
            return False
        return True

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        for start, group in _groups(offset, [memoryview(piece) for piece in pieces]):
            wanted = sum(map(len, group))
            done = os.pwritev(self.fd, group, start)
            while done < wanted:
                done += os.pwritev(self.fd, take(group, done)[1], start + done)
            self._reached(start + wanted)

    def _reached(self, end: int) -> None:
        if end > self.size:
            with self.lock:
                self.size = max(self.size, end)

    def event(self, name: str) -> None:
        """Nobody below wants to know."""

    def flush(self) -> None:
        if not self.no_flush:
            os.fdatasync(self.fd)

    def _discard(self, offset: int, length: int) -> None:
        from pemu.block.protocols.fallocate import KEEP_SIZE, PUNCH_HOLE, fallocate

        if self._punches:
            self._punches = fallocate(self.fd, PUNCH_HOLE | KEEP_SIZE, offset, length)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        from pemu.block.protocols.fallocate import KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, fallocate

        if unmap and self._punches:
            if fallocate(self.fd, PUNCH_HOLE | KEEP_SIZE, offset, length):
                if offset + length > self.size:
                    os.ftruncate(self.fd, offset + length)
                self._reached(offset + length)
                return
            self._punches = False
        if self._zeroes:
            if fallocate(self.fd, ZERO_RANGE, offset, length):
                self._reached(offset + length)
                return
            self._zeroes = False
        super()._write_zeroes(offset, length, unmap=unmap)

    @property
    def fast_zeroes(self) -> bool:
        return self._zeroes

    def _status(self, offset: int, length: int) -> Extent:
        if offset >= self.size:
            return Extent(length, zero=True, data=False, offset=offset, file=self)
        try:
            data = os.lseek(self.fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                return Extent(length, offset=offset, file=self)
            data = offset + length
        if data > offset:
            found = min(data - offset, length)
            return Extent(found, zero=True, data=False, offset=offset, file=self)
        hole = os.lseek(self.fd, offset, os.SEEK_HOLE)
        return Extent(min(hole - offset, length), offset=offset, file=self)

    def truncate(self, size: int, *, preallocation: str = "off") -> None:
        if preallocation not in PREALLOCATION:
            raise ImageError(f"Unsupported preallocation mode '{preallocation}'")
        if self.device:
            if preallocation != "off" or size > self.size:
                raise ImageError("Cannot grow device files")
            return
        old = self.size
        try:
            set_length(self.fd, old, size, preallocation)
        except OSError as error:
            os.ftruncate(self.fd, old)
            raise ImageError(f"Could not resize file '{self.name}': {error.strerror}") from None
        self.size = size

    def configure(self, options: Mapping[str, Any]) -> None:
        same = {"filename": self.path}
        super().configure({k: one for k, one in options.items() if same.get(k) != one})

    def allocated(self) -> int:
        return os.fstat(self.fd).st_blocks * 512

    def grow(self) -> None:
        if self._locks and not self.grows and not self.readonly:
            lock(self.fd, self.path, readonly=False, grows=True)
        self.grows = True

    def reopen(self, *, readonly: bool) -> None:
        if readonly == self.readonly:
            return
        if self._locks:
            unlock(self.fd)
        try:
            mode = Mode(readonly=readonly, grows=self.grows)
            other = type(self)(self.path, mode, locks=self._locks)
        except BaseException as error:
            if self._locks:
                lock(self.fd, self.path, readonly=self.readonly, grows=self.grows)
            if isinstance(error, OSError):
                raise ImageError(f"Could not reopen '{self.name}': {error.strerror}") from None
            raise
        os.dup2(other.fd, self.fd, inheritable=False)
        os.close(other.fd)
        self.readonly = readonly

    def _close(self) -> None:
        os.close(self.fd)


def set_length(fd: int, old: int, new: int, preallocation: str) -> None:
    """Make a file of `old` bytes `new` bytes long, and set room aside. Raises OSError."""
    if new >= 1 << 63:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    if new > old and preallocation == "falloc":
        os.posix_fallocate(fd, old, new - old)
    elif new > old and preallocation == "full":
        zeroes = bytes(1 << 20)
        while old < new:
            old += os.pwrite(fd, zeroes[: new - old], old)
        os.fsync(fd)
    else:
        os.ftruncate(fd, new)
    if new and not old and preallocation != "full":
        # QEMU gives a new file its first block, too; who asks for holes tells them apart
        try:
            os.pwrite(fd, bytes(min(new, _FIRST_BLOCK if new >= _FIRST_BLOCK else SECTOR)), 0)
        except OSError:
            pass


def _groups(offset: int, buffers: Buffers) -> Iterator[tuple[int, Buffers]]:
    """`buffers` and where each group of them goes, as many to a group as a system call takes."""
    if len(buffers) <= _MOST_PIECES and sum(map(len, buffers)) <= _LARGEST:
        yield offset, buffers
        return
    group: list[memoryview] = []
    length = 0
    for view in buffers:
        if len(group) == _MOST_PIECES or (group and length + len(view) > _LARGEST):
            yield offset, group
            offset += length
            group, length = [], 0
        group.append(view)
        length += len(view)
    yield offset, group
