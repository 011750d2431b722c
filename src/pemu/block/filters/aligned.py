"""Makes requests of any length fit for what only takes whole blocks."""

from __future__ import annotations

from pemu.block.filters.filter import Filter
from pemu.block.image import Extent, Image, Limits
from pemu.block.pieces import Buffers, Pieces, take


class Aligned(Filter):
    """Passes requests on to `below` in blocks of `block` bytes, a power of two.

    The last block may be shorter. What surrounds a write is read before, one write at a time.
    """

    def __init__(self, below: Image, block: int) -> None:
        super().__init__(below)
        self.format = below.format  # type: ignore[misc]
        self._block = block

    def _around(self, offset: int, length: int) -> tuple[int, int]:
        """The range of whole blocks around a range: offset and length."""
        start = offset // self._block * self._block
        stop = -(-(offset + length) // self._block) * self._block
        if offset + length <= self.size:
            stop = min(stop, self.size)
        return start, stop - start

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        length = sum(map(len, buffers))
        start, wanted = self._around(offset, length)
        if (start, wanted) == (offset, length):
            self._below.read_into(offset, buffers)
            return
        before = memoryview(bytearray(offset - start))
        after = memoryview(bytearray(start + wanted - offset - length))
        self._below.read_into(start, [one for one in (before, *buffers, after) if one])

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        length = sum(map(len, buffers))
        return self._around(offset, length) == (offset, length) and self._below.read_cached(
            offset, buffers
        )

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        length = sum(map(len, pieces))
        start, wanted = self._around(offset, length)
        if (start, wanted) == (offset, length):
            self._below.write_from(offset, pieces)
            return
        with self.lock:
            around = memoryview(bytearray(wanted))
            known = max(min(wanted, self.size - start), 0)
            self._below.read_into(start, [around[:known]])
            before, rest = take([around], offset - start)
            after = take(rest, length)[1]
            self._below.write_from(start, [*before, *pieces, *after])

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        end = offset + length
        start = min(-(-offset // self._block) * self._block, end)
        stop = end if end == self.size else max(end // self._block * self._block, start)
        if offset < start:
            self._write_from(offset, [bytes(start - offset)])
        if start < stop:
            self._below.write_zeroes(start, stop - start, unmap=unmap)
        if stop < end:
            self._write_from(stop, [bytes(end - stop)])

    def _discard(self, offset: int, length: int) -> None:
        start = -(-offset // self._block) * self._block
        stop = (offset + length) // self._block * self._block
        if start < stop:
            self._below.discard(start, stop - start)

    def limits(self) -> Limits:
        return self._below.limits()._replace(alignment=1)

    def _status(self, offset: int, length: int) -> Extent:
        start, wanted = self._around(offset, length)
        found = self._below.status(start, wanted)
        place = found.offset
        return found._replace(
            length=min(found.length - (offset - start), length),
            offset=None if place is None else place + offset - start,
        )
