"""Images whose contents lie in clusters of one size that a table finds, as most formats have it."""

from __future__ import annotations

from abc import abstractmethod

from pemu.block.image import Extent, Image, Limits, damaged, read_only
from pemu.block.pieces import Buffers, Pieces, clear, take, zeroes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import ClassVar

ABSENT = -1
"""The cluster is not in this image: what is below it counts, zeros where there is nothing."""

ZERO = -2
"""The cluster reads as zeros."""

OTHER = -3
"""The cluster is in the file, but not as it reads (compressed): `read_other` has the contents."""

LONGEST_RUN = 1 << 16
"""Steps through the table for one answer."""


class ClusterImage(Image):
    """The base of formats with a table of clusters in `children["file"]`.

    cluster: bytes of one. A kind of image defines `locate`, and if it can be written `allocate`,
    `connect` and `write_tables`. Writes happen one after the other, under `lock`.

    Contents are written at once, tables by `flush` and `close`, or when many of their pages have
    changed: so what they point to can be on stable storage first, at the price of one flush.
    """

    most_changes: ClassVar[int] = 1024
    """Pages of tables, 4 MiB, that may wait to be written."""

    def __init__(self, name: str, size: int, cluster: int, *, readonly: bool) -> None:
        super().__init__(name, size, readonly=readonly)
        self.cluster = cluster

    @abstractmethod
    def locate(self, index: int) -> int:
        """Where in the file cluster `index` begins, bytes, ABSENT, ZERO, OTHER. Raises OSError."""

    def stretch(self, index: int) -> tuple[int, int]:
        """As `locate`, and for how many clusters that is known to hold. Raises OSError."""
        return self.locate(index), 1

    def read_other(self, index: int) -> bytes | memoryview:
        """The contents of a cluster that is OTHER, all of it. Raises OSError."""
        raise damaged()

    def allocate(self, index: int, count: int) -> tuple[int, int]:
        """Room in the file for clusters from `index` on, none of which has any: (offset, count).

        The count may be smaller than the one asked for, but not 0. Raises OSError. Formats that can
        only be read need neither this nor `connect`.
        """
        raise read_only()

    def connect(self, index: int, count: int, offset: int) -> None:
        """Clusters from `index` on have been written at `offset`: have the tables say so."""
        raise read_only()

    def changes(self) -> int:
        """How many pages of tables are to be written."""
        return 0

    def write_tables(self) -> None:
        """Write what has changed in tables and headers, in an order that is safe at each cut.

        The first thing is a flush of the file: what the tables will point to. Raises OSError.
        """

    def flush(self) -> None:
        if not self.readonly:
            with self.lock:
                if self.changes():
                    self.write_tables()
        super().flush()

    def _close(self) -> None:
        if not self.readonly:
            self.flush()

    def runs(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """The pieces of a range: offset, length, and where they are (as from `locate`)."""
        size, end = self.cluster, offset + length
        while offset < end:
            index, inside = divmod(offset, size)
            place, count = self.stretch(index)
            stop = (index + count) * size
            for _ in range(LONGEST_RUN):
                if stop >= end:
                    break
                expected = place + stop - (offset - inside) if place >= 0 else place
                after, count = self.stretch(stop // size)
                if after != expected:
                    break
                stop += count * size
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
                self._read_place(at, place, taken)
            elif place == OTHER:
                self._read_others(at, taken)
            elif place == ABSENT and self.backing is not None:
                self.read_below(at, taken)
            else:
                for view in taken:
                    clear(view)

    def _read_others(self, offset: int, buffers: Buffers) -> None:
        """Read clusters that are OTHER."""
        for view in buffers:
            done = 0
            while done < len(view):
                index, inside = divmod(offset + done, self.cluster)
                piece = self.read_other(index)[inside : inside + len(view) - done]
                view[done : done + len(piece)] = piece
                done += len(piece)
            offset += len(view)

    def _read_place(self, offset: int, place: int, buffers: Buffers) -> None:
        """Read what is at `offset`, and in the file at `place`; what the file lacks is zeros."""
        file = self._file()
        length = sum(map(len, buffers))
        if place + length > file.size:
            self._check_place(place)
            buffers, rest = take(buffers, file.size - place)
            for view in rest:
                clear(view)
        file.event("read_aio")
        file.read_into(place, buffers)

    def _write_place(self, offset: int, place: int, pieces: Pieces) -> None:
        """Write what belongs at `offset`, and in the file at `place`."""
        self._file().event("write_aio")
        self._file().write_from(place, pieces)

    def _check_place(self, place: int) -> None:
        """Raise OSError where a table points to what is beyond the end of the file."""
        if place >= self._file().size:
            raise damaged()

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        rest = [memoryview(piece) for piece in pieces]
        with self.lock:
            for at, length, place in list(self.runs(offset, sum(map(len, rest)))):
                taken, rest = take(rest, length)
                if place >= 0:
                    self._check_place(place)
                    self._write_place(at, place, taken)
                else:
                    self._write_new(at, length, taken)
            if self.changes() > self.most_changes:
                self.write_tables()

    def _write_new(self, offset: int, length: int, pieces: list[memoryview]) -> None:
        """Write to clusters that have no room yet, with what they read as around it."""
        while length:
            first, inside = divmod(offset, self.cluster)
            file = self._file()
            place, got = self.allocate(first, -(-(inside + length) // self.cluster))
            old_end = file.size
            end = place + got * self.cluster
            part = min(length, got * self.cluster - inside)
            taken, pieces = take(pieces, part)
            start = place + inside
            before = self._old(offset - inside, inside)
            after = self._old(offset + part, end - start - part)
            if place >= old_end and not before and not after and not self.encrypted:
                file.event("write_aio")
                file.write_from(start, taken)  # the rest of it reads as zeros
                if file.size < end:
                    file.truncate(end)
            else:
                before = before or zeroes(inside)
                after = after or zeroes(end - start - part)
                self._write_place(offset - inside, place, [*before, *taken, *after])
            self.connect(first, got, place)
            offset += part
            length -= part

    def _old(self, offset: int, length: int) -> list[memoryview]:
        """What `length` bytes at `offset` in a cluster without room read as, [] for zeros."""
        known = min(offset + length, self.size) - offset
        if known <= 0:
            return []
        index, inside = divmod(offset, self.cluster)
        place = self.locate(index)
        if place == OTHER:
            data = bytearray(self.read_other(index)[inside : inside + length])
            return [memoryview(data)]
        below = self.backing
        if place != ABSENT or below is None or offset >= below.size:
            return []
        data = bytearray(length)
        view = memoryview(data)
        self.read_below(offset, [view[:known]])
        return [view]

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        with self.lock:
            for at, part, place in list(self.runs(offset, length)):
                if place >= 0 and not self.encrypted:
                    self._check_place(place)
                    self._file().write_zeroes(place, part)
                elif place >= 0 or place == OTHER or (place == ABSENT and self.backing is not None):
                    super()._write_zeroes(at, part, unmap=unmap)

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        length = sum(map(len, buffers))
        if not 0 < length <= self.size - offset or offset < 0:
            return False
        if not self.lock.acquire(blocking=False):
            return False
        try:
            runs = list(self.runs(offset, length))
        finally:
            self.lock.release()
        place = runs[0][2]
        if len(runs) > 1 or place == OTHER or (place >= 0 and self.encrypted):
            return False
        if place >= 0:
            return self._file().read_cached(place, buffers)
        below = self.backing if place == ABSENT else None
        if below is not None and offset < below.size:
            return offset + length <= below.size and below.read_cached(offset, buffers)
        for view in buffers:
            clear(view)
        return True

    def _status(self, offset: int, length: int) -> Extent:
        with self.lock:
            _, found, place = next(self.runs(offset, length))
        if place == OTHER or (place >= 0 and self.encrypted):
            return Extent(found, compressed=place == OTHER)
        if place >= 0:
            return Extent(found, offset=place, file=self.file)
        if place == ZERO or self.backing is None:
            return Extent(found, present=place == ZERO, zero=True, data=False)
        return Extent(found, present=False, data=False)

    def limits(self) -> Limits:
        return Limits(cluster=self.cluster)
