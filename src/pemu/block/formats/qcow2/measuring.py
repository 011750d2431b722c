"""How large the file of a qcow2 image will be."""

from __future__ import annotations

from pemu.block.extents import stretches
from pemu.block.formats.qcow2.layout import Layout
from pemu.block.formats.qcow2.reading import Qcow2Reading
from pemu.block.image import SECTOR, Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def measure(source: Image | None, size: int, options: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of the file of a new image, with the contents of `source` and with all contents."""
    from pemu.block.formats.qcow2.creation import new_header

    size = -(-size // SECTOR) * SECTOR
    header = new_header(dict(options), size)
    layout = Layout(header)
    cluster = layout.cluster
    whole = layout.clusters(size) * cluster
    crypt = 0
    if options["encrypt.format"] == "luks":
        from pemu.block.crypto.luks import header_bytes

        cipher = options["encrypt.cipher-alg"] or "aes-256"
        mode = options["encrypt.cipher-mode"] or "xts"
        crypt = layout.clusters(header_bytes(cipher, mode)) * cluster
    tables = _tables(layout, whole)
    if source is not None and options["preallocation"] in (None, "off", "metadata"):
        data = _data(source, size, cluster)
    elif options["preallocation"] in ("falloc", "full") or source is not None:
        data = whole
    else:
        data = 0
    found = {"required": tables + crypt + data, "fully-allocated": tables + crypt + whole}
    new = header.fields.version >= 3
    if new and isinstance(source, Qcow2Reading) and source.header.fields.version >= 3:
        kept = [(one.granularity, one.name) for one in source.bitmaps()]
        found["bitmaps"] = _bitmaps(layout, whole, kept)
    return found


def _tables(layout: Layout, size: int) -> int:
    """Bytes of the header and of all tables of an image of `size` bytes, all of it allocated."""
    cluster = layout.cluster
    entries = size // cluster
    entries = -(-entries // layout.l2_entries) * layout.l2_entries
    l2 = entries * 8 * layout.words
    l1 = -(-(l2 // cluster * 8) // cluster) * cluster
    tables = cluster + l2 + l1
    used = (tables + size) // cluster
    blocks = table = 0
    while True:
        before = blocks, table
        blocks = -(-(used + blocks + table) // layout.refcounts_per_block)
        table = -(-blocks // (cluster // 8))
        if (blocks, table) == before:
            return tables + (blocks + table) * cluster


def _data(source: Image, size: int, cluster: int) -> int:
    """Bytes of the clusters that have data."""
    total = reached = 0
    for one in stretches(source):
        end = min(one.end, size)
        if one.extent.zero or not one.extent.data or end <= reached:
            continue
        start = max(one.offset, reached) // cluster * cluster
        reached = -(-end // cluster) * cluster
        total += reached - start
    return total


def _bitmaps(layout: Layout, size: int, found: list[tuple[int, str]]) -> int:
    """Bytes that bitmaps take: their bits, their tables and the directory."""
    total = directory = 0
    for granularity, name in found:
        bits = -(-size // granularity)
        clusters = layout.clusters(-(-bits // 8))
        total += clusters + layout.clusters(clusters * 8)
        directory += -(-(24 + len(name.encode())) // 8) * 8
    return (total + layout.clusters(directory)) * layout.cluster
