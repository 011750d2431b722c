"""Images whose contents lie in clusters of one size that a table finds, as most formats have it."""

from __future__ import annotations

from collections.abc import Iterator

from pemu.block.image import Buffers, Extent, Image, Limits, Pieces, clear, take

ABSENT = -1
"""The cluster is not in this image: what is below it counts, zeros where there is nothing."""

ZERO = -2
"""The cluster reads as zeros."""


class ClusterImage(Image):
    """The base of formats with a table of clusters in `children["file"]`.

    cluster: bytes of one, a power of two. A kind of image defines `locate`, and if it can be
    written `allocate` and `connect`. Writes happen one after the other, under `lock`.
    """

    def __init__(self, name: str, size: int, cluster: int, *, readonly: bool) -> None:
        super().__init__(name, size, readonly=readonly)
        self.cluster = cluster

    def locate(self, index: int) -> int:
        """Where in the file cluster `index` begins, bytes; or ABSENT, or ZERO. Raises OSError."""
        raise NotImplementedError

    def allocate(self, index: int, count: int) -> tuple[int, int]:
        """Room in the file for clusters from `index` on, none of which has any: (offset, count).

        The count may be smaller than the one asked for, but not 0. Raises OSError.
        """
        raise NotImplementedError

    def connect(self, index: int, count: int, offset: int) -> None:
        """Clusters from `index` on have been written at `offset`: have the tables say so."""
        raise NotImplementedError

    def runs(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """The pieces of a range: offset, length, and where they are (file offset, ABSENT, ZERO)."""
        size, end = self.cluster, offset + length
        while offset < end:
            index, inside = divmod(offset, size)
            place = self.locate(index)
            stop = (index + 1) * size
            while stop < end:
                index += 1
                expected = place + stop - (offset - inside) if place >= 0 else place
                if self.locate(index) != expected:
                    break
                stop += size
            stop = min(stop, end)
            yield offset, stop - offset, place + inside if place >= 0 else place
            offset = stop

    def _file(self) -> Image:
        return self.children["file"]

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        rest = list(buffers)
        with self.lock:
            runs = list(self.runs(offset, sum(map(len, buffers))))
        for at, length, place in runs:
            taken, rest = take(rest, length) if len(runs) > 1 else (rest, [])
            if place >= 0:
                self._file().read_into(place, taken)
            elif place == ABSENT and self.backing is not None:
                self.read_below(at, taken)
            else:
                for view in taken:
                    clear(view)

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        rest = [memoryview(piece) for piece in pieces]
        with self.lock:
            for at, length, place in list(self.runs(offset, sum(map(len, rest)))):
                taken, rest = take(rest, length)
                if place >= 0:
                    self._file().write_from(place, taken)
                else:
                    self._write_new(at, length, taken)

    def _write_new(self, offset: int, length: int, pieces: list[memoryview]) -> None:
        """Write to clusters that have no room yet, with what they read as around it."""
        first, inside = divmod(offset, self.cluster)
        count = -(-(inside + length) // self.cluster)
        before = self._old(first * self.cluster, inside)
        end = (first + count) * self.cluster
        after = self._old(offset + length, end - offset - length)
        rest = [*before, *pieces, *after]
        while count:
            place, got = self.allocate(first, count)
            taken, rest = take(rest, got * self.cluster)
            self._file().write_from(place, taken)
            self.connect(first, got, place)
            first += got
            count -= got

    def _old(self, offset: int, length: int) -> list[memoryview]:
        """What `length` bytes at `offset` within one cluster without room read as."""
        if not length:
            return []
        view = memoryview(bytearray(length))
        if self.locate(offset // self.cluster) == ABSENT:
            self.read_below(offset, [view])
        return [view]

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        length = sum(map(len, buffers))
        if offset < 0 or offset + length > self.size or not self.lock.acquire(blocking=False):
            return False
        try:
            runs = list(self.runs(offset, length))
        finally:
            self.lock.release()
        return len(runs) == 1 and runs[0][2] >= 0 and self._file().read_cached(runs[0][2], buffers)

    def _status(self, offset: int, length: int) -> Extent:
        with self.lock:
            _, found, place = next(self.runs(offset, length))
        if place >= 0:
            return Extent(found, offset=place, file=self.file)
        if place == ZERO or self.backing is None:
            return Extent(found, present=place == ZERO, zero=True, data=False)
        return Extent(found, present=False, data=False)

    def limits(self) -> Limits:
        return Limits(cluster=self.cluster)
