"""Writing of qcow2 images: room for new clusters, copies of what is around, tables that say so."""

from __future__ import annotations

import errno
import os
from array import array
from itertools import groupby

from pemu.block.formats.qcow2.compression import compress
from pemu.block.formats.qcow2.layout import (
    ALL_ALLOCATED,
    COMPRESSED,
    COPIED,
    DATA,
    NOTHING,
    NOTHING_ALLOCATED,
    OFFSET,
    PACKED,
    SUBCLUSTERS,
    ZERO,
)
from pemu.block.formats.qcow2.mapping import gone, runs
from pemu.block.formats.qcow2.reading import Qcow2Reading
from pemu.block.image import SECTOR
from pemu.block.pieces import ZEROES, Packed, Pieces, take
from pemu.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Condition
    from typing import Any

NEW, REUSED, IN_PLACE = range(3)
"""Where a write goes: to clusters that it takes, to clusters with room that the tables do not yet
call data, over the data that is there."""


class Step(NamedTuple):
    """A piece of a write that is done at once.

    offset, end: of what is written, on the disk. start, stop: of what the tables call data
    afterwards. place: where `start` goes in the data file. blank: what is there already is zeros.
    """

    kind: int
    offset: int
    end: int
    start: int
    stop: int
    place: int
    blank: bool = False


class Qcow2Writing(Qcow2Reading):
    """A qcow2 image, as far as its contents are written."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._busy: list[tuple[int, int]] = []
        self._less_busy: Condition | None = None
        """Told when somebody has done with a range, once somebody waits for that."""
        self.written: Callable[[int, int], object] | None = None
        """Told of each range that has been changed (offset, length), with the lock held."""

    # Data

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        rest = [memoryview(piece) for piece in pieces]
        length = sum(map(len, rest))
        if self.encrypted and (offset % SECTOR or length % SECTOR):
            self._write_unaligned(offset, rest)
            return
        end = offset + length
        while offset < end:
            with self.lock:
                step = self._plan(offset, end)
                number = self.metadata.begin()
                if step.kind != IN_PLACE:
                    busy = (step.offset, step.end)
                    self._busy.append(busy)
            try:
                taken, rest = take(rest, step.end - offset) if step.end < end else (rest, [])
                if step.kind == IN_PLACE:
                    self._put(step.place, offset, taken)
                else:
                    self._write_step(step, taken)
            finally:
                self.metadata.active.discard(number)
                if step.kind != IN_PLACE:
                    with self.lock:
                        self._busy.remove(busy)
                        if self._less_busy is not None:
                            self._less_busy.notify_all()
            self._note_write(offset, step.end - offset)
            offset = step.end

    def _note_write(self, offset: int, length: int) -> None:
        if self.written is not None:
            with self.lock:
                self.written(offset, length)

    def _write_unaligned(self, offset: int, pieces: list[memoryview]) -> None:
        """Write to an encrypted image what does not begin or end with a sector."""
        with self.lock:
            length = sum(map(len, pieces))
            before, after = offset % SECTOR, -(offset + length) % SECTOR
            head, tail = bytearray(before), bytearray(after)
            self._read_into(offset - before, [memoryview(head)])
            self._read_into(offset + length, [memoryview(tail)])
            self._write_from(offset - before, [head, *pieces, tail])  # type: ignore[list-item]

    def wait_for(self, offset: int, end: int) -> None:
        """Return when nobody takes clusters for this range any more. The lock is held."""
        unit = -self.layout.cluster
        while any(a & unit < end and offset & unit < b for a, b in self._busy):
            self.wait_less_busy()

    def expect_quiet(self) -> None:
        """Return when nothing else is under way. The lock is held. Raises OSError."""
        self._expect_sound()
        while self.metadata.active or self._busy:
            self.wait_less_busy(0.001)

    def wait_less_busy(self, timeout: float | None = None) -> None:
        """Let others have the lock until one of them has done with a range, or some seconds."""
        if self._less_busy is None:
            from threading import Condition

            self._less_busy = Condition(self.lock)
        self._less_busy.wait(timeout)

    def _plan(self, offset: int, end: int) -> Step:
        """What to do for as much as possible of a write; takes clusters where it needs them."""
        layout, metadata = self.layout, self.metadata
        cluster, bits = layout.cluster, layout.cluster_bits
        self._expect_sound()
        self.wait_for(offset, end)
        index = offset >> layout.l1_shift
        if index >= len(metadata.l1):
            metadata.grow_l1(index + 1)
        _, table = metadata.own_table(index)
        at = (offset >> bits) & (layout.l2_entries - 1)
        end = min(end, (index + 1) << layout.l1_shift)
        kind, place = self._target(table, at, offset, end)
        stop = (offset & -cluster) + cluster
        expected = place
        following = at
        if kind == NEW and not layout.extended:
            count = (end - 1 >> bits) - (offset >> bits) + 1
            if not any(table[at : at + count]):  # the usual case: nothing is there yet
                stop += (count - 1) * cluster
        while stop < end:
            following += 1
            expected += cluster
            other, there = self._target(table, following, stop, end)
            if other != kind or (kind != NEW and there != expected):
                break
            stop += cluster
        end = min(end, stop)
        if kind == IN_PLACE:
            if not layout.external:
                count = (end - 1) // cluster - offset // cluster + 1
                metadata.overlaps.guard(place >> bits, count)
            return Step(kind, offset, end, offset, end, place + offset % cluster)
        if kind == REUSED:
            start, stop = self._edges(table, at, offset, end, whole=False)
            return Step(kind, offset, end, start, stop, place + start % cluster)
        if layout.external:
            start, stop = self._edges(table, at, offset, end, whole=True)
            return Step(kind, offset, end, start, stop, start)
        first, got = metadata.take((stop - (offset & -cluster)) >> bits)
        end = min(end, (offset & -cluster) + got * cluster)
        start, stop = self._edges(table, at, offset, end, whole=True)
        place = (first << bits) + start % cluster
        return Step(kind, offset, end, start, stop, place, first << bits >= metadata.file.size)

    def _expect_sound(self) -> None:
        if self.metadata.broken:
            raise gone(self.name)
        if self.keyless:
            self._key()

    def _target(self, table: array[int], at: int, offset: int, end: int) -> tuple[int, int]:
        """Where a write to a cluster goes; offset, end: of the write, beginning in the cluster."""
        layout = self.layout
        entry = table[at * layout.words]
        place = entry & OFFSET
        if not entry & COPIED or entry & COMPRESSED or not (place or layout.external):
            return NEW, 0
        if place % layout.cluster:
            raise self.metadata.corrupt(
                f"Cluster allocation offset {place:#x} unaligned (guest offset: {offset:#x})",
                fatal=True,
            )
        if place >= self.metadata.data.size and not layout.external:
            self._expect_used(place)
        if not layout.extended:
            return (REUSED if entry & ZERO else IN_PLACE), place
        wanted = self._subclusters(offset, end, offset & -layout.cluster)
        bitmap = table[2 * at + 1]
        return (IN_PLACE if bitmap & wanted == wanted else REUSED), place

    def _expect_used(self, place: int) -> None:
        """A cluster of data lies behind the end of the file: it must have been taken."""
        if self.metadata.refcounts.get(place // self.layout.cluster) != 1:
            raise self.metadata.corrupt(f"Data cluster {place:#x} is beyond the end of the file")

    def _subclusters(self, start: int, stop: int, base: int) -> int:
        """The bits of the subclusters between `start` and `stop`, of the cluster at `base`."""
        size = self.layout.subcluster
        low = max(start - base, 0) // size
        high = min(-(-(stop - base) // size), SUBCLUSTERS)
        return (1 << high) - (1 << low)

    def _edges(
        self, table: array[int], at: int, offset: int, end: int, *, whole: bool
    ) -> tuple[int, int]:
        """From where to where a write to clusters from `at` on makes data of what is there.

        whole: what was data in the first and last cluster goes along, as they get new places.
        """
        layout = self.layout
        cluster, size = layout.cluster, layout.subcluster
        start, stop = offset & -size, -(-end // size) * size
        if not layout.extended:
            return start, stop
        last = at + ((end - 1) // cluster - offset // cluster)
        for place, base in ((at, offset & -cluster), (last, (end - 1) & -cluster)):
            entry, bitmap = table[2 * place], table[2 * place + 1] & ALL_ALLOCATED
            if entry & COMPRESSED:
                bitmap = ALL_ALLOCATED
            if whole and bitmap:
                start = min(start, base + ((bitmap & -bitmap).bit_length() - 1) * size)
                stop = max(stop, base + bitmap.bit_length() * size)
            elif not whole:  # what is data already is left as it is
                if base <= start < base + cluster and bitmap >> (start - base) // size & 1:
                    start = offset
                final = (end - 1 - base) // size
                if base < stop <= base + cluster and bitmap >> final & 1:
                    stop = end
        return start, stop

    def _write_step(self, step: Step, pieces: list[memoryview]) -> None:
        try:
            place = step.place
            if step.start < step.offset:
                head = self._around(step.start, step.offset, step)
                pieces = [*head, *pieces] if head is not None else pieces
                place += step.offset - step.start if head is None else 0
            if step.end < step.stop:
                pieces = [*pieces, *(self._around(step.end, step.stop, step) or [])]
            self._put(place, step.start + place - step.place, pieces)
        except BaseException:
            if step.kind == NEW and not self.layout.external:
                with self.lock:
                    base = step.place >> self.layout.cluster_bits
                    self.metadata.give_back(base, self._count(step))
            raise
        with self.lock:
            self._connect(step)
            self.metadata.relieve()

    def _count(self, step: Step) -> int:
        cluster = self.layout.cluster
        return (step.end - 1) // cluster - step.offset // cluster + 1

    def _around(self, start: int, stop: int, step: Step) -> list[memoryview] | None:
        """What goes along with a write; None for zeros that are there already."""
        with self.lock:
            found = runs(self.metadata, start, stop - start)
            below = self.backing is not None and self.backing.size > start
        read = (DATA, PACKED, NOTHING, NOTHING_ALLOCATED) if below else (DATA, PACKED)
        if not any(run.kind in read for run in found):
            if step.blank and self.cipher is None:
                return None
            size = len(ZEROES)
            return [ZEROES[: min(size, stop - at)] for at in range(start, stop, size)]
        view = memoryview(bytearray(stop - start))
        self.metadata.data.event("cow_read")
        self._read_into(start, [view])
        return [view]

    def _put(self, place: int, offset: int, pieces: list[memoryview]) -> None:
        """Write to the data file what begins at `offset` of the disk, encrypted if need be."""
        if self.cipher is not None:
            data = b"".join(pieces)
            start = place if self.cipher_physical else offset
            pieces = [memoryview(self.cipher.encrypt(start // SECTOR, data))]
        self.metadata.data.event("write_aio")
        self.metadata.data.write_from(place, pieces)

    def _connect(self, step: Step) -> None:
        """Have the tables say where a step has been written."""
        layout, metadata = self.layout, self.metadata
        cluster, bits = layout.cluster, layout.cluster_bits
        l2, table = metadata.own_table(step.offset >> layout.l1_shift)
        at = (step.offset >> bits) & (layout.l2_entries - 1)
        count = self._count(step)
        base = (step.place & -cluster) | COPIED
        new = array("Q", range(base, base + count * cluster, cluster))
        if not layout.extended:
            old = table[at : at + count]
            table[at : at + count] = new
        else:
            old = table[2 * at : 2 * (at + count) : 2]
            table[2 * at : 2 * (at + count) : 2] = new
            for i in range(count):
                begin = (step.offset & -cluster) + i * cluster
                written = self._subclusters(step.start, step.stop, begin)
                bitmap = table[2 * (at + i) + 1]
                if step.kind == NEW and old[i] & COMPRESSED:
                    bitmap = 0
                bitmap = (bitmap | written) & ~(written << SUBCLUSTERS)
                table[2 * (at + i) + 1] = bitmap
        metadata.mark(l2, at * layout.words, (at + count) * layout.words)
        if step.kind == NEW and any(old):
            for entry in old:
                self.free_entry(entry, discard=self.settings.discard_other)

    def free_entry(self, entry: int, *, discard: bool) -> None:
        """What an entry of an L2 table pointed to is not needed any more."""
        metadata = self.metadata
        if entry & COMPRESSED:
            place, most = self.layout.packed(entry)
            metadata.free(place, most, discard=discard)
        elif self.layout.external:
            if entry & COPIED and discard:
                place = entry & OFFSET
                length = min(self.layout.cluster, max(metadata.data.size - place, 0))
                metadata.data.discard(place, length)
        elif entry & OFFSET:
            metadata.free(entry & OFFSET, self.layout.cluster, discard=discard)

    # Compressed data

    def compress(self, data: bytes | memoryview) -> list[Packed]:
        size = self.layout.cluster
        clusters = [memoryview(data)[at : at + size] for at in range(0, len(data), size)]
        if clusters and len(clusters[-1]) < size:
            clusters[-1] = memoryview(bytes(clusters[-1]).ljust(size, b"\0"))
        return compress(clusters, self.header.compression_type)

    def write_compressed(
        self, offset: int, data: bytes | memoryview, packed: Sequence[Packed] = ()
    ) -> None:
        length, size = len(data), self.layout.cluster
        self.within(offset, length, writes=True)
        if not length:
            return
        if self.layout.external or self.encrypted:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        if offset % size or (length % size and offset + length != self.size):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        packed = packed or self.compress(data)
        done = 0
        for shrinks, group in groupby(packed, lambda one: len(one) < size):
            clusters = list(group)
            part = memoryview(data)[done * size : (done + len(clusters)) * size]
            if shrinks:
                self._write_packed(offset + done * size, clusters)
                self._note_write(offset + done * size, len(part))
            else:
                self._write_from(offset + done * size, [part])
            done += len(clusters)

    def _write_packed(self, offset: int, packed: list[Packed]) -> None:
        """Write compressed clusters that follow each other on the disk."""
        layout, metadata = self.layout, self.metadata
        with self.lock:
            self._expect_sound()
            self.wait_for(offset, offset + len(packed) * layout.cluster)
            places = [metadata.take_bytes(len(one)) for one in packed]
            done = 0
            for at in range(1, len(packed) + 1):
                if at == len(packed) or places[at] != places[at - 1] + len(packed[at - 1]):
                    metadata.file.event("write_compressed")
                    metadata.file.write_from(places[done], packed[done:at])
                    done = at
            for place, one in zip(places, packed, strict=True):
                l2, table = metadata.own_table(offset >> layout.l1_shift)
                at = (offset >> layout.cluster_bits & (layout.l2_entries - 1)) * layout.words
                old = table[at]
                table[at] = layout.packed_entry(place, len(one))
                if layout.extended:
                    table[at + 1] = 0
                metadata.mark(l2, at, at + layout.words)
                self.free_entry(old, discard=self.settings.discard_other)
                offset += layout.cluster
            metadata.relieve()

    def flush(self) -> None:
        with self.lock:
            if self.metadata.broken:
                raise gone(self.name)
            if self.metadata.waiting and not self.readonly:
                self.metadata.commit()
                return
        self.metadata.sync()
