"""Copying contents from image to image: threads read, look for zeros and write at the same time.

Every batch is read, examined and written by one thread; the system calls that move data and the
compressing run beside each other. Writes go in the order of the contents where that is wanted.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
import time

from pemu.block.image import Image
from pemu.block.pieces import Packed, is_zero
from pemu.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

CHUNK = 2 << 20
"""Bytes that are read and written at a time."""

MOST_PIECES = 64
"""Pieces, small ones, that are dealt with at a time."""

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


class _Part(NamedTuple):
    """A part of a buffer: zeros or not, beginning and end, its clusters in compressed form."""

    zero: bool
    start: int
    end: int
    packed: Sequence[Packed] = ()


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
        largest = CHUNK // 2 if compress else CHUNK  # what is compressed at a time takes long
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
        batches = self._batches(pieces)
        threads = [
            threading.Thread(target=self._work, args=(batches,), daemon=True)
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

    def _batches(self, pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
        """Pieces whose data fit into a buffer; data end where clusters of the target do."""
        batch: list[Piece] = []
        room = self.chunk
        for piece in pieces:
            if batch and (joined := _joined(batch[-1], piece)):
                room += batch.pop().length if piece.kind == "data" else 0
                piece = joined
            if piece.kind != "data":
                batch.append(piece)
            else:
                kind, offset, length, source, place = piece
                while length:
                    part = min(self.chunk - offset % self.chunk, length)
                    if part > room:
                        yield batch
                        batch, room = [], self.chunk
                    batch.append(Piece(kind, offset, part, source, place))
                    offset, place, length = offset + part, place + part, length - part
                    room -= part
            if len(batch) >= MOST_PIECES:
                yield batch
                batch, room = [], self.chunk
        if batch:
            yield batch

    def _work(self, batches: Iterator[list[Piece]]) -> None:
        buffer = memoryview(b"")
        gate = threading.Lock()
        try:
            while not self._stopped:
                with self._taking:
                    batch = next(batches, None)
                    if batch is None:
                        return
                    mine, gate = self._gate, threading.Lock()
                    gate.acquire()
                    self._gate = gate
                found: list[tuple[Piece, memoryview, list[_Part]]] = []
                rest = buffer
                for piece in batch:
                    if piece.kind == "zero":
                        found.append((piece, rest[:0], [_Part(True, 0, piece.length)]))
                    elif piece.kind == "data" and not (self.offload and self._offloaded(piece)):
                        if not buffer:
                            buffer = rest = memoryview(mmap.mmap(-1, self.chunk))  # whole pages
                        view, rest = rest[: piece.length], rest[piece.length :]
                        self._read(piece, view)
                        found.append((piece, view, self._parts(piece.offset, view)))
                self._wait(mine)
                for piece, view, parts in found:
                    self._write(piece, view, parts)
                gate.release()
                self._done(batch)
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

    def _done(self, batch: list[Piece]) -> None:
        with self._taking:
            self._copied += sum(piece.length for piece in batch if piece.kind != "skip")
        self.progress(sum(piece.length for piece in batch))
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

    def _parts(self, offset: int, view: memoryview) -> list[_Part]:
        """What is to be written of a buffer."""
        if not self.compress:
            return [_Part(*run) for run in self._runs(offset, view, self.granule)]
        return [
            _Part(zero, start, end, () if zero else self.target.compress(view[start:end]))
            for zero, start, end in self._runs(offset, view, self.cluster)
        ]

    def _write(self, piece: Piece, view: memoryview, parts: list[_Part]) -> None:
        try:
            for zero, start, end, packed in parts:
                if zero:
                    self._write_zeroes(piece.offset + start, end - start)
                elif not self.compress:
                    self.target.write_from(piece.offset + start, [view[start:end]])
                elif packed:
                    self.target.write_compressed(piece.offset + start, view[start:end], packed)
                else:
                    for at in range(start, end, self.cluster):
                        cluster = view[at : min(at + self.cluster, end)]
                        self.target.write_compressed(piece.offset + at, cluster)
        except OSError as error:
            raise CopyError("writing", self.target, piece.offset, error) from None

    def _write_zeroes(self, offset: int, length: int) -> None:
        if self.target_zero:
            return
        try:
            self.target.write_zeroes(offset, length)
        except OSError as error:
            raise CopyError("writing", self.target, offset, error) from None

    def _runs(self, offset: int, view: memoryview, granule: int) -> list[tuple[bool, int, int]]:
        """Parts of a buffer in units of `granule`: zeros or not, beginning and end."""
        length = len(view)
        if not self.sparse:
            return [(False, 0, length)]
        if is_zero(view):
            return [(True, 0, length)]
        first = -offset % granule
        # The first word of most granules tells that they are no zeros.
        whole = (length - first) // granule * granule + first
        words = view[first:whole].cast("Q")[:: granule // 8].tolist() if whole > first else []
        if 0 not in words:
            return [(False, 0, length)]
        hits = [
            at
            for at, word in zip(range(first, whole, granule), words, strict=True)
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


def _joined(one: Piece, other: Piece) -> Piece | None:
    """Two pieces as one, where they follow each other and are of the same kind."""
    if one.kind != other.kind or one.offset + one.length != other.offset:
        return None
    if one.kind == "data" and (
        one.source is not other.source or one.place + one.length != other.place
    ):
        return None
    return one._replace(length=one.length + other.length)


class _Stopped(Exception):
    """Another thread has failed."""


def place_of(image: Image, offset: int) -> tuple[int, int] | None:
    """The open file and the place in it where an image keeps its bytes as they are, or None."""
    from pemu.block.formats.raw import Raw
    from pemu.block.protocols.file import File

    if isinstance(image, Raw) and image.file is not None:
        return place_of(image.file, image.offset + offset)
    return (image.fd, offset) if isinstance(image, File) else None
