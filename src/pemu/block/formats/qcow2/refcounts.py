"""Which clusters of a qcow2 file are in use, and how often: the refcount table and its blocks."""

from __future__ import annotations

import errno
import os
from array import array
from itertools import groupby

from pemu.block.formats.qcow2.header import LARGEST_REFCOUNT_TABLE
from pemu.block.formats.qcow2.layout import REFCOUNT_OFFSET, Layout
from pemu.block.formats.qcow2.words import from_bytes, load_words, read_padded, to_bytes, zeros
from pemu.block.image import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECTOR_BITS = 4096


class Refcounts:
    """The refcounts of the clusters of `file`, in memory until `write`.

    table: offsets of the blocks. start: offset of the table; clusters: how many it takes.
    corrupt: is told what is wrong with the image, and makes an OSError of it. Calls come from one
    thread at a time.
    """

    def __init__(
        self, file: Image, layout: Layout, start: int, clusters: int,
        corrupt: Callable[[str], OSError],
    ) -> None:  # fmt: skip
        self._file = file
        self._layout = layout
        self.start = start
        self.clusters = clusters
        self.table = load_words(file, start, clusters * layout.cluster // 8)
        self.moved: Callable[[], object] = lambda: None
        """Called when the table has moved: the header must say so, on stable storage."""
        self.guard: Callable[[int, int, str], object] = lambda cluster, count, what: None
        """Called with clusters that are about to be taken, and what for ('' for contents)."""
        self._corrupt = corrupt
        self._blocks: dict[int, array[int]] = {}
        self._dirty: dict[int, tuple[int, int]] = {}
        self._table_dirty: tuple[int, int] | None = None
        self._hint = 0
        self.most = 4
        """Blocks in memory; there are more only where they are still to be written."""

    @property
    def dirty(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._dirty)

    @property
    def crowded(self) -> bool:
        """Whether so much is to be written that it should be."""
        return len(self._dirty) > self.most

    def get(self, cluster: int) -> int:
        """The refcount of a cluster (its number, not its offset)."""
        index, inside = divmod(cluster, self._layout.refcounts_per_block)
        block = self._block(index)
        return block[inside] if block is not None else 0

    def blocks(self) -> Iterator[int]:
        """The offsets of all refcount blocks."""
        return (entry & REFCOUNT_OFFSET for entry in self.table if entry & REFCOUNT_OFFSET)

    def load(self, index: int) -> array[int] | None:
        """The refcounts in the block with this place in the table, None without one."""
        return self._block(index)

    def _block(self, index: int) -> array[int] | None:
        block = self._blocks.get(index)
        if block is not None or index >= len(self.table):
            return block
        offset = self.table[index] & REFCOUNT_OFFSET
        if not offset:
            return None
        if offset % self._layout.cluster:
            raise self._corrupt(
                f"Refblock offset {offset:#x} unaligned (reftable index: {index:#x})"
            )
        if offset >= self._file.size:
            raise self._corrupt(f"Refblock offset {offset:#x} is beyond the end of the file")
        self._file.event("refblock_load")
        data = read_padded(self._file, offset, self._layout.cluster)
        return self._keep(index, from_bytes(data, self._layout.refcount_bits))

    def _keep(self, index: int, block: array[int]) -> array[int]:
        if len(self._blocks) >= self.most:
            for other in self._blocks:
                if other not in self._dirty:
                    del self._blocks[other]
                    break
        self._blocks[index] = block
        return block

    def _mark(self, index: int, start: int, stop: int) -> None:
        was = self._dirty.get(index)
        self._dirty[index] = (min(was[0], start), max(was[1], stop)) if was else (start, stop)

    def _pieces(self, cluster: int, count: int) -> Iterator[tuple[int, int, int]]:
        """The blocks of a range: index, first and last place in it."""
        per = self._layout.refcounts_per_block
        while count:
            index, inside = divmod(cluster, per)
            part = min(count, per - inside)
            yield index, inside, inside + part
            cluster += part
            count -= part

    def add(self, cluster: int, count: int, delta: int) -> None:
        """Change the refcounts of `count` clusters. Raises OSError beyond the limits, unchanged."""
        pieces = list(self._pieces(cluster, count))
        for index, start, stop in pieces:
            block = self._block(index)
            values = block[start:stop] if block is not None else array("B", [0])
            if delta < 0 and min(values) < -delta:
                raise self._corrupt(f"Refcount of cluster {cluster:#x} is less than its references")
            if delta > 0 and (block is None or max(values) + delta > self._layout.refcount_max):
                raise OSError(
                    errno.EINVAL,
                    f"a cluster would have more than {self._layout.refcount_max} references",
                )
        for index, start, stop in pieces:
            block = self._block(index)
            assert block is not None
            values = block[start:stop]
            if values.count(values[0]) == len(values):
                block[start:stop] = array(block.typecode, [values[0] + delta]) * len(values)
            else:
                block[start:stop] = array(block.typecode, [value + delta for value in values])
            self._mark(index, start, stop)
            if delta < 0:
                self._hint = min(self._hint, index * self._layout.refcounts_per_block + start)

    def having(self, value: int, cluster: int, count: int) -> Iterator[tuple[int, int]]:
        """Those of `count` clusters whose refcount is `value`: the first one of a row, how many."""
        for index, start, stop in self._pieces(cluster, count):
            base = index * self._layout.refcounts_per_block
            block = self._block(index)
            values = block[start:stop] if block is not None else zeros(stop - start, 8)
            if values.count(value) == stop - start:
                yield base + start, stop - start
                continue
            at = base + start
            for found, row in groupby(values):
                length = sum(1 for _ in row)
                if found == value:
                    yield at, length
                at += length

    def set(self, cluster: int, count: int, value: int) -> None:
        """Give clusters that have blocks a refcount."""
        for index, start, stop in self._pieces(cluster, count):
            block = self._block(index)
            assert block is not None
            block[start:stop] = array(block.typecode, [value]) * (stop - start)
            self._mark(index, start, stop)

    def last(self) -> int:
        """The last cluster that is in use."""
        for index in reversed(range(len(self.table))):
            block = self._block(index)
            if block is not None and any(block):
                inside = max(i for i, count in enumerate(block) if count)
                return index * self._layout.refcounts_per_block + inside
        return 0

    def rewind(self, cluster: int) -> None:
        """A cluster may be free: look for free ones from there on."""
        self._hint = min(self._hint, cluster)

    # Taking clusters

    def allocate(self, count: int, *, whole: bool = True, what: str = "") -> tuple[int, int]:
        """Free clusters in a row, which get a refcount of 1: (the first one, how many).

        whole: all `count` must be in a row; otherwise there may be fewer, but not none.
        what: they are for, where not for contents. Raises OSError.
        """
        at = self._hint
        lowest = -1
        while True:
            first = self._free_from(at)
            if lowest < 0:
                lowest = first
            got, missing = self._run(first, count)
            if missing:
                # The new blocks take the first of the clusters, and what follows is looked at anew.
                self._provide(missing, first)
                lowest, at = -1, first + len(missing)
            elif got == count or not whole:
                break
            else:
                at = first + got
        self.guard(first, got, what)
        self.set(first, got, 1)
        self._hint = first + got if first == lowest else lowest
        return first, got

    def take_after(self, cluster: int) -> bool:
        """Take this cluster if it is free and has a block. Raises OSError."""
        index, inside = divmod(cluster, self._layout.refcounts_per_block)
        block = self._block(index)
        if block is None or block[inside]:
            return False
        self.guard(cluster, 1, "")
        self.set(cluster, 1, 1)
        return True

    def _free_from(self, cluster: int) -> int:
        """The first free cluster from there on; where there is no block, all are free."""
        per = self._layout.refcounts_per_block
        while True:
            index, inside = divmod(cluster, per)
            block = self._block(index)
            if block is None:
                return cluster
            try:
                return index * per + block.index(0, inside)
            except ValueError:
                cluster = (index + 1) * per

    def _run(self, cluster: int, count: int) -> tuple[int, list[int]]:
        """How many clusters are free from there on, up to `count`; which blocks are missing."""
        got = 0
        missing = []
        for index, start, stop in self._pieces(cluster, count):
            block = self._block(index)
            if block is None:
                missing.append(index)
                got += stop - start
            elif not any(block[start:stop]):
                got += stop - start
            else:
                return got + next(i for i in range(stop - start) if block[start + i]), missing
        return got, missing

    def _provide(self, missing: list[int], cluster: int) -> None:
        """Make the blocks that are missing; they are put at free clusters from `cluster` on."""
        if missing[-1] >= len(self.table):
            self._enlarge(missing[-1] + 1)
            return
        self.guard(cluster, len(missing), "refcount-block")
        self._file.event("refblock_alloc")
        for i, index in enumerate(missing):
            block = zeros(self._layout.refcounts_per_block, self._layout.refcount_bits)
            self.table[index] = (cluster + i) * self._layout.cluster
            self._keep(index, block)
            self._mark(index, 0, len(block))
        self.set(cluster, len(missing), 1)
        low, high = self._table_dirty or (missing[0], 0)
        self._table_dirty = min(low, missing[0]), max(high, missing[-1] + 1)

    def _enlarge(self, entries: int) -> None:
        """Move the table to where there is room for so many entries, and some more."""
        cluster = self._layout.cluster
        per = self._layout.refcounts_per_block
        wanted = max(2 * self.clusters, self._layout.clusters(entries * 8))
        wanted = min(wanted, LARGEST_REFCOUNT_TABLE // cluster)
        # The new table and the blocks for it and for themselves lie where the old one has ended.
        old, base = len(self.table), len(self.table) * per
        count = 1
        while count * per < wanted + count:
            count += 1
        if max(entries, old + count) * 8 > wanted * cluster:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        self.guard(base, wanted + count, "refcount-block")
        self._file.event("reftable_grow")
        self.write()
        before = self.start, self.clusters
        self.table.extend(zeros(wanted * cluster // 8 - old))
        try:
            for i in range(count):
                self.table[old + i] = (base + i) * cluster
                self._keep(old + i, zeros(per, self._layout.refcount_bits))
                self._mark(old + i, 0, per)
            self.set(base, count + wanted, 1)
            self.start, self.clusters = (base + count) * cluster, wanted
            self._table_dirty = 0, len(self.table)
            self.write()
            self._file.flush()
            self.moved()
        except BaseException:
            self.start, self.clusters = before
            self._table_dirty = None
            del self.table[old:]
            for i in range(count):
                self._blocks.pop(old + i, None)
                self._dirty.pop(old + i, None)
            raise
        self.add(before[0] // cluster, before[1], -1)

    def write(self) -> None:
        """Write what has changed to the file; blocks are there before the table names them."""
        bits = self._layout.refcount_bits
        sector = SECTOR_BITS // bits
        for index, (start, stop) in list(self._dirty.items()):
            start = start // sector * sector
            stop = -(-stop // sector) * sector
            offset = (self.table[index] & REFCOUNT_OFFSET) + start * bits // 8
            self._file.event("refblock_update")
            self._file.write(offset, to_bytes(self._blocks[index][start:stop], bits))
            del self._dirty[index]
        if self._table_dirty is not None:
            self._file.flush()
            low, high = self._table_dirty
            self._file.event("reftable_update")
            self._file.write(self.start + low * 8, to_bytes(self.table[low:high]))
            self._table_dirty = None

    def relocate(self, spare: list[int], start: int) -> None:
        """Write all that has changed to other places, and nothing where it was until now.

        The header has still to name the table, at cluster `start`. spare: clusters for blocks, at
        least as many as there are blocks; those left are free again. All have been taken.
        """
        size = self._layout.cluster
        self.set(self.start // size, self.clusters, 0)
        for cluster in spare:
            self.set(cluster, 1, 1)  # its block will be written
        written: set[int] = set()
        while changed := self._dirty.keys() - written:
            for index in changed:
                before = (self.table[index] & REFCOUNT_OFFSET) // size
                self.table[index] = spare.pop() * size
                self.set(before, 1, 0)
            written |= changed
        for cluster in spare:
            self.set(cluster, 1, 0)
        for index in sorted(written):
            self._file.event("refblock_update")
            data = to_bytes(self._blocks[index], self._layout.refcount_bits)
            self._file.write(self.table[index], data)
        self._file.event("reftable_update")
        self._file.write(start * size, to_bytes(self.table))
        self.start = start * size
        self._dirty.clear()
        self._table_dirty = None
        self._hint = 0

    def forget(self) -> None:
        """Drop everything from memory, also what has not been written."""
        self._blocks.clear()
        self._dirty.clear()
        self._table_dirty = None
        self.table = load_words(self._file, self.start, self.clusters * self._layout.cluster // 8)
        self._hint = 0
