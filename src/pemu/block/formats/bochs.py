"""Growing images of Bochs, read only: a catalog of extents, each with a map of its sectors."""

from __future__ import annotations

from typing import ClassVar

from pemu.block.clusters import ABSENT, ClusterImage
from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.image import SECTOR, Image, Limits
from pemu.block.opening import Opening
from pemu.block.structure import U32, U64, Annotated, Structure
from pemu.block.table import Table

OLD, NEW = 0x00010000, 0x00020000
UNALLOCATED = 0xFFFFFFFF
LARGEST_EXTENT = 8 << 20
MOST_EXTENTS = ((1 << 31) - 1) // 4
LARGEST_MAP = LARGEST_EXTENT // SECTOR // 8

KEPT = 256
"""Maps of extents that are kept in memory."""


class Header(Structure, byte_order="<"):
    """At the beginning of the file; of version 2 a reserved word precedes the size."""

    magic: Annotated[bytes, 32]
    type: Annotated[bytes, 16]
    subtype: Annotated[bytes, 16]
    version: U32
    header: U32
    catalog: U32
    bitmap: U32
    extent: U32


class Size(Structure, byte_order="<"):
    """The disk's, in bytes."""

    size: U64


class Bochs(ClusterImage):
    """An image in `file`. Its clusters are sectors. Raises ImageError, OSError."""

    format: ClassVar[str] = "bochs"
    writable = False

    def __init__(self, file: Image) -> None:
        header = Header.read(file, "the Bochs header")
        words = [one.rstrip(b"\0") for one in (header.magic[:23], header.type, header.subtype)]
        if words != [b"Bochs Virtual HD Image", b"Redolog", b"Growing"]:
            raise ImageError("Image not in Bochs format")
        if header.version not in (OLD, NEW):
            raise ImageError("Image not in Bochs format")
        place = Header.SIZE + (4 if header.version == NEW else 0)
        size = Size.read(file, "the Bochs header", place).size // SECTOR * SECTOR
        if header.catalog > MOST_EXTENTS:
            raise ImageError("Catalog size is too large")
        if header.extent < SECTOR:
            raise ImageError("Extent size must be at least 512")
        if header.extent & (header.extent - 1):
            raise ImageError(f"Extent size {header.extent} is not a power of two")
        if header.extent > LARGEST_EXTENT:
            raise ImageError(f"Extent size {header.extent} is too large")
        if header.catalog < -(-size // header.extent):
            raise ImageError("Catalog size is too small for this disk size")
        end = header.header + 4 * header.catalog
        if end > file.size:
            raise ImageError(f"the catalog ends at byte {end}, but the file has only {file.size}")
        if not header.extent // SECTOR // 8 <= header.bitmap <= LARGEST_MAP:
            raise ImageError(f"a map of {header.bitmap} bytes does not fit an extent")
        super().__init__(file.name, size, SECTOR, readonly=True)
        self.children["file"] = file
        self.dirty = None
        self._catalog = Table(file, header.header, header.catalog, "I", "<")
        self._sectors = header.extent // SECTOR
        self._bitmap = -(-header.bitmap // SECTOR) * SECTOR
        self._data = end
        self._maps: dict[int, bytes] = {}

    def locate(self, index: int) -> int:
        number, inside = divmod(index, self._sectors)
        entry = self._catalog[number]
        if entry == UNALLOCATED:
            return ABSENT
        place = self._data + entry * (self._bitmap + self._sectors * SECTOR)
        if not self._map(place)[inside // 8] >> inside % 8 & 1:
            return ABSENT
        return place + self._bitmap + inside * SECTOR

    def stretch(self, index: int) -> tuple[int, int]:
        number, inside = divmod(index, self._sectors)
        if self._catalog[number] == UNALLOCATED:
            return ABSENT, self._sectors - inside
        return self.locate(index), 1

    def _map(self, place: int) -> bytes:
        found = self._maps.get(place)
        if found is None:
            self._check_place(place + self._bitmap - 1)
            if len(self._maps) >= KEPT:
                self._maps.clear()
            found = self._maps[place] = self._file().read(place, self._bitmap)
        return found

    def limits(self) -> Limits:
        return Limits()


def _open(opening: Opening) -> Image:
    opening.require_readonly()
    return Bochs(opening.file())


DRIVER = Driver("bochs", _open)
