"""The client's side of SFTP version 3, as far as one open file needs it.

Several requests are under way at once, and every answer is looked at before the call that asked
returns. Source: draft-ietf-secsh-filexfer-02; OpenSSH's PROTOCOL, section 4.6 (fsync).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, TypeVar

VERSION = 3

PIECE = 32 << 10
"""Bytes of one request: what every server takes."""

DEPTH = 32
"""Requests under way at once: less than an SSH channel's window holds."""

LONGEST = 1 << 20
"""Bytes of an answer, at most."""

FSYNC = b"fsync@openssh.com"

READ, WRITE, CREATE, TRUNCATE = 0x01, 0x02, 0x08, 0x10
"""How a file is opened."""

_HAS_SIZE = 0x01
"""A file's attributes tell its size."""


class Packet(IntEnum):
    """Types of packets."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    FSTAT = 8
    STATUS = 101
    HANDLE = 102
    DATA = 103
    ATTRS = 105
    EXTENDED = 200


OK = 0
ERRORS = {2: errno.ENOENT, 3: errno.EACCES, 8: errno.EOPNOTSUPP}
"""Errors by status; all others are EIO."""

T = TypeVar("T")


class Sftp:
    """A session on `channel` (paramiko.Channel), whose subsystem it begins.

    Methods raise OSError; after EIO nothing is known about the connection.
    """

    def __init__(self, channel: Any) -> None:
        channel.invoke_subsystem("sftp")
        self._channel = channel
        self._received = bytearray()
        self._number = 0
        self._send(struct.pack(">BI", Packet.INIT, VERSION))
        kind, body = self._packet()
        if kind != Packet.VERSION or len(body) < 4:
            raise _nonsense()
        rest, words = body[4:], []
        while rest:
            word, rest = _string(rest)
            words.append(word)
        self.syncs = FSYNC in words[::2]
        """Whether the server has files written to its disk when asked to."""

    def open(self, path: str, how: int) -> bytes:
        """The handle of a file; `how`: READ and so on, added."""
        body = self._request(Packet.OPEN, _packed(path.encode()), struct.pack(">II", how, 0))
        return _string(_expect(Packet.HANDLE, *body))[0]

    def close(self, handle: bytes) -> None:
        """Give a handle back."""
        _done(*self._request(Packet.CLOSE, _packed(handle)))

    def size(self, handle: bytes) -> int | None:
        """The file's size in bytes, if the server tells it."""
        body = _expect(Packet.ATTRS, *self._request(Packet.FSTAT, _packed(handle)))
        if len(body) < 12:
            raise _nonsense()
        flags, size = struct.unpack_from(">IQ", body)
        return size if flags & _HAS_SIZE else None

    def fsync(self, handle: bytes) -> None:
        """Have the file written to the server's disk."""
        _done(*self._request(Packet.EXTENDED, _packed(FSYNC), _packed(handle)))

    def read_into(self, handle: bytes, offset: int, view: memoryview) -> None:
        """Fill `view` from `offset`; a file that ends before is an error."""

        def ask(part: tuple[int, int]) -> int:
            begin, end = part
            return self._ask(
                Packet.READ, _packed(handle), struct.pack(">QI", offset + begin, end - begin)
            )

        def take(part: tuple[int, int], kind: int, body: bytes) -> tuple[int, int] | None:
            begin, end = part
            data = _string(_expect(Packet.DATA, kind, body))[0]
            if not 0 < len(data) <= end - begin:
                raise _nonsense()
            view[begin : begin + len(data)] = data
            return (begin + len(data), end) if begin + len(data) < end else None

        self._converse(_parts(len(view)), ask, take)

    def write(self, handle: bytes, offset: int, data: memoryview) -> None:
        """Store `data` at `offset`."""

        def ask(part: tuple[int, int]) -> int:
            begin, end = part
            place = struct.pack(">Q", offset + begin)
            return self._ask(Packet.WRITE, _packed(handle), place, _packed(data[begin:end]))

        def take(part: tuple[int, int], kind: int, body: bytes) -> None:
            _done(kind, body)

        self._converse(_parts(len(data)), ask, take)

    # Requests and answers.

    def _converse(
        self,
        parts: Iterator[T],
        ask: Callable[[T], int],
        take: Callable[[T, int, bytes], T | None],
    ) -> None:
        """Ask for each part; answers may come in any order.

        `ask` returns a request's number; `take` what is left of the part, to be asked for again.
        The first error is raised when no answer is outstanding.
        """
        waiting: dict[int, T] = {}
        again: list[T] = []
        failure: OSError | None = None
        while True:
            while failure is None and len(waiting) < DEPTH:
                part = again.pop() if again else next(parts, None)
                if part is None:
                    break
                waiting[ask(part)] = part
            if not waiting:
                break
            number, kind, body = self._answer()
            if number not in waiting:
                raise _nonsense()
            try:
                rest = take(waiting.pop(number), kind, body)
            except OSError as error:
                failure = failure or error
            else:
                if rest is not None:
                    again.append(rest)
        if failure is not None:
            raise failure

    def _request(self, kind: Packet, *fields: bytes) -> tuple[int, bytes]:
        """Make one request; yields its answer's type and contents."""
        asked = self._ask(kind, *fields)
        number, answer, body = self._answer()
        if number != asked:
            raise _nonsense()
        return answer, body

    def _ask(self, kind: Packet, *fields: bytes) -> int:
        self._number = self._number + 1 & 0xFFFF_FFFF
        self._send(struct.pack(">BI", kind, self._number), *fields)
        return self._number

    def _answer(self) -> tuple[int, int, bytes]:
        kind, body = self._packet()
        if len(body) < 4:
            raise _nonsense()
        return int.from_bytes(body[:4], "big"), kind, body[4:]

    def _send(self, *fields: bytes) -> None:
        try:
            length = sum(map(len, fields))
            self._channel.sendall(b"".join((length.to_bytes(4, "big"), *fields)))
        except OSError as error:
            raise OSError(errno.EIO, f"SFTP: {error}") from None

    def _packet(self) -> tuple[int, bytes]:
        length = int.from_bytes(self._receive(4), "big")
        if not 0 < length <= LONGEST:
            raise _nonsense()
        packet = self._receive(length)
        return packet[0], packet[1:]

    def _receive(self, length: int) -> bytes:
        while len(self._received) < length:
            try:
                more = self._channel.recv(LONGEST)
            except OSError as error:
                raise OSError(errno.EIO, f"SFTP: {error}") from None
            if not more:
                raise OSError(errno.EIO, "SFTP: the connection has ended")
            self._received += more
        taken = bytes(memoryview(self._received)[:length])
        del self._received[:length]
        return taken


def _parts(length: int) -> Iterator[tuple[int, int]]:
    return ((begin, min(begin + PIECE, length)) for begin in range(0, length, PIECE))


def _packed(data: bytes | memoryview) -> bytes:
    return b"".join((len(data).to_bytes(4, "big"), data))


def _string(body: bytes) -> tuple[bytes, bytes]:
    """The string that `body` begins with, and what follows."""
    end = 4 + int.from_bytes(body[:4], "big")
    if not 4 <= end <= len(body):
        raise _nonsense()
    return body[4:end], body[end:]


def _expect(wanted: Packet, kind: int, body: bytes) -> bytes:
    """The contents of an answer of the right type; raises what a status says."""
    if kind == wanted:
        return body
    _done(kind, body)
    raise _nonsense()


def _done(kind: int, body: bytes) -> None:
    """Look at the answer to what yields nothing."""
    if kind != Packet.STATUS or len(body) < 4:
        raise _nonsense()
    status = int.from_bytes(body[:4], "big")
    if status != OK:
        said = _string(body[4:])[0].decode(errors="replace") if len(body) > 4 else ""
        raise OSError(ERRORS.get(status, errno.EIO), said or f"SFTP: status {status}")


def _nonsense() -> OSError:
    return OSError(errno.EIO, "SFTP: the server's answer makes no sense")
