"""A client's requests, once the handshake is over.

One thread receives. What is in the host's memory it answers itself, for all requests that have come
together with a single system call; for the rest there are workers, which answer when they are done.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from time import perf_counter

from pemu.block.error import ImageError
from pemu.block.extents import above
from pemu.block.nbd import protocol as nbd
from pemu.block.nbd.channel import Gone
from pemu.block.nbd.handshake import Agreement, Refused

INLINE = 256 << 10
"""Bytes of a read or write that the receiving thread may do itself; more is better shared out."""

OUTPUT = INLINE + 4096
"""Bytes of answers that are sent at a time."""

PIECE = 1 << 20
"""Bytes of one piece of a structured answer."""

SPARSE = 64 << 10
"""Bytes of a read from which on it is worth a look whether there are zeros."""

EXPECTED = 64
"""Short reads whose data the host has been asked for; no more are received meanwhile."""

WORKERS = 16
"""Requests of one client that wait for the host at the same time."""

IN_FLIGHT = 64 << 20
"""Bytes of one client's requests that wait; no more are received meanwhile."""

SLOW = 0.001
"""Seconds after which a write is taken to have waited for the host."""

SLOW_REQUESTS = 64
"""Writes that go to the workers after one that was slow."""

_ALLOWED = {
    nbd.READ: nbd.DF | nbd.FUA,
    nbd.WRITE: nbd.FUA,
    nbd.FLUSH: nbd.FUA,
    nbd.TRIM: nbd.FUA,
    nbd.CACHE: nbd.FUA,
    nbd.WRITE_ZEROES: nbd.FUA | nbd.NO_HOLE | nbd.FAST_ZERO,
    nbd.BLOCK_STATUS: nbd.FUA | nbd.REQ_ONE,
}
_WRITES = (nbd.WRITE, nbd.TRIM, nbd.WRITE_ZEROES)

_REQUEST = nbd.Request.CODE
_SIMPLE = nbd.SimpleReply.CODE
_CHUNK = nbd.Chunk.CODE
_SIMPLE_SIZE = nbd.SimpleReply.SIZE
_CHUNK_SIZE = nbd.Chunk.SIZE
_DATA_HEAD = _CHUNK_SIZE + 8

FAILURES = (OSError, ImageError, ValueError, MemoryError)
"""What a request that cannot be carried out raises."""


class _Work:
    """A request for the workers."""

    __slots__ = ("cookie", "data", "do", "flags", "held", "kind", "length", "offset")

    def __init__(
        self,
        do: Callable[[_Work], None],
        kind: int,
        flags: int,
        cookie: int,
        offset: int,
        length: int,
        data: memoryview | None = None,
    ) -> None:
        self.do = do
        self.kind = kind
        self.flags = flags
        self.cookie = cookie
        self.offset = offset
        self.length = length
        self.data = data
        self.held = length if kind in (nbd.READ, nbd.WRITE) else 0


class Session:
    """Answers one client. trace: is told of each request in words, where there is somebody."""

    def __init__(self, agreement: Agreement, trace: Callable[[str], object] | None = None) -> None:
        self._channel = agreement.channel
        self._export = agreement.export
        self._image = agreement.export.image
        self._structured = agreement.structured
        self._contexts = agreement.contexts
        self._always = nbd.FUA if agreement.export.writethrough else 0
        self._trace = trace
        self._output = memoryview(bytearray(OUTPUT))
        self._filled = 0
        self._slow = 0
        self._expected: deque[tuple[int, int, int]] = deque()
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._workers: list[threading.Thread] = []
        self._local = threading.local()
        self._broken: Exception | None = None
        """An error inside Pemu that a worker has met."""
        self._room = threading.Condition()
        self._waiting = 0
        self._waiting_bytes = 0

    def run(self) -> None:
        """Answer until the client goes. Raises OSError, Refused for what no client may do."""
        buffer = memoryview(bytearray(1 << 16))
        start = end = 0
        try:
            while True:
                while end - start < nbd.Request.SIZE:
                    buffer[: end - start] = buffer[start:end]
                    start, end = 0, end - start
                    end += self._receive(buffer[end:])
                magic, flags, kind, cookie, offset, length = _REQUEST.unpack_from(buffer, start)
                start += nbd.Request.SIZE
                if magic != nbd.REQUEST_MAGIC:
                    raise Refused("a request does not begin as one")
                if self._trace is not None:
                    self._tell(kind, flags, offset, length)
                if kind == nbd.READ and length <= INLINE and not flags:
                    self._read(cookie, offset, length)
                elif kind == nbd.WRITE:
                    if length > nbd.MAX_REQUEST:
                        raise Refused(f"a write of {length} bytes")
                    data = buffer[start : min(start + length, end)]
                    start += len(data)
                    self._write(flags | self._always, cookie, offset, length, data)
                elif kind == nbd.DISCONNECT:
                    return
                else:
                    self._other(kind, flags | self._always, cookie, offset, length)
        except BaseException:
            self._channel.shut()  # lest a worker wait for the client to take an answer
            if self._broken is not None:
                raise self._broken from None
            raise
        finally:
            self._finish()

    def _receive(self, view: memoryview) -> int:
        """Receive what comes; meanwhile answer reads whose data are on their way."""
        while self._expected:
            if len(self._expected) < EXPECTED:
                count = self._channel.receive_ready(view)
                if count:
                    return count
            self._read_expected()
        self._flush()
        return self._channel.receive_some(view)

    def _finish(self) -> None:
        """Wait for what is under way."""
        for _ in self._workers:
            self._queue.put(None)
        for worker in self._workers:
            worker.join()

    def _tell(self, kind: int, flags: int, offset: int, length: int) -> None:
        assert self._trace is not None
        name = nbd.COMMANDS[kind] if kind < len(nbd.COMMANDS) else f"command {kind}"
        self._trace(f"{name} offset {offset} length {length} flags 0x{flags:x}")

    # Requests

    def _read(self, cookie: int, offset: int, length: int) -> None:
        """Answer from the host's memory; what is not there is fetched, or left to a worker."""
        if not length or offset + length > self._export.size:
            self._other(nbd.READ, 0, cookie, offset, length)
            return
        view = self._room_for(length)
        if self._image.read_cached(offset, [view]):
            self._put_data(cookie, offset, length)
        elif length < SPARSE and self._fetch(offset, length):
            self._expected.append((cookie, offset, length))
        else:
            self._other(nbd.READ, 0, cookie, offset, length)

    def _fetch(self, offset: int, length: int) -> bool:
        """Have the host begin to read; False where it cannot."""
        try:
            extent = above(self._image, None, offset, length).extent
            return (
                extent.length >= length
                and extent.offset is not None
                and extent.file is not None
                and extent.file.prefetch(extent.offset, length)
            )
        except FAILURES:
            return False  # a worker finds out what is wrong

    def _read_expected(self) -> None:
        """Answer the oldest read whose data have been on their way, even if that takes time."""
        cookie, offset, length = self._expected.popleft()
        view = self._room_for(length)
        try:
            if not self._image.read_cached(offset, [view]):
                self._flush()
                view = self._room_for(length)
                self._image.read_into(offset, [view])
            self._put_data(cookie, offset, length)
        except FAILURES as problem:
            self._put_error(cookie, _number(problem), _reason(problem))

    def _room_for(self, length: int) -> memoryview:
        """Where in the answers the data of a read belong, `length` bytes."""
        head = _DATA_HEAD if self._structured else _SIMPLE_SIZE
        if self._filled + head + length > OUTPUT:
            self._flush()
        data = self._filled + head
        return self._output[data : data + length]

    def _put_data(self, cookie: int, offset: int, length: int) -> None:
        """Put the head of an answer before its data, which `_room_for` has made room for."""
        output, start = self._output, self._filled
        if self._structured:
            data = start + _DATA_HEAD
            _CHUNK.pack_into(
                output, start, nbd.CHUNK_MAGIC, nbd.CHUNK_DONE, nbd.CHUNK_DATA, cookie, 8 + length
            )
            output[data - 8 : data] = offset.to_bytes(8, "big")
        else:
            data = start + _SIMPLE_SIZE
            _SIMPLE.pack_into(output, start, nbd.SIMPLE_MAGIC, 0, cookie)
        self._filled = data + length

    def _write(self, flags: int, cookie: int, offset: int, length: int, data: memoryview) -> None:
        """Take a write's data, of which `data` are there, and carry it out."""
        inline = length <= INLINE and not flags and not self._slow
        if not inline:
            self._await_room(length)
        if len(data) < length or not inline:
            whole = memoryview(bytearray(length))
            whole[: len(data)] = data
            if len(data) < length:
                self._flush()
                self._channel.receive_into(whole[len(data) :])
            data = whole
        error = self._objection(nbd.WRITE, flags, offset, length)
        if error:
            if not inline:
                self._release(length)
            self._put_error(cookie, error)
        elif inline:
            began = perf_counter()
            try:
                self._image.write_from(offset, [data])
                self._put_done(cookie)
            except FAILURES as problem:
                self._put_error(cookie, _number(problem), _reason(problem))
            if perf_counter() - began > SLOW:
                self._slow = SLOW_REQUESTS
        else:
            self._slow -= bool(self._slow)
            self._submit(_Work(self._do_write, nbd.WRITE, flags, cookie, offset, length, data))

    def _other(self, kind: int, flags: int, cookie: int, offset: int, length: int) -> None:
        """Have a worker carry out a request that has no data with it."""
        error = self._objection(kind, flags, offset, length)
        if error:
            self._put_error(cookie, error)
            return
        do = {nbd.READ: self._do_read, nbd.BLOCK_STATUS: self._do_status}.get(kind, self._do_plain)
        work = _Work(do, kind, flags, cookie, offset, length)
        self._await_room(work.held)
        self._submit(work)

    def _objection(self, kind: int, flags: int, offset: int, length: int) -> int:
        """The error of a request that is none, or 0."""
        if kind not in _ALLOWED or flags & ~_ALLOWED[kind]:
            return errno.EINVAL
        if kind in _WRITES and self._export.readonly:
            return errno.EPERM
        if kind == nbd.FLUSH:
            return 0
        if offset + length > self._export.size:
            return errno.ENOSPC if kind in (nbd.WRITE, nbd.WRITE_ZEROES) else errno.EINVAL
        if kind in (nbd.READ, nbd.CACHE) and length > nbd.MAX_REQUEST:
            return errno.EINVAL
        if kind == nbd.BLOCK_STATUS and (not length or not self._contexts):
            return errno.EINVAL
        return 0

    # Work that waits for the host

    def _do_write(self, work: _Work) -> None:
        assert work.data is not None
        self._image.write_from(work.offset, [work.data])
        self._written(work)

    def _do_plain(self, work: _Work) -> None:
        image, kind, offset, length = self._image, work.kind, work.offset, work.length
        if kind == nbd.FLUSH:
            image.flush()
        elif kind == nbd.TRIM:
            image.discard(offset, length)
        elif kind == nbd.CACHE:
            scratch = self._scratch(min(length, PIECE))
            for at in range(0, length, PIECE):
                image.read_into(offset + at, [scratch[: length - at]])
        elif work.flags & nbd.FAST_ZERO and not image.fast_zeroes:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        else:
            image.write_zeroes(offset, length, unmap=not work.flags & nbd.NO_HOLE)
        self._written(work)

    def _written(self, work: _Work) -> None:
        if work.flags & nbd.FUA and work.kind in _WRITES:
            self._image.flush()
        self._channel.send([self._done(work.cookie)])

    def _do_read(self, work: _Work) -> None:
        offset, length, cookie = work.offset, work.length, work.cookie
        if not length and self._structured:
            head = _CHUNK.pack(nbd.CHUNK_MAGIC, nbd.CHUNK_DONE, nbd.CHUNK_NONE, cookie, 0)
            self._channel.send([head])
        elif not self._structured or work.flags & nbd.DF or length < SPARSE:
            data = self._scratch(length)
            self._image.read_into(offset, [data])
            self._channel.send([self._data_head(cookie, offset, length, nbd.CHUNK_DONE), data])
        else:
            self._read_pieces(cookie, offset, length)

    def _read_pieces(self, cookie: int, offset: int, length: int) -> None:
        """Answer a long read piece by piece, and without the zeros that are known to be there."""
        buffer = self._scratch(min(length, PIECE))
        end = offset + length
        while offset < end:
            extent = above(self._image, None, offset, end - offset).extent
            step = extent.length if extent.zero else min(extent.length, PIECE)
            flags = nbd.CHUNK_DONE if offset + step == end else 0
            if extent.zero:
                hole = nbd.Hole(offset=offset, length=step).emit()
                head = _CHUNK.pack(nbd.CHUNK_MAGIC, flags, nbd.CHUNK_HOLE, cookie, len(hole))
                self._channel.send([head, hole])
            else:
                self._image.read_into(offset, [buffer[:step]])
                self._channel.send([self._data_head(cookie, offset, step, flags), buffer[:step]])
            offset += step

    def _scratch(self, length: int) -> memoryview:
        """Memory of the calling thread; taking it anew costs more than reading."""
        if length > PIECE:
            return memoryview(bytearray(length))
        kept: memoryview | None = getattr(self._local, "scratch", None)
        if kept is None:
            kept = self._local.scratch = memoryview(bytearray(PIECE))
        return kept[:length]

    def _do_status(self, work: _Work) -> None:
        pieces: list[bytes] = []
        for identity, name in enumerate(self._contexts):
            entries = self._export.status(
                name, work.offset, work.length, one=bool(work.flags & nbd.REQ_ONE)
            )
            flags = nbd.CHUNK_DONE if identity == len(self._contexts) - 1 else 0
            length = 4 + len(entries)
            pieces += (
                _CHUNK.pack(nbd.CHUNK_MAGIC, flags, nbd.CHUNK_STATUS, work.cookie, length),
                identity.to_bytes(4, "big"),
                entries,
            )
        self._channel.send(pieces)

    def _submit(self, work: _Work) -> None:
        self._queue.put(work)
        if self._waiting > len(self._workers) < WORKERS:
            worker = threading.Thread(target=self._labour, name="nbd-worker", daemon=True)
            self._workers.append(worker)
            worker.start()

    def _labour(self) -> None:
        """Carry out requests until there are no more."""
        while (work := self._queue.get()) is not None:
            try:
                try:
                    work.do(work)
                except FAILURES as problem:
                    if isinstance(problem, Gone):
                        raise
                    self._channel.send(self._error(work.cookie, _number(problem), _reason(problem)))
            except Gone:
                self._channel.shut()  # nobody is left to answer; the receiving thread ends, too
            except Exception as error:
                self._broken = error
                self._channel.shut()
            finally:
                work.data = None
                self._release(work.held)

    def _await_room(self, length: int) -> None:
        """Wait until `length` more bytes may be under way, and count them."""
        self._flush()
        with self._room:
            while self._waiting >= WORKERS or (
                self._waiting and self._waiting_bytes + length > IN_FLIGHT
            ):
                self._room.wait()
            self._waiting += 1
            self._waiting_bytes += length

    def _release(self, length: int) -> None:
        with self._room:
            self._waiting -= 1
            self._waiting_bytes -= length
            self._room.notify()

    # Answers

    def _flush(self) -> None:
        """Send the answers that have been gathered."""
        if self._filled:
            filled, self._filled = self._filled, 0
            self._channel.send([self._output[:filled]])

    def _put(self, data: bytes) -> None:
        if self._filled + len(data) > OUTPUT:
            self._flush()
        self._output[self._filled : self._filled + len(data)] = data
        self._filled += len(data)

    def _put_done(self, cookie: int) -> None:
        self._put(self._done(cookie))

    def _put_error(self, cookie: int, number: int, reason: str = "") -> None:
        for piece in self._error(cookie, number, reason or os.strerror(number)):
            self._put(piece)

    def _done(self, cookie: int) -> bytes:
        return _SIMPLE.pack(nbd.SIMPLE_MAGIC, 0, cookie)

    def _data_head(self, cookie: int, offset: int, length: int, flags: int) -> bytes:
        if not self._structured:
            return _SIMPLE.pack(nbd.SIMPLE_MAGIC, 0, cookie)
        return _CHUNK.pack(
            nbd.CHUNK_MAGIC, flags, nbd.CHUNK_DATA, cookie, 8 + length
        ) + offset.to_bytes(8, "big")

    def _error(self, cookie: int, number: int, reason: str) -> list[bytes]:
        number = nbd.wire_error(number)
        if not self._structured:
            return [_SIMPLE.pack(nbd.SIMPLE_MAGIC, number, cookie)]
        text = nbd.encoded(reason)[: nbd.MAX_STRING]
        head = nbd.ErrorHead(error=number, length=len(text)).emit()
        length = len(head) + len(text)
        return [
            _CHUNK.pack(nbd.CHUNK_MAGIC, nbd.CHUNK_DONE, nbd.CHUNK_ERROR, cookie, length),
            head,
            text,
        ]


def _number(problem: BaseException) -> int:
    if isinstance(problem, OSError):
        return problem.errno or errno.EIO
    return errno.ENOMEM if isinstance(problem, MemoryError) else errno.EIO


def _reason(problem: BaseException) -> str:
    return (isinstance(problem, OSError) and problem.strerror) or str(problem)
