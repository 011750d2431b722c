"""Tables of numbers in a file, kept in memory piece by piece; changes are written when asked to."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice

from pemu.block.image import Image

PAGE = 4096
"""Bytes of a table that are read and written at once."""

LARGEST = 8192
"""Pages of a table that are kept, 32 MiB: unchanged ones are dropped when there are more."""


class Table:
    """`count` numbers at `offset` bytes into `file`.

    code: 'I' for 32 bits each, 'Q' for 64. byte_order: '<' or '>'. fill: what all of them are in a
    new table, None for one that is in the file. May be used by one thread at a time.
    """

    def __init__(
        self,
        file: Image,
        offset: int,
        count: int,
        code: str,
        byte_order: str,
        *,
        fill: int | None = None,
    ) -> None:
        self.file = file
        self.offset = offset
        self._code = code
        self._count = count
        self._width = struct.calcsize(code)
        self._swap = (byte_order == "<") != (sys.byteorder == "little")
        self._entries = PAGE // self._width
        self._pages: dict[int, array[int]] = {}
        self._changed: set[int] = set()
        if fill is not None:
            for page in range(-(-count // self._entries)):
                self._pages[page] = array(code, [fill]) * self._length(page)
            self._changed.update(self._pages)

    @property
    def changed(self) -> int:
        """How many pages are to be written."""
        return len(self._changed)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> int:
        page, inside = divmod(index, self._entries)
        try:
            return self._pages[page][inside]
        except KeyError:
            return self._load(page)[inside]

    def __setitem__(self, index: int, value: int) -> None:
        page, inside = divmod(index, self._entries)
        (self._pages.get(page) or self._load(page))[inside] = value
        self._changed.add(page)

    def __iter__(self) -> Iterator[int]:
        return (self[index] for index in range(self._count))

    def _length(self, page: int) -> int:
        return min(self._entries, self._count - page * self._entries)

    def _load(self, page: int) -> array[int]:
        if not 0 <= page * self._entries < self._count:
            raise IndexError(page)
        if len(self._pages) >= LARGEST:
            self._pages = {key: self._pages[key] for key in self._changed}
        data = self.file.read(self.offset + page * PAGE, self._length(page) * self._width)
        entries = array(self._code, data)
        if self._swap:
            entries.byteswap()
        self._pages[page] = entries
        return entries

    def changes(self) -> list[tuple[int, bytes]]:
        """The pages that are to be written: where in the file, and what."""
        found = []
        for page in sorted(self._changed):
            entries = self._pages[page]
            if self._swap:
                entries = entries[:]
                entries.byteswap()
            found.append((self.offset + page * PAGE, entries.tobytes()))
        return found

    def written(self) -> None:
        """Note that the changes are in the file."""
        self._changed.clear()

    def write(self) -> None:
        """Write what has been changed. Raises OSError; then all of it is still to be written."""
        offset, pieces, length = 0, list[bytes](), 0
        for start, data in self.changes():
            if pieces and start != offset + length:
                self.file.write_from(offset, pieces)
                pieces, length = [], 0
            if not pieces:
                offset = start
            pieces.append(data)
            length += len(data)
        if pieces:
            self.file.write_from(offset, pieces)
        self.written()


def write_entries(
    file: Image, offset: int, entries: Iterable[int], code: str, byte_order: str
) -> None:
    """Write a whole table, as `Table` has them, without keeping it in memory."""
    rest = iter(entries)
    while piece := array(code, islice(rest, 1 << 18)):
        if (byte_order == "<") != (sys.byteorder == "little"):
            piece.byteswap()
        data = memoryview(piece).cast("B")
        file.write(offset, data)
        offset += len(data)
