"""blkverify: writes to two images, reads from both, and fails where they differ."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, ClassVar

from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.filters.filter import Filter
from pemu.block.image import Image
from pemu.block.opening import Opening
from pemu.block.pieces import Buffers, Pieces


class Verify(Filter):
    """The image `test`, which must always be what `raw` is. warn: is told where it is not."""

    format: ClassVar[str] = "blkverify"

    def __init__(self, test: Image, raw: Image, warn: Callable[[str], object]) -> None:
        super().__init__(test)
        self.children["raw"] = self._raw = raw
        self._warn = warn

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        return False

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        self._below.read_into(offset, buffers)
        for view in buffers:
            expected = self._raw.read(offset, len(view))
            if expected != view:
                pairs = zip(expected, view, strict=True)
                at = offset + next(i for i, (one, other) in enumerate(pairs) if one != other)
                text = f"blkverify: '{self.name}': contents mismatch at offset {at}"
                self._warn(f"{text}\n")
                raise OSError(errno.EIO, text)
            offset += len(view)

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        self._raw.write_from(offset, pieces)
        self._below.write_from(offset, pieces)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._raw.write_zeroes(offset, length, unmap=unmap)
        self._below.write_zeroes(offset, length, unmap=unmap)

    def _discard(self, offset: int, length: int) -> None:
        """Contents that are of no use need not be the same: neither image forgets them."""

    def flush(self) -> None:
        self._raw.flush()
        self._below.flush()

    def allocated(self) -> int | None:
        return None


def _open(opening: Opening) -> Image:
    raw = opening.child("raw", opening.mode.of_file(grows=False))
    test = opening.child("test", opening.mode._replace(protocol=False))
    return Verify(test, raw, opening.graph.warn)


def _parse(name: str) -> dict[str, Any]:
    """blkverify:raw:test."""
    raw, colon, test = name.removeprefix("blkverify:").partition(":")
    if not colon or not raw:
        raise ImageError(f"'{name}' names no two images; write blkverify:raw:image")
    return {"raw": {"filename": raw}, "test": {"filename": test}}


DRIVER = Driver("blkverify", _open, children=("test", "raw"), parse_name=_parse)
