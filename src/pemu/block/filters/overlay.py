"""What -snapshot puts over an image: writes go to a temporary file and are lost at the end."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from typing import ClassVar

from pemu.block.error import ImageError
from pemu.block.image import Extent, Image
from pemu.block.pieces import Buffers, Pieces, take

CLUSTER = 1 << 16
"""Bytes that are copied at a time: what is written first costs one copy of that many."""


class Overlay(Image):
    """A private copy of `below`, which is not written to. Raises ImageError without room."""

    format: ClassVar[str] = "overlay"

    def __init__(self, below: Image) -> None:
        super().__init__(below.name, below.size, readonly=False)
        self.children["file"] = self.below = below
        directory = os.environ.get("TMPDIR") or "/var/tmp"
        try:
            with tempfile.TemporaryFile(dir=directory, prefix="pemu-snapshot-") as file:
                self._fd = os.dup(file.fileno())
        except OSError as error:
            raise ImageError(
                f"Could not create a temporary overlay in '{directory}': {error.strerror}; "
                "name a directory with TMPDIR"
            ) from None
        self._copied = bytearray(-(-self.size // CLUSTER))
        self._lock = threading.Lock()

    def _runs(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """The pieces of a range: offset, length, and whether it has been written."""
        end = offset + length
        while offset < end:
            first = offset // CLUSTER
            here = self._copied[first]
            other = self._copied.find(1 - here, first, -(-end // CLUSTER))
            stop = end if other < 0 else min(other * CLUSTER, end)
            yield offset, stop - offset, bool(here)
            offset = stop

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        self._read(offset, buffers, wait=True)

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        wanted = sum(map(len, buffers))
        return 0 <= offset <= self.size - wanted and self._read(offset, buffers, wait=False)

    def _read(self, offset: int, buffers: Buffers, *, wait: bool) -> bool:
        rest = list(buffers)
        for at, length, copied in list(self._runs(offset, sum(map(len, buffers)))):
            taken, rest = take(rest, length)
            if copied:
                self._read_copied(at, taken)  # it was written by this process not long ago
            elif wait:
                self.below.read_into(at, taken)
            elif not self.below.read_cached(at, taken):
                return False
        return True

    def _read_copied(self, offset: int, buffers: Buffers) -> None:
        for view in buffers:
            done = 0
            while done < len(view):
                count = os.preadv(self._fd, [view[done:]], offset + done)
                if not count:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                done += count
            offset += len(view)

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        length = sum(map(len, pieces))
        if not length:
            return
        first, last = offset // CLUSTER, (offset + length - 1) // CLUSTER
        with self._lock:
            for cluster in {first, last}:
                self._copy(cluster, offset, length)
            for piece in pieces:
                self._put(offset, memoryview(piece))
                offset += len(piece)
            self._copied[first : last + 1] = b"\1" * (last + 1 - first)

    def _copy(self, cluster: int, offset: int, length: int) -> None:
        """Copy a cluster from below, unless it has been or will be overwritten entirely."""
        start = cluster * CLUSTER
        size = min(CLUSTER, self.size - start)
        if self._copied[cluster] or (offset <= start and start + size <= offset + length):
            return
        self._put(start, memoryview(self.below.read(start, size)))

    def _put(self, offset: int, data: memoryview) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self._fd, data[done:], offset + done)

    def commit(self) -> None:
        """Give the image below all that has been written. Nothing may be under way.

        Raises OSError, ImageError.
        """
        self.below.reopen(readonly=False)
        try:
            view = memoryview(bytearray(CLUSTER))
            for start in range(0, self.size, CLUSTER):
                if self._copied[start // CLUSTER]:
                    part = view[: min(CLUSTER, self.size - start)]
                    self._read_copied(start, [part])
                    self.below.write_from(start, [part])
            self.below.flush()
            self._copied = bytearray(len(self._copied))
        finally:
            self.below.reopen(readonly=True)

    def _close(self) -> None:
        os.close(self._fd)

    def flush(self) -> None:
        """Nobody will look for it later."""

    def _status(self, offset: int, length: int) -> Extent:
        _, found, copied = next(self._runs(offset, length))
        return Extent(found) if copied else self.below.status(offset, found)
