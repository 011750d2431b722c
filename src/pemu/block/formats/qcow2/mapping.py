"""From offsets on a qcow2 disk to places in its file: runs of clusters in the same state."""

from __future__ import annotations

import errno
from array import array

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
    ZEROES,
    ZEROES_ALLOCATED,
)
from pemu.block.formats.qcow2.metadata import Metadata
from pemu.block.formats.qcow2.words import same_until
from pemu.records import NamedTuple


class Run(NamedTuple):
    """A stretch of the disk in one state.

    place: offset in the data file of what is there, where `kind` has room; of PACKED, the L2 entry.
    """

    offset: int
    length: int
    kind: int
    place: int


_PLACED = frozenset((DATA, ZEROES_ALLOCATED, NOTHING_ALLOCATED))


def gone(name: str) -> OSError:
    """What requests fail with when an image has been found to be corrupt: as if it were gone."""
    return OSError(errno.ENOMEDIUM, f"'{name}' is corrupt; nothing more is read or written")


def runs(metadata: Metadata, offset: int, length: int, most: int = 1 << 30) -> list[Run]:
    """The states of a range of the disk, in order; at most `most`, which may end before the range.

    Raises OSError.
    """
    layout = metadata.layout
    if metadata.broken:
        raise gone(metadata.name)
    result: list[Run] = []
    end = offset + length
    l1 = metadata.l1
    while offset < end and len(result) <= most:
        index = offset >> layout.l1_shift
        stop = min((index + 1) << layout.l1_shift, end)
        entry = l1[index] if index < len(l1) else 0
        if not entry & OFFSET:
            if index < len(l1):
                limit = min(((end - 1) >> layout.l1_shift) + 1, len(l1))
                stop = min(same_until(l1, index, limit) << layout.l1_shift, end)
            _add(result, offset, stop - offset, NOTHING, 0)
        elif layout.extended:
            _extended(metadata, metadata.table_at(entry), offset, stop, result, most)
        else:
            _standard(metadata, metadata.table_at(entry), offset, stop, result, most)
        last = result[-1]
        offset = last.offset + last.length
    return result[:most]


def known_place(metadata: Metadata, offset: int, length: int) -> int:
    """Where in the file the data of a part of one cluster are; -1 where `runs` has to be asked."""
    layout = metadata.layout
    mask = layout.cluster - 1
    inside = offset & mask
    index = offset >> layout.l1_shift
    if inside + length > layout.cluster or layout.extended or layout.external or metadata.broken:
        return -1
    table = metadata.known_table(metadata.l1[index]) if index < len(metadata.l1) else None
    if table is None:
        return -1
    place = table[(offset >> layout.cluster_bits) & (layout.l2_entries - 1)] & ~COPIED
    return place + inside if place and not place & (mask | COMPRESSED) else -1


def _add(result: list[Run], offset: int, length: int, kind: int, place: int) -> None:
    if result:
        last = result[-1]
        if last.kind == kind and (
            last.place + last.length == place if kind in _PLACED else kind != PACKED
        ):
            result[-1] = Run(last.offset, last.length + length, kind, last.place)
            return
    result.append(Run(offset, length, kind, place))


def _standard(
    metadata: Metadata, table: array[int], offset: int, end: int, result: list[Run], most: int
) -> None:
    layout = metadata.layout
    bits, cluster = layout.cluster_bits, layout.cluster
    index = (offset >> bits) & (layout.l2_entries - 1)
    while offset < end and len(result) <= most:
        entry = table[index]
        stop = ((offset >> bits) + 1) << bits
        index += 1
        if entry & COMPRESSED:
            _add(result, offset, min(stop, end) - offset, PACKED, entry)
            offset = stop
            continue
        place = entry & OFFSET
        if place & (cluster - 1):
            raise metadata.corrupt(
                f"Cluster allocation offset {place:#x} unaligned (guest offset: {offset:#x})",
                fatal=True,
            )
        if entry & ZERO:
            kind = ZEROES_ALLOCATED if place else ZEROES
        elif place or (layout.external and entry & COPIED):
            kind = DATA
        else:
            kind = NOTHING
        if kind in _PLACED:
            if layout.external and place != stop - cluster:
                raise _elsewhere(metadata, place, stop - cluster)
            place += offset & (cluster - 1)
            step = cluster
        else:
            step = 0
        if stop < end:
            limit = index + ((end - 1) >> bits) - (offset >> bits)
            after = same_until(table, index - 1, limit, step)
            stop += (after - index) << bits
            index = after
        stop = min(stop, end)
        _add(result, offset, stop - offset, kind, place)
        offset = stop


def _extended(
    metadata: Metadata, table: array[int], offset: int, end: int, result: list[Run], most: int
) -> None:
    layout = metadata.layout
    bits, cluster, subcluster = layout.cluster_bits, layout.cluster, layout.subcluster
    index = (offset >> bits) & (layout.l2_entries - 1)
    while offset < end and len(result) <= most:
        entry, bitmap = table[2 * index], table[2 * index + 1]
        start = offset & -cluster
        stop = min(start + cluster, end)
        index += 1
        if entry & COMPRESSED:
            if bitmap:
                raise metadata.corrupt(
                    f"Compressed cluster with subclusters (guest offset: {start:#x})", fatal=True
                )
            _add(result, offset, stop - offset, PACKED, entry)
            offset = stop
            continue
        place = entry & OFFSET
        allocated, zero = bitmap & ALL_ALLOCATED, bitmap >> SUBCLUSTERS
        room = bool(place) or (layout.external and bool(entry & COPIED))
        if place & (cluster - 1) or allocated & zero or (allocated and not room):
            raise metadata.corrupt(
                f"Invalid cluster entry found (guest offset: {start:#x}, entry: {entry:#x}, "
                f"bitmap: {bitmap:#x})",
                fatal=True,
            )
        if room and layout.external and place != start:
            raise _elsewhere(metadata, place, start)
        while offset < stop:
            bit = (offset - start) // subcluster
            if allocated >> bit & 1:
                kind, left = DATA, ~allocated >> bit
            elif zero >> bit & 1:
                kind, left = ZEROES_ALLOCATED if room else ZEROES, ~zero >> bit
            else:
                kind = NOTHING_ALLOCATED if room else NOTHING
                left = (allocated | zero) >> bit
            same = (left & -left).bit_length() - 1 if left else SUBCLUSTERS
            until = min(start + (bit + same) * subcluster, stop)
            _add(result, offset, until - offset, kind, place + offset - start)
            offset = until


def _elsewhere(metadata: Metadata, place: int, offset: int) -> OSError:
    return metadata.corrupt(
        f"External data file host cluster offset {place:#x} does not match guest cluster offset: "
        f"{offset:#x}",
        fatal=True,
    )
