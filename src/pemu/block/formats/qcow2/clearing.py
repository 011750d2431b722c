"""Zeros and discarded contents of qcow2 images, and changes of their size."""

from __future__ import annotations

from array import array

from pemu.block.error import ImageError
from pemu.block.extents import reads_as_zeros
from pemu.block.formats.qcow2.header import LARGEST_L1, RAW_EXTERNAL_DATA
from pemu.block.formats.qcow2.layout import (
    ALL_ZERO,
    COMPRESSED,
    COPIED,
    DATA,
    OFFSET,
    PACKED,
    SUBCLUSTERS,
    ZERO,
)
from pemu.block.formats.qcow2.mapping import runs
from pemu.block.formats.qcow2.writing import Qcow2Writing
from pemu.block.image import SECTOR
from pemu.block.pieces import ZEROES

PREALLOCATION = ("off", "metadata", "falloc", "full")


class Qcow2Clearing(Qcow2Writing):
    """A qcow2 image, as far as contents are made zeros or dropped."""

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        end = offset + length
        unit = self.layout.subcluster
        start = -(-offset // unit) * unit
        stop = end if end >= self.size else end // unit * unit
        if self.header.fields.version < 3:
            self._write_plain_zeroes(offset, end)
            return
        if start > stop:
            self._zero_part(offset, end, unmap=unmap)
            return
        self._zero_part(offset, start, unmap=unmap)
        offset = start
        start, stop = self._past_packed(start, stop, end)
        self._write_plain_zeroes(offset, start)
        if self.header.more.autoclear & RAW_EXTERNAL_DATA:
            self.data_file.write_zeroes(start, stop - start, unmap=unmap)
        while start < stop:
            with self.lock:
                part = min(stop, ((start >> self.layout.l1_shift) + 1) << self.layout.l1_shift)
                self._zero_clusters(start, part, unmap=unmap)
                self.metadata.relieve()
                self._note_write(start, part - start)
            start = part
        self._zero_part(stop, end, unmap=unmap)

    def _zero_part(self, offset: int, end: int, *, unmap: bool) -> None:
        """Make a part of a subcluster zeros; all of it where the rest reads as zeros already."""
        if offset >= end:
            return
        unit = self.layout.subcluster
        start = offset & -unit
        stop = min(start + unit, self.size)
        with self.lock:
            self.wait_for(start, stop)
            if (
                runs(self.metadata, start, 1)[0].kind not in (DATA, PACKED)
                and reads_as_zeros(self, start, offset - start)
                and reads_as_zeros(self, end, stop - end)
            ):
                if self.header.more.autoclear & RAW_EXTERNAL_DATA:
                    self.data_file.write_zeroes(offset, end - offset, unmap=unmap)
                self._zero_clusters(start, stop, unmap=unmap)
                self.metadata.relieve()
                self._note_write(offset, end - offset)
                return
        self._write_plain_zeroes(offset, end)

    @property
    def fast_zeroes(self) -> bool:
        return self.header.fields.version >= 3

    def _past_packed(self, start: int, stop: int, end: int) -> tuple[int, int]:
        """A range without parts of compressed clusters, which have no subclusters."""
        cluster = self.layout.cluster
        if start % cluster and self._packed(start):
            start = min((start & -cluster) + cluster, end)
        if start < stop < self.size and stop % cluster and self._packed(stop - 1):
            stop &= -cluster
        return start, max(start, stop)

    def _packed(self, offset: int) -> bool:
        with self.lock:
            return runs(self.metadata, offset, 1)[0].kind == PACKED

    def _write_plain_zeroes(self, offset: int, end: int) -> None:
        """Write zeros as data, but where nothing but zeros is."""
        while offset < end:
            part = self.status(offset, end - offset)
            known = part.zero and not part.data
            done = part.length if known else min(part.length, len(ZEROES))
            if not known:
                self._write_from(offset, [ZEROES[:done]])
            else:
                with self.lock:
                    self._expect_sound()
                    self._note_write(offset, done)
            offset += done

    def _zero_clusters(self, start: int, stop: int, *, unmap: bool) -> None:
        """Mark whole subclusters as zeros; the range is within one L2 table, the lock is held."""
        layout, metadata = self.layout, self.metadata
        cluster = layout.cluster
        self._expect_sound()
        self.wait_for(start, stop)
        l2, table = metadata.own_table(start >> layout.l1_shift)
        first = (start >> layout.cluster_bits) & (layout.l2_entries - 1)
        discard = self.settings.discard_request
        at = first
        for base in range(start & -cluster, stop, cluster):
            if layout.extended:
                wanted = self._subclusters(max(start, base), min(stop, base + cluster), base)
                if base + cluster > stop >= self.size:  # the end of the disk is not in the middle
                    wanted = self._subclusters(max(start, base), base + cluster, base)
                self._zero_subclusters(table, 2 * at, wanted, unmap=unmap)
            else:
                entry = table[at]
                if entry & COMPRESSED or (unmap and entry & OFFSET):
                    table[at] = ZERO
                    self.free_entry(entry, discard=discard)
                else:
                    table[at] = entry | ZERO
            at += 1
        metadata.mark(l2, first * layout.words, at * layout.words)

    def _zero_subclusters(self, words: array[int], at: int, wanted: int, *, unmap: bool) -> None:
        entry, bitmap = words[at], words[at + 1]
        if wanted == (1 << SUBCLUSTERS) - 1:
            if entry & COMPRESSED or (unmap and entry & (OFFSET | COPIED)):
                words[at] = 0
                self.free_entry(entry, discard=self.settings.discard_request)
            words[at + 1] = ALL_ZERO
        else:
            words[at + 1] = (bitmap & ~wanted) | wanted << SUBCLUSTERS

    def _discard(self, offset: int, length: int) -> None:
        if self.header.fields.version < 3 and self.backing is not None:
            return  # what is below would come to light
        end = offset + length
        unit = self.layout.cluster
        start = -(-offset // unit) * unit
        stop = end if end >= self.size else end // unit * unit
        self._drop(start, stop, discard=self.settings.discard_request)

    def _drop(self, start: int, stop: int, *, discard: bool, full: bool = False) -> None:
        """Give clusters back. full: what is below is seen again; else they read as zeros."""
        layout, metadata = self.layout, self.metadata
        while start < stop:
            index = start >> layout.l1_shift
            part = min(stop, (index + 1) << layout.l1_shift)
            with self.lock:
                self._expect_sound()
                self.wait_for(start, part)
                absent = index >= len(metadata.l1) or not metadata.l1[index] & OFFSET
                if not absent or (self.backing is not None and not full):
                    self._drop_clusters(start, part, discard=discard, full=full)
                    metadata.relieve()
                self._note_write(start, part - start)
            start = part

    def _drop_clusters(self, start: int, stop: int, *, discard: bool, full: bool) -> None:
        layout, metadata = self.layout, self.metadata
        zero, bitmap = 0, 0
        if not full:
            zero = ZERO if self.header.fields.version >= 3 and not layout.extended else 0
            bitmap = ALL_ZERO
        l2, table = metadata.own_table(start >> layout.l1_shift)
        first = (start >> layout.cluster_bits) & (layout.l2_entries - 1)
        count = -(-(stop - (start & -layout.cluster)) // layout.cluster)
        words = layout.words
        for at in range(first * words, (first + count) * words, words):
            entry = table[at]
            room = entry & (OFFSET | COMPRESSED | COPIED)
            if not room and not full and self.backing is None:
                continue
            table[at] = zero
            if words == 2:
                table[at + 1] = bitmap
            if room:
                self.free_entry(entry, discard=discard)
        metadata.mark(l2, first * words, (first + count) * words)

    def make_empty(self) -> None:
        layout, metadata = self.layout, self.metadata
        metadata.file.event("empty_image_prepare")
        with self.lock:
            end = layout.clusters(self.size) * layout.cluster
            self._drop(0, end, discard=self.settings.discard_snapshot, full=True)
            for index in range(layout.l1_entries(self.size)):
                if metadata.l1[index] & OFFSET:
                    metadata.drop_table(index)
            metadata.commit()

    # Size

    def truncate(self, size: int, *, preallocation: str = "off") -> None:
        if preallocation not in PREALLOCATION:
            raise ImageError(f"Unsupported preallocation mode '{preallocation}'")
        if size % SECTOR:
            raise ImageError(f"The new size must be a multiple of {SECTOR}")
        if self.header.fields.nb_snapshots and self.header.fields.version < 3:
            raise ImageError("Can't resize a v2 image which has snapshots")
        if self.layout.l1_entries(size) * 8 > LARGEST_L1:
            raise ImageError(
                f"'{self.name}' cannot have {size} bytes: the L1 table would be too large; larger "
                "clusters allow larger images"
            )
        with self.lock:
            self._expect_sound()
            self.wait_for(0, max(size, self.size))
            if size < self.size:
                if preallocation != "off":
                    raise ImageError("Preallocation can't be used for shrinking an image")
                self._shrink(size)
            else:
                self._enlarge(size, preallocation)

    def _shrink(self, size: int) -> None:
        layout, metadata = self.layout, self.metadata
        end = layout.clusters(size) * layout.cluster
        self._drop(end, layout.clusters(self.size) * layout.cluster, discard=True, full=True)
        for index in range(layout.l1_entries(size), layout.l1_entries(self.size)):
            if metadata.l1[index] & OFFSET:
                metadata.drop_table(index)
        self._name_size(size)
        if layout.external:
            self.data_file.truncate(size)
        last = metadata.refcounts.last()
        metadata.commit(accurate=True)
        if (last + 1) * layout.cluster < metadata.file.size:
            metadata.file.truncate((last + 1) * layout.cluster)

    def _enlarge(self, size: int, preallocation: str) -> None:
        layout, metadata = self.layout, self.metadata
        old = self.size
        metadata.grow_l1(layout.l1_entries(size))
        if layout.external and size > self.data_file.size:
            mode = preallocation if preallocation in ("falloc", "full") else "off"
            self.data_file.truncate(size, preallocation=mode)
        edge = min(layout.clusters(old) * layout.cluster, size)
        near = min(-(-old // layout.subcluster) * layout.subcluster, edge)
        # The rest of the last cluster may have anything, and so may what is below.
        self.size = size
        try:
            if near > old:
                self._write_plain_zeroes(old, near)
            if not reads_as_zeros(self, near, edge - near):
                self._write_zeroes(near, edge - near, unmap=True)
            if self.backing is not None and self.backing.size > edge and size > edge:
                self._write_zeroes(edge, min(size, self.backing.size) - edge, unmap=True)
            if preallocation == "off" and self.header.more.autoclear & RAW_EXTERNAL_DATA:
                preallocation = "metadata"  # what the raw file has is data everywhere
            if preallocation != "off":
                self._preallocate(edge if old else 0, size, preallocation)
        except BaseException:
            self.size = old
            raise
        metadata.commit()
        self._name_size(size)

    def _name_size(self, size: int) -> None:
        self.metadata.commit()
        self.size = self.header.fields.size = size
        self.metadata.write_fields("size", "size")

    def _preallocate(self, start: int, stop: int, preallocation: str) -> None:
        """Give room to clusters that have none."""
        layout, metadata = self.layout, self.metadata
        mode = preallocation if preallocation in ("falloc", "full") else "off"
        offset = start & -layout.cluster
        while offset < stop:
            l2, table = metadata.own_table(offset >> layout.l1_shift)
            at = (offset >> layout.cluster_bits) & (layout.l2_entries - 1)
            most = min(layout.l2_entries - at, layout.clusters(stop - offset))
            count = self._room_for(table, at, most, offset, mode)
            metadata.mark(l2, at * layout.words, (at + count) * layout.words)
            offset += count * layout.cluster

    def _clear_room(self, place: int, length: int, mode: str) -> None:
        """Have zeros in clusters of the file to which nothing refers yet."""
        file = self.metadata.file
        inside = min(place + length, file.size) - place
        if inside > 0:  # used before
            file.write_zeroes(place, inside, unmap=mode == "off")
        if inside < length:
            file.truncate(place + length, preallocation=mode)

    def _room_for(self, table: array[int], at: int, most: int, offset: int, mode: str) -> int:
        """Give room to the next clusters if they have none; how many. mode: how the file grows."""
        layout, words = self.layout, self.layout.words
        room = OFFSET | COMPRESSED | COPIED
        entries = table[at * words : (at + most) * words : words]
        same = entries[0]
        count = next((i for i, entry in enumerate(entries) if entry != same), most)
        if same & room:
            return count
        place = offset
        if not layout.external:
            first, count = self.metadata.take(count)
            place = first * layout.cluster
            self._clear_room(place, count * layout.cluster, mode)
        base = place | COPIED | (ZERO if same & ZERO and words == 1 else 0)
        new = array("Q", range(base, base + count * layout.cluster, layout.cluster))
        table[at * words : (at + count) * words : words] = new
        return count
