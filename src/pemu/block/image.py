"""What everything that can be read as a disk has: the interface of formats, protocols, overlays.

Errors of the host are OSErrors, whose number the guest's device turns into its own kind of error.
Methods may be called from several threads at once; none needs the machine's lock.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

SECTOR = 512

Buffers = Sequence[memoryview]
"""Writable pieces of memory that are filled one after the other."""


class Image:
    """An open image.

    name: as the user gave it. format: 'raw', 'qcow2', ... size: bytes, a multiple of 512.
    readonly: whether writes are refused.
    """

    format = "raw"

    def __init__(self, name: str, size: int, *, readonly: bool) -> None:
        self.name = name
        self.size = size
        self.readonly = readonly

    # What kinds of images define; offsets and lengths have been checked

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        """Fill `buffers` with what is at `offset`. Raises OSError."""
        raise NotImplementedError

    def _write_from(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write `pieces` one after the other. Raises OSError."""
        raise NotImplementedError

    def flush(self) -> None:
        """Return when all that has been written is on stable storage. Raises OSError."""

    def discard(self, offset: int, length: int) -> None:
        """Note that the contents there are of no use any more; they may change. Raises OSError."""
        self.check(offset, length, writes=True)

    def close(self) -> None:
        """Let go of the file. Nothing else may be called afterwards, nor be under way."""

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        """Do as `read_into` if that takes no time; False where the host would have to wait."""
        return False

    # What users of images call

    def read_into(self, offset: int, buffers: Buffers) -> None:
        """Fill `buffers` with what is at `offset`. Raises OSError, EINVAL beyond the end."""
        self.check(offset, sum(map(len, buffers)))
        self._read_into(offset, buffers)

    def write_from(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write `pieces` to `offset` one after the other. Raises OSError."""
        self.check(offset, sum(map(len, pieces)), writes=True)
        self._write_from(offset, pieces)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`. Raises OSError."""
        data = bytearray(length)
        with memoryview(data) as view:
            self.read_into(offset, [view])
        return bytes(data)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write `data` at `offset`. Raises OSError."""
        self.write_from(offset, [data])

    def write_zeroes(self, offset: int, length: int) -> None:
        """Make it all zeros there. Raises OSError."""
        self.check(offset, length, writes=True)
        while length:
            piece = min(length, 1 << 20)
            self._write_from(offset, [bytes(piece)])
            offset += piece
            length -= piece

    def check(self, offset: int, length: int, *, writes: bool = False) -> None:
        """Raise OSError where an access is not within the image, or writes to a read-only one."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if writes and self.readonly:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
