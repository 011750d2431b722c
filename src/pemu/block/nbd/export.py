"""What a server offers: an image under a name, and what can be asked of it."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pemu.block.error import ImageError
from pemu.block.extents import above, chain
from pemu.block.image import Image
from pemu.block.nbd import protocol as nbd

MAX_EXTENTS = 8192
"""Stretches of one answer about status: a client asks on where it ends."""

StatusAt = Callable[[int, int], tuple[int, int]]
"""(offset, length) -> (length, flags) of the stretch that begins there."""

Context = Callable[[], StatusAt]
"""What is called at the beginning of each request about status."""


@dataclass
class Export:
    """An image that clients find under `name`.

    bitmaps: names of persistent dirty bitmaps that they may read. depth: whether they may ask how
    far down a chain data are. shared: whether there may be several clients, or one with several
    connections. writethrough: whether each write is flushed.
    """

    image: Image
    name: str = ""
    description: str = ""
    readonly: bool = False
    bitmaps: Sequence[str] = ()
    depth: bool = False
    shared: bool = False
    writethrough: bool = False
    contexts: dict[str, Context] = field(init=False)

    def __post_init__(self) -> None:
        self.readonly = self.readonly or self.image.readonly
        self.contexts = {nbd.BASE_ALLOCATION: lambda: self._allocation}
        if self.depth:
            self.contexts[nbd.ALLOCATION_DEPTH] = lambda: self._depth
        for name in self.bitmaps:
            self.contexts[nbd.DIRTY_BITMAP + name] = _bitmap(
                self.image, name, live=not self.readonly
            )

    @property
    def size(self) -> int:
        """Bytes."""
        return self.image.size

    def flags(self, *, structured: bool) -> int:
        """What a client is told that it can ask for."""
        flags = nbd.HAS_FLAGS | nbd.SEND_FLUSH | nbd.SEND_FUA | nbd.SEND_CACHE
        if structured:
            flags |= nbd.SEND_DF
        if self.shared:
            flags |= nbd.CAN_MULTI_CONN
        if self.readonly:
            return flags | nbd.READ_ONLY
        return flags | nbd.SEND_TRIM | nbd.SEND_WRITE_ZEROES | nbd.SEND_FAST_ZERO

    def block_size(self) -> tuple[int, int, int]:
        """The least, the best and the greatest length of a request, bytes."""
        least = min(max(self.image.limits().alignment, 1), 65536)
        return least, max(least, 4096), nbd.MAX_REQUEST

    def matching(self, query: str) -> list[str]:
        """The contexts that a client's query is about; one that ends in ':' is about several."""
        if query in ("base:", "qemu:", nbd.DIRTY_BITMAP):
            return [name for name in self.contexts if name.startswith(query)]
        return [query] if query in self.contexts else []

    def status(self, context: str, offset: int, length: int, *, one: bool) -> bytes:
        """The entries of a context for a range; one: only the first. Raises OSError."""
        at = self.contexts[context]()
        end, found, entries = offset + length, 0, 0
        lengths: list[int] = []
        flags: list[int] = []
        while offset < end and entries < MAX_EXTENTS:
            step, kind = at(offset, end - offset)
            found += step
            offset += step
            if flags and flags[-1] == kind:
                lengths[-1] += step
            elif one and flags:
                break
            else:
                lengths.append(step)
                flags.append(kind)
                entries += 1
        pairs = [value for pair in zip(lengths, flags, strict=True) for value in pair]
        return struct.pack(f">{len(pairs)}I", *pairs)

    def _allocation(self, offset: int, length: int) -> tuple[int, int]:
        extent = above(self.image, None, offset, length).extent
        hole = 0 if extent.data and not extent.zero else nbd.STATUS_HOLE
        return extent.length, hole | (nbd.STATUS_ZERO if extent.zero else 0)

    def _depth(self, offset: int, length: int) -> tuple[int, int]:
        found = above(self.image, None, offset, length)
        return found.extent.length, found.depth + 1 if found.extent.present else 0


def _bitmap(image: Image, name: str, *, live: bool) -> Context:
    """What a dirty bitmap of an image, or of one below it, notes. Raises ImageError.

    live: it may change while it is read.
    """
    found = [
        (holder, bitmap)
        for holder in chain(image)
        for bitmap in holder.bitmaps()
        if bitmap.name == name
    ]
    if not found:
        raise ImageError(f"Bitmap '{name}' is not found")
    holder, bitmap = found[0]
    if bitmap.inconsistent:
        raise ImageError(f"Bitmap '{name}' is inconsistent and cannot be used")
    kept = None if live and bitmap.enabled else _Dirty(holder.dirty_ranges(name))
    return lambda: (kept or _Dirty(holder.dirty_ranges(name))).at


class _Dirty:
    """The dirty ranges of a bitmap at one time."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self._edges: list[int] = []
        for offset, length in ranges:
            if self._edges and self._edges[-1] == offset:
                self._edges[-1] = offset + length
            else:
                self._edges += (offset, offset + length)

    def at(self, offset: int, length: int) -> tuple[int, int]:
        """As `StatusAt`."""
        place = bisect_right(self._edges, offset)
        end = self._edges[place] if place < len(self._edges) else offset + length
        return min(end - offset, length), nbd.STATUS_DIRTY * (place % 2)
