"""The base of filters: passes everything on to the image behind it."""

from __future__ import annotations

from pemu.block.error import ImageError
from pemu.block.image import Extent, Image, Limits, Snapshot
from pemu.block.pieces import Buffers, Pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class Filter(Image):
    """Stands before `below`, in whose place others use it."""

    filter: ClassVar[bool] = True

    def __init__(self, below: Image) -> None:
        self._below = below
        super().__init__(below.name, below.size, readonly=below.readonly)
        self.children["file"] = below

    @property
    def size(self) -> int:
        """That of the image behind it, which may grow."""
        return self._below.size

    @size.setter
    def size(self, size: int) -> None:
        pass

    def within(self, offset: int, length: int, *, writes: bool = False) -> None:
        self._below.within(offset, length, writes=writes)

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        self._below.read_into(offset, buffers)

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        return self._below.read_cached(offset, buffers)

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        self._below.write_from(offset, pieces)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._below.write_zeroes(offset, length, unmap=unmap)

    def _discard(self, offset: int, length: int) -> None:
        self._below.discard(offset, length)

    @property
    def fast_zeroes(self) -> bool:
        return self._below.fast_zeroes

    def _status(self, offset: int, length: int) -> Extent:
        return self._below.status(offset, length)

    def truncate(self, size: int, *, preallocation: str = "off") -> None:
        if self.readonly:
            raise ImageError(f"'{self.name}' is open for reading only")
        self._below.truncate(size, preallocation=preallocation)

    def release(self) -> Image:
        """Come out of the graph: what was behind it, which stays open."""
        del self.children["file"]
        self.close()
        return self._below

    def limits(self) -> Limits:
        return self._below.limits()

    def grow(self) -> None:
        self._below.grow()

    def snapshots(self) -> list[Snapshot]:
        return self._below.snapshots()

    def create_snapshot(self, snapshot: Snapshot) -> None:
        self._below.create_snapshot(snapshot)

    def apply_snapshot(self, key: str) -> None:
        self._below.apply_snapshot(key)

    def delete_snapshot(self, key: str) -> None:
        self._below.delete_snapshot(key)

    def show_snapshot(self, key: str) -> None:
        self._below.show_snapshot(key)
