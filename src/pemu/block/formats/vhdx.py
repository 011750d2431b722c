"""Hyper-V's hard disk images (VHDX): a table of blocks, a log for changes of it.

Entries of the table are written in place, after what they point to: each is within one sector, so
that the log is never needed; of other programs it is replayed. Left out: differencing images.
"""

from __future__ import annotations

import errno
import os
import struct
import uuid
from typing import ClassVar

from pemu.block.clusters import ZERO, ClusterImage
from pemu.block.creation import Creation
from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.formats.vhdx_layout import (
    BAT,
    DISK_SIZE,
    FILE_PARAMETERS,
    HEADERS,
    IDENTIFIER,
    ITEMS_START,
    LOGICAL_SECTOR,
    METADATA,
    MIB,
    NEW_ITEMS,
    PAGE_83,
    PHYSICAL_SECTOR,
    REGION_BYTES,
    REGION_TABLES,
    Header,
    MetadataHeader,
    MetadataItem,
    Region,
    RegionHeader,
    check_places,
    metadata,
    regions,
    sealed,
)
from pemu.block.formats.vhdx_log import is_pending, replay
from pemu.block.image import SECTOR, Check, Image, damaged
from pemu.block.opening import Opening
from pemu.block.pieces import Pieces
from pemu.block.table import Table, write_entries
from pemu.options.keyval import Key
from pemu.options.types import Bool, Enum, Size

LARGEST = 64 << 40
BLOCKS = (MIB, 256 * MIB)
"""Bytes of the smallest and of the largest block."""

NO_LOG = bytes(16)
HAS_PARENT = 2
LEAVE_ALLOCATED = 1

NOT_PRESENT, UNDEFINED, ZEROED, UNMAPPED, UNMAPPED_OLD, PRESENT, PARTIAL = 0, 1, 2, 3, 5, 6, 7
"""States of a block."""

WITHOUT_DATA = (NOT_PRESENT, UNDEFINED, ZEROED, UNMAPPED, UNMAPPED_OLD)


class Vhdx(ClusterImage):
    """A VHDX image in `file`. Raises ImageError, OSError."""

    format: ClassVar[str] = "vhdx"

    def __init__(self, file: Image, *, readonly: bool) -> None:
        if file.size < MIB or file.read(0, 8) != IDENTIFIER:
            raise ImageError("Image not in VHDX format")
        self.header, self._slot = Header.find(file)
        found = regions(file)
        check_places(self.header, found, file)
        if self.header.log_guid != NO_LOG:
            self._replay(file, readonly=readonly)
        facts = metadata(file, found[METADATA])
        block, flags = struct.unpack_from("<II", facts[FILE_PARAMETERS])
        (size,) = struct.unpack_from("<Q", facts[DISK_SIZE])
        (sector,) = struct.unpack_from("<I", facts[LOGICAL_SECTOR])
        if flags & HAS_PARENT:
            raise ImageError("differencing VHDX images (over another one) are not supported")
        if not BLOCKS[0] <= block <= BLOCKS[1] or block & (block - 1):
            raise ImageError(f"the VHDX block size, {block}, is no power of 2 from 1M to 256M")
        if sector not in (512, 4096):
            raise ImageError(f"the VHDX sector size, {sector}, is neither 512 nor 4096")
        if size > LARGEST or size % sector:
            raise ImageError(f"the VHDX disk size, {size} bytes, cannot be")
        self._ratio = int((sector << 23) // block)
        entries = table_entries(size, block, self._ratio)
        bat = found[BAT]
        if entries * 8 > bat.length:
            raise ImageError(f"the VHDX block table has no room for a disk of {size} bytes")
        super().__init__(file.name, size, block, readonly=readonly)
        self.children["file"] = file
        self.table = Table(file, bat.offset, min(entries, bat.length // 8), "Q", "<")
        self._metadata = [(one.offset, one.offset + one.length) for one in found.values()]
        log = self.header.log_offset
        self._metadata += [(0, MIB), (log, log + self.header.log_length)]
        self._begun = False

    def _replay(self, file: Image, *, readonly: bool) -> None:
        if readonly:
            if is_pending(file, self.header):
                raise ImageError(
                    f"VHDX image file '{file.name}' opened read-only, but contains a log that needs"
                    " to be replayed. To replay the log, run:\n"
                    f"pemu-img check -r all '{file.name}'"
                )
            return
        replay(file, self.header)
        self.header.log_guid = NO_LOG
        self._write_header(file)

    def _write_header(self, file: Image) -> None:
        """Write the header that does not count now, which then does."""
        if self.header.sequence >> 63:
            raise damaged()
        self.header.sequence += 1
        slot = 1 - self._slot
        file.write(HEADERS[slot], self.header.sealed())
        file.flush()
        self._slot = slot

    def _entry(self, index: int) -> int:
        """Where in the table a block's entry is: an entry of the next chunk's map precedes it."""
        return index + index // self._ratio

    def locate(self, index: int) -> int:
        entry = self.table[self._entry(index)]
        state, place = entry & 7, entry >> 20 << 20
        if state in WITHOUT_DATA:
            return ZERO
        if state != PRESENT or not self._is_free(place):
            raise damaged()
        return place

    def _is_free(self, place: int) -> bool:
        """Whether a block at `place` overlaps nothing that describes the image."""
        end = place + self.cluster
        return not any(place < stop and start < end for start, stop in self._metadata)

    def allocate(self, index: int, count: int) -> tuple[int, int]:
        last = max(stop for _, stop in self._metadata)
        place = -(-max(self._file().size, last) // MIB) * MIB
        if place >> 62:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return place, count

    def connect(self, index: int, count: int, offset: int) -> None:
        for number in range(count):
            entry = offset + number * self.cluster | PRESENT
            self.table[self._entry(index + number)] = entry

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        self._begin()
        super()._write_from(offset, pieces)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._begin()
        super()._write_zeroes(offset, length, unmap=unmap)

    def _begin(self) -> None:
        """Before the first write: note that the contents are others."""
        with self.lock:
            if not self._begun:
                self.header.file_guid = uuid.uuid4().bytes_le
                self.header.data_guid = uuid.uuid4().bytes_le
                self._write_header(self._file())
                self._begun = True

    def changes(self) -> int:
        return self.table.changed

    def write_tables(self) -> None:
        self._file().flush()
        self.table.write()

    def check_image(self, repair: str = "") -> Check:
        """Opening has replayed the log; here, blocks must be in the file, each in its own place."""
        found = Check()
        owners: dict[int, int] = {}
        end = self._file().size
        with self.lock:
            for index in range(-(-self.size // self.cluster)):
                try:
                    place = self.locate(index)
                except OSError:
                    found.corrupt(f"ERROR: block {index} cannot be where the table says")
                    continue
                if place >= 0 and place >= end:
                    found.corrupt(f"ERROR: block {index} is beyond the end of the file")
                elif place >= 0 and owners.setdefault(place, index) != index:
                    found.corrupt(f"ERROR: block {index} is where block {owners[place]} is")
        return found


def table_entries(size: int, block: int, ratio: int) -> int:
    """Entries of the table: of blocks, and of the maps after each `ratio` of them."""
    blocks = -(-size // block)
    return blocks + max(blocks - 1, 0) // ratio


def _open(opening: Opening) -> Image:
    return Vhdx(opening.file(), readonly=opening.mode.readonly)


def _block_size(wanted: int, size: int) -> int:
    if not wanted:
        for limit, block in ((32 << 40, 64), (100 << 30, 32), (1 << 30, 16)):
            if size > limit:
                return block * MIB
        return 8 * MIB
    block = min(-(-wanted // MIB) * MIB, BLOCKS[1])
    if block & (block - 1):
        raise ImageError("Block size must be a power of two")
    return block


def _create(creation: Creation) -> None:
    options = creation.options
    size = -(-creation.size // SECTOR) * SECTOR
    if size > LARGEST:
        raise ImageError("Image size too large; max of 64TB")
    log = _log_size(options["log_size"])
    block = _block_size(options["block_size"], size)
    fixed = options["subformat"] == "fixed"
    zeroed = options["block_state_zero"] is not False
    ratio = (SECTOR << 23) // block
    blocks = -(-size // block)
    count = table_entries(size, block, ratio)
    table_offset = MIB + log
    table_length = max(-(-count * 8 // MIB) * MIB, MIB)
    facts = table_offset + table_length
    data = facts + MIB

    def entry(number: int) -> int:
        chunk, inside = divmod(number, ratio + 1)  # the last of each is for a map
        if inside == ratio:
            return 0
        if fixed:
            return data + (chunk * ratio + inside) * block | PRESENT
        return ZEROED if zeroed else NOT_PRESENT

    with creation.file() as file:
        file.truncate(data + (blocks * block if fixed else 0))
        _write_headers(file, log, table_offset, table_length)
        file.write(facts, _facts(size, block, LEAVE_ALLOCATED if fixed else 0))
        if fixed or zeroed:
            write_entries(file, table_offset, map(entry, range(count)), "Q", "<")


def _log_size(asked: int) -> int:
    """Bytes of a new image's log: whole MiB. Raises ImageError."""
    size: int = max(-(-asked // MIB) * MIB, MIB)
    if size >> 32:
        raise ImageError("Log size must be smaller than 4 GB")
    return size


def _write_headers(file: Image, log: int, table: int, table_length: int) -> None:
    """Write what stands in a new image's first MiB.

    `log`: bytes of the log, which follows. `table`, `table_length`: where the table of blocks is,
    in bytes; behind it are the metadata.
    """
    header = Header(
        sequence=1,
        file_guid=uuid.uuid4().bytes_le,
        data_guid=uuid.uuid4().bytes_le,
        log_length=log,
        log_offset=MIB,
    )
    regions = RegionHeader(count=2).emit()
    regions += Region(guid=BAT, offset=table, length=table_length).emit()
    regions += Region(guid=METADATA, offset=table + table_length, length=MIB).emit()
    regions = sealed(regions.ljust(REGION_BYTES, b"\0"))
    file.write(0, IDENTIFIER + "Pemu".encode("utf-16-le"))
    for offset in HEADERS:
        file.write(offset, header.sealed())
        header.sequence += 1
    for offset in REGION_TABLES:
        file.write(offset, regions)


def _facts(size: int, block: int, flags: int) -> bytes:
    """The metadata of a new image."""
    values = {
        FILE_PARAMETERS: struct.pack("<II", block, flags),
        DISK_SIZE: struct.pack("<Q", size),
        PAGE_83: uuid.uuid4().bytes_le,
        LOGICAL_SECTOR: struct.pack("<I", SECTOR),
        PHYSICAL_SECTOR: struct.pack("<I", SECTOR),
    }
    head = MetadataHeader(count=len(NEW_ITEMS)).emit()
    body = b""
    for what, length, item_flags in NEW_ITEMS:
        place = ITEMS_START + len(body)
        head += MetadataItem(guid=what, offset=place, length=length, flags=item_flags).emit()
        body += values[what]
    return head.ljust(ITEMS_START, b"\0") + body


DRIVER = Driver(
    "vhdx",
    _open,
    create=_create,
    creation=(
        Key("size", Size(), "Virtual disk size; max of 64TB."),
        Key("log_size", Size(), "Log size; min 1MB.", default=MIB),
        Key(
            "block_size",
            Size(),
            "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size.",
            default=0,
        ),
        Key(
            "subformat",
            Enum(("dynamic", "fixed")),
            "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'.",
        ),
        Key(
            "block_state_zero",
            Bool(),
            "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set to "
            "'off' when using 'qemu-img convert' with subformat=dynamic.",
        ),
    ),
)
