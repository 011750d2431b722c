"""The remote serial protocol's packets: `$data#checksum`, acknowledged by `+` or refused by `-`.

Source: "Debugging with GDB", appendix E.1, "Overview". Between packets only an interrupt (0x03) and
acknowledgements count; any other byte is noise and skipped.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from typing import Literal

MAX_PACKET = 0x8000
"""Bytes of a packet at most, as PacketSize tells gdb: `g` of a large processor, and memory by the
page in hexadecimal digits, fit several times."""

INTERRUPT = 3
_START, _END, _ESCAPE, _REPEAT = b"$#}*"
_TO_ESCAPE = frozenset(b"$#}*")
_FLIP = 0x20
_COUNT_BASE = 29
"""A repeat count `n` is sent as the character `n + 29`; it counts copies after the first."""

RETRIES = 5
"""Refusals of one packet after which the other side is taken to be talking something else."""


def checksum(data: bytes) -> int:
    """The sum of a packet's bytes as sent, modulo 256."""
    return sum(data) & 0xFF


def escape(data: bytes) -> bytes:
    """`data` in the form that may stand in a packet."""
    if _TO_ESCAPE.isdisjoint(data):
        return data
    out = bytearray()
    for byte in data:
        if byte in _TO_ESCAPE:
            out += bytes((_ESCAPE, byte ^ _FLIP))
        else:
            out.append(byte)
    return bytes(out)


def unescape(data: bytes) -> bytes | None:
    """What a packet's bytes mean, escapes and repeats undone; None for nonsense.

    Nonsense is a repeat of nothing, a count out of its range, an escape of nothing, and what
    becomes longer than `MAX_PACKET`.
    """
    if _ESCAPE not in data and _REPEAT not in data:
        return data
    out = bytearray()
    rest = iter(data)
    for byte in rest:
        if byte == _ESCAPE:
            escaped = next(rest, None)
            if escaped is None:
                return None
            out.append(escaped ^ _FLIP)
        elif byte == _REPEAT:
            count = next(rest, 0) - _COUNT_BASE
            if count < 3 or count > 97 or not out:
                return None
            out += bytes((out[-1],)) * count
        else:
            out.append(byte)
        if len(out) > MAX_PACKET:
            return None
    return bytes(out)


def frame(data: bytes) -> bytes:
    """A whole packet that carries `data`."""
    body = escape(data)
    return b"$%s#%02x" % (body, checksum(body))


class Framer:
    """Takes the stream of bytes from gdb apart.

    `feed` yields packets' contents as bytes, and `Framer.INTERRUPT`, `Framer.ACK`, `Framer.REFUSED`
    (gdb wants the last packet again), `Framer.BAD` (a damaged packet came).
    """

    INTERRUPT: Literal["interrupt"] = "interrupt"
    ACK: Literal["ack"] = "ack"
    REFUSED: Literal["refused"] = "refused"
    BAD: Literal["bad"] = "bad"

    __slots__ = ("_body", "_digits", "_inside", "_too_long")

    def __init__(self) -> None:
        self._body = bytearray()
        self._inside = False
        self._too_long = False
        self._digits: bytearray | None = None

    def feed(self, data: bytes) -> Iterator[bytes | str]:
        """Yield what has become complete with these bytes."""
        for byte in data:
            if self._digits is not None:
                self._digits.append(byte)
                if len(self._digits) == 2:
                    yield self._complete(bytes(self._digits))
            elif self._inside:
                self._inner(byte)
            elif byte == _START:
                self._begin()
            elif byte == INTERRUPT:
                yield self.INTERRUPT
            elif byte == 0x2B:
                yield self.ACK
            elif byte == 0x2D:
                yield self.REFUSED

    def _begin(self) -> None:
        self._inside = True
        self._too_long = False
        self._body.clear()

    def _inner(self, byte: int) -> None:
        if byte == _START:  # the one before has lost its end
            self._begin()
        elif byte == _END:
            self._digits = bytearray()
        elif len(self._body) < MAX_PACKET:
            self._body.append(byte)
        else:
            self._too_long = True

    def _complete(self, digits: bytes) -> bytes | str:
        body = bytes(self._body)
        self._inside = False
        self._digits = None
        self._body.clear()
        if self._too_long or any(digit not in b"0123456789abcdefABCDEF" for digit in digits):
            return self.BAD
        if int(digits, 16) != checksum(body):
            return self.BAD
        content = unescape(body)
        return self.BAD if content is None else content


class Disconnected(Exception):
    """gdb has gone, or what is at the other end does not speak its protocol."""


class Link:
    """What goes to and fro with gdb, as packets; `write` is given the bytes to send.

    `no_ack`: nobody acknowledges packets any more, as after QStartNoAckMode.
    """

    __slots__ = ("_framer", "_last", "_refused", "_write", "no_ack")

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._framer = Framer()
        self._last = b""
        self._refused = 0
        self.no_ack = False

    def take(self, data: bytes) -> Iterator[bytes | None]:
        """Yield the packets that these bytes complete, and None for an interrupt.

        Raises Disconnected.
        """
        for event in self._framer.feed(data):
            if isinstance(event, bytes):
                self._acknowledge(b"+")
                yield event
            elif event == Framer.INTERRUPT:
                yield None
            elif event == Framer.BAD:
                self._acknowledge(b"-")
            elif event == Framer.ACK:
                self._refused = 0
            elif not self.no_ack and self._last:
                self._refused += 1
                if self._refused > RETRIES:
                    raise Disconnected("gdb refuses every packet")
                self._write(self._last)

    def send(self, data: bytes) -> None:
        """Send a packet. Raises what `write` does."""
        self._last = frame(data)
        self._write(self._last)

    def _acknowledge(self, sign: bytes) -> None:
        if not self.no_ack:
            self._write(sign)


class Connection(Link):
    """A connected socket on which packets go to and fro. Its methods raise Disconnected."""

    __slots__ = ("_socket",)

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(self._send_all)
        self._socket = connected

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    def receive(self) -> Iterator[bytes | None]:
        """Wait for bytes; yield the packets that they complete, and None for an interrupt."""
        try:
            data = self._socket.recv(65536)
        except OSError as error:
            raise Disconnected(str(error)) from error
        if not data:
            raise Disconnected("gdb has closed the connection")
        yield from self.take(data)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _send_all(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Disconnected(str(error)) from error
