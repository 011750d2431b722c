"""Snapshots inside qcow2 images: their table, taking, going back to and forgetting them.

A snapshot is an L1 table of its own. What several L1 tables reach has a refcount of more than one,
and no entry that leads there has the flag COPIED, so that writes take new clusters.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pemu.block.error import ImageError
from pemu.block.formats.qcow2.clearing import Qcow2Clearing
from pemu.block.formats.qcow2.header import DIRTY, MOST_SNAPSHOTS
from pemu.block.formats.qcow2.layout import COMPRESSED, COPIED, OFFSET, check_l1
from pemu.block.formats.qcow2.metadata import Metadata
from pemu.block.formats.qcow2.words import load_words, read_padded
from pemu.block.image import Buffers, Pieces, Snapshot
from pemu.block.structure import U16, U32, U64, Structure

LARGEST_TABLE = 64 << 20
"""Bytes of the table of all snapshots, QEMU's limit."""

LARGEST_EXTRA = 1024
"""Bytes of what a snapshot has besides, QEMU's limit."""


class Entry(Structure, byte_order=">"):
    """The fixed part of an entry of the snapshot table."""

    l1_offset: U64
    l1_size: U32
    id_size: U16
    name_size: U16
    date: U32
    nanoseconds: U32
    clock: U64
    state_size: U32
    extra_size: U32


class Extra(Structure, byte_order=">"):
    """What follows it in images of version 3."""

    state_size: U64
    disk_size: U64
    instructions: U64


_NO_COUNT = (1 << 64) - 1


@dataclass
class Stored:
    """A snapshot and its L1 table. extra: what its entry has that is not known here."""

    snapshot: Snapshot
    l1_offset: int
    l1_size: int
    extra: bytes = field(default=b"")


def parse_table(metadata: Metadata) -> list[Stored]:
    """The snapshots of an image. Raises ImageError, OSError."""
    fields = metadata.header.fields
    found: list[Stored] = []
    offset = fields.snapshots_offset
    for _ in range(fields.nb_snapshots):
        entry = Entry.parse(read_padded(metadata.file, offset, Entry.SIZE))
        if entry.extra_size > LARGEST_EXTRA:
            raise ImageError(f"Too much extra metadata in snapshot table entry {len(found)}")
        length = entry.extra_size + entry.id_size + entry.name_size
        rest = bytes(read_padded(metadata.file, offset + Entry.SIZE, length))
        extra = Extra(state_size=entry.state_size, disk_size=fields.size, instructions=_NO_COUNT)
        known = extra.emit()
        given = rest[: entry.extra_size]
        # Fields come in order; what is missing has a default.
        usable = len(given[: Extra.SIZE]) // 8 * 8
        extra = Extra.parse(given[:usable] + known[usable:])
        id, name = _split(rest[entry.extra_size :], entry.id_size)
        count = extra.instructions
        snapshot = Snapshot(
            id, name, entry.date, entry.nanoseconds, entry.clock, extra.state_size,
            extra.disk_size, -1 if count == _NO_COUNT else count,
        )  # fmt: skip
        found.append(Stored(snapshot, entry.l1_offset, entry.l1_size, given[Extra.SIZE :]))
        offset += -(-(Entry.SIZE + length) // 8) * 8
        if offset - fields.snapshots_offset > LARGEST_TABLE:
            raise ImageError("Snapshot table is too large")
    return found


def _split(data: bytes, length: int) -> tuple[str, str]:
    return (
        data[:length].decode("utf-8", "surrogateescape"),
        data[length:].decode("utf-8", "surrogateescape"),
    )


def emit_table(stored: list[Stored]) -> bytes:
    """The table of these snapshots."""
    table = b""
    for one in stored:
        said = one.snapshot
        id, name = (text.encode("utf-8", "surrogateescape") for text in (said.id, said.name))
        extra = Extra(
            state_size=said.state_size,
            disk_size=said.size,
            instructions=said.instructions & _NO_COUNT,
        ).emit()
        extra += one.extra
        entry = Entry(
            l1_offset=one.l1_offset,
            l1_size=one.l1_size,
            id_size=len(id),
            name_size=len(name),
            date=said.date & 0xFFFFFFFF,
            nanoseconds=said.nanoseconds,
            clock=said.clock,
            state_size=said.state_size if said.state_size < 1 << 32 else 0,
            extra_size=len(extra),
        )
        table += entry.emit() + extra + id + name
        table += bytes(-len(table) % 8)
    return table


class Qcow2Snapshots(Qcow2Clearing):
    """A qcow2 image, as far as its snapshots go."""

    _stored: list[Stored] | None = None

    def stored(self) -> list[Stored]:
        """The snapshots and where they are. Raises ImageError."""
        if self._stored is None:
            found = parse_table(self.metadata)
            for one in found:
                check_l1("Snapshot L1 table", one.l1_offset, one.l1_size, self.layout)
            self._stored = found
        return self._stored

    def snapshots(self) -> list[Snapshot]:
        with self.lock:
            return [one.snapshot for one in self.stored()]

    def _find(self, key: str) -> Stored:
        found = [one for one in self.stored() if one.snapshot.id == key]
        found += [one for one in self.stored() if one.snapshot.name == key]
        if not found:
            raise ImageError(f"Can't find snapshot '{key}'")
        return found[0]

    def create_snapshot(self, snapshot: Snapshot) -> None:
        with self._changing():
            stored = self.stored()
            if len(stored) >= MOST_SNAPSHOTS:
                raise ImageError(f"'{self.name}' has {MOST_SNAPSHOTS} snapshots; delete one")
            ids = [one.snapshot.id for one in stored]
            if not snapshot.id:
                numbers = [int(id) for id in ids if id.isascii() and id.isdigit()]
                snapshot.id = str(max(numbers, default=0) + 1)
            if snapshot.id in ids:
                raise ImageError(f"There is a snapshot with the id '{snapshot.id}' already")
            if not snapshot.date:
                snapshot.date = int(time.time())
            snapshot.size = self.size
            metadata = self.metadata
            l1 = metadata.l1[:]
            for i, entry in enumerate(l1):
                l1[i] = entry & ~COPIED
            length = max(len(l1) * 8, 1)
            place = metadata.take_table(self.layout.clusters(length), "inactive L1 table")
            try:
                self._refer(l1, 1)
            except BaseException:
                metadata.give_back(place // self.layout.cluster, self.layout.clusters(length))
                raise
            metadata.write_table(place, l1)
            metadata.refcounts.write()
            metadata.sync()
            self._clear_copied(metadata.l1)
            for i, entry in enumerate(l1):
                if metadata.l1[i] != entry:
                    metadata.l1[i] = entry
                    metadata.mark_l1(i)
            metadata.commit()
            self._store([*stored, Stored(snapshot, place, len(l1))])
            if snapshot.state_size:
                start = self.vmstate_offset
                unit = self.layout.cluster
                self._drop(start, start + self.layout.clusters(snapshot.state_size) * unit,
                           discard=False)  # fmt: skip

    def apply_snapshot(self, key: str) -> None:
        with self._changing():
            one = self._find(key)
            layout, metadata = self.layout, self.metadata
            if one.snapshot.size != self.size:
                if self.header.fields.version < 3:
                    raise ImageError(
                        f"The snapshot has another size ({one.snapshot.size}) than the image"
                    )
                self.truncate(one.snapshot.size)
            l1 = load_words(metadata.file, one.l1_offset, one.l1_size)
            for i, entry in enumerate(l1):
                l1[i] = entry & ~COPIED
            wanted = layout.l1_entries(self.size)
            l1.extend([0] * (wanted - len(l1)))
            length = max(len(l1) * 8, 1)
            place = metadata.take_table(layout.clusters(length), "active L1 table")
            self._refer(l1, 1)
            metadata.refcounts.write()
            metadata.sync()
            # All of it is shared with the snapshot now; its own flags need not have been right.
            self._clear_copied(l1)
            metadata.commit()
            metadata.write_table(place, l1)
            metadata.sync()
            old, before = metadata.l1, metadata.l1_offset
            metadata.use_l1(place, l1)
            metadata.name_l1()
            self._refer(old, -1)
            if len(old):
                metadata.give_back(before // layout.cluster, layout.clusters(len(old) * 8))
            metadata.commit(accurate=True)
            if self.settings.overlap:
                self.own_clusters()
            self._note_write(0, self.size)

    def delete_snapshot(self, key: str) -> None:
        with self._changing():
            one = self._find(key)
            layout, metadata = self.layout, self.metadata
            self._store([other for other in self.stored() if other is not one])
            l1 = load_words(metadata.file, one.l1_offset, one.l1_size)
            self._refer(l1, -1, discard=self.settings.discard_snapshot)
            length = max(one.l1_size * 8, 1)
            metadata.give_back(one.l1_offset // layout.cluster, layout.clusters(length))
            metadata.refcounts.write()
            metadata.sync()
            self._find_copied()
            metadata.commit(accurate=True)
            if self.settings.overlap:
                self.own_clusters()

    def show_snapshot(self, key: str) -> None:
        with self.lock:
            one = self._find(key)
            if not self.readonly:
                raise ImageError("Device is not readonly")
            l1 = load_words(self.metadata.file, one.l1_offset, one.l1_size)
            if one.l1_size < self.layout.l1_entries(one.snapshot.size):
                raise ImageError("Snapshot L1 table is too small")
            self.metadata.use_l1(one.l1_offset, l1)
            self.size = one.snapshot.size

    # State of the machine

    @property
    def vmstate_offset(self) -> int:
        """Where the state of the machine begins, behind the disk, in bytes."""
        return self.layout.l1_entries(self.size) << self.layout.l1_shift

    def read_vmstate(self, offset: int, buffers: Buffers) -> None:
        """Read from the state of the machine. Raises OSError."""
        self._read_into(self.vmstate_offset + offset, buffers)

    def write_vmstate(self, offset: int, pieces: Pieces) -> None:
        """Write to the state of the machine, which a snapshot keeps. Raises OSError."""
        self._write_from(self.vmstate_offset + offset, pieces)

    # Parts

    def bitmap_areas(self) -> Iterator[tuple[int, int]]:
        """Offset and length of all that belongs to bitmaps in the file."""
        return iter(())

    def own_clusters(self) -> None:
        """Find out anew which clusters have tables."""
        fields = self.header.fields
        tables = [(one.l1_offset, one.l1_size * 8) for one in self.stored()]
        if fields.nb_snapshots:
            tables.append((fields.snapshots_offset, len(emit_table(self.stored()))))
        if self.header.crypt is not None:
            tables.append((self.header.crypt.offset, self.header.crypt.length))
        tables += self.bitmap_areas()
        self.metadata.own_clusters(tables)

    def rewrite_snapshots(self) -> None:
        """Write the table of snapshots as images of version 3 must have it."""
        if self.stored():
            self._store(self.stored())

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Nothing else is under way, all tables are written; a cut from here on is repaired."""
        if self.layout.external:
            raise ImageError("Snapshots are not supported with external data files")
        with self.lock:
            self._expect_sound()
            while self.metadata.active or self._busy:
                self._less_busy.wait(0.001)
            self.metadata.commit(accurate=True)
            self.metadata.refcounts.write()
            marked = self.header.fields.version >= 3 and not self.header.has(DIRTY)
            if marked:
                self.metadata.set_incompatible(DIRTY, on=True)
            try:
                yield
            finally:
                self.metadata.commit(accurate=True)
                self.metadata.refcounts.write()
                if marked:
                    self.metadata.sync()
                    self.metadata.set_incompatible(DIRTY, on=False)

    def _store(self, stored: list[Stored]) -> None:
        """Write another table of snapshots and name it in the header."""
        layout, metadata = self.layout, self.metadata
        fields = metadata.header.fields
        before = fields.snapshots_offset if fields.nb_snapshots else 0
        length = len(emit_table(self.stored()))
        table = emit_table(stored)
        if len(table) > LARGEST_TABLE:
            raise ImageError("Snapshot table is too large")
        place = 0
        if stored:
            place = metadata.take_table(layout.clusters(len(table)), "snapshot table")
            metadata.file.write(place, table + bytes(-len(table) % layout.cluster))
        metadata.commit(accurate=True)
        fields.nb_snapshots, fields.snapshots_offset = len(stored), place
        metadata.write_fields("nb_snapshots", "snapshots_offset")
        self._stored = stored
        if before:
            metadata.free(before, length)
            metadata.commit()

    def _pieces(self, l1: array[int]) -> Iterator[tuple[int, int]]:
        """The clusters that an L1 table refers to: number and count, L2 tables included."""
        layout, metadata = self.layout, self.metadata
        bits = layout.cluster_bits
        for entry in l1:
            if not entry & OFFSET:
                continue
            table = metadata.table_at(entry)
            yield (entry & OFFSET) >> bits, 1
            first = count = 0
            for one in table[:: layout.words]:
                if one & COMPRESSED:
                    place, most = layout.packed(one)
                    yield place >> bits, ((place + most - 1) >> bits) - (place >> bits) + 1
                elif one & OFFSET:
                    cluster = (one & OFFSET) >> bits
                    if cluster == first + count and count:
                        count += 1
                        continue
                    if count:
                        yield first, count
                    first, count = cluster, 1
            if count:
                yield first, count

    def _refer(self, l1: array[int], delta: int, *, discard: bool = False) -> None:
        """Change the refcounts of all that an L1 table refers to; all or nothing."""
        metadata = self.metadata
        done = []
        try:
            for cluster, count in self._pieces(l1):
                metadata.refcounts.add(cluster, count, delta)
                done.append((cluster, count))
        except OSError as error:
            for cluster, count in done:
                metadata.refcounts.add(cluster, count, -delta)
            if delta > 0:
                raise ImageError(f"'{self.name}': {error.strerror}") from None
            raise
        if delta < 0:
            metadata.packed_end = 0
            if discard:
                metadata.commit(accurate=True)
                for cluster, count in done:
                    metadata.tell_free(cluster, count)

    def _clear_copied(self, l1: array[int]) -> None:
        """No entry of these L2 tables may be overwritten in place."""
        metadata, words = self.metadata, self.layout.words
        for entry in l1:
            if entry & OFFSET:
                table = metadata.table_at(entry)
                changed = [i for i in range(0, len(table), words) if table[i] & COPIED]
                for i in changed:
                    table[i] &= ~COPIED
                if changed:
                    metadata.mark(entry & OFFSET, changed[0], changed[-1] + words)

    def _find_copied(self) -> None:
        """Set the flag where a refcount is one again."""
        layout, metadata = self.layout, self.metadata
        refcounts, bits = metadata.refcounts, layout.cluster_bits
        for index, entry in enumerate(metadata.l1):
            if not entry & OFFSET:
                continue
            table = metadata.table_at(entry)
            for i in range(0, len(table), layout.words):
                one = table[i]
                place = one & OFFSET
                if place and not one & (COMPRESSED | COPIED) and refcounts.get(place >> bits) == 1:
                    table[i] = one | COPIED
                    metadata.mark(entry & OFFSET, i, i + layout.words)
            if not entry & COPIED and refcounts.get((entry & OFFSET) >> bits) == 1:
                metadata.l1[index] = entry | COPIED
                metadata.mark_l1(index)
