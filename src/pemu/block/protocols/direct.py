"""Files past the host's page cache (cache.direct): every access is of whole, aligned blocks."""

from __future__ import annotations

import mmap
import os
import threading

from pemu.block.error import ImageError
from pemu.block.opening import Mode
from pemu.block.pieces import Buffers, Pieces, clear, take
from pemu.block.protocols.file import File

BLOCK = 4096
"""Bytes to which places in the file and in memory are aligned; enough for every disk."""

_PIECE = 1 << 20
"""Bytes of one system call."""


class DirectFile(File):
    """A file opened with O_DIRECT; data passes through an aligned buffer of the calling thread."""

    _flags = os.O_DIRECT
    direct = True

    def __init__(self, path: str, mode: Mode, *, locks: bool = True) -> None:
        try:
            super().__init__(path, mode, locks=locks)
        except OSError as error:
            if error.errno == 22:  # EINVAL
                raise ImageError(
                    f"Could not open '{path}': file system may not support O_DIRECT; leave "
                    "cache=none or cache.direct=on out"
                ) from None
            raise
        self._local = threading.local()

    def _buffer(self) -> memoryview:
        """The calling thread's aligned buffer."""
        buffer: memoryview | None = getattr(self._local, "buffer", None)
        if buffer is None:
            buffer = self._local.buffer = memoryview(mmap.mmap(-1, _PIECE))
        return buffer

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        rest = list(buffers)
        end = offset + sum(map(len, buffers))
        while offset < end:
            start = offset // BLOCK * BLOCK
            length = min(_PIECE, -(-(end - start) // BLOCK) * BLOCK)
            piece = self._load(start, length)[offset - start : end - start]
            taken, rest = take(rest, len(piece))
            for view in taken:
                view[:] = piece[: len(view)]
                piece = piece[len(view) :]
            offset = start + length

    def _load(self, start: int, length: int) -> memoryview:
        """`length` bytes at `start`, both aligned, in the buffer; zeros beyond the end."""
        view = self._buffer()[:length]
        done = 0
        while done < length:
            count = os.preadv(self.fd, [view[done:]], start + done)
            done += count
            if not count or count % BLOCK:  # the end of the file
                clear(view[done:])
                break
        return view

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        return False

    def prefetch(self, offset: int, length: int) -> bool:
        return False

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        rest = [memoryview(piece) for piece in pieces]
        end = offset + sum(map(len, rest))
        while offset < end:
            start = offset // BLOCK * BLOCK
            stop = min(start + _PIECE, end)
            taken, rest = take(rest, stop - offset)
            self._store(start, offset, stop, taken)
            offset = stop

    def _store(self, start: int, offset: int, stop: int, pieces: list[memoryview]) -> None:
        """Write `pieces` from `offset` to `stop`; the blocks around them begin at `start`."""
        length = -(-(stop - start) // BLOCK) * BLOCK
        whole = offset == start and stop == start + length
        with self.lock:
            view = self._buffer()[:length] if whole else self._load(start, length)
            at = offset - start
            for piece in pieces:
                view[at : at + len(piece)] = piece
                at += len(piece)
            done = 0
            while done < length:
                done += os.pwritev(self.fd, [view[done:]], start + done)
            if stop > self.size:
                self.size = stop
            if start + length > self.size and not self.device:
                os.ftruncate(self.fd, self.size)
