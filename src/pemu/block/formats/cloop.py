"""Compressed loop images of Knoppix (cloop 2), read only: blocks that zlib has compressed."""

from __future__ import annotations

import zlib
from typing import ClassVar

from pemu.block.clusters import OTHER, ClusterImage
from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.image import SECTOR, Image, Limits, damaged
from pemu.block.opening import Opening
from pemu.block.structure import U32, Annotated, Structure
from pemu.block.table import Table

LARGEST_BLOCK = 64 << 20
LARGEST_TABLE = 512 << 20


class Header(Structure, byte_order=">"):
    """At the beginning of the file; a script precedes the numbers, the offsets follow them."""

    script: Annotated[bytes, 128]
    block_size: U32
    blocks: U32


class Cloop(ClusterImage):
    """An image in `file`. Raises ImageError, OSError."""

    format: ClassVar[str] = "cloop"
    writable = False

    def __init__(self, file: Image) -> None:
        header = Header.read(file, "the cloop header")
        block = header.block_size
        if not block:
            raise ImageError("block_size cannot be zero")
        if block % SECTOR:
            raise ImageError(f"block_size {block} must be divisible by 512")
        if block > LARGEST_BLOCK:
            raise ImageError(f"block_size {block} must be 64 MB or less")
        if (header.blocks + 1) * 8 > LARGEST_TABLE:
            raise ImageError("image requires too many offsets, try increasing block size")
        end = Header.SIZE + (header.blocks + 1) * 8
        if end > file.size:
            raise ImageError(f"the offsets end at byte {end}, but the file has only {file.size}")
        super().__init__(file.name, header.blocks * block, block, readonly=True)
        self.children["file"] = file
        self.dirty = None
        self._offsets = Table(file, Header.SIZE, header.blocks + 1, "Q", ">")
        self._decoded = (-1, b"")

    def locate(self, index: int) -> int:
        return OTHER

    def stretch(self, index: int) -> tuple[int, int]:
        return OTHER, len(self._offsets) - 1 - index

    def read_other(self, index: int) -> bytes:
        with self.lock:
            if self._decoded[0] != index:
                self._decoded = (index, self._decode(index))
            return self._decoded[1]

    def _decode(self, index: int) -> bytes:
        start, end = self._offsets[index], self._offsets[index + 1]
        if not 0 < end - start <= 2 * self.cluster or end > self._file().size:
            raise damaged()
        try:
            data = zlib.decompressobj().decompress(
                self._file().read(start, end - start), self.cluster
            )
        except zlib.error:
            raise damaged() from None
        if len(data) != self.cluster:
            raise damaged()
        return data

    def limits(self) -> Limits:
        return Limits()


def _open(opening: Opening) -> Image:
    opening.require_readonly()
    return Cloop(opening.file())


DRIVER = Driver("cloop", _open)
