"""Which chunks of an image are still to be copied, and how one is copied."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from pemu.block.extents import stretches
from pemu.block.image import Image

CHUNK = 1 << 16
"""Bytes that are noted together."""

_TOGETHER = 16
"""Chunks that are copied together where they follow each other."""


class Chunks:
    """A set of chunks of an image of `size` bytes; for several threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._marks = bytearray(-(-size // CHUNK))
        self._count = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._count

    def add(self, offset: int, length: int) -> None:
        """Put in the chunks that a range of bytes touches."""
        if not length:
            return
        first, last = offset // CHUNK, -(-(offset + length) // CHUNK)
        with self._lock:
            self._count += self._marks.count(0, first, last)
            self._marks[first:last] = b"\1" * (last - first)

    def discard(self, index: int) -> bool:
        """Take one chunk out; whether it was in."""
        with self._lock:
            found = self._marks[index]
            self._marks[index] = 0
            self._count -= found
        return bool(found)

    def take(self) -> tuple[int, int] | None:
        """Take out chunks that follow each other: (offset, length) in bytes; None if empty."""
        with self._lock:
            first = self._marks.find(1)
            if first < 0:
                return None
            last = self._marks.find(0, first, first + _TOGETHER)
            if last < 0:
                last = min(first + _TOGETHER, len(self._marks))
            self._marks[first:last] = bytes(last - first)
            self._count -= last - first
        offset = first * CHUNK
        return offset, min(last * CHUNK, self.size) - offset


def copy(source: Image, target: Image, offset: int, length: int) -> None:
    """Make `length` bytes at `offset` of `target` what they are in `source`. Raises OSError."""
    end = offset + length
    while offset < end:
        extent = source.status(offset, end - offset)
        if extent.zero:
            target.write_zeroes(offset, extent.length, unmap=True)
        else:
            target.write(offset, source.read(offset, extent.length))
        offset += extent.length


def present(image: Image, base: Image | None) -> Iterator[tuple[int, int]]:
    """The ranges (offset, length) that images from `image` down to above `base` have."""
    for found in stretches(image, base):
        if found.extent.present:
            yield found.offset, found.extent.length
