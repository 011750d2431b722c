"""Snapshots inside qcow2 images: their table, taking, going back to and forgetting them.

A snapshot is an L1 table of its own. What several L1 tables reach has a refcount of more than one,
and no entry that leads there has the flag COPIED, so that writes take new clusters.
"""

from __future__ import annotations

import time
from array import array

from pemu.block.error import ImageError
from pemu.block.formats.qcow2.clearing import Qcow2Clearing
from pemu.block.formats.qcow2.header import MOST_SNAPSHOTS
from pemu.block.formats.qcow2.layout import COMPRESSED, COPIED, OFFSET, check_l1
from pemu.block.formats.qcow2.metadata import Metadata
from pemu.block.formats.qcow2.switching import Switch
from pemu.block.formats.qcow2.words import load_words, read_padded, same_until
from pemu.block.image import Snapshot
from pemu.block.pieces import Buffers, Pieces
from pemu.block.structure import U16, U32, U64, Structure
from pemu.records import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

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
    extra: bytes = b""


def parse_table(metadata: Metadata) -> tuple[list[Stored], int]:
    """The snapshots of an image, and the bytes of their table. Raises ImageError, OSError."""
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
    return found, offset - fields.snapshots_offset


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
    table_length = 0
    """Bytes of the table of snapshots in the file, once `stored` has been asked."""

    def stored(self) -> list[Stored]:
        """The snapshots and where they are. Raises ImageError."""
        if self._stored is None:
            found, self.table_length = parse_table(self.metadata)
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
        with self.lock:
            self._settle()
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
            l1 = self.metadata.l1[:]
            with self._switching(l1, [*stored, Stored(snapshot, 0, len(l1))], l1) as switch:
                self._refer(l1, 1, tables=False)
                for index, entry in enumerate(l1):
                    if entry & OFFSET:
                        l1[index] = place = self._without_copied(entry, switch)
                        self._add(place, 1)
                        if place != entry & OFFSET:
                            self._add(entry & OFFSET, -1)
            if snapshot.state_size:
                start = self.vmstate_offset
                unit = self.layout.cluster
                self._drop(start, start + self.layout.clusters(snapshot.state_size) * unit,
                           discard=False)  # fmt: skip

    def apply_snapshot(self, key: str) -> None:
        if self.bitmaps():  # which would not know what has changed
            raise ImageError("Device has active dirty bitmaps")
        with self.lock:
            self._settle()
            one = self._find(key)
            layout, metadata = self.layout, self.metadata
            if one.snapshot.size != self.size:
                if self.header.fields.version < 3:
                    raise ImageError(
                        f"The snapshot has another size ({one.snapshot.size}) than the image"
                    )
                self.truncate(one.snapshot.size)
                metadata.commit(accurate=True)
            old = metadata.l1[:]
            l1 = load_words(metadata.file, one.l1_offset, one.l1_size)
            l1.extend([0] * (layout.l1_entries(self.size) - len(l1)))
            with self._switching(l1, self.stored()) as switch:
                self._refer(l1, 1, tables=False)
                for index, entry in enumerate(l1):
                    if entry & OFFSET:
                        # All of it is shared now; the snapshot's own flags need not be right.
                        place = self._without_copied(entry, switch)
                        if place == entry & OFFSET:
                            self._add(place, 1)
                            l1[index] = place
                        else:
                            l1[index] = place | COPIED
                self._refer(old, -1)
            self._note_write(0, self.size)

    def delete_snapshot(self, key: str) -> None:
        with self.lock:
            self._settle()
            one = self._find(key)
            metadata = self.metadata
            gone = load_words(metadata.file, one.l1_offset, one.l1_size)
            l1 = metadata.l1[:]
            left = [other for other in self.stored() if other is not one]
            freed = list(self._pieces(gone)) if self.settings.discard_snapshot else []
            with self._switching(l1, left) as switch:
                self._refer(gone, -1)
                self._free_row(one.l1_offset, one.l1_size * 8)
                for index, entry in enumerate(l1):
                    if entry & OFFSET:
                        l1[index] = self._with_copied(entry, switch)
            for cluster, count in freed:
                metadata.tell_free(cluster, count)

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
        self.metadata.file.event("vmstate_load")
        self._read_into(self.vmstate_offset + offset, buffers)

    def write_vmstate(self, offset: int, pieces: Pieces) -> None:
        """Write to the state of the machine, which a snapshot keeps. Raises OSError."""
        self.metadata.file.event("vmstate_save")
        self._write_from(self.vmstate_offset + offset, pieces)

    # Parts

    def bitmap_areas(self) -> Iterator[tuple[int, int]]:
        """Offset and length of all that belongs to bitmaps in the file."""
        return iter(())

    def find_tables(self) -> None:
        """Find out anew which clusters have tables."""
        self.metadata.find_tables(self._other_tables())

    def _other_tables(self) -> Iterator[tuple[str, int, int]]:
        """Kind, offset and length of tables that only some operations need."""
        fields = self.header.fields
        for one in self.stored():
            if "inactive-l2" in self.settings.overlap:
                for entry in load_words(self.metadata.file, one.l1_offset, one.l1_size):
                    if entry & OFFSET:
                        yield "inactive-l2", entry & OFFSET, self.layout.cluster
            yield "inactive-l1", one.l1_offset, one.l1_size * 8
        if fields.nb_snapshots:
            yield "snapshot-table", fields.snapshots_offset, self.table_length
        if self.header.crypt is not None:
            yield "encryption-header", self.header.crypt.offset, self.header.crypt.length
        for number, (offset, length) in enumerate(self.bitmap_areas()):
            yield "bitmap" if number else "bitmap-directory", offset, length

    def rewrite_snapshots(self) -> None:
        """Write the table of snapshots as images of version 3 must have it."""
        if self.stored():
            self._store(self.stored())

    def _settle(self) -> None:
        """Have nothing else under way and all tables written. Raises ImageError or OSError."""
        if self.layout.external:
            raise ImageError("Snapshots are not supported with external data files")
        self.expect_quiet()
        self.metadata.commit(accurate=True)
        self.metadata.refcounts.write()

    def _switching(
        self, l1: array[int], stored: list[Stored], copy: array[int] | None = None
    ) -> Switch:
        """Put an active L1 table and snapshots in the place of those that there are, at once.

        The body of the `with` statement completes `l1` and changes references. copy: the L1 table
        of the last snapshot, which is new.
        """
        metadata, fields = self.metadata, self.header.fields
        before = fields.snapshots_offset, self.table_length
        length = len(emit_table(stored))
        if length > LARGEST_TABLE:
            raise ImageError("Snapshot table is too large")
        rows = [len(l1) * 8, length, len(copy) * 8 if copy is not None else 0]

        def complete(switch: Switch) -> None:
            l1_place, place, copy_place = switch.rows
            if len(l1):
                self._free_row(metadata.l1_offset, len(metadata.l1) * 8)
                metadata.write_table(l1_place, l1)
            if copy is not None:
                metadata.write_table(copy_place, copy)
                stored[-1].l1_offset = copy_place
            self._free_row(*before)
            if stored:
                metadata.file.write(place, emit_table(stored).ljust(rows[1], b"\0"))
            switch.finish(l1_place or metadata.l1_offset, l1, (len(stored), place))
            self._stored, self.table_length = stored, length
            self.find_tables()

        return Switch(metadata, rows, sum(1 for entry in l1 if entry & OFFSET), complete)

    def _free_row(self, offset: int, length: int) -> None:
        """A table of `length` bytes is not needed any more."""
        self._add(offset, -1, length)

    def _add(self, offset: int, delta: int, length: int = 1) -> None:
        """Change the refcounts of what lies there."""
        layout = self.layout
        self.metadata.refcounts.add(offset // layout.cluster, layout.clusters(length), delta)

    def _store(self, stored: list[Stored]) -> None:
        """Write another table of snapshots and name it in the header."""
        layout, metadata = self.layout, self.metadata
        fields = metadata.header.fields
        before = fields.snapshots_offset if fields.nb_snapshots else 0
        length = self.table_length
        table = emit_table(stored)
        if len(table) > LARGEST_TABLE:
            raise ImageError("Snapshot table is too large")
        place = 0
        if stored:
            place = metadata.take_table(layout.clusters(len(table)), "snapshot-table")
            metadata.file.write(place, table + bytes(-len(table) % layout.cluster))
        metadata.commit(accurate=True)
        fields.nb_snapshots, fields.snapshots_offset = len(stored), place
        metadata.write_fields("nb_snapshots", "snapshots_offset")
        self._stored, self.table_length = stored, len(table)
        if before:
            metadata.free(before, length)
            metadata.commit()

    def _pieces(self, l1: array[int], *, tables: bool = True) -> Iterator[tuple[int, int]]:
        """The clusters that an L1 table refers to: number and count. tables: L2 tables, too."""
        layout, metadata = self.layout, self.metadata
        bits = layout.cluster_bits
        for entry in l1:
            if not entry & OFFSET:
                continue
            table = metadata.table_at(entry)
            if tables:
                yield (entry & OFFSET) >> bits, 1
            for one, _, count in self._runs(table):
                if one & COMPRESSED:
                    place, most = layout.packed(one)
                    yield place >> bits, ((place + most - 1) >> bits) - (place >> bits) + 1
                else:
                    yield (one & OFFSET) >> bits, count

    def _runs(self, table: array[int]) -> Iterator[tuple[int, int, int]]:
        """The entries of an L2 table that lead to clusters: the first one of a row, where in the
        table that is, and how many there are; those of compressed clusters come alone."""
        entries = table[:: self.layout.words]
        at, end = 0, len(entries)
        while at < end:
            one, first = entries[at], at
            if one & COMPRESSED:
                at += 1
            elif one & OFFSET:
                at = same_until(entries, at, end, self.layout.cluster)
            else:
                at = same_until(entries, at, end)
                continue
            yield one, first, at - first

    def _refer(self, l1: array[int], delta: int, *, tables: bool = True) -> None:
        """Change the refcounts of all that an L1 table refers to. tables: of L2 tables, too."""
        try:
            for cluster, count in self._pieces(l1, tables=tables):
                self.metadata.refcounts.add(cluster, count, delta)
        except OSError as error:
            if delta < 0:
                raise
            raise ImageError(f"'{self.name}': {error.strerror}") from None

    def _without_copied(self, entry: int, switch: Switch) -> int:
        """Where the L2 table of an entry is without flags: another place if it had some."""
        table = self.metadata.table_at(entry)
        words = self.layout.words
        changed = [i for i in range(0, len(table), words) if table[i] & COPIED]
        return self._rewritten(table, changed, switch) if changed else entry & OFFSET

    def _with_copied(self, entry: int, switch: Switch) -> int:
        """An entry of the active L1 table with the flag where a refcount is one again, there and
        in its L2 table."""
        refcounts, bits = self.metadata.refcounts, self.layout.cluster_bits
        place = entry & OFFSET
        if refcounts.get(place >> bits) != 1:
            return entry
        table = self.metadata.table_at(entry)
        changed = [
            (at + cluster - base + i) * self.layout.words
            for one, at, count in self._runs(table)
            if not one & (COMPRESSED | COPIED)
            for base in [(one & OFFSET) >> bits]
            for cluster, found in refcounts.having(1, base, count)
            for i in range(found)
        ]
        if changed:
            self._add(place, -1)
            place = self._rewritten(table, changed, switch)
        return place | COPIED

    def _rewritten(self, table: array[int], changed: list[int], switch: Switch) -> int:
        """Where an L2 table is written anew with the flag of some entries changed."""
        table = table[:]
        for i in changed:
            table[i] ^= COPIED
        return switch.write(table)
