"""Checking and repairing qcow2 images: do the refcounts say what the tables refer to?"""

from __future__ import annotations

from array import array

from pemu.block.error import ImageError
from pemu.block.formats.qcow2.header import CORRUPT, DIRTY, LARGEST_REFCOUNT_TABLE
from pemu.block.formats.qcow2.layout import (
    COMPRESSED,
    COPIED,
    OFFSET,
    REFCOUNT_OFFSET,
    ZERO,
)
from pemu.block.formats.qcow2.metadata import Metadata
from pemu.block.formats.qcow2.snapshots import Qcow2Snapshots
from pemu.block.formats.qcow2.words import filled, load_words, rows, to_bytes, zeros
from pemu.block.image import Check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_CLUSTERS = 1 << 29
"""Clusters of a file that is checked: 4 bytes of memory for each."""

_L1_RESERVED = ~(COPIED | OFFSET)
_L2_RESERVED = 0x3F00_0000_0000_01FE


class Checker:
    """One check of an image, which nobody else uses meanwhile."""

    def __init__(self, image: Qcow2Snapshots, repair: str) -> None:
        self.image = image
        self.metadata = image.metadata
        self.layout = image.layout
        self.repair = repair
        self.check = Check(total_clusters=self.layout.clusters(image.size))
        self.clusters = self.layout.clusters(self.metadata.file.size)
        if self.clusters > MOST_CLUSTERS:
            raise ImageError(
                f"'{image.name}' has {self.clusters} clusters; at most {MOST_CLUSTERS} are checked"
            )
        self.references = zeros(self.clusters, 32)
        self.rebuild = False
        self.structures: list[int] = []
        """Clusters of the refcount table and its blocks, as often as they were counted."""

    def run(self) -> Check:
        """Do it all. Raises OSError, ImageError."""
        self._count_all()
        self._count_refcounts()
        if self.rebuild and self.repair == "all":
            self._say("Rebuilding refcount structure")
            self._rebuild()
            self.check.corruptions_fixed += self.check.corruptions
            self.check.corruptions = 0
        elif self.rebuild:
            self._say("ERROR need to rebuild refcount structures")
        self._compare()
        self._check_flags()
        self.check.end = self._end() * self.layout.cluster
        if self.repair:
            self.metadata.commit(accurate=True)
            self.metadata.refcounts.write()
            self.metadata.sync()
            damage = DIRTY | CORRUPT if not self.check.corruptions else 0
            if self.metadata.header.more.incompatible & damage:
                self.metadata.set_incompatible(damage, on=False)
        return self.check

    def _say(self, text: str) -> None:
        self.check.messages.append(text)

    def _bad(self, text: str) -> None:
        self.check.corruptions += 1
        self._say(text)

    # Counting references

    def _count(self, offset: int, length: int) -> bool:
        """There is a reference to this range of the file."""
        if length <= 0:
            return True
        size = self.layout.cluster
        first, last = offset // size, (offset + length - 1) // size
        if last >= self.clusters:
            self._bad(
                "ERROR: counting reference for region exceeding the end of the file by one cluster "
                f"or more: offset {offset:#x} size {length:#x}"
            )
            return False
        for cluster in range(first, last + 1):
            self.references[cluster] += 1
        return True

    def _count_all(self) -> None:
        metadata, image = self.metadata, self.image
        self._count(0, self.layout.cluster)
        self._count_l1(metadata.l1_offset, metadata.l1, active=True)
        stored = image.stored()
        for one in stored:
            l1 = load_words(metadata.file, one.l1_offset, one.l1_size)
            self._count_l1(one.l1_offset, l1, active=False)
        if stored:
            self._count(metadata.header.fields.snapshots_offset, image.table_length)
        crypt = metadata.header.crypt
        if crypt is not None:
            self._count(crypt.offset, crypt.length)
        for offset, length in image.bitmap_areas():
            self._count(offset, length)

    def _count_l1(self, offset: int, l1: array[int], *, active: bool) -> None:
        self._count(offset, len(l1) * 8)
        for entry in l1:
            if entry & _L1_RESERVED:
                self._bad(f"ERROR found L1 entry with reserved bits set: {entry:x}")
            place = entry & OFFSET
            if not place:
                continue
            if place % self.layout.cluster:
                self._bad(f"ERROR l2_offset={place:x}: Table is not cluster aligned; L1 entry "
                          "corrupted")  # fmt: skip
                continue
            if self._count(place, self.layout.cluster):
                self._count_l2(place, active=active)

    def _count_l2(self, offset: int, *, active: bool) -> None:
        """Count what an L2 table refers to."""
        layout = self.layout
        words = layout.words
        table = self.metadata.table_at(offset)
        follows = 0  # where the next cluster is if it follows the last one
        for start, count in rows(table, words, layout.cluster):
            if count > 1 and not layout.external and self._count_row(table[start], count):
                place = table[start] & OFFSET
                follows = self._note_used(place, count, follows, active=active)
                continue
            for at in range(start, start + count * words, words):
                if any(table[at : at + words]):
                    cluster = self._count_entry(table, at, offset, active=active)
                    if cluster is not None:
                        follows = self._note_used(cluster, 1, follows, active=active)

    def _note_used(self, place: int, count: int, follows: int, *, active: bool) -> int:
        """Note clusters in use from offset `place` on; returns the offset of their end."""
        if active:
            self.check.allocated_clusters += count
            self.check.fragmented_clusters += bool(follows and place != follows)
        return place + count * self.layout.cluster

    def _count_entry(self, table: array[int], at: int, offset: int, *, active: bool) -> int | None:
        """Count what the entry at index `at` of the L2 table at `offset` refers to.

        Returns the offset of its cluster if that is in use and not compressed.
        """
        layout, check = self.layout, self.check
        entry = table[at]
        bitmap = table[at + 1] if layout.words == 2 else 0
        if entry & COMPRESSED:
            if self._count_packed(entry, at // layout.words, bitmap):
                check.allocated_clusters += active
                check.compressed_clusters += active
                check.fragmented_clusters += active
            return None
        place: int = entry & OFFSET
        if entry & _L2_RESERVED:
            self._bad(f"ERROR found l2 entry with reserved bits set: {entry:x}")
        self._check_subclusters(place, bitmap)
        if layout.external:
            return place if entry & COPIED else None
        if not place:
            return None
        crooked = bool(place & (layout.cluster - 1))
        if crooked and self._straightened(table, at, offset, active=active):
            return None
        number = place >> layout.cluster_bits
        if number < self.clusters and not crooked:
            self.references[number] += 1
        else:
            self._count(place, layout.cluster)
        return place

    def _check_subclusters(self, place: int, bitmap: int) -> None:
        """Look at what an extended entry says of the parts of the cluster at `place`, if any."""
        if place and bitmap & bitmap >> 32:
            self._bad(
                f"ERROR offset={place:x}: Allocated cluster has corrupted subcluster allocation "
                "bitmap"
            )
        elif not place and bitmap & 0xFFFFFFFF:
            self._bad("ERROR: Unallocated cluster has non-zero subcluster allocation map")

    def _count_row(self, entry: int, count: int) -> bool:
        """Count clusters that follow each other, as bulk copies leave them.

        entry: what a table says of the first one. Returns whether nothing is wrong with them, and
        nothing has referred to them yet; otherwise they are not counted.
        """
        place = entry & ~COPIED
        low = place >> self.layout.cluster_bits
        if not low or low << self.layout.cluster_bits != place:
            return False
        counted = self.references[low : low + count]
        if len(counted) < count or any(counted):
            return False
        self.references[low : low + count] = array("I", [1]) * count
        return True

    def _count_packed(self, entry: int, index: int, bitmap: int) -> bool:
        """Count a compressed cluster, unless its bitmap of subclusters is damaged; returns that.

        index: of the entry in its table.
        """
        if entry & COPIED:
            self._bad(
                f"ERROR: coffset=0x{entry & self.layout.packed_offset:x}: copied flag must never "
                "be set for compressed clusters"
            )
        if self.layout.external:
            self._bad(f"ERROR compressed cluster in image with data file: {entry:x}")
            return True
        if bitmap:
            self._bad(
                f"ERROR compressed cluster {index} with non-zero subcluster allocation bitmap, "
                f"entry=0x{entry & ~COPIED:x}"
            )
            return False
        self._count(*self.layout.packed(entry))
        return True

    def _straightened(self, table: array[int], at: int, offset: int, *, active: bool) -> bool:
        """An entry points to no cluster's beginning; returns whether it is a zero without room now.

        table: an L2 table, at `offset` in the file.
        """
        place, zero = table[at] & OFFSET, active and bool(table[at] & ZERO)
        if self.layout.words == 2:
            zero = active and not table[at + 1] & 0xFFFFFFFF
        what = "Preallocated" if zero else "Data"
        text = f"offset={place:x}: {what} cluster is not properly aligned; L2 entry corrupted."
        if not zero or self.repair != "all" or self.layout.words == 2:
            self._bad(f"ERROR {text}")
            return False
        self._say(f"Repairing {text}")
        table[at] = ZERO
        self.metadata.mark(offset, at, at + 1)
        self.check.corruptions_fixed += 1
        return True

    def _count_refcounts(self) -> None:
        """Count the refcount table and its blocks."""
        refcounts, size = self.metadata.refcounts, self.layout.cluster
        found = self.structures
        if not self._count(refcounts.start, refcounts.clusters * size):
            self.rebuild = True
            return
        first = refcounts.start // size
        found += range(first, min(first + refcounts.clusters, self.clusters))
        for index in filled(refcounts.table, 1):
            entry = refcounts.table[index]
            place = entry & REFCOUNT_OFFSET
            if entry & ~REFCOUNT_OFFSET:
                self._broken(f"ERROR refcount table entry {index} has reserved bits set")
            if not place:
                continue
            if place % size:
                self._broken(
                    f"ERROR refcount block {index} is not cluster aligned; refcount table entry "
                    "corrupted"
                )
            elif place // size >= self.clusters:
                self._broken(f"ERROR refcount block {index} is outside image")
            else:
                self.references[place // size] += 1
                found.append(place // size)
                if self.references[place // size] != 1:
                    count = self.references[place // size]
                    self._broken(f"ERROR refcount block {index} refcount={count}")

    def _broken(self, text: str) -> None:
        self.rebuild = True
        self._bad(text)

    # Comparing

    def _blocks(self) -> Iterator[tuple[int, array[int]]]:
        """The refcounts of all clusters of the file, and the number of the first one of each."""
        refcounts, per = self.metadata.refcounts, self.layout.refcounts_per_block
        for first in range(0, self.clusters, per):
            count = min(per, self.clusters - first)
            try:
                block = refcounts.load(first // per)
            except OSError:
                block = None
            yield first, (block[:count] if block is not None else zeros(count, 8))

    def _compare(self) -> None:
        missing = False
        for first, block in self._blocks():
            wanted = self.references[first : first + len(block)]
            if block == wanted:
                continue
            for i, (has, needs) in enumerate(zip(block, wanted, strict=True)):
                if has != needs:
                    missing |= self._differs(first + i, has, needs)
        if missing and self.repair == "all":
            self._rebuild()

    def _differs(self, cluster: int, has: int, needs: int) -> bool:
        """A refcount is wrong; returns whether it cannot be set right in its place."""
        leaked = has > needs
        fix = self.repair == "all" or (leaked and self.repair == "leaks")
        if needs > self.layout.refcount_max:
            fix = False
        what = "Repairing" if fix else "Leaked" if leaked else "ERROR"
        self._say(f"{what} cluster {cluster} refcount={has} reference={needs}")
        if leaked:
            self.check.leaks_fixed += fix
            self.check.leaks += not fix
        else:
            self.check.corruptions_fixed += fix
            self.check.corruptions += not fix
        if not fix:
            return False
        refcounts = self.metadata.refcounts
        if refcounts.load(cluster // self.layout.refcounts_per_block) is None:
            return True
        refcounts.set(cluster, 1, needs)
        refcounts.rewind(cluster)
        return False

    def _check_flags(self) -> None:
        """An entry of an active table has the flag COPIED if there is exactly one reference."""
        if self.layout.external and not self.metadata.l1:
            return
        metadata, bits = self.metadata, self.layout.cluster_bits
        for index, entry in enumerate(metadata.l1):
            place = entry & OFFSET
            if not place or place % self.layout.cluster or place >> bits >= self.clusters:
                continue
            count = metadata.refcounts.get(place >> bits)
            if (count == 1) != bool(entry & COPIED):
                if self._flag(f"L2 cluster: l1_index={index} l1_entry={entry:x}", count):
                    metadata.l1[index] = entry & ~COPIED | (COPIED if count == 1 else 0)
                    metadata.mark_l1(index)
            if not self.layout.external:
                self._check_l2_flags(place)

    def _check_l2_flags(self, offset: int) -> None:
        metadata, bits = self.metadata, self.layout.cluster_bits
        table = metadata.table_at(offset)
        refcounts = metadata.refcounts
        per = self.layout.refcounts_per_block
        mask = self.layout.cluster - 1
        number, block = -1, None
        words = self.layout.words
        for start, count in rows(table, words, 1 << bits):
            entry = table[start]
            low = (entry & OFFSET) >> bits
            if low // per != number:
                number = low // per
                block = refcounts.load(number)
            if count > 1 and block is not None and entry & COPIED and not entry & mask:
                if block[low % per : low % per + count].count(1) == count:
                    continue
            for at in range(start, start + count * words, words):
                entry = table[at]
                place = entry & OFFSET
                if not place or entry & COMPRESSED:
                    continue
                cluster = place >> bits
                if cluster // per != number:
                    number = cluster // per
                    block = refcounts.load(number)
                has = block[cluster % per] if block is not None else 0
                if (has == 1) == (entry >> 63):
                    continue
                if self._flag(f"data cluster: l2_entry={entry:x}", has):
                    table[at] = entry & ~COPIED | (COPIED if has == 1 else 0)
                    metadata.mark(offset, at, at + 1)

    def _flag(self, text: str, count: int) -> bool:
        """The flag COPIED is wrong; returns whether it is to be set right."""
        fix = self.repair == "all"
        self._say(f"{'Repairing' if fix else 'ERROR'} OFLAG_COPIED {text} refcount={count}")
        self.check.corruptions_fixed += fix
        self.check.corruptions += not fix
        return fix

    def _end(self) -> int:
        """The number of the cluster after the last one with references."""
        end = 0
        for first, block in self._blocks():
            used = len(block.tobytes().rstrip(b"\0"))
            if used:
                end = first + -(-used // block.itemsize)
        return end

    # Rebuilding

    def _rebuild(self) -> None:
        """Write all refcounts anew, behind everything else, and have the header name them."""
        for cluster in self.structures:
            self.references[cluster] -= 1
        self.structures = []
        self.clusters += write_refcounts(self.metadata, self.references)
        self.references.extend([1] * (self.clusters - len(self.references)))


def write_refcounts(metadata: Metadata, counts: array[int], order: int | None = None) -> int:
    """Write refcounts anew, behind all clusters of the file, and have the header name them.

    counts: of all clusters of the file, without the old table and its blocks. order: their new
    width, as the header has it. Returns how many clusters the new ones take. Raises ImageError.
    """
    layout, header = metadata.layout, metadata.header
    order = header.more.refcount_order if order is None else order
    bits, size, used = 1 << order, layout.cluster, len(counts)
    per = size * 8 // bits
    if max(counts, default=0) >> bits:
        raise ImageError(f"There are more than {(1 << bits) - 1} references to a cluster")
    blocks = table = 1
    while True:
        before = blocks, table
        blocks = -(-(used + blocks + table) // per)
        table = -(-blocks * 8 // size)
        if (blocks, table) == before:
            break
    if table * size > LARGEST_REFCOUNT_TABLE:
        raise ImageError("The refcount table would be too large")
    new = zeros(blocks * per, bits)
    new[:used] = array(new.typecode, counts)
    new[used : used + blocks + table] = array(new.typecode, [1]) * (blocks + table)
    metadata.file.write(used * size, to_bytes(new, bits))
    start = (used + blocks) * size
    metadata.write_table(start, array("Q", range(used * size, start, size)))
    metadata.file.flush()
    fields = header.fields
    fields.refcount_table_offset, fields.refcount_table_clusters = start, table
    header.more.refcount_order = order
    # Both change in one sector, so that they change together.
    head = fields.emit() + (header.more.emit() if fields.version >= 3 else b"")
    metadata.file.write(0, head)
    metadata.file.flush()
    layout.set_refcount_order(order)
    refcounts = metadata.refcounts
    refcounts.start, refcounts.clusters = start, table
    refcounts.forget()
    return blocks + table
