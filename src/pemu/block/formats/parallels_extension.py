"""The format extension of Parallels' images: a cluster of features; dirty bitmaps are known.

Source: docs/interop/parallels.txt of QEMU, which describes Parallels Disk Format Specification.
"""

from __future__ import annotations

import hashlib
import uuid

from pemu.block.dirty import dirty_ranges
from pemu.block.error import ImageError
from pemu.block.image import SECTOR, Bitmap, Image
from pemu.block.structure import U32, U64, Annotated, Structure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = 0xAB234CEF23DCEA87
BITMAP = 0x20385FAE252CB34A
"""Magic of the feature that is a dirty bitmap."""

LARGEST = 64 << 20
"""Bytes of a cluster of features that is read: Parallels' clusters have 1 MiB."""

_NONE, _ALL = 0, 1
"""Entries of a bitmap's table that stand for bits all alike."""

_PIECE = 1 << 20
"""Bytes of a bitmap that are read at once."""


class ExtensionHeader(Structure, byte_order="<"):
    """What the extension begins with; its features follow."""

    magic: U64 = MAGIC
    checksum: Annotated[bytes, 16]
    """MD5 of the rest of the cluster."""


class Feature(Structure, byte_order="<"):
    """Its data follow, filled up to 8 bytes; the last one's magic is 0."""

    magic: U64
    flags: U64 = 0
    length: U32
    unused: U32 = 0


class BitmapHeader(Structure, byte_order="<"):
    """A table follows: for each cluster of bits its place in sectors, _NONE or _ALL."""

    size: U64
    """Sectors of the disk."""
    id: Annotated[bytes, 16]
    granularity: U32
    """Sectors for which a bit stands."""
    entries: U32


class StoredBitmap:
    """A bitmap in `file`. cluster: bytes of the image's clusters. size: bytes of the disk.

    Raises ImageError for what cannot be.
    """

    def __init__(self, file: Image, data: bytes, cluster: int, size: int) -> None:
        header = BitmapHeader.parse(data, "a dirty bitmap of the format extension")
        self.name = str(uuid.UUID(bytes=header.id))
        self.granularity = header.granularity * SECTOR
        self._file, self._cluster, self._size = file, cluster, size
        if header.size * SECTOR != size:
            raise ImageError(
                f"dirty bitmap '{self.name}' is for a disk of {header.size} sectors, but this one "
                f"has {size // SECTOR}"
            )
        if not header.granularity or header.granularity & (header.granularity - 1):
            raise ImageError(
                f"dirty bitmap '{self.name}' has a granularity of {header.granularity} sectors, "
                "which is no power of 2"
            )
        bits = -(-size // self.granularity)
        expected = -(-bits // (8 * cluster))
        if header.entries != expected or len(data) < BitmapHeader.SIZE + 8 * expected:
            raise ImageError(
                f"dirty bitmap '{self.name}' has {header.entries} clusters of bits instead of "
                f"{expected}"
            )
        table = memoryview(data)[BitmapHeader.SIZE :][: 8 * expected]
        self.table = [place if place < 2 else place * SECTOR for place in table.cast("Q")]
        if any(place > 1 and place + cluster > file.size for place in self.table):
            raise ImageError(f"dirty bitmap '{self.name}' lies beyond the end of the file")

    @property
    def end(self) -> int:
        """Where in the file the last cluster of it ends, in bytes; 0 without any."""
        return max((place + self._cluster for place in self.table if place > 1), default=0)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """The parts of the disk that are dirty: offset and length, in bytes. Raises OSError."""
        shift = self.granularity.bit_length() - 1
        each = self._cluster * 8 << shift
        for number, place in enumerate(self.table):
            start = number * each
            if place == _ALL:
                yield start, min(each, self._size - start)
            elif place != _NONE:
                yield from self._cluster_ranges(place, start, shift)

    def _cluster_ranges(self, place: int, start: int, shift: int) -> Iterator[tuple[int, int]]:
        for done in range(0, self._cluster, _PIECE):
            first = start + (done * 8 << shift)
            if first >= self._size:
                return
            bits = self._file.read(place + done, min(_PIECE, self._cluster - done))
            used = -(-(self._size - first) >> shift)
            if used < 8 * len(bits):  # what stands for nothing may be anything
                bits = _cut(bits, used)
            yield from dirty_ranges(bits, shift, self._size, start=first)


class Extension:
    """The features whose cluster is `place` bytes into `file`; `cluster` and `size` as above."""

    def __init__(self, file: Image, place: int, cluster: int, size: int) -> None:
        if cluster > LARGEST:
            raise ImageError(f"Format Extension in a cluster of {cluster} bytes: {LARGEST} at most")
        if place + cluster > file.size:
            raise ImageError("Format Extension lies beyond the end of the file")
        data = file.read(place, cluster)
        header = ExtensionHeader.parse(data, "the Format Extension")
        if header.magic != MAGIC:
            raise ImageError(
                f"Wrong parallels Format Extension magic: {header.magic:#x}, expected: {MAGIC:#x}"
            )
        sum = hashlib.md5(memoryview(data)[ExtensionHeader.SIZE :], usedforsecurity=False)
        if sum.digest() != header.checksum:
            raise ImageError(
                "Wrong checksum in Format Extension header. Format extension is corrupted."
            )
        self.stored = [StoredBitmap(file, one, cluster, size) for one in _bitmaps(data)]
        names = [one.name for one in self.stored]
        if len(set(names)) < len(names):
            raise ImageError("Format Extension: two dirty bitmaps have the same id")
        self.end = max([place + cluster, *(one.end for one in self.stored)])
        """Where in the file the last of it ends, in bytes."""

    def bitmaps(self) -> list[Bitmap]:
        """The dirty bitmaps; they can only be read."""
        return [Bitmap(one.name, one.granularity) for one in self.stored]

    def dirty_ranges(self, name: str) -> Iterator[tuple[int, int]]:
        """As Image.dirty_ranges."""
        for one in self.stored:
            if one.name == name:
                return one.ranges()
        raise ImageError(f"Dirty bitmap '{name}' not found")


def _bitmaps(data: bytes) -> Iterator[bytes]:
    """The data of each bitmap among the features. Raises ImageError for unknown features."""
    at = ExtensionHeader.SIZE
    while True:
        feature = Feature.parse(data, "a feature of the Format Extension", at)
        if not feature.magic:
            return
        if feature.flags:
            raise ImageError("Flags for extension feature are unsupported")
        if feature.magic != BITMAP:
            raise ImageError(f"Unknown feature: {feature.magic:#x}")
        at += Feature.SIZE
        if at + feature.length > len(data):
            raise ImageError("Extension feature is cut short")
        yield data[at : at + feature.length]
        at += -(-feature.length // 8) * 8


def _cut(bits: bytes, count: int) -> bytes:
    """The first `count` bits; the rest of the last byte is 0."""
    cut = bytearray(bits[: -(-count // 8)])
    if count % 8:
        cut[-1] &= (1 << count % 8) - 1
    return bytes(cut)
