"""The tables of an open qcow2 image in memory, and the order in which they reach the file.

What is written is written so that a cut at any moment leaves at most unused clusters: data and
refcounts first, then L2 tables that point to them, then the L1 table, each on stable storage before
the next begins. Refcounts are lowered after nothing on stable storage points there any more.
"""

from __future__ import annotations

import errno
from array import array

from pemu.block.formats.qcow2.header import (
    CORRUPT,
    DIRTY,
    Fields,
    Header,
    MoreFields,
)
from pemu.block.formats.qcow2.layout import COPIED, OFFSET, Layout
from pemu.block.formats.qcow2.overlaps import Overlaps
from pemu.block.formats.qcow2.refcounts import Refcounts
from pemu.block.formats.qcow2.words import load_words, to_bytes, zeros
from pemu.block.image import Image
from pemu.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_FREED = 1 << 16
"""Pieces that wait for being given back; then the tables are written."""


class Freed(NamedTuple):
    """Clusters that nothing in memory points to any more.

    when: operations that began before may still use them. discard: what the host is told of.
    """

    when: int
    cluster: int
    clusters: int
    discard: bool


class Metadata:
    """L1 and L2 tables, refcounts and what is to be done after they have been written.

    file: what holds the tables. data: what holds the contents, the same file as a rule.
    l1, l1_offset: the active L1 table. Callers hold the image's lock.
    """

    def __init__(self, file: Image, header: Header, layout: Layout, name: str, *,
                 warn: Callable[[str], object]) -> None:  # fmt: skip
        self.file = file
        self.data = file
        self.header = header
        self.layout = layout
        self.name = name
        self.readonly = True
        self.warn = warn
        self.broken = False
        self.lazy = False
        """Whether refcounts in the file may be behind while the image is in use."""
        fields = header.fields
        self.refcounts = Refcounts(
            file, layout, fields.refcount_table_offset, fields.refcount_table_clusters, self.corrupt
        )
        self.refcounts.moved = self._table_moved
        self.overlaps = Overlaps(frozenset(), lambda text: self.corrupt(text, fatal=True))
        self.refcounts.guard = self.overlaps.guard
        self.l1_offset = fields.l1_table_offset
        self.l1 = load_words(file, fields.l1_table_offset, fields.l1_size)
        self._most = 4
        self._l2: dict[int, array[int]] = {}
        self._dirty: dict[int, tuple[int, int]] = {}
        self._l1_dirty: set[int] = set()
        self._freed: list[Freed] = []
        self._operations = 0
        self.active: set[int] = set()
        """Operations under way that use clusters without the lock."""
        self.packed_end = 0
        """Where the cluster with compressed data that was written last has room left."""

    def set_caches(self, tables: int, refcounts: int) -> None:
        """So many bytes of L2 tables and of refcount blocks are kept in memory."""
        self._most = max(tables // self.layout.cluster, 4)
        self.refcounts.most = max(refcounts // self.layout.cluster, 4)

    # Operations

    def begin(self) -> int:
        """An operation begins to use clusters: `active.discard` its number when it is over."""
        self._operations = number = self._operations + 1
        self.active.add(number)
        return number

    # What is wrong with the image

    def corrupt(self, text: str, *, fatal: bool = False) -> OSError:
        """The image is damaged: tell of it. Returns the error to raise.

        fatal: if it can be written, mark it, and neither read nor write any more, lest the damage
        spread.
        """
        if fatal and not self.readonly:
            self.warn(
                f"qcow2: Marking image as corrupt: {text}; further corruption events will be "
                "suppressed\n"
            )
            self.broken = True
            if self.header.fields.version >= 3:
                self.set_incompatible(CORRUPT, on=True)
        else:
            self.warn(
                f"qcow2: Image is corrupt: {text}; further non-fatal corruption events will be "
                "suppressed\n"
            )
        self.warn = _silent
        return OSError(errno.EIO, f"'{self.name}' is corrupt: {text}")

    def set_incompatible(self, feature: int, *, on: bool) -> None:
        """Set or clear a feature bit in the file, at once. Raises OSError."""
        more = self.header.more
        more.incompatible = more.incompatible | feature if on else more.incompatible & ~feature
        self.write_more("incompatible")
        self.file.flush()

    def write_more(self, name: str) -> None:
        """Write one field of version 3's header. Raises OSError."""
        offset = Fields.SIZE + MoreFields.OFFSETS[name]
        self.file.write(offset, self.header.more.emit_field(name))

    def write_fields(self, first: str, last: str) -> None:
        """Write the fields of the header from `first` to `last`, on stable storage afterwards."""
        start = Fields.OFFSETS[first]
        stop = Fields.OFFSETS[last] + len(self.header.fields.emit_field(last))
        self.file.write(start, self.header.fields.emit()[start:stop])
        self.file.flush()

    def write_header(self) -> None:
        """Write the whole first cluster, on stable storage afterwards."""
        self.file.write(0, self.header.emit())
        self.file.flush()

    # Tables

    def table_at(self, entry: int) -> array[int]:
        """The L2 table that an entry of an L1 table points to. Raises OSError."""
        offset = entry & OFFSET
        table = self._l2.get(offset)
        if table is None:
            if offset % self.layout.cluster:
                raise self.corrupt(f"L2 table offset {offset:#x} unaligned", fatal=True)
            if offset >= self.file.size:
                raise self.corrupt(f"L2 table offset {offset:#x} is beyond the end of the file")
            self._make_room()
            self.file.event("l2_load")
            table = load_words(self.file, offset, self.layout.cluster // 8)
            self._l2[offset] = table
        return table

    def known_table(self, entry: int) -> array[int] | None:
        """As `table_at`, but None where the table is not in memory."""
        return self._l2.get(entry & OFFSET)

    def _make_room(self) -> None:
        if len(self._l2) < self._most:
            return
        if len(self._dirty) > self._most // 2:
            self.commit()
        for offset in self._l2:
            if offset not in self._dirty:
                del self._l2[offset]
                return

    def own_table(self, index: int) -> tuple[int, array[int]]:
        """The L2 table of an L1 entry, for writing: its offset, and itself. Raises OSError."""
        entry = self.l1[index]
        offset = entry & OFFSET
        if entry & COPIED and offset:
            return offset, self.table_at(entry)
        old = self.table_at(entry) if offset else None
        place = self.take_table(1, "active-l2")
        table = old[:] if old is not None else zeros(self.layout.cluster // 8)
        self._make_room()
        self._l2[place] = table
        self._dirty[place] = (0, len(table))
        self.l1[index] = place | COPIED
        self._l1_dirty.add(index)
        if offset:
            self.free(offset, self.layout.cluster)
        return place, table

    def mark(self, offset: int, start: int, stop: int) -> None:
        """Words `start` to `stop` of the L2 table at `offset` have changed."""
        was = self._dirty.get(offset)
        self._dirty[offset] = (min(was[0], start), max(was[1], stop)) if was else (start, stop)

    def mark_l1(self, index: int) -> None:
        """An entry of the L1 table has changed."""
        self._l1_dirty.add(index)

    def drop_table(self, index: int) -> None:
        """Have no L2 table there any more."""
        offset = self.l1[index] & OFFSET
        self.l1[index] = 0
        self._l1_dirty.add(index)
        self._l2.pop(offset, None)
        self._dirty.pop(offset, None)
        self.free(offset, self.layout.cluster)

    def use_l1(self, offset: int, l1: array[int]) -> None:
        """Read through another L1 table from now on."""
        self.l1_offset, self.l1 = offset, l1
        self._l2.clear()

    def grow_l1(self, entries: int) -> None:
        """Have an L1 table of at least so many entries. Raises OSError, ImageError."""
        if entries <= len(self.l1):
            return
        self.commit(release=False)
        self.file.event("l1_grow_alloc_table")
        offset = self.take_table(self.layout.clusters(entries * 8), "active-l1")
        old, before = len(self.l1), self.l1_offset
        l1 = self.l1[:]
        l1.extend(zeros(entries - old))
        self.file.event("l1_grow_write_table")
        self.write_table(offset, l1)
        self.refcounts.write()
        self.file.flush()
        self.l1, self.l1_offset = l1, offset
        self.file.event("l1_grow_activate_table")
        self.name_l1()
        if old:
            self.free(before, old * 8)
            self.release()

    def name_l1(self) -> None:
        """Have the header name the L1 table. Raises OSError."""
        self.header.fields.l1_size = len(self.l1)
        self.header.fields.l1_table_offset = self.l1_offset
        self.write_fields("l1_size", "l1_table_offset")

    def write_table(self, offset: int, words: array[int]) -> None:
        """Write a table of words, and zeros up to the end of its last cluster."""
        data = to_bytes(words)
        self.file.write(offset, data + bytes(-len(data) % self.layout.cluster))

    # Clusters

    def find_tables(self, others: Iterable[tuple[str, int, int]] = ()) -> None:
        """Find out which clusters have tables, so that nothing else is written there.

        others: kinds, offsets and lengths of tables that are not known here.
        """
        overlaps, size = self.overlaps, self.layout.cluster
        overlaps.forget()
        if not overlaps.kinds:
            return

        def note(kind: str, offset: int, length: int) -> None:
            first = offset // size
            overlaps.note(kind, first, -(-(offset + length) // size) - first)

        for kind, offset, length in others:
            note(kind, offset, length)
        for entry in self.l1:
            if entry & OFFSET:
                note("active-l2", entry & OFFSET, size)
        for block in self.refcounts.blocks():
            note("refcount-block", block, size)
        note("refcount-table", self.refcounts.start, self.refcounts.clusters * size)
        note("active-l1", self.l1_offset, len(self.l1) * 8)
        note("main-header", 0, size)

    def take(self, count: int) -> tuple[int, int]:
        """Clusters in a row for contents, up to `count`: the first one, and how many."""
        self.begin_writing()
        self.file.event("cluster_alloc")
        return self.refcounts.allocate(count, whole=False)

    def take_bytes(self, count: int) -> int:
        """Room for compressed data, less than a cluster: its offset. Raises OSError."""
        self.begin_writing()
        self.file.event("cluster_alloc_bytes")
        size = self.layout.cluster
        refcounts = self.refcounts
        place, self.packed_end = self.packed_end, 0
        cluster = place // size
        if place and refcounts.get(cluster) < self.layout.refcount_max:
            inside = count <= size - place % size
            if inside or refcounts.take_after(cluster + 1):
                refcounts.add(cluster, 1, 1)
                self._packed_until(place + count)
                return place
        place = refcounts.allocate(1)[0] * size
        self._packed_until(place + count)
        return place

    def _packed_until(self, end: int) -> None:
        """The next compressed data may follow, if there is room left in the cluster."""
        self.packed_end = end if end % self.layout.cluster else 0

    def take_table(self, clusters: int, what: str) -> int:
        """Clusters in a row for a table: their offset. Raises OSError."""
        self.begin_writing()
        first, _ = self.refcounts.allocate(clusters, what=what)
        return first * self.layout.cluster

    def begin_writing(self) -> None:
        """Refcounts have changed: with lazy refcounts, say in the file that they are not up to
        date, once."""
        if self.lazy and not self.header.has(DIRTY):
            self.set_incompatible(DIRTY, on=True)

    def free(self, offset: int, length: int, *, discard: bool = False) -> None:
        """Lower the refcounts of clusters, after the tables that do not name them are written."""
        first = offset >> self.layout.cluster_bits
        count = ((offset + length - 1) >> self.layout.cluster_bits) - first + 1
        last = self._freed[-1] if self._freed else None
        if (
            last is not None
            and last.cluster + last.clusters == first
            and last.when == self._operations
            and last.discard == discard
        ):
            self._freed[-1] = last._replace(clusters=last.clusters + count)
        else:
            self._freed.append(Freed(self._operations, first, count, discard))

    def give_back(self, first: int, count: int) -> None:
        """Lower the refcounts of clusters that were taken and never named."""
        self.refcounts.add(first, count, -1)

    def release(self) -> None:
        """Lower the refcounts of what has been freed, and is out of use."""
        oldest = min(self.active, default=self._operations + 1)
        later = [one for one in self._freed if one.when >= oldest]
        ready = [one for one in self._freed if one.when < oldest]
        self._freed = later
        for one in ready:
            self.begin_writing()
            self.file.event("cluster_free")
            self.refcounts.add(one.cluster, one.clusters, -1)
            self.overlaps.drop(one.cluster, one.clusters)
            if one.cluster <= self.packed_end // self.layout.cluster < one.cluster + one.clusters:
                self.packed_end = 0
            if one.discard:
                self.tell_free(one.cluster, one.clusters)

    def tell_free(self, cluster: int, count: int) -> None:
        """Tell the host of clusters that nobody uses any more."""
        size = self.layout.cluster
        for first, free in self.refcounts.having(0, cluster, count):
            self.file.discard(first * size, free * size)

    # Writing

    def relieve(self) -> None:
        """Write the tables if too much waits for that."""
        if len(self._freed) > MOST_FREED or self.refcounts.crowded:
            self.commit()

    @property
    def waiting(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._dirty or self._l1_dirty or self._freed or self.refcounts.dirty)

    def commit(self, *, release: bool = True, accurate: bool = False) -> None:
        """Write all tables. accurate: the refcounts, too, even if they may be behind.

        What is written is on stable storage afterwards, but for refcounts that were lowered.
        Raises OSError.
        """
        if accurate or not (self.lazy and self.header.has(DIRTY)) or self.refcounts.crowded:
            self.refcounts.write()
        if self._dirty:
            self.sync()
            for offset, (start, stop) in sorted(self._dirty.items()):
                start, stop = start & ~63, stop + 63 & ~63  # whole sectors
                self.file.event("l2_update")
                self.file.write(offset + start * 8, to_bytes(self._l2[offset][start:stop]))
            self._dirty.clear()
        if self._l1_dirty:
            self.sync()
            for low in {index & ~63 for index in self._l1_dirty}:
                self.file.event("l1_update")
                self.file.write(self.l1_offset + low * 8, to_bytes(self.l1[low : low + 64]))
            self._l1_dirty.clear()
        self.sync()
        if release and self._freed:
            self.release()

    def sync(self) -> None:
        """What has been written is on stable storage afterwards. Raises OSError."""
        if self.data is not self.file:
            self.data.flush()
        self.file.flush()

    def _table_moved(self) -> None:
        fields = self.header.fields
        first = self.refcounts.start // self.layout.cluster
        self.overlaps.note("refcount-table", first, self.refcounts.clusters)
        fields.refcount_table_offset = self.refcounts.start
        fields.refcount_table_clusters = self.refcounts.clusters
        self.write_fields("refcount_table_offset", "refcount_table_clusters")


def _silent(text: str) -> None:
    """After the first complaint."""
