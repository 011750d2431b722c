"""Apple's disk images (UDIF), read only: chunks that are raw, zeros, or compressed.

A trailer says where the tables of chunks are: in a property list or, in old images, in a resource
fork. zlib and bzip2 are always there, LZFSE with the package `pyliblzfse`. Left out: ADC.
"""

from __future__ import annotations

import bz2
import plistlib
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.image import SECTOR, Extent, Image, damaged
from pemu.block.opening import Opening
from pemu.block.pieces import Buffers, clear, take
from pemu.block.structure import U32, U64, Annotated, Structure

LARGEST_TABLES = 64 << 20
"""Bytes of the property list or the resource fork."""

LARGEST_CHUNK = 64 << 20
MOST_CHUNKS = 1 << 20
MOST_SECTORS = 1 << 53

ZERO, RAW, IGNORED = 0, 1, 2
ADC, ZLIB, BZIP2, LZFSE = 0x80000004, 0x80000005, 0x80000006, 0x80000007
COMMENT, END = 0x7FFFFFFE, 0xFFFFFFFF

KEPT = 4
"""Decoded chunks that are kept in memory."""


class Trailer(Structure, byte_order=">"):
    """At the end of the file."""

    signature: Annotated[bytes, 4]
    version: U32
    header_size: U32
    flags: U32
    running_offset: U64
    data_offset: U64
    data_length: U64
    resource_offset: U64
    resource_length: U64
    segment: Annotated[bytes, 24]
    data_checksum: Annotated[bytes, 136]
    plist_offset: U64
    plist_length: U64
    reserved: Annotated[bytes, 120]
    checksum: Annotated[bytes, 136]
    variant: U32
    sectors: U64
    rest: Annotated[bytes, 12]


class Mish(Structure, byte_order=">"):
    """Before the chunks of one partition."""

    signature: Annotated[bytes, 4]
    version: U32
    sector: U64
    sectors: U64
    data_offset: U64
    buffers: U32
    descriptors: U32
    reserved: Annotated[bytes, 24]
    checksum: Annotated[bytes, 136]
    count: U32


class ChunkEntry(Structure, byte_order=">"):
    """A chunk as the tables have it; its sector counts from the partition's."""

    kind: U32
    comment: U32
    sector: U64
    sectors: U64
    offset: U64
    length: U64


class Chunk(NamedTuple):
    """A stretch of the disk in sectors, and where in the file it is in bytes."""

    sector: int
    sectors: int
    kind: int
    offset: int
    length: int


class Dmg(Image):
    """An image in `file`. Raises ImageError, OSError."""

    format: ClassVar[str] = "dmg"
    writable = False

    def __init__(self, file: Image) -> None:
        trailer = _trailer(file)
        chunks = sorted(_chunks(file, trailer))
        _check(chunks)
        if trailer.sectors > MOST_SECTORS:
            raise ImageError(f"a disk of {trailer.sectors} sectors cannot be")
        super().__init__(file.name, trailer.sectors * SECTOR, readonly=True)
        self.children["file"] = file
        self.dirty = None
        self._chunks = chunks
        self._starts = array("Q", (one.sector * SECTOR for one in chunks))
        self._decoded: dict[int, bytes] = {}

    def _runs(self, offset: int, length: int) -> Iterator[tuple[int, int, int, int]]:
        """The pieces of a range: offset, length, which chunk (-1: none), offset there."""
        end = offset + length
        while offset < end:
            number = bisect_right(self._starts, offset) - 1
            start = self._starts[number] if number >= 0 else 0
            inside = offset - start
            size = self._chunks[number].sectors * SECTOR if number >= 0 else 0
            if inside < size:
                part = min(size - inside, end - offset)
                yield offset, part, number, inside
            else:
                after = self._starts[number + 1] if number + 1 < len(self._starts) else end
                part = min(after, end) - offset
                yield offset, part, -1, 0
            offset += part

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        rest = list(buffers)
        file = self.children["file"]
        for _, length, number, inside in self._runs(offset, sum(map(len, buffers))):
            taken, rest = take(rest, length)
            if number < 0:
                raise damaged()
            chunk = self._chunks[number]
            if chunk.kind in (ZERO, IGNORED):
                for view in taken:
                    clear(view)
            elif chunk.kind == RAW:
                if chunk.offset + inside + length > file.size:
                    raise damaged()
                file.read_into(chunk.offset + inside, taken)
            else:
                data = memoryview(self._contents(number))[inside:]
                for view in taken:
                    view[:] = data[: len(view)]
                    data = data[len(view) :]

    def _contents(self, number: int) -> bytes:
        """What a compressed chunk holds."""
        with self.lock:
            found = self._decoded.get(number)
            if found is None:
                while len(self._decoded) >= KEPT:
                    del self._decoded[next(iter(self._decoded))]
                found = self._decoded[number] = self._decode(self._chunks[number])
            return found

    def _decode(self, chunk: Chunk) -> bytes:
        file = self.children["file"]
        if chunk.offset + chunk.length > file.size:
            raise damaged()
        packed = file.read(chunk.offset, chunk.length)
        size = chunk.sectors * SECTOR
        try:
            if chunk.kind == ZLIB:
                data = zlib.decompressobj().decompress(packed, size)
            elif chunk.kind == BZIP2:
                data = bz2.BZ2Decompressor().decompress(packed, size)
            else:
                data = _lzfse(packed)
        except (zlib.error, OSError, EOFError, ValueError):
            raise damaged() from None
        if len(data) != size:
            raise damaged()
        return data

    def _status(self, offset: int, length: int) -> Extent:
        _, part, number, inside = next(self._runs(offset, length))
        if number < 0:
            return Extent(part)
        chunk = self._chunks[number]
        if chunk.kind in (ZERO, IGNORED):
            return Extent(part, zero=True, data=False)
        if chunk.kind == RAW:
            return Extent(part, offset=chunk.offset + inside, file=self.file)
        return Extent(part, compressed=True)


def _lzfse(packed: bytes) -> bytes:
    import liblzfse  # type: ignore[import-not-found]

    data: bytes = liblzfse.decompress(packed)
    return data


def _trailer(file: Image) -> Trailer:
    """The trailer, which ends with the file or in its last sector. Raises ImageError."""
    start = max(file.size - 1023, 0)
    tail = file.read(start, file.size - start)
    at = tail.rfind(b"koly")
    if at < 0 or len(tail) - at < Trailer.SIZE:
        raise ImageError("Could not locate UDIF trailer in dmg file")
    return Trailer.parse(tail, "the UDIF trailer", at)


def _chunks(file: Image, trailer: Trailer) -> Iterator[Chunk]:
    """All chunks. Raises ImageError, OSError."""
    count = 0
    for table in _tables(file, trailer):
        mish = Mish.parse(table, "a table of chunks")
        for number in range(mish.count):
            place = Mish.SIZE + number * ChunkEntry.SIZE
            entry = ChunkEntry.parse(table, "a table of chunks", place)
            if entry.kind in (COMMENT, END) or not entry.sectors:
                continue
            _check_kind(entry)
            sector, offset = mish.sector + entry.sector, trailer.data_offset + entry.offset
            if sector + entry.sectors > MOST_SECTORS:
                raise ImageError(f"a chunk begins at sector {sector}, which cannot be")
            yield Chunk(sector, entry.sectors, entry.kind, offset, entry.length)
            count += 1
            if count > MOST_CHUNKS:
                raise ImageError(f"the image has more than {MOST_CHUNKS} chunks")


def _check_kind(entry: ChunkEntry) -> None:
    """Raise ImageError for a chunk that cannot be read."""
    if entry.kind in (ZERO, IGNORED):
        return
    if entry.kind == ADC:
        raise ImageError("chunks compressed with ADC are not supported yet")
    if entry.kind not in (RAW, ZLIB, BZIP2, LZFSE):
        raise ImageError(f"a chunk is of the unknown kind {entry.kind:#x}")
    if entry.kind == LZFSE:
        _need_lzfse()
    if entry.kind == RAW:
        if entry.length < entry.sectors * SECTOR:
            raise ImageError("a raw chunk is shorter than its sectors")
        return
    if entry.sectors * SECTOR > LARGEST_CHUNK or entry.length > LARGEST_CHUNK:
        raise ImageError(
            f"a compressed chunk of {entry.sectors} sectors is larger than max ({LARGEST_CHUNK})"
        )


def _need_lzfse() -> None:
    from importlib.util import find_spec

    if find_spec("liblzfse") is None:
        raise ImageError(
            "chunks compressed with LZFSE need a Python package; install it with "
            "'pip install pyliblzfse'"
        )


def _tables(file: Image, trailer: Trailer) -> Iterator[bytes]:
    """The tables of chunks."""
    places = (
        (trailer.resource_offset, trailer.resource_length, _in_resources),
        (trailer.plist_offset, trailer.plist_length, _in_plist),
    )
    for offset, length, parse in places:
        if not length:
            continue
        if length > LARGEST_TABLES or offset + length > file.size:
            raise ImageError(f"the tables of chunks, {length} bytes at {offset}, cannot be there")
        yield from parse(file.read(offset, length))
        return
    raise ImageError("the UDIF trailer names neither a property list nor a resource fork")


def _in_resources(data: bytes) -> Iterator[bytes]:
    at = int.from_bytes(data[:4], "big")
    end = min(at + int.from_bytes(data[8:12], "big"), len(data))
    while at + 4 <= end:
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"mish":
            yield data[at + 4 : at + 4 + length]
        at += 4 + length


def _in_plist(data: bytes) -> Iterator[bytes]:
    try:
        found = plistlib.loads(data)
        tables = [one["Data"] for one in found["resource-fork"]["blkx"]]
    except Exception as error:  # plistlib lets errors of several modules through
        raise ImageError(f"the property list cannot be read: {str(error)[:80]}") from None
    for table in tables:
        if not isinstance(table, bytes):
            raise ImageError("the property list has something else than tables of chunks")
        if table[:4] == b"mish":
            yield table


def _check(chunks: list[Chunk]) -> None:
    """Raise ImageError where chunks overlap."""
    end = 0
    for one in chunks:
        if one.sector < end:
            raise ImageError(f"the chunk at sector {one.sector} overlaps the one before it")
        end = one.sector + one.sectors


def _open(opening: Opening) -> Image:
    opening.require_readonly()
    return Dmg(opening.file())


DRIVER = Driver("dmg", _open)
