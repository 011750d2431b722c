"""Copies what is read from below an image into it, so that it need not be read from there again."""

from __future__ import annotations

from typing import ClassVar

from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.extents import above
from pemu.block.filters.filter import Filter
from pemu.block.image import Extent, Image
from pemu.block.opening import Opening
from pemu.block.pieces import Buffers, Pieces, take
from pemu.options.keyval import Key
from pemu.options.types import Text


class CopyOnRead(Filter):
    """Reads through `below` and writes what was not present in it.

    base: what this image has and what is below it is not copied; None to copy all.
    """

    format: ClassVar[str] = "copy-on-read"

    def __init__(self, below: Image, base: Image | None = None) -> None:
        super().__init__(below)
        self._base = base

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        extent = self._below.status(offset, sum(map(len, buffers)))
        whole = extent.length == sum(map(len, buffers))
        return extent.present and whole and self._below.read_cached(offset, buffers)

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        rest = list(buffers)
        end = offset + sum(map(len, buffers))
        while offset < end:
            found = above(self._below, self._base, offset, end - offset)
            extent = found.extent
            taken, rest = take(rest, extent.length)
            if extent.present and found.depth:
                with self.lock:  # nobody may write there meanwhile
                    self._below.read_into(offset, taken)
                    if above(self._below, self._base, offset, extent.length) == found:
                        self._copy(offset, extent, taken)
            else:
                self._below.read_into(offset, taken)
            offset += extent.length

    def _copy(self, offset: int, extent: Extent, data: Buffers) -> None:
        if extent.zero:
            self._below.write_zeroes(offset, extent.length)
        else:
            self._below.write_from(offset, data)

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        with self.lock:
            self._below.write_from(offset, pieces)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        with self.lock:
            self._below.write_zeroes(offset, length, unmap=unmap)

    def _discard(self, offset: int, length: int) -> None:
        with self.lock:
            self._below.discard(offset, length)


def _open(opening: Opening) -> Image:
    if opening.mode.readonly:
        raise ImageError("copy-on-read needs an image that is open for writing")
    below = opening.filtered("file")
    bottom = None
    name = opening.options["bottom"]
    if name is not None:
        bottom = opening.graph.nodes.get(name)
        if bottom is None:
            raise ImageError(f"Bottom node '{name}' not found")
    return CopyOnRead(below, bottom.backing if bottom is not None else None)


DRIVER = Driver(
    "copy-on-read",
    _open,
    keys=(Key("bottom", Text("node-name"), "the last node from which is copied"),),
)
