"""Changing what was chosen when a qcow2 image was made."""

from __future__ import annotations

from array import array

from pemu.block.error import ImageError
from pemu.block.formats.qcow2.check import write_refcounts
from pemu.block.formats.qcow2.header import (
    COMPRESSION,
    DIRTY,
    EXTENDED_L2,
    EXTERNAL_DATA,
    LAZY_REFCOUNTS,
    RAW_EXTERNAL_DATA,
)
from pemu.block.formats.qcow2.layout import COMPRESSED, COPIED, OFFSET, REFCOUNT_OFFSET, ZERO
from pemu.block.formats.qcow2.words import load_words, zeros
from pemu.block.pieces import ZEROES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from pemu.block.formats.qcow2.bitmaps import Qcow2Bitmaps


def amend(
    image: Qcow2Bitmaps, options: Mapping[str, Any], *, force: bool = False
) -> Iterator[tuple[int, int]]:
    """Change what `options` say; yields (done, of all). Raises ImageError, OSError."""
    if image.readonly:
        raise ImageError(f"'{image.name}' is read-only")
    _check(image, options)
    version = {"0.10": 2, "1.1": 3}.get(options.get("compat") or "", 0)
    steps = 4
    keys = {key[8:]: one for key, one in options.items() if key.startswith("encrypt.")}
    if keys:
        from pemu.block.formats.qcow2.encryption import amend_keys

        amend_keys(image, keys, force=force)
    with image.lock:
        if version == 3 and image.header.fields.version == 2:
            _upgrade(image)
        yield 1, steps
        bits = options.get("refcount_bits")
        if bits and bits != image.layout.refcount_bits:
            _change_width(image, bits)
        yield 2, steps
        _change_header(image, options)
        if options.get("size"):
            image.truncate(options["size"])
        yield 3, steps
        if version == 2 and image.header.fields.version == 3:
            _downgrade(image)
        yield 4, steps


def _check(image: Qcow2Bitmaps, options: Mapping[str, Any]) -> None:
    header = image.header
    compat = options.get("compat")
    old = compat == "0.10" or (not compat and header.fields.version < 3)
    if "backing_file" in options or "backing_fmt" in options:
        raise ImageError("Cannot amend the backing file\nYou can use 'pemu-img rebase' instead.")
    bits = options.get("refcount_bits") or image.layout.refcount_bits
    if bits not in (1, 2, 4, 8, 16, 32, 64):
        raise ImageError("Refcount width must be a power of two and may not exceed 64 bits")
    if old and bits != 16:
        raise ImageError(
            "Refcount widths other than 16 bits require compatibility level 1.1 or above (use "
            "compat=1.1 or greater)"
        )
    if old and options.get("lazy_refcounts"):
        raise ImageError(
            "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 "
            "or greater)"
        )
    if options.get("data_file") and not header.has(EXTERNAL_DATA):
        raise ImageError("data-file can only be set for images that use an external data file")
    if options.get("data_file_raw") and not header.more.autoclear & RAW_EXTERNAL_DATA:
        raise ImageError("data-file-raw cannot be set on existing images")
    if compat == "0.10":
        for feature, what in (
            (EXTERNAL_DATA, "an external data file"),
            (EXTENDED_L2, "extended L2 entries"),
            (COMPRESSION, "zstd compression"),
        ):
            if header.has(feature):
                raise ImageError(f"Cannot downgrade an image with {what}")
        if header.bitmaps is not None:
            raise ImageError("Cannot downgrade an image with bitmaps; remove them first")
        if any(one.size != image.size for one in image.snapshots()):
            raise ImageError("Cannot downgrade an image with snapshots of other sizes")


def _change_header(image: Qcow2Bitmaps, options: Mapping[str, Any]) -> None:
    header = image.header
    lazy = options.get("lazy_refcounts")
    if lazy is not None and lazy != bool(header.more.compatible & LAZY_REFCOUNTS):
        header.more.compatible ^= LAZY_REFCOUNTS
        if not lazy:
            image.settle()
        image.metadata.lazy = lazy
        image.metadata.write_more("compatible")
    if options.get("data_file_raw") is False and header.more.autoclear & RAW_EXTERNAL_DATA:
        header.more.autoclear &= ~RAW_EXTERNAL_DATA
        image.metadata.write_more("autoclear")
    if options.get("data_file"):
        header.data_file = options["data_file"]
        image.metadata.write_header()


def _upgrade(image: Qcow2Bitmaps) -> None:
    """Version 2 becomes version 3."""
    image.metadata.commit(accurate=True)
    image.header.fields.version = 3
    image.metadata.write_header()
    image.rewrite_snapshots()


def _downgrade(image: Qcow2Bitmaps) -> None:
    """Version 3 becomes version 2, which has no marks for zeros."""
    header, metadata = image.header, image.metadata
    if header.more.compatible & LAZY_REFCOUNTS:
        header.more.compatible &= ~LAZY_REFCOUNTS
        metadata.lazy = False
    image.settle()
    seen: set[int] = set()
    _spell_out(image, metadata.l1, seen)
    for one in image.stored():
        _spell_out(image, load_words(metadata.file, one.l1_offset, one.l1_size), seen)
    metadata.commit(accurate=True)
    header.more.compatible = header.more.autoclear = 0
    header.more.incompatible &= ~DIRTY
    header.fields.version = 2
    metadata.write_header()


def _spell_out(image: Qcow2Bitmaps, l1: array[int], seen: set[int]) -> None:
    """Have zeros as data, or as nothing where nothing is below, in the L2 tables of an L1 table."""
    layout, metadata = image.layout, image.metadata
    cluster = layout.cluster
    below = bool(image.header.backing_file)
    for entry in l1:
        offset = entry & OFFSET
        if not offset or offset in seen:
            continue
        seen.add(offset)
        references = metadata.refcounts.get(offset // cluster)
        freed: list[int] = []
        table = metadata.table_at(entry)
        for at, one in enumerate(table):
            if one & COMPRESSED or not one & ZERO:
                continue
            if one & OFFSET:
                freed.append((one & OFFSET) // cluster)
            place = 0
            if below:
                first, _ = metadata.take(1)
                place = first * cluster
                metadata.refcounts.set(first, 1, references)
                for done in range(0, cluster, len(ZEROES)):
                    metadata.file.write(place + done, ZEROES[: cluster - done])
                place |= COPIED if references == 1 else 0
            table[at] = place
            metadata.mark(offset, at, at + 1)
        metadata.commit(accurate=True)
        for number in freed:
            metadata.refcounts.add(number, 1, -references)


def _change_width(image: Qcow2Bitmaps, bits: int) -> None:
    """Refcounts get another width: all are written anew."""
    layout, metadata = image.layout, image.metadata
    image.settle()
    refcounts = metadata.refcounts
    used = layout.clusters(metadata.file.size)
    counts = zeros(0, 64)
    for first in range(0, used, layout.refcounts_per_block):
        part = min(layout.refcounts_per_block, used - first)
        block = refcounts.load(first // layout.refcounts_per_block)
        counts.extend(list(block[:part]) if block is not None else zeros(part))
    start = refcounts.start // layout.cluster
    counts[start : start + refcounts.clusters] = zeros(refcounts.clusters)
    for entry in refcounts.table:
        if entry & REFCOUNT_OFFSET:
            counts[(entry & REFCOUNT_OFFSET) // layout.cluster] = 0
    if max(counts, default=0) >= 1 << bits:
        raise ImageError(
            f"Cannot decrease refcount entry width to {bits} bits: a cluster has "
            f"{max(counts)} references"
        )
    write_refcounts(metadata, counts, bits.bit_length() - 1)
    image.find_tables()
