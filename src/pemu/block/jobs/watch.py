"""The filter that jobs put over a guest's image to hear of what changes."""

from __future__ import annotations

from collections.abc import Callable

from pemu.block.filters.filter import Filter
from pemu.block.image import Image
from pemu.block.pieces import Pieces


class Watch(Filter):
    """Tells of changes.

    before, after: called with offset and length around whatever changes the contents, in the
    thread that does it. Raises what they raise.
    """

    def __init__(
        self,
        below: Image,
        *,
        before: Callable[[int, int], object] = lambda offset, length: None,
        after: Callable[[int, int], object] = lambda offset, length: None,
    ) -> None:
        super().__init__(below)
        self._before = before
        self._after = after

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        length = sum(map(len, pieces))
        self._before(offset, length)
        super()._write_from(offset, pieces)
        self._after(offset, length)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._before(offset, length)
        super()._write_zeroes(offset, length, unmap=unmap)
        self._after(offset, length)

    def _discard(self, offset: int, length: int) -> None:
        self._before(offset, length)
        super()._discard(offset, length)
        self._after(offset, length)
