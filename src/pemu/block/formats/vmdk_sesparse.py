"""SE sparse extents of VMDK images, the space-efficient ones of ESX servers; they are only read.

A directory finds tables of grains of 4 KiB; entries of 64 bits have their kind in the highest four
bits. Source: the layout that VMware's vSphere 6.5 writes, with journals that have been replayed.
"""

from __future__ import annotations

from typing import ClassVar

from pemu.block.clusters import ABSENT, ZERO, ClusterImage
from pemu.block.error import ImageError
from pemu.block.image import SECTOR, Check, Image, damaged
from pemu.block.structure import U64, Annotated, Structure
from pemu.block.table import Table

MAGIC = 0xCAFEBABE
VOLATILE_MAGIC = 0xCAFECAFE
VERSION = 0x2_0000_0001

GRAIN = 8
"""Sectors of a grain: the only size that there is."""

TABLE = 64
"""Sectors of a table, as well."""

_ENTRIES = TABLE * SECTOR // 8

MOST_TABLES = 1 << 26
"""Tables of an extent: more than a file of 2^63 bytes needs is damage, or malice."""

NOTHING, UNMAPPED, ZEROED, DATA = range(4)
"""Kinds of entries in tables."""

_THERE = 0x1000_0000
"""The higher half of an entry in the directory that has a table."""


class ConstantHeader(Structure, byte_order="<"):
    """The first sector; its unit is the sector."""

    magic: U64 = MAGIC
    version: U64 = VERSION
    capacity: U64
    grain: U64 = GRAIN
    table: U64 = TABLE
    flags: U64 = 0
    reserved: Annotated[bytes, 32] = bytes(32)
    volatile_offset: U64
    volatile_size: U64 = 1
    journal_header_offset: U64 = 0
    journal_header_size: U64 = 0
    journal_offset: U64 = 0
    journal_size: U64 = 0
    directory_offset: U64
    directory_size: U64
    tables_offset: U64
    tables_size: U64 = 0
    bitmap_offset: U64 = 0
    bitmap_size: U64 = 0
    backmap_offset: U64 = 0
    backmap_size: U64 = 0
    grains_offset: U64
    grains_size: U64 = 0
    padding: Annotated[bytes, 304] = bytes(304)

    def check(self) -> None:
        """Raise ImageError for what cannot be used."""
        problem = ""
        if self.magic != MAGIC:
            problem = "no magic number"
        elif self.version != VERSION:
            problem = f"version {self.version:#x}"
        elif self.grain != GRAIN:
            problem = f"grains of {self.grain} sectors"
        elif self.table != TABLE:
            problem = f"tables of {self.table} sectors"
        elif self.flags:
            problem = f"flags {self.flags:#x}"
        elif any(self.reserved) or any(self.padding):
            problem = "reserved fields are in use"
        elif self.directory_size * SECTOR // 8 > MOST_TABLES:
            problem = f"a directory of {self.directory_size} sectors"
        elif self.capacity >> 54:
            problem = f"{self.capacity} sectors"
        if problem:
            raise ImageError(f"Unsupported SE sparse extent: {problem}")


class VolatileHeader(Structure, byte_order="<"):
    """What changes while the extent is in use."""

    magic: U64 = VOLATILE_MAGIC
    free_table: U64 = 0
    next_transaction: U64 = 0
    replay: U64 = 0


class SeSparseExtent(ClusterImage):
    """The grains in `file`. Raises ImageError, OSError."""

    format: ClassVar[str] = "vmdk"
    writable = False
    compressed: ClassVar[bool] = False

    def __init__(self, file: Image) -> None:
        header = ConstantHeader.read(file, "the SE sparse header")
        header.check()
        volatile = VolatileHeader.read(
            file, "the volatile SE sparse header", header.volatile_offset * SECTOR
        )
        if volatile.magic != VOLATILE_MAGIC:
            raise ImageError("Corrupted volatile header of an SE sparse extent, no magic number")
        if volatile.replay:
            raise ImageError("Image is dirty, Replaying journal not supported")
        super().__init__(file.name, header.capacity * SECTOR, GRAIN * SECTOR, readonly=True)
        self.children["file"] = file
        count = header.directory_size * SECTOR // 8
        end = (header.directory_offset + header.directory_size) * SECTOR
        if end > -(-file.size // SECTOR) * SECTOR:
            raise ImageError("the directory of an SE sparse extent is not within the file")
        self._directory = Table(file, header.directory_offset * SECTOR, count, "Q", "<")
        self._tables = header.tables_offset * SECTOR
        self._grains = header.grains_offset
        self._last: tuple[int, Table] | None = None

    def locate(self, index: int) -> int:
        which, inside = divmod(index, _ENTRIES)
        table = self._table(which)
        return self._place(table[inside]) if table is not None else ABSENT

    def _table(self, which: int) -> Table | None:
        """The table with this place in the directory, None without one."""
        if which >= len(self._directory):
            return None
        entry = self._directory[which]
        if not entry:
            return None
        if entry >> 32 != _THERE:
            raise damaged()
        if self._last is None or self._last[0] != entry:
            offset = self._tables + (entry & 0xFFFFFFFF) * TABLE * SECTOR
            if offset + TABLE * SECTOR > self._file().size:
                raise damaged()
            self._last = entry, Table(self._file(), offset, _ENTRIES, "Q", "<")
        return self._last[1]

    def _place(self, entry: int) -> int:
        kind = entry >> 60
        if kind == NOTHING:
            if entry:
                raise damaged()
            return ABSENT
        if kind in (UNMAPPED, ZEROED):
            return ZERO
        if kind != DATA:
            raise damaged()
        number = (entry >> 48 & 0xFFF) | (entry & 0xFFFF_FFFF_FFFF) << 12
        place = (self._grains + number * GRAIN) * SECTOR
        if place >= self._file().size:
            raise damaged()
        return place

    def check(self, number: int, found: Check) -> None:
        """Look for what is outside the file; `number` is this extent's."""
        with self.lock:
            for which in range(len(self._directory)):
                try:
                    table = self._table(which)
                except OSError:
                    found.corrupt(f"ERROR: table {which} of extent {number} is not in the file")
                    continue
                for at, entry in enumerate(table if table is not None else ()):
                    try:
                        self._place(entry)
                    except OSError:
                        grain = which * _ENTRIES + at
                        found.corrupt(f"ERROR: grain {grain} of extent {number} is wrong")


def open_sesparse(file: Image, *, readonly: bool) -> SeSparseExtent:
    """The extent in `file`. Raises ImageError, OSError."""
    if not readonly:
        raise ImageError("No write support for seSparse images available")
    return SeSparseExtent(file)
