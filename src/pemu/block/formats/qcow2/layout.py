"""The sizes that follow from a qcow2 header, and the bits of table entries."""

from __future__ import annotations

from pemu.block.error import ImageError
from pemu.block.formats.qcow2.header import (
    EXTENDED_L2,
    EXTERNAL_DATA,
    LARGEST_L1,
    LARGEST_REFCOUNT_TABLE,
    MOST_SNAPSHOTS,
    Header,
)

COPIED = 1 << 63
"""What an entry points to has a refcount of exactly one: it can be overwritten."""

COMPRESSED = 1 << 62
ZERO = 1
"""The cluster reads as zeros, room or not (without extended L2 entries)."""

OFFSET = 0x00FF_FFFF_FFFF_FE00
"""The bits of entries of L1 and L2 tables that are an offset."""

REFCOUNT_OFFSET = 0xFFFF_FFFF_FFFF_FE00

SUBCLUSTERS = 32
ALL_ALLOCATED = (1 << SUBCLUSTERS) - 1
ALL_ZERO = ALL_ALLOCATED << SUBCLUSTERS
"""Bitmaps of extended entries."""

NOTHING, ZEROES, ZEROES_ALLOCATED, NOTHING_ALLOCATED, DATA, PACKED = range(6)
"""Kinds of (sub)clusters: from below; zeros without and with room; from below although there is
room; data; compressed data."""


class Layout:
    """Sizes in bytes and in bits of an image's tables.

    extended: L2 entries are pairs of words, the second a bitmap of subclusters.
    words: 64-bit words of an L2 entry. l2_entries: entries of an L2 table.
    l1_shift: bits of the part of the disk that an L1 entry stands for.
    subcluster: bytes of the smallest piece that has a state of its own.
    """

    def __init__(self, header: Header) -> None:
        self.cluster_bits = header.fields.cluster_bits
        self.cluster = 1 << self.cluster_bits
        self.extended = header.has(EXTENDED_L2)
        self.external = header.has(EXTERNAL_DATA)
        self.words = 2 if self.extended else 1
        self.l2_entries = self.cluster // (8 * self.words)
        self.l2_bits = self.l2_entries.bit_length() - 1
        self.l1_shift = self.cluster_bits + self.l2_bits
        self.subcluster = self.cluster // SUBCLUSTERS if self.extended else self.cluster
        self.packed_shift = 62 - (self.cluster_bits - 8)
        self.packed_offset = (1 << self.packed_shift) - 1
        self.packed_sectors = (1 << (self.cluster_bits - 8)) - 1
        self.set_refcount_order(header.more.refcount_order)

    def set_refcount_order(self, order: int) -> None:
        """Refcounts are 2 to the power of `order` bits wide."""
        self.refcount_bits = 1 << order
        self.refcount_max = (1 << self.refcount_bits) - 1
        self.refcounts_per_block = self.cluster * 8 // self.refcount_bits

    def clusters(self, length: int) -> int:
        """Clusters that `length` bytes take."""
        return -(-length // self.cluster)

    def l1_entries(self, size: int) -> int:
        """Entries of the L1 table of a disk of `size` bytes."""
        return -(-size >> self.l1_shift)

    def packed(self, entry: int) -> tuple[int, int]:
        """Where compressed data is: offset, and bytes at most."""
        offset = entry & self.packed_offset
        sectors = (entry >> self.packed_shift & self.packed_sectors) + 1
        return offset, sectors * 512 - offset % 512

    def packed_entry(self, offset: int, length: int) -> int:
        """The L2 entry of compressed data."""
        sectors = (offset + length - 1) // 512 - offset // 512
        return offset | COMPRESSED | sectors << self.packed_shift


def check_tables(header: Header, layout: Layout, file_size: int) -> None:
    """Raise ImageError unless the header's tables are where and as large as they can be."""
    fields = header.fields
    table = fields.refcount_table_clusters << layout.cluster_bits
    if not fields.refcount_table_clusters:
        raise ImageError("Image does not contain a reference count table")
    if table > LARGEST_REFCOUNT_TABLE:
        raise ImageError("Reference count table too large")
    check_offset("Reference count table", fields.refcount_table_offset, table, layout)
    if fields.nb_snapshots > MOST_SNAPSHOTS:
        raise ImageError("Too many snapshots")
    if fields.nb_snapshots:
        check_offset("Snapshot table", fields.snapshots_offset, 0, layout)
    check_l1("Active L1 table", fields.l1_table_offset, fields.l1_size, layout)
    if fields.l1_size < layout.l1_entries(fields.size):
        raise ImageError("L1 table is too small")
    for what, offset, used in (
        ("Reference count table", fields.refcount_table_offset, True),
        ("Snapshot table", fields.snapshots_offset, bool(fields.nb_snapshots)),
        ("Active L1 table", fields.l1_table_offset, bool(fields.l1_size)),
    ):
        if used and offset >= file_size:
            raise ImageError(f"{what} offset {offset:#x} is beyond the end of the file")


def check_l1(what: str, offset: int, entries: int, layout: Layout) -> None:
    """Raise ImageError unless an L1 table can be there."""
    if entries * 8 > LARGEST_L1:
        raise ImageError(f"{what} too large")
    if entries:
        check_offset(what, offset, entries * 8, layout)


def check_offset(what: str, offset: int, length: int, layout: Layout) -> None:
    """Raise ImageError unless a table can be there."""
    if offset % layout.cluster or not offset or offset + length >= 1 << 63:
        raise ImageError(f"{what} offset invalid")
