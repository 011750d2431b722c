"""Copying contents from image to image: threads read, look for zeros and write at the same time.

Every chunk is read, examined and written by one thread; the system calls that move data and the
compressing run beside each other. Writes go in the order of the contents where that is wanted.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from pemu.block.image import Image, is_zero

CHUNK = 2 << 20
"""Bytes that are read and written at a time."""

WORKERS = 8
"""Threads, where nobody says how many."""


class Piece(NamedTuple):
    """Something to be done: bytes to copy ('data'), zeros to write ('zero'), or nothing ('skip').

    source: the image to read from, at `place`. offset: where in the target.
    """

    kind: str
    offset: int
    length: int
    source: Image | None = None
    place: int = 0


class CopyError(Exception):
    """Reading ('reading') or writing ('writing') failed at a byte of the whole."""

    def __init__(self, doing: str, image: Image, offset: int, error: OSError) -> None:
        reason = error.strerror or error
        super().__init__(f"error while {doing} at byte {offset}: {reason} ('{image.name}')")
        self.doing = doing
        self.offset = offset
        self.error = error


class Copier:
    """Copies pieces to `target`.

    sparse: runs of so many zeros are not written as data; 0 to write them all. granule: the unit,
    bytes, in which the target takes room: fewer zeros than that are data, too. target_zero: it
    reads as zeros already. compress: write compressed clusters of `granule` bytes. ordered: write
    in the order of the contents. offload: have the kernel copy where it can. salvage: read errors
    become zeros. rate: bytes a second at most, 0 for any. progress: is told of bytes dealt with.
    warn: is told of what has been salvaged.
    """

    def __init__(
        self,
        target: Image,
        *,
        sparse: int = 4096,
        granule: int = 0,
        target_zero: bool = False,
        compress: bool = False,
        ordered: bool = True,
        offload: bool = False,
        salvage: bool = False,
        rate: int = 0,
        workers: int = WORKERS,
        progress: Callable[[int], object] = lambda done: None,
        warn: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.target = target
        self.sparse = sparse
        self.granule = max(sparse, granule, 512)
        self.target_zero = target_zero
        self.compress = compress
        self.cluster = granule
        largest = CHUNK // 4 if compress else CHUNK  # what is compressed at a time takes long
        self.chunk = max(largest // self.granule, 1) * self.granule
        self.ordered = ordered
        self.offload = offload
        self.salvage = salvage
        self.rate = rate
        self.workers = workers
        self.progress = progress
        self.warn = warn
        self._taking = threading.Lock()
        self._gate = threading.Lock()  # is open when all that was taken before has been written
        self._error: BaseException | None = None
        self._stopped = False
        self._begun = time.monotonic()
        self._copied = 0

    def copy(self, pieces: Iterable[Piece]) -> None:
        """Copy all. Raises CopyError, or what `pieces` raises."""
        chunks = self._chunks(pieces)
        threads = [
            threading.Thread(target=self._work, args=(chunks,), daemon=True)
            for _ in range(self.workers)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            self._stopped = True
        if self._error is not None:
            raise self._error

    def _chunks(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Pieces small enough for a buffer; they end where clusters of the target do."""
        for piece in pieces:
            if piece.kind != "data" or self.offload:
                yield piece
                continue
            kind, offset, length, source, place = piece
            while length:
                part = min(self.chunk - offset % self.chunk, length)
                yield Piece(kind, offset, part, source, place)
                offset, place, length = offset + part, place + part, length - part

    def _work(self, chunks: Iterator[Piece]) -> None:
        buffer = memoryview(bytearray(0))
        gate = threading.Lock()
        try:
            while not self._stopped:
                with self._taking:
                    piece = next(chunks, None)
                    if piece is None:
                        return
                    mine, gate = self._gate, threading.Lock()
                    gate.acquire()
                    self._gate = gate
                if piece.kind != "data":
                    self._wait(mine)
                    if piece.kind == "zero":
                        self._write_zeroes(piece.offset, piece.length)
                elif not (self.offload and self._offloaded(piece)):
                    if len(buffer) < piece.length:  # of whole pages: copied faster
                        buffer = memoryview(mmap.mmap(-1, max(piece.length, self.chunk)))
                    view = buffer[: piece.length]
                    self._read(piece, view)
                    packed = self._compressed(view)
                    self._wait(mine)
                    self._write(piece, view, packed)
                else:
                    self._wait(mine)
                gate.release()
                self._done(piece)
        except BaseException as error:
            with self._taking:
                if self._error is None and not isinstance(error, _Stopped):
                    self._error = error
                self._stopped = True
            if gate.locked():
                gate.release()

    def _wait(self, gate: threading.Lock) -> None:
        """Wait until all that comes before has been written."""
        if self.ordered:
            gate.acquire()
        if self._stopped:
            raise _Stopped

    def _done(self, piece: Piece) -> None:
        if piece.kind != "skip":
            with self._taking:
                self._copied += piece.length
        self.progress(piece.length)
        if self.rate:
            ahead = self._copied / self.rate - (time.monotonic() - self._begun)
            if ahead > 0:
                time.sleep(ahead)

    def _read(self, piece: Piece, view: memoryview) -> None:
        assert piece.source is not None
        try:
            piece.source.read_into(piece.place, [view])
        except OSError as error:
            if not self.salvage:
                raise CopyError("reading", piece.source, piece.offset, error) from None
            self._salvage(piece.source, piece.place, view)

    def _salvage(self, source: Image, place: int, view: memoryview) -> None:
        """Read what can be read, in halves; sectors that cannot are zeros."""
        try:
            source.read_into(place, [view])
        except OSError as error:
            if len(view) <= 512:
                view[:] = bytes(len(view))
                self.warn(f"error while reading offset {place}: {error.strerror}")
                return
            half = -(-len(view) // 1024) * 512
            self._salvage(source, place, view[:half])
            self._salvage(source, place + half, view[half:])

    def _compressed(self, view: memoryview) -> list[bytes | None]:
        """The clusters of a buffer in compressed form, None for zeros."""
        if not self.compress:
            return []
        parts = [view[at : at + self.cluster] for at in range(0, len(view), self.cluster)]
        return [
            None if self.sparse and is_zero(part) else self.target.compress(part) for part in parts
        ]

    def _write(self, piece: Piece, view: memoryview, packed: list[bytes | None]) -> None:
        try:
            if self.compress:
                for number, one in enumerate(packed):
                    at = number * self.cluster
                    part = view[at : at + self.cluster]
                    if one is None:
                        self._write_zeroes(piece.offset + at, len(part))
                    else:
                        self.target.write_compressed(piece.offset + at, part, one)
                return
            for zero, start, end in self._runs(piece.offset, view):
                if zero:
                    self._write_zeroes(piece.offset + start, end - start)
                else:
                    self.target.write_from(piece.offset + start, [view[start:end]])
        except OSError as error:
            raise CopyError("writing", self.target, piece.offset, error) from None

    def _write_zeroes(self, offset: int, length: int) -> None:
        if self.target_zero:
            return
        try:
            self.target.write_zeroes(offset, length)
        except OSError as error:
            raise CopyError("writing", self.target, offset, error) from None

    def _runs(self, offset: int, view: memoryview) -> list[tuple[bool, int, int]]:
        """Parts of a buffer, whether they are zeros, and where they begin and end."""
        length = len(view)
        if not self.sparse:
            return [(False, 0, length)]
        if is_zero(view):
            return [(True, 0, length)]
        granule = self.granule
        first = -offset % granule
        # The first word of most granules tells that they are no zeros.
        whole = (length - first) // granule * granule + first
        words = view[first:whole].cast("B")
        hits = [
            at
            for at, word in zip(
                range(first, whole, granule),
                words[: whole - first].cast("Q")[:: granule // 8].tolist(),
                strict=True,
            )
            if not word and is_zero(view[at : at + granule])
        ]
        runs: list[tuple[bool, int, int]] = []
        done = 0
        for at in hits:
            if at > done:
                runs.append((False, done, at))
                done = at
            if runs and runs[-1][0] and runs[-1][2] == at:
                runs[-1] = (True, runs[-1][1], at + granule)
            else:
                runs.append((True, at, at + granule))
            done = at + granule
        if done < length:
            runs.append((False, done, length))
        return runs

    def _offloaded(self, piece: Piece) -> bool:
        """Have the kernel copy a piece; False where it cannot."""
        source = place_of(piece.source, piece.place) if piece.source is not None else None
        target = place_of(self.target, piece.offset)
        if source is None or target is None:
            self.offload = False
            return False
        done = 0
        while done < piece.length:
            try:
                count = os.copy_file_range(
                    source[0], target[0], piece.length - done, source[1] + done, target[1] + done
                )
            except OSError as error:
                if error.errno in _NO_OFFLOAD and not done:
                    self.offload = False
                    return False
                raise CopyError("writing", self.target, piece.offset + done, error) from None
            if not count:
                return False
            done += count
        return True


_NO_OFFLOAD = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)


class _Stopped(Exception):
    """Another thread has failed."""


def place_of(image: Image, offset: int) -> tuple[int, int] | None:
    """The open file and the place in it where an image keeps its bytes as they are, or None."""
    from pemu.block.formats.raw import Raw
    from pemu.block.protocols.file import File

    if isinstance(image, Raw) and image.file is not None:
        return place_of(image.file, image.offset + offset)
    return (image.fd, offset) if isinstance(image, File) else None
