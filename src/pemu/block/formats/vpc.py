"""Virtual PC's hard disk images (VHD 1.0): fixed ones, a disk and a footer, and dynamic ones.

A dynamic image begins with a copy of the footer and a header; a table finds blocks, each behind a
map of its sectors. Left out: differencing images.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
import uuid
from typing import ClassVar

from pemu.block.clusters import ZERO, ClusterImage
from pemu.block.creation import Creation
from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.formats.raw import Raw
from pemu.block.image import SECTOR, Extent, Image, damaged
from pemu.block.opening import Opening
from pemu.block.pieces import Pieces
from pemu.block.structure import U8, U16, U32, U64, Annotated, Structure
from pemu.block.table import Table, write_entries
from pemu.options.keyval import Key
from pemu.options.types import Bool, Enum

FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4

NEW_BLOCK = 2 << 20
LARGEST_BLOCK = 256 << 20
"""What a block may have here; the map of its sectors is kept in memory."""

MOST_SECTORS = 0xFF000000
"""2040 GiB."""

MOST_CHS = 65535 * 16 * 255
"""Sectors of the largest geometry; images of that are as long as their footer says."""

MOST_ENTRIES = 1 << 22
"""Blocks of the largest image, if these are not smaller than 512 KiB."""

UNALLOCATED = 0xFFFFFFFF
EPOCH = 946684800
"""2000-01-01, from which time stamps count, in seconds since 1970."""

TRUE_SIZE = (b"win ", b"qem2", b"d2v ", b"tap\0", b"CTXS")
"""Makers of images that are as long as they say, and not as their geometry says."""


def checksum(data: bytes) -> int:
    """Of a structure whose own checksum is zero."""
    return ~sum(data) & 0xFFFFFFFF


class Footer(Structure, byte_order=">"):
    """The last sector of the file, and of a dynamic image also the first one."""

    cookie: Annotated[bytes, 8] = b"conectix"
    features: U32 = 2
    version: U32 = 0x10000
    data_offset: U64
    timestamp: U32
    creator: Annotated[bytes, 4]
    creator_version: U32 = 0x50003
    creator_host: Annotated[bytes, 4] = b"Wi2k"
    original_size: U64
    current_size: U64
    cylinders: U16
    heads: U8
    sectors: U8
    type: U32
    checksum: U32 = 0
    unique_id: Annotated[bytes, 16]
    saved_state: U8 = 0
    reserved: Annotated[bytes, 427] = b""

    def sealed(self) -> bytes:
        """The footer's bytes with the checksum right."""
        self.checksum = 0
        self.checksum = checksum(self.emit())
        return self.emit()

    def whole(self) -> bool:
        """Whether the checksum is right."""
        said, self.checksum = self.checksum, 0
        right = checksum(self.emit())
        self.checksum = said
        return said == right

    def size(self, calculation: str) -> int:
        """Bytes of the disk. calculation: 'chs', 'current_size', or '' for what the maker means."""
        chs = self.cylinders * self.heads * self.sectors
        by_chs = calculation == "chs" or (not calculation and self.creator not in TRUE_SIZE)
        if by_chs and chs != MOST_CHS:
            return chs * SECTOR
        return self.current_size // SECTOR * SECTOR


class DynamicHeader(Structure, byte_order=">"):
    """Where a dynamic image's table is."""

    cookie: Annotated[bytes, 8] = b"cxsparse"
    data_offset: U64 = (1 << 64) - 1
    table_offset: U64 = 3 * SECTOR
    version: U32 = 0x10000
    entries: U32
    block_size: U32 = NEW_BLOCK
    checksum: U32 = 0
    parent_id: Annotated[bytes, 16] = b""
    parent_time: U32 = 0
    reserved: U32 = 0
    parent_name: Annotated[bytes, 512] = b""
    parent_locators: Annotated[bytes, 192] = b""
    padding: Annotated[bytes, 256] = b""

    def check(self, size: int) -> None:
        """Raise ImageError for what cannot be used; size: bytes of the disk."""
        block = self.block_size
        if self.cookie != b"cxsparse":
            raise ImageError("Invalid header magic")
        if block < SECTOR or block & (block - 1) or block > LARGEST_BLOCK:
            raise ImageError(f"Invalid block size {block}")
        if self.entries > MOST_ENTRIES:
            raise ImageError(f"Max Table Entries too large ({self.entries})")
        if self.entries * block < size:
            raise ImageError("Page table too small")


class FixedVpc(Raw):
    """A fixed image: the disk is the beginning of the file."""

    format: ClassVar[str] = "vpc"

    def _status(self, offset: int, length: int) -> Extent:
        return Extent(length, offset=offset, file=self.file).refined()

    def truncate(self, size: int, *, preallocation: str = "off") -> None:
        raise ImageError("Image format driver does not support resize")


class DynamicVpc(ClusterImage):
    """A dynamic image in `file`, which `footer` describes. Raises ImageError, OSError."""

    format: ClassVar[str] = "vpc"

    def __init__(self, file: Image, footer: Footer, size: int, *, readonly: bool) -> None:
        if footer.data_offset > file.size:
            raise ImageError("Invalid header magic")
        header = DynamicHeader.read(file, "the header of the dynamic VHD", footer.data_offset)
        header.check(size)
        self.footer = footer
        super().__init__(file.name, size, header.block_size, readonly=readonly)
        self.children["file"] = file
        self._bitmap = -(-header.block_size // SECTOR // 8 // SECTOR) * SECTOR
        end = header.table_offset + 4 * header.entries
        if end > file.size:
            raise ImageError(
                f"the block table ends at byte {end}, but the file has only {file.size} bytes; it "
                "has been truncated"
            )
        metadata = ((0, SECTOR), (footer.data_offset, footer.data_offset + DynamicHeader.SIZE))
        if any(header.table_offset < stop and start < end for start, stop in metadata):
            raise ImageError("the block table overlaps the header")
        self.table = Table(file, header.table_offset, header.entries, "I", ">")
        data = max(end, footer.data_offset + DynamicHeader.SIZE)
        self._first = -(-data // SECTOR) * SECTOR
        self._free = 0
        self._marked: set[int] = set()

    def locate(self, index: int) -> int:
        entry = self.table[index]
        if entry == UNALLOCATED:
            return ZERO
        if entry * SECTOR < self._first:
            raise damaged()
        return entry * SECTOR + self._bitmap

    def _find_free(self) -> int:
        """Where the next block goes: behind the last one, in the place of the footer."""
        last = max((one for one in self.table if one != UNALLOCATED), default=-1)
        if last < 0:
            return self._first
        if last * SECTOR >= self._file().size:
            raise damaged()
        return last * SECTOR + self._bitmap + self.cluster

    def allocate(self, index: int, count: int) -> tuple[int, int]:
        file = self._file()
        start = self._free or self._find_free()
        if start // SECTOR >= UNALLOCATED:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        if start < file.size <= start + SECTOR:  # the footer
            file.truncate(start)
        file.write(start, b"\xff" * self._bitmap)
        self._free = start + self._bitmap + self.cluster
        self._marked.add(index)
        return start + self._bitmap, 1

    def connect(self, index: int, count: int, offset: int) -> None:
        self.table[index] = (offset - self._bitmap) // SECTOR

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        end = offset + sum(map(len, pieces))
        with self.lock:
            for index in range(offset // self.cluster, -(-end // self.cluster)):
                self._mark(index)
            super()._write_from(offset, pieces)

    def _mark(self, index: int) -> None:
        """Have the map of a block's sectors say that all of them are there, as other users read."""
        if index in self._marked or (place := self.locate(index)) < 0:
            return
        start, marks = place - self._bitmap, b"\xff" * self._bitmap
        self._check_place(place - 1)
        if self._file().read(start, self._bitmap) != marks:
            self._file().write(start, marks)
        self._marked.add(index)

    def changes(self) -> int:
        return self.table.changed

    def write_tables(self) -> None:
        file = self._file()
        file.flush()
        file.write(self._free, self.footer.sealed())
        self.table.write()


def _open(opening: Opening) -> Image:
    file = opening.file()
    footer = Footer.read(file, "the VHD footer") if file.size >= SECTOR else None
    fixed = footer is None or footer.cookie != b"conectix"
    if fixed:
        if file.size < SECTOR:
            raise ImageError("invalid VPC image")
        footer = Footer.read(file, "the VHD footer", file.size - SECTOR)
        if footer.cookie != b"conectix" or footer.type != FIXED:
            raise ImageError("invalid VPC image")
    assert footer is not None
    if not footer.whole():
        raise ImageError("Incorrect header checksum")
    if footer.type == DIFFERENCING:
        raise ImageError(
            "differencing VHD images (whose parent is another image) are not supported"
        )
    size = footer.size(opening.options["force_size_calc"] or "")
    if size > MOST_SECTORS * SECTOR:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    if fixed:
        return FixedVpc(file, size=size)
    return DynamicVpc(file, footer, size, readonly=opening.mode.readonly)


def geometry(sectors: int) -> tuple[int, int, int]:
    """Cylinders, heads and sectors of a disk, as the specification's appendix computes them."""
    if sectors > 65535 * 16 * 63:
        return min(sectors, MOST_CHS) // 255 // 16, 16, 255
    per_track = 17
    tracks = sectors // per_track
    heads = max(-(-tracks // 1024), 4)
    for per_track_more in (31, 63):
        if tracks >= heads * 1024 or heads > 16:
            per_track, heads = per_track_more, 16
            tracks = sectors // per_track
    return tracks // heads, heads, per_track


def rounded_geometry(sectors: int) -> tuple[int, int, int]:
    """The smallest geometry with at least `sectors`, if there is one."""
    if not sectors:
        return 0, 0, 0
    for more in itertools.count():
        cylinders, heads, per_track = geometry(sectors + more)
        product = cylinders * heads * per_track
        if product >= min(sectors, MOST_CHS):
            break
    return cylinders, heads, per_track


def _create(creation: Creation) -> None:
    options = creation.options
    sectors = -(-creation.size // SECTOR)
    if options["force_size"]:
        chs = (65535, 16, 255)
    else:
        chs = rounded_geometry(sectors)
        if sectors < MOST_CHS:
            sectors = chs[0] * chs[1] * chs[2]
    if sectors > MOST_SECTORS:
        raise ImageError("The image size is too large for file format 'vpc'")
    fixed = options["subformat"] == "fixed"
    size = sectors * SECTOR
    footer = Footer(
        data_offset=(1 << 64) - 1 if fixed else SECTOR,
        timestamp=int(time.time()) - EPOCH & 0xFFFFFFFF,
        creator=b"qem2" if options["force_size"] else b"qemu",
        original_size=size,
        current_size=size,
        cylinders=chs[0],
        heads=chs[1],
        sectors=chs[2],
        type=FIXED if fixed else DYNAMIC,
        unique_id=uuid.uuid4().bytes,
    ).sealed()
    with creation.file() as file:
        if fixed:
            file.truncate(size)
            file.write(size, footer)
            return
        header = DynamicHeader(entries=-(-size // NEW_BLOCK))
        header.checksum = checksum(header.emit())
        padded = -(-header.entries // 128) * 128
        file.write(0, footer + header.emit())
        entries = itertools.repeat(UNALLOCATED, padded)
        write_entries(file, header.table_offset, entries, "I", ">")
        file.write(header.table_offset + 4 * padded, footer)


DRIVER = Driver(
    "vpc",
    _open,
    keys=(
        Key("force_size_calc", Enum(("chs", "current_size")), "whether the geometry is the size"),
    ),
    create=_create,
    creation=(
        Key(
            "subformat",
            Enum(("dynamic", "fixed")),
            "Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} ",
        ),
        Key(
            "force_size",
            Bool(),
            "Force disk size calculation to use the actual size specified, rather than using the "
            "nearest CHS-based calculation",
        ),
    ),
)
