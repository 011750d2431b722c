"""Dirty bitmaps that are kept in qcow2 images: which parts of the disk have been written.

While bits are noted in memory only, the bitmaps are marked as in use in the file; one that still
is when the image is opened cannot be trusted any more. Bitmaps are written at the end.
"""

from __future__ import annotations

import errno
from array import array

from pemu.block.dirty import dirty_ranges
from pemu.block.error import ImageError
from pemu.block.formats.qcow2.header import BITMAPS, DIRTY, BitmapsExtension
from pemu.block.formats.qcow2.layout import OFFSET, check_offset
from pemu.block.formats.qcow2.snapshots import Qcow2Snapshots
from pemu.block.formats.qcow2.words import load_words, read_padded
from pemu.block.image import Bitmap, Image
from pemu.block.structure import U8, U16, U32, U64, Structure
from pemu.records import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MOST = 65535
LONGEST_NAME = 1023
SMALLEST_GRANULARITY, LARGEST_GRANULARITY = 9, 31
"""Bits of the number of bytes that one bit stands for. All of these are QEMU's limits."""

LARGEST = 512 << 20
"""Bytes of one bitmap, QEMU's limit."""

_IN_USE, _AUTO, _EXTRA_COMPATIBLE = 1, 2, 4
_DIRTY_TRACKING = 1
_ALL_ONES = 1


class Entry(Structure, byte_order=">"):
    """The fixed part of an entry of the directory of bitmaps."""

    table_offset: U64
    table_size: U32
    flags: U32
    kind: U8 = _DIRTY_TRACKING
    granularity_bits: U8
    name_size: U16
    extra_size: U32 = 0


@dataclass
class Kept:
    """A bitmap. bits: where they are in memory. place: of its entry in the file, in bytes."""

    name: str
    shift: int
    flags: int
    table_offset: int = 0
    table_size: int = 0
    extra: bytes = b""
    place: int = 0
    bits: bytearray | None = None
    changed: bool = False

    @property
    def enabled(self) -> bool:
        """Whether writes are recorded in it."""
        return bool(self.flags & _AUTO)

    def emit(self) -> bytes:
        """Its entry in the directory of bitmaps."""
        name = self.name.encode("utf-8", "surrogateescape")
        entry = Entry(
            table_offset=self.table_offset,
            table_size=self.table_size,
            flags=self.flags,
            granularity_bits=self.shift,
            name_size=len(name),
            extra_size=len(self.extra),
        )
        data = entry.emit() + self.extra + name
        return data + bytes(-len(data) % 8)


class Qcow2Bitmaps(Qcow2Snapshots):
    """A qcow2 image, as far as its dirty bitmaps go."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._kept: list[Kept] = []
        self._noting = False
        """Whether enabled bitmaps are marked as in use in the file."""
        self.bitmaps_lost = False
        """Whether the header names bitmaps that have not been kept up to date."""

    def load_bitmaps(self) -> None:
        """Read the directory of bitmaps. Raises ImageError, OSError."""
        extension, header = self.header.bitmaps, self.header
        if extension is None:
            if header.more.autoclear & BITMAPS:
                raise ImageError("The bitmaps feature is set, but there are no bitmaps")
            return
        if not header.more.autoclear & BITMAPS:
            header.bitmaps = None
            self.bitmaps_lost = True
            self.metadata.warn(
                "WARNING: a program lacking bitmap support modified this file, so all bitmaps are "
                "now considered inconsistent\n"
            )
            return
        size, offset = extension.directory_size, extension.directory_offset
        if not 1 <= extension.count <= MOST:
            raise ImageError(f"bitmaps_ext: invalid number of bitmaps: {extension.count}")
        if size > MOST * (Entry.SIZE + LONGEST_NAME):
            raise ImageError(f"bitmaps_ext: bitmap directory is too large: {size} bytes")
        check_offset("bitmaps_ext: bitmap directory", offset, size, self.layout)
        if offset + size > self.metadata.file.size:
            raise ImageError("bitmaps_ext: bitmap directory is beyond the end of the file")
        self._kept = list(self._parse(bytes(read_padded(self.metadata.file, offset, size)), offset))
        if len(self._kept) != extension.count:
            raise ImageError("bitmaps_ext: the directory has another number of bitmaps")

    def _parse(self, data: bytes, base: int) -> Iterator[Kept]:
        at = 0
        names = set()
        while at < len(data):
            entry = Entry.parse(data, "An entry of the directory of bitmaps", at)
            start = at + Entry.SIZE + entry.extra_size
            name = data[start : start + entry.name_size].decode("utf-8", "surrogateescape")
            if start + entry.name_size > len(data) or not 1 <= entry.name_size <= LONGEST_NAME:
                raise ImageError("Bitmap directory entry has a name that is too long, or none")
            if not SMALLEST_GRANULARITY <= entry.granularity_bits <= LARGEST_GRANULARITY:
                raise ImageError(
                    f"Bitmap '{name}' has an unsupported granularity: 2^{entry.granularity_bits}"
                )
            if entry.kind != _DIRTY_TRACKING or entry.flags & ~7:
                raise ImageError(f"Bitmap '{name}' is of an unknown kind")
            if entry.extra_size and not entry.flags & _EXTRA_COMPATIBLE:
                raise ImageError(f"Bitmap '{name}' has unknown extra data")
            check_offset(f"Bitmap '{name}'", entry.table_offset, entry.table_size * 8, self.layout)
            if entry.table_offset + entry.table_size * 8 > self.metadata.file.size:
                raise ImageError(f"Bitmap '{name}' is beyond the end of the file")
            if name in names:
                raise ImageError(f"There are two bitmaps with the name '{name}'")
            names.add(name)
            yield Kept(
                name, entry.granularity_bits, entry.flags, entry.table_offset, entry.table_size,
                data[at + Entry.SIZE : start], base + at,
            )  # fmt: skip
            at = -(-(start + entry.name_size) // 8) * 8

    def bitmap_areas(self) -> Iterator[tuple[int, int]]:
        """Offset and length of all that belongs to bitmaps in the file."""
        extension = self.header.bitmaps
        if extension is None:
            return
        yield extension.directory_offset, extension.directory_size
        for one in self._kept:
            if one.table_offset:
                yield from self._areas(one)

    def _areas(self, one: Kept) -> Iterator[tuple[int, int]]:
        yield one.table_offset, one.table_size * 8
        for entry in load_words(self.metadata.file, one.table_offset, one.table_size):
            if entry & OFFSET:
                yield entry & OFFSET, self.layout.cluster

    # Bits

    def _length(self, one: Kept) -> int:
        """Bytes of the bits of a bitmap."""
        bits = -(-self.size >> one.shift)
        return -(-bits // 8)

    def _bits(self, one: Kept) -> bytearray:
        """The bits of a bitmap. Raises ImageError, OSError."""
        if one.bits is None:
            one.bits = self._load(one)
        return one.bits

    def _load(self, one: Kept) -> bytearray:
        length, cluster = self._length(one), self.layout.cluster
        if length > LARGEST:
            raise ImageError(f"Bitmap '{one.name}' is too large: {length} bytes")
        if one.table_size != self.layout.clusters(length):
            raise ImageError(f"Bitmap '{one.name}' does not fit the size of the disk")
        bits = bytearray()
        for entry in load_words(self.metadata.file, one.table_offset, one.table_size):
            place = entry & OFFSET
            if place % cluster:
                raise OSError(errno.EIO, f"bitmap '{one.name}' is damaged")
            if place:
                bits += read_padded(self.metadata.file, place, cluster)
            else:
                bits += b"\xff" * cluster if entry & _ALL_ONES else bytes(cluster)
        del bits[length:]
        return bits

    def _bitmap(self, name: str, *, usable: bool = True) -> Kept:
        for one in self._kept:
            if one.name == name:
                if usable and self._inconsistent(one):
                    raise ImageError(
                        f"Bitmap '{name}' is inconsistent and cannot be used; remove it"
                    )
                return one
        raise ImageError(f"Dirty bitmap '{name}' not found")

    def _inconsistent(self, one: Kept) -> bool:
        return bool(one.flags & _IN_USE) and not one.changed

    def bitmaps(self) -> list[Bitmap]:
        with self.lock:
            return [
                Bitmap(one.name, 1 << one.shift, one.enabled, self._inconsistent(one))
                for one in self._kept
            ]

    def dirty_ranges(self, name: str) -> Iterator[tuple[int, int]]:
        with self.lock:
            one = self._bitmap(name)
            bits = bytes(self._bits(one))
        return dirty_ranges(bits, one.shift, self.size)

    # Noting

    def _expect_sound(self) -> None:
        super()._expect_sound()
        if self._kept and not self._noting and not self.readonly:
            self._begin_noting()

    def _begin_noting(self) -> None:
        """The disk will change: enabled bitmaps are in use from now on, in the file, too."""
        self._noting = True
        for one in self._kept:
            if one.enabled and not one.flags & _IN_USE:
                self._bits(one)
                one.changed = True
                one.flags |= _IN_USE
                flags = one.flags.to_bytes(4, "big")
                self.metadata.file.write(one.place + Entry.OFFSETS["flags"], flags)
                self.written = self._note
        if self.written is not None:
            self.metadata.file.flush()

    def _note(self, offset: int, length: int) -> None:
        """This part of the disk has been written."""
        for one in self._kept:
            if one.enabled and one.changed and one.bits is not None and offset < self.size:
                _set(one.bits, offset >> one.shift, (offset + length - 1) >> one.shift)

    def truncate(self, size: int, *, preallocation: str = "off") -> None:
        with self.lock:
            for one in self._kept:
                if self._inconsistent(one):
                    raise ImageError(
                        f"Bitmap '{one.name}' is inconsistent and cannot be used; remove it"
                    )
                self._bits(one)
            super().truncate(size, preallocation=preallocation)
            for one in self._kept:
                bits = self._bits(one)
                length = self._length(one)
                del bits[length:]
                bits.extend(bytes(length - len(bits)))
                one.changed = True
            if self._kept:
                self._store_bitmaps()

    # Changing

    @property
    def keeps_bitmaps(self) -> bool:
        return self.header.fields.version >= 3

    def add_bitmap(self, name: str, granularity: int = 0) -> None:
        granularity = granularity or min(max(self.layout.cluster, 4096), 65536)
        shift = granularity.bit_length() - 1
        if granularity & (granularity - 1):
            raise ImageError("Granularity must be power of 2 and at least 512")
        if not SMALLEST_GRANULARITY <= shift <= LARGEST_GRANULARITY:
            raise ImageError(
                f"Granularity must be from {1 << SMALLEST_GRANULARITY} to "
                f"{1 << LARGEST_GRANULARITY} bytes"
            )
        if not self.keeps_bitmaps:
            raise ImageError("Cannot store dirty bitmaps in qcow2 v2 files")
        if not name or len(name.encode("utf-8", "surrogateescape")) > LONGEST_NAME:
            raise ImageError(f"Bitmap name must have 1 to {LONGEST_NAME} bytes")
        with self.lock:
            if any(one.name == name for one in self._kept):
                raise ImageError(f"Bitmap already exists: {name}")
            if len(self._kept) >= MOST:
                raise ImageError("Maximum number of persistent bitmaps is already reached")
            new = Kept(name, shift, _AUTO, changed=True)
            if self._length(new) > LARGEST:
                raise ImageError(f"Bitmap '{name}' would be too large; use a larger granularity")
            new.bits = bytearray(self._length(new))
            self._kept.append(new)
            self._store_bitmaps()

    def remove_bitmap(self, name: str) -> None:
        with self.lock:
            one = self._bitmap(name, usable=False)
            self._kept.remove(one)
            self._store_bitmaps([one])

    def clear_bitmap(self, name: str) -> None:
        with self.lock:
            one = self._bitmap(name)
            one.bits = bytearray(self._length(one))
            one.changed = True
            self._store_bitmaps()

    def enable_bitmap(self, name: str, *, enabled: bool) -> None:
        with self.lock:
            one = self._bitmap(name)
            self._bits(one)
            one.flags = one.flags & ~_AUTO | (_AUTO if enabled else 0)
            one.changed = True
            self._store_bitmaps()

    def merge_bitmap(self, name: str, source: Image, source_name: str) -> None:
        found = list(source.dirty_ranges(source_name))
        with self.lock:
            one = self._bitmap(name)
            if source.size != self.size:
                raise ImageError(
                    f"Bitmaps are of different sizes (destination size is {self.size} and source "
                    f"size is {source.size})"
                )
            bits = self._bits(one)
            for offset, length in found:
                _set(bits, offset >> one.shift, (offset + length - 1) >> one.shift)
            one.changed = True
            self._store_bitmaps()

    def save_bitmaps(self) -> None:
        """Write the bitmaps that have changed; they are not in use any more. Raises OSError."""
        if any(one.changed for one in self._kept):
            self._store_bitmaps()

    def settle(self) -> None:
        """Write all that is still to be written. Raises OSError."""
        with self.lock:
            metadata = self.metadata
            if metadata.broken or self.readonly:
                return
            self.save_bitmaps()
            metadata.commit(accurate=True)
            metadata.refcounts.write()
            if self.header.has(DIRTY):
                metadata.sync()
                metadata.set_incompatible(DIRTY, on=False)

    def _store_bitmaps(self, removed: list[Kept] | None = None) -> None:
        """Write the bitmaps that have changed, and a new directory, and have the header name it."""
        if self.readonly:
            raise ImageError(f"'{self.name}' is read-only")
        layout, metadata, header = self.layout, self.metadata, self.header
        freed = [area for one in removed or () if one.table_offset for area in self._areas(one)]
        if header.bitmaps is not None:
            freed.append((header.bitmaps.directory_offset, header.bitmaps.directory_size))
        for one in self._kept:
            if one.changed:
                if one.table_offset:
                    freed += self._areas(one)
                one.flags &= ~_IN_USE
                self._write_bits(one)
        self._noting = False
        self.written = None
        directory = b"".join(one.emit() for one in self._kept)
        header.bitmaps = None
        header.more.autoclear &= ~BITMAPS
        if directory:
            place = metadata.take_table(layout.clusters(len(directory)), "bitmap-directory")
            metadata.file.write(place, directory + bytes(-len(directory) % layout.cluster))
            header.bitmaps = BitmapsExtension(
                count=len(self._kept), directory_size=len(directory), directory_offset=place
            )
            header.more.autoclear |= BITMAPS
            for one in self._kept:
                one.place = place
                place += len(one.emit())
                one.changed = False
        metadata.commit(accurate=True)
        metadata.write_header()
        for offset, length in freed:
            metadata.free(offset, length)
        metadata.commit()

    def _write_bits(self, one: Kept) -> None:
        layout, metadata = self.layout, self.metadata
        cluster = layout.cluster
        bits = self._bits(one)
        words = array("Q")
        for at in range(0, len(bits), cluster):
            piece = bytes(bits[at : at + cluster]).ljust(cluster, b"\0")
            if not any(piece):
                words.append(0)
                continue
            place = metadata.take_table(1, "bitmap")
            metadata.file.write(place, piece)
            words.append(place)
        one.table_size = len(words)
        length = max(len(words) * 8, 1)
        one.table_offset = metadata.take_table(layout.clusters(length), "bitmap-table")
        metadata.write_table(one.table_offset, words)

    def bitmap_details(self) -> list[dict[str, Any]]:
        names = ((_IN_USE, "in-use"), (_AUTO, "auto"))
        return [
            {
                "flags": [name for flag, name in names if one.flags & flag],
                "name": one.name,
                "granularity": 1 << one.shift,
            }
            for one in self._kept
        ]


def _set(bits: bytearray, first: int, last: int) -> None:
    """Set a range of bits, as far as there are any."""
    last = min(last, len(bits) * 8 - 1)
    if last < first:
        return
    low, high = first // 8, last // 8
    start, stop = 0xFF << first % 8 & 0xFF, 0xFF >> 7 - last % 8
    if low == high:
        bits[low] |= start & stop
        return
    bits[low] |= start
    bits[high] |= stop
    bits[low + 1 : high] = b"\xff" * (high - low - 1)
