"""VirtualBox's disk images (VDI 1.1): a header, a map of blocks of 1 MiB, the blocks.

Left out: images whose parent is another image, which QEMU refuses, too.
"""

from __future__ import annotations

import itertools
import uuid
from typing import ClassVar

from pemu.block.clusters import ZERO, ClusterImage
from pemu.block.creation import Creation
from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.image import SECTOR, Check, Extent, Image, damaged
from pemu.block.opening import Opening
from pemu.block.structure import U32, U64, Annotated, Structure
from pemu.block.table import Table, write_entries
from pemu.options.keyval import Key
from pemu.options.types import Bool

BLOCK = 1 << 20
MOST_BLOCKS = 0x1FFFFF80
"""What QEMU takes: the map is then 2 GiB long."""

SIGNATURE = 0xBEDA107F
DYNAMIC, STATIC = 1, 2

UNALLOCATED = 0xFFFFFFFF
"""The block has never been written; it reads as zeros, as do discarded ones, 0xfffffffe."""

FIRST_SPECIAL = 0xFFFFFFFE
"""Entries of the map from here on are no blocks."""


class Header(Structure, byte_order="<"):
    """At the beginning of the file."""

    text: Annotated[bytes, 64]
    signature: U32 = SIGNATURE
    version: U32 = 0x10001
    header_size: U32 = 0x180
    image_type: U32
    image_flags: U32 = 0
    description: Annotated[bytes, 256] = b""
    map_offset: U32 = 512
    data_offset: U32
    cylinders: U32 = 0
    heads: U32 = 0
    sectors: U32 = 0
    sector_size: U32 = SECTOR
    unused: U32 = 0
    disk_size: U64
    block_size: U32 = BLOCK
    block_extra: U32 = 0
    blocks: U32
    allocated: U32
    image_uuid: Annotated[bytes, 16]
    snapshot_uuid: Annotated[bytes, 16]
    link_uuid: Annotated[bytes, 16] = b""
    parent_uuid: Annotated[bytes, 16] = b""
    unused_end: Annotated[bytes, 56] = b""

    def check(self, file_size: int) -> None:
        """Raise ImageError for what cannot be used. file_size: bytes of the file."""
        largest = MOST_BLOCKS * BLOCK
        if self.signature != SIGNATURE:
            raise ImageError(f"Image not in VDI format (bad signature {self.signature:08x})")
        if self.disk_size > largest:
            raise ImageError(
                f"Unsupported VDI image size (size is {self.disk_size:#x}, max supported is "
                f"{largest:#x})"
            )
        problem = ""
        if self.version != 0x10001:
            problem = f"version {self.version >> 16}.{self.version & 0xFFFF}"
        elif self.map_offset % SECTOR:
            problem = f"unaligned block map offset {self.map_offset:#x}"
        elif self.data_offset % SECTOR:
            problem = f"unaligned data offset {self.data_offset:#x}"
        elif self.sector_size != SECTOR:
            problem = f"sector size {self.sector_size} is not {SECTOR}"
        elif self.block_size != BLOCK:
            problem = f"block size {self.block_size} is not {BLOCK}"
        elif self.blocks > MOST_BLOCKS:
            problem = f"too many blocks {self.blocks}, max is {MOST_BLOCKS}"
        elif self.disk_size > self.blocks * BLOCK:
            room = self.blocks * BLOCK
            problem = f"disk size {self.disk_size}, image bitmap has room for {room}"
        elif any(self.link_uuid):
            problem = "non-NULL link UUID"
        elif any(self.parent_uuid):
            problem = "non-NULL parent UUID"
        if problem:
            raise ImageError(f"unsupported VDI image ({problem})")
        end = self.map_offset + 4 * self.blocks
        if self.map_offset < SECTOR or end > self.data_offset:
            raise ImageError(
                f"the block map, {self.blocks} entries at {self.map_offset:#x}, overlaps the "
                f"header or the data at {self.data_offset:#x}"
            )
        end = max(end, self.data_offset)
        if end > file_size:
            raise ImageError(f"the block map needs {end} bytes, but the file has only {file_size}")


class Vdi(ClusterImage):
    """A VDI image in `file`. Raises ImageError, OSError."""

    format: ClassVar[str] = "vdi"

    def __init__(self, file: Image, *, readonly: bool) -> None:
        self.header = header = Header.read(file, "the VDI header")
        header.check(file.size)
        size = -(-header.disk_size // SECTOR) * SECTOR
        super().__init__(file.name, size, BLOCK, readonly=readonly)
        self.children["file"] = file
        self.map = Table(file, header.map_offset, header.blocks, "I", "<")
        self._counted = header.allocated
        self._free: int | None = None
        """The first block that nothing names, when that has been looked for."""

    def locate(self, index: int) -> int:
        entry = self.map[index]
        return ZERO if entry >= FIRST_SPECIAL else self.header.data_offset + entry * BLOCK

    def allocate(self, index: int, count: int) -> tuple[int, int]:
        header = self.header
        if self._file().size <= header.data_offset + (header.allocated - 1) * BLOCK:
            raise damaged()  # the file has been cut off
        if self._free is None:  # the header's count alone is not to be relied upon
            used = max((entry for entry in self.map if entry < header.blocks), default=-1)
            self._free = max(used + 1, header.allocated)
        first = self._free
        self._free = header.allocated = first + count
        return header.data_offset + first * BLOCK, count

    def connect(self, index: int, count: int, offset: int) -> None:
        first = (offset - self.header.data_offset) // BLOCK
        for number in range(count):
            self.map[index + number] = first + number

    def changes(self) -> int:
        return self.map.changed

    def write_tables(self) -> None:
        file = self._file()
        file.flush()
        if self._counted != self.header.allocated:
            file.write(Header.OFFSETS["allocated"], self.header.emit_field("allocated"))
            file.flush()
            self._counted = self.header.allocated
        self.map.write()

    def _status(self, offset: int, length: int) -> Extent:
        found = super()._status(offset, length)
        return found.refined() if self.header.image_type == STATIC else found

    def check_image(self, repair: str = "") -> Check:
        if repair:
            raise ImageError("This image format does not support checks")
        found = Check()
        owners: dict[int, int] = {}
        for index, entry in enumerate(self.map):
            if entry >= FIRST_SPECIAL:
                continue
            if entry >= len(self.map):
                found.corrupt(f"ERROR: block index {index} too large, is {entry}")
            elif (owner := owners.setdefault(entry, index)) != index:
                found.corrupt(f"ERROR: block index {index} also used by {owner}")
        used = len(owners)
        counted = self.header.allocated
        if counted < used:
            message = f"allocated blocks mismatch, is {used}, should be {counted}"
            found.corrupt(f"ERROR: {message}")
        elif counted > used:  # QEMU takes this for damage, too
            found.leak(f"{counted - used} blocks are not in the map", count=counted - used)
        return found


def _open(opening: Opening) -> Image:
    return Vdi(opening.file(), readonly=opening.mode.readonly)


def _create(creation: Creation) -> None:
    largest = MOST_BLOCKS * BLOCK
    if creation.size > largest:
        raise ImageError(
            f"Unsupported VDI image size (size is {creation.size:#x}, max supported is "
            f"{largest:#x})"
        )
    static = creation.options["static"]
    blocks = -(-creation.size // BLOCK)
    map_length = -(-blocks * 4 // SECTOR) * SECTOR
    header = Header(
        text=b"<<< Pemu VM Virtual Disk Image >>>\n",
        image_type=STATIC if static else DYNAMIC,
        data_offset=SECTOR + map_length,
        disk_size=creation.size,
        blocks=blocks,
        allocated=blocks if static else 0,
        image_uuid=uuid.uuid4().bytes,
        snapshot_uuid=uuid.uuid4().bytes,
    )
    with creation.file() as file:
        file.write(0, header.emit().ljust(SECTOR, b"\0"))
        file.truncate(header.data_offset + (blocks * BLOCK if static else 0))
        entries = range(blocks) if static else itertools.repeat(UNALLOCATED, blocks)
        write_entries(file, header.map_offset, entries, "I", "<")


DRIVER = Driver(
    "vdi",
    _open,
    create=_create,
    creation=(Key("static", Bool(), "VDI static (pre-allocated) image", default=False),),
)
