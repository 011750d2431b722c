"""Filters that jobs put over a guest's image for as long as they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pemu.block.image import Buffers, Extent, Image, Limits, Pieces, Snapshot


class Watch(Image):
    """Passes everything on, and tells of changes.

    before, after: called with offset and length around whatever changes the contents, in the
    thread that does it. Raises what they raise.
    """

    filter: ClassVar[bool] = True

    def __init__(
        self,
        below: Image,
        *,
        before: Callable[[int, int], object] = lambda offset, length: None,
        after: Callable[[int, int], object] = lambda offset, length: None,
    ) -> None:
        super().__init__(below.name, below.size, readonly=below.readonly)
        self.children["file"] = self._below = below
        self._before = before
        self._after = after
        self.unmap = below.unmap

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        self._below.read_into(offset, buffers)

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        return self._below.read_cached(offset, buffers)

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        length = sum(map(len, pieces))
        self._before(offset, length)
        self._below.write_from(offset, pieces)
        self._after(offset, length)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._before(offset, length)
        self._below.write_zeroes(offset, length, unmap=unmap)
        self._after(offset, length)

    def _discard(self, offset: int, length: int) -> None:
        self._before(offset, length)
        self._below.discard(offset, length)
        self._after(offset, length)

    def _status(self, offset: int, length: int) -> Extent:
        return self._below.status(offset, length)

    def limits(self) -> Limits:
        return self._below.limits()

    def snapshots(self) -> list[Snapshot]:
        return self._below.snapshots()

    @property
    def backing(self) -> Image | None:
        return self._below.backing

    def release(self) -> Image:
        """Come out of the graph: what was below, which stays open."""
        del self.children["file"]
        self.close()
        return self._below
