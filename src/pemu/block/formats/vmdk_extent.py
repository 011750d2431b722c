"""The extents of VMDK images: sparse files with tables of grains, and parts of others.

Grains are found by a directory of tables; most files have all of that twice. In stream-optimized
files each grain is compressed, behind its number.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Sequence
from typing import ClassVar

from pemu.block.clusters import ABSENT, OTHER, ZERO, ClusterImage
from pemu.block.error import ImageError
from pemu.block.image import SECTOR, Check, Extent, Image, damaged
from pemu.block.pieces import Buffers, Packed, Pieces, clear, take
from pemu.block.structure import U8, U16, U32, U64, Annotated, Structure
from pemu.block.table import Table, TableTree

NEWLINES, REDUNDANT, ZERO_GRAINS, COMPRESSES, MARKERS = 1, 2, 4, 1 << 16, 1 << 17
"""Flags: the test for newlines is there, a second directory, entries of 1 are zeros, ..."""

AT_END = (1 << 64) - 1
"""The directory's place is in a footer at the end of the file."""

DEFLATE = 1
GRAIN = 128
"""Sectors of a grain in new images."""

TABLE = 512
"""Entries of a table in new images."""

OLD_TABLE = 4096
"""Entries of a table in COWD files."""

LARGEST_GRAIN = 64 << 20
LARGEST_COMPRESSED = 4 << 20
"""Bytes of a grain; of a compressed one, which is decoded as a whole."""

MOST_TABLES = 1 << 29
ZEROED = 1
MARKER = 12
"""Bytes before a compressed grain: its first sector, its length."""


class SparseHeader(Structure, byte_order="<"):
    """At the beginning of a hosted sparse file; its unit is the sector."""

    magic: Annotated[bytes, 4] = b"KDMV"
    version: U32 = 1
    flags: U32 = NEWLINES | REDUNDANT
    capacity: U64
    grain: U64 = GRAIN
    descriptor: U64 = 1
    descriptor_size: U64 = 20
    table: U32 = TABLE
    copy_directory: U64
    directory: U64
    overhead: U64
    unclean: U8 = 0
    newlines: Annotated[bytes, 4] = b"\n \r\n"
    compression: U16 = 0

    def check(self) -> None:
        """Raise ImageError for what cannot be used."""
        if self.version > 3:
            raise ImageError(f"Unsupported VMDK version {self.version}")
        if self.compression > DEFLATE:
            raise ImageError(f"unknown compression {self.compression} in the VMDK header")
        check_shape(self.grain, self.table, self.capacity)


class OldNumbers(Structure, byte_order="<"):
    """What follows COWD at the beginning of a sparse file of ESX servers."""

    version: U32
    flags: U32
    capacity: U32
    grain: U32
    directory: U32
    directory_size: U32


def check_shape(grain: int, table: int, capacity: int, largest: int = TABLE) -> None:
    """Raise ImageError for sizes that cannot be. largest: entries of a table."""
    if not 0 < grain <= LARGEST_GRAIN // SECTOR or grain & (grain - 1):
        raise ImageError(f"Invalid granularity, image may be corrupt: {grain} sectors")
    if not 0 < table <= largest:
        raise ImageError("L2 table size too big")
    if capacity > grain * table * MOST_TABLES or capacity >= 1 << 54:
        raise ImageError("L1 size too big")


class SparseExtent(ClusterImage):
    """The grains in `file`, `sectors` in all, in tables of `table` entries that `directory` finds.

    directory, copy: where that is, and the second one, bytes (0: none). flags: of the header.
    compressed: how grains are. Raises ImageError, OSError.
    """

    format: ClassVar[str] = "vmdk"

    def __init__(
        self, file: Image, sectors: int, grain: int, table: int, directory: int, *, copy: int = 0,
        first: int = 0, flags: int = 0, compressed: bool = False, readonly: bool,
    ) -> None:  # fmt: skip
        super().__init__(file.name, sectors * SECTOR, grain * SECTOR, readonly=readonly)
        self.children["file"] = file
        self._first = max(first, SECTOR)
        self._zeroed = bool(flags & ZERO_GRAINS)
        self._markers = bool(flags & MARKERS)
        self.compressed = compressed
        count = -(-sectors // (grain * table))
        self.tables = self._tree(directory, count, table)
        self.copies = self._tree(copy, count, table) if copy else None
        self._decoded = (-1, b"")

    def _tree(self, directory: int, count: int, table: int) -> TableTree:
        file = self._file()
        end = directory + 4 * count
        if not SECTOR <= directory or end > -(-file.size // SECTOR) * SECTOR:
            raise ImageError(
                f"the directory, {count} entries at {directory:#x}, is not within the file of "
                f"{file.size} bytes"
            )
        top = Table(file, directory, count, "I", "<")
        return TableTree(top, table, "I", "<", unit=SECTOR, first=SECTOR)

    def locate(self, index: int) -> int:
        return self._place(self.tables[index])

    def _place(self, entry: int) -> int:
        if not entry:
            return ABSENT
        if entry == ZEROED and self._zeroed:
            return ZERO
        place = entry * SECTOR
        if place < self._first or place >= self._file().size:
            raise damaged()
        return OTHER if self.compressed else place

    def stretch(self, index: int) -> tuple[int, int]:
        return self.tables.stretch(index, self._place, ABSENT)

    def read_other(self, index: int) -> bytes:
        with self.lock:
            entry = self.tables[index]
            if self._decoded[0] != entry:
                self._decoded = (entry, self._decode(entry * SECTOR))
            return self._decoded[1]

    def _decode(self, place: int) -> bytes:
        """The compressed grain at `place`, filled up with zeros."""
        file = self._file()
        end = -(-file.size // SECTOR) * SECTOR
        length = 2 * self.cluster
        if self._markers:
            head = file.read(place, min(MARKER, end - place))
            length = int.from_bytes(head[8:12], "little")
            place += MARKER
            if length > 2 * self.cluster or place + length > end:
                raise damaged()
        packed = file.read(place, min(length, end - place))
        try:
            data = zlib.decompressobj().decompress(packed, self.cluster)
        except zlib.error:
            raise damaged() from None
        if not data:
            raise damaged()
        return data.ljust(self.cluster, b"\0")

    def write_compressed(
        self, offset: int, data: bytes | memoryview, packed: Sequence[Packed] = ()
    ) -> None:
        if not self.compressed:
            super().write_compressed(offset, data)
        length = len(data)
        if offset % self.cluster or (length != self.cluster and offset + length != self.size):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._pack(offset // self.cluster, data)

    def _pack(self, index: int, data: bytes | memoryview) -> None:
        """Write a grain that has no room yet, or has now another contents."""
        packed = zlib.compress(bytes(data).ljust(self.cluster, b"\0"))
        if self._markers:
            sector = index * (self.cluster // SECTOR)
            packed = sector.to_bytes(8, "little") + len(packed).to_bytes(4, "little") + packed
        with self.lock:
            self._add_table(index)
            place = -(-self._file().size // SECTOR) * SECTOR
            if place // SECTOR > 0xFFFFFFFF:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            self._file().write(place, packed.ljust(-(-len(packed) // SECTOR) * SECTOR, b"\0"))
            self._set(index, place // SECTOR)
            self._decoded = (-1, b"")
            if self.changes() > self.most_changes:
                self.write_tables()

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        if not self.compressed:
            super()._write_from(offset, pieces)
            return
        rest = [memoryview(piece) for piece in pieces]
        with self.lock:
            while rest:
                index, inside = divmod(offset, self.cluster)
                taken, rest = take(rest, self.cluster - inside)
                data = b"".join(taken)
                if len(data) < self.cluster:
                    start = index * self.cluster
                    old = self.read(start, min(self.cluster, self.size - start))
                    data = old[:inside] + data + old[inside + len(data) :]
                self._pack(index, data)
                offset += sum(map(len, taken))

    def allocate(self, index: int, count: int) -> tuple[int, int]:
        self._add_table(index)
        count = min(count, self.tables.count - index % self.tables.count)
        size = max(self._file().size, self._first)
        place = -(-size // self.cluster) * self.cluster
        if place // SECTOR + count * (self.cluster // SECTOR) > 0xFFFFFFFF:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return place, count

    def _add_table(self, index: int) -> None:
        """Have a table for grain `index`, and its copy."""
        for tree in self._trees():
            number = index // tree.count
            if tree.table(number) is None:
                place = -(-self._file().size // SECTOR) * SECTOR
                self._file().truncate(place + -(-tree.bytes // SECTOR) * SECTOR)
                tree.add(number, place)

    def _trees(self) -> list[TableTree]:
        return [self.tables] if self.copies is None else [self.tables, self.copies]

    def connect(self, index: int, count: int, offset: int) -> None:
        for number in range(count):
            self._set(index + number, (offset + number * self.cluster) // SECTOR)

    def _set(self, index: int, entry: int) -> None:
        for tree in self._trees():
            tree[index] = entry

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        if not self._zeroed:
            super()._write_zeroes(offset, length, unmap=unmap)
            return
        size = self.cluster
        with self.lock:
            for at, part, place in list(self.runs(offset, length)):
                first, last = -(-at // size), (at + part) // size
                if at + part == self.size:
                    last = -(-self.size // size)
                if place == ZERO or first >= last or (place >= 0 and not unmap):
                    super()._write_zeroes(at, part, unmap=unmap)
                    continue
                super()._write_zeroes(at, first * size - at, unmap=unmap)
                for index in range(first, last):
                    self._add_table(index)
                    self._set(index, ZEROED)
                end = last * size
                if end < at + part:
                    super()._write_zeroes(end, at + part - end, unmap=unmap)

    def check(self, number: int, found: Check) -> None:
        """Look for grains outside the file; `number` is this extent's."""
        with self.lock:
            for which in range(len(self.tables.top)):
                try:
                    table = self.tables.table(which)
                except OSError:
                    found.corrupt(f"ERROR: table {which} of extent {number} is not in the file")
                    continue
                for first, entries in table.pieces() if table is not None else ():
                    for entry in filter(self._is_wrong, set(entries)):
                        for at, one in enumerate(entries, which * self.tables.count + first):
                            if one == entry:
                                what = f"grain {at} of extent {number} is not in the file"
                                found.corrupt(f"ERROR: {what}")

    def _is_wrong(self, entry: int) -> bool:
        try:
            self._place(entry)
        except OSError:
            return True
        return False

    def changes(self) -> int:
        return sum(tree.changed for tree in self._trees())

    def write_tables(self) -> None:
        self._file().flush()
        for tree in reversed(self._trees()):
            tree.write()

    def _status(self, offset: int, length: int) -> Extent:
        found = super()._status(offset, length)
        return found._replace(compressed=False) if found.compressed else found


def open_sparse(file: Image, *, readonly: bool) -> SparseExtent:
    """The extent of a file that begins with a header. Raises ImageError, OSError."""
    magic = file.read(0, min(4, file.size))
    if magic == b"COWD":
        old = OldNumbers.read(file, "the COWD header", 4)
        check_shape(old.grain, OLD_TABLE, old.capacity, OLD_TABLE)
        place = old.directory * SECTOR
        return SparseExtent(file, old.capacity, old.grain, OLD_TABLE, place, readonly=readonly)
    if magic != b"KDMV":
        raise ImageError(f"'{file.name}' is no sparse extent of a VMDK image")
    header = SparseHeader.read(file, "the VMDK header")
    footer = False
    if header.directory == AT_END:
        if file.size < 3 * SECTOR:
            raise ImageError("the VMDK footer is missing")
        header = SparseHeader.read(file, "the VMDK footer", file.size // SECTOR * SECTOR - 1024)
        if header.magic != b"KDMV" or header.directory == AT_END:
            raise ImageError("Invalid footer")
        footer = True  # what follows it is the mark of the end
    header.check()
    compressed = bool(header.flags & COMPRESSES) and header.compression == DEFLATE
    if compressed and header.grain * SECTOR > LARGEST_COMPRESSED:
        raise ImageError(
            f"compressed grains of {header.grain} sectors are too large; at most "
            f"{LARGEST_COMPRESSED // SECTOR} are supported"
        )
    if header.version == 3 and not compressed and not readonly:
        raise ImageError("VMDK version 3 must be read only")
    copy = header.copy_directory * SECTOR if header.flags & REDUNDANT else 0
    extent = SparseExtent(
        file,
        header.capacity,
        header.grain,
        header.table,
        header.directory * SECTOR,
        copy=copy,
        first=min(header.overhead * SECTOR, file.size),
        flags=header.flags,
        compressed=compressed,
        readonly=readonly or footer,
    )
    extent.writable = not footer and (header.version != 3 or compressed)
    return extent


class Part(Image):
    """What `whole` has from byte `start` on, zeros behind its end; it is read only."""

    writable = False

    def __init__(self, whole: Image, start: int) -> None:
        super().__init__(whole.name, max(whole.size - start, 0), readonly=True)
        self.children["file"] = whole.retain()
        self.start = start

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        self.children["file"].read_into(self.start + offset, buffers)


class Zeros(Image):
    """An extent that has nothing but zeros."""

    writable = False

    def __init__(self, size: int) -> None:
        super().__init__("zeros", size, readonly=True)

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        for view in buffers:
            clear(view)

    def _status(self, offset: int, length: int) -> Extent:
        return Extent(length, zero=True, data=False)
