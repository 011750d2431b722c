"""Tables of numbers in a file, kept in memory piece by piece; changes are written when asked to."""

from __future__ import annotations

import struct
import sys
from array import array
from itertools import islice

from pemu.block.image import Image, damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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
        return (entry for _, entries in self.pieces() for entry in entries)

    def pieces(self) -> Iterator[tuple[int, array[int]]]:
        """All entries piece by piece: the number of the first one, and they. Not to be changed."""
        for page in range(-(-self._count // self._entries)):
            yield page * self._entries, self._pages.get(page) or self._load(page)

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


class TableTree:
    """A table whose entries say where further tables are, which have the entries proper.

    count: entries of one of these. unit: what the first table's entries count in, bytes.
    first: bytes of the file's beginning where no table can be. A table that is not there has zeros.
    """

    def __init__(
        self, top: Table, count: int, code: str, byte_order: str, *, unit: int, first: int
    ) -> None:
        self.top = top
        self.count = count
        self._code = code
        self._byte_order = byte_order
        self._unit = unit
        self._first = first
        self.bytes = count * struct.calcsize(code)
        """Bytes of one of the tables."""
        self._most = max(LARGEST * PAGE // self.bytes, 16)
        self._tables: dict[int, Table] = {}

    def place(self, number: int) -> int:
        """Where in the file table `number` is, bytes; 0 for nowhere. Raises OSError."""
        place = self.top[number] * self._unit
        if place and (place < self._first or place + self.bytes > self.top.file.size):
            raise damaged()
        return place

    def table(self, number: int) -> Table | None:
        """Table `number`, None where there is none. Raises OSError."""
        table = self._tables.get(number)
        if table is None and (place := self.place(number)):
            table = self._keep(number, place)
        return table

    def _keep(self, number: int, place: int) -> Table:
        if len(self._tables) >= self._most:
            self._tables = {key: one for key, one in self._tables.items() if one.changed}
        table = Table(self.top.file, place, self.count, self._code, self._byte_order)
        self._tables[number] = table
        return table

    def add(self, number: int, place: int) -> None:
        """Have table `number`, which has none yet, be at `place`, where there are zeros."""
        self.top[number] = place // self._unit
        self._keep(number, place)

    def __getitem__(self, index: int) -> int:
        number, inside = divmod(index, self.count)
        table = self._tables.get(number) or self.table(number)
        return table[inside] if table is not None else 0

    def __setitem__(self, index: int, value: int) -> None:
        number, inside = divmod(index, self.count)
        table = self.table(number)
        assert table is not None, "the table has been added before"
        table[inside] = value

    def remove(self, number: int) -> None:
        """Forget table `number`."""
        self.top[number] = 0
        self._tables.pop(number, None)

    def clear(self) -> None:
        """Forget all tables. Raises OSError."""
        self._tables.clear()
        for index in range(len(self.top)):
            if self.top[index]:
                self.top[index] = 0

    def stretch(self, index: int, place: Callable[[int], int], absent: int) -> tuple[int, int]:
        """What `place` makes of entry `index`, and for how many entries that is known to hold.

        absent: what it is where there is no table.
        """
        number, inside = divmod(index, self.count)
        table = self._tables.get(number) or self.table(number)
        if table is None:
            return absent, self.count - inside
        return place(table[inside]), 1

    @property
    def changed(self) -> int:
        """How many pages of all tables are to be written."""
        return self.top.changed + sum(one.changed for one in self._tables.values())

    def write(self) -> None:
        """Write what has been changed, the first table last. Raises OSError."""
        for table in self._tables.values():
            table.write()
        if self.top.changed:
            self.top.file.flush()
            self.top.write()
