"""The structures of VHDX images, and how they are sealed (MS-VHDX)."""

from __future__ import annotations

import uuid
from array import array
from functools import cache
from typing import Self

from pemu.block.error import ImageError
from pemu.block.image import Image
from pemu.block.structure import U16, U32, U64, Annotated, Structure

MIB = 1 << 20
IDENTIFIER = b"vhdxfile"
HEADERS = (64 << 10, 128 << 10)
REGION_TABLES = (192 << 10, 256 << 10)
HEADER_BYTES = 4096
REGION_BYTES = 64 << 10
MOST_REGIONS = 2047
REQUIRED = 1

Guid = Annotated[bytes, 16]


def guid(text: str) -> bytes:
    """A GUID as it is in files."""
    return uuid.UUID(text).bytes_le


BAT = guid("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA = guid("8b7ca206-4790-4b9a-b8fe-575f050f886e")

FILE_PARAMETERS = guid("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
DISK_SIZE = guid("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
PAGE_83 = guid("beca12ab-b2e6-4523-93ef-c309e000c746")
LOGICAL_SECTOR = guid("8141bf1d-a96f-4709-ba47-f233a8faab5f")
PHYSICAL_SECTOR = guid("cda348c7-445d-4471-9cc9-e9885251c556")
PARENT_LOCATOR = guid("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")


@cache
def _crc_table() -> array[int]:
    table = array("I")
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ 0x82F63B78 if number & 1 else number >> 1
        table.append(number)
    return table


def crc32c(data: bytes) -> int:
    """The checksum with Castagnoli's polynomial."""
    table = _crc_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def sealed(data: bytes) -> bytes:
    """A structure's bytes with the checksum right, which is in bytes 4 to 7."""
    zeroed = data[:4] + bytes(4) + data[8:]
    return data[:4] + crc32c(zeroed).to_bytes(4, "little") + data[8:]


def is_whole(data: bytes) -> bool:
    """Whether a structure's checksum is right."""
    return sealed(data) == data


class Header(Structure, byte_order="<"):
    """One of the two headers; the one with the larger number counts."""

    signature: Annotated[bytes, 4] = b"head"
    checksum: U32 = 0
    sequence: U64
    file_guid: Guid
    data_guid: Guid
    log_guid: Guid = b""
    log_version: U16 = 0
    version: U16 = 1
    log_length: U32
    log_offset: U64

    def sealed(self) -> bytes:
        """All of the header's 4 KiB."""
        return sealed(self.emit().ljust(HEADER_BYTES, b"\0"))

    @classmethod
    def find(cls, file: Image) -> tuple[Self, int]:
        """The header that counts, and which one that is. Raises ImageError, OSError."""
        found: list[tuple[Self, int]] = []
        for number, offset in enumerate(HEADERS):
            data = file.read(offset, HEADER_BYTES) if offset + HEADER_BYTES <= file.size else b""
            if data[:4] == b"head" and is_whole(data):
                header = cls.parse(data)
                if header.version == 1 and header.log_version == 0:
                    found.append((header, number))
        numbers = {one.sequence for one, _ in found}
        if not found or len(numbers) < len(found):
            raise ImageError("No valid VHDX header found")
        return max(found, key=lambda one: one[0].sequence)


class RegionHeader(Structure, byte_order="<"):
    """Before the regions."""

    signature: Annotated[bytes, 4] = b"regi"
    checksum: U32 = 0
    count: U32
    reserved: U32 = 0


class Region(Structure, byte_order="<"):
    """A part of the file with a purpose."""

    guid: Guid
    offset: U64
    length: U32
    flags: U32 = REQUIRED


class MetadataHeader(Structure, byte_order="<"):
    """Before the items."""

    signature: Annotated[bytes, 8] = b"metadata"
    reserved: U16 = 0
    count: U16
    unused: Annotated[bytes, 20] = b""


class MetadataItem(Structure, byte_order="<"):
    """Where in the region a fact is."""

    guid: Guid
    offset: U32
    length: U32
    flags: U32
    reserved: U32 = 0


IS_REQUIRED = 4
"""An item's flag: who does not know it must not open the image."""

NEW_ITEMS = (
    (FILE_PARAMETERS, 8, 4),
    (DISK_SIZE, 8, 6),
    (PAGE_83, 16, 6),
    (LOGICAL_SECTOR, 4, 6),
    (PHYSICAL_SECTOR, 4, 6),
)
"""Items of a new image: what, bytes, flags."""

ITEMS_START = 64 << 10


def regions(file: Image) -> dict[bytes, Region]:
    """The regions by their GUIDs. Raises ImageError, OSError."""
    for offset in REGION_TABLES:
        if offset + REGION_BYTES > file.size:
            continue
        data = file.read(offset, REGION_BYTES)
        if data[:4] != b"regi":
            continue
        count = RegionHeader.parse(data).count
        if count > MOST_REGIONS or not is_whole(data):
            continue
        found = {}
        for number in range(count):
            place = RegionHeader.SIZE + number * Region.SIZE
            region = Region.parse(data, "a VHDX region", place)
            if region.guid in found:
                raise ImageError(f"the VHDX region at {region.offset:#x} is there twice")
            if region.guid not in (BAT, METADATA) and region.flags & REQUIRED:
                raise ImageError(f"VHDX region {uuid.UUID(bytes_le=region.guid)} is not known")
            found[region.guid] = region
        if BAT not in found or METADATA not in found:
            raise ImageError("the VHDX region table lacks the BAT or the metadata")
        return found
    raise ImageError("No valid VHDX region table found")


def check_places(header: Header, found: dict[bytes, Region], file: Image) -> None:
    """Raise ImageError where regions or the log overlap, or are not within the file."""
    places = [(one.offset, one.length, "region") for one in found.values()]
    places.append((header.log_offset, header.log_length, "log"))
    end = MIB
    for offset, length, what in sorted(places):
        if offset % MIB or length % MIB or offset < end:
            raise ImageError(f"the VHDX {what} at {offset:#x}, {length} bytes, cannot be there")
        end = offset + length
        if end > -(-file.size // MIB) * MIB:
            raise ImageError(
                f"the VHDX {what} ends at byte {end}, but the file has only {file.size}"
            )


def metadata(file: Image, region: Region) -> dict[bytes, bytes]:
    """The facts of the metadata by their GUIDs. Raises ImageError, OSError."""
    head = file.read(region.offset, min(ITEMS_START, file.size - region.offset))
    table = MetadataHeader.parse(head, "the VHDX metadata")
    if table.signature != b"metadata" or table.count > MOST_REGIONS:
        raise ImageError("the VHDX metadata table is damaged")
    known = {one for one, _, _ in NEW_ITEMS}
    found = {}
    for number in range(table.count):
        place = MetadataHeader.SIZE + number * MetadataItem.SIZE
        item = MetadataItem.parse(head, "a VHDX metadata item", place)
        if item.guid == PARENT_LOCATOR:
            continue
        if item.guid not in known:
            if item.flags & IS_REQUIRED:
                raise ImageError(f"VHDX metadata {uuid.UUID(bytes_le=item.guid)} is not known")
            continue
        start = region.offset + item.offset
        if item.offset + item.length > region.length or item.length > 1 << 10:
            raise ImageError(f"the VHDX metadata item at {item.offset:#x} is not in its region")
        found[item.guid] = file.read(start, item.length)
    for what, length, _ in NEW_ITEMS:
        if what != PAGE_83 and len(found.get(what, b"")) < length:
            raise ImageError(f"VHDX metadata {uuid.UUID(bytes_le=what)} is missing")
    return found
