"""The server's side of the WebSocket protocol, by which web pages hold a stream.

Source: RFC 6455, sections 4.2 (opening handshake), 5 (frames), 7 (closing). Left out: extensions.
"""

from __future__ import annotations

import base64
import hashlib
from itertools import cycle, islice
from operator import xor

from pemu.chardev.wire import Wire

LONGEST_REQUEST = 4096
"""Bytes of the HTTP request; browsers send a few hundred, cookies included."""

LONGEST_CONTROL = 125
"""Bytes of a control frame's payload (section 5.5)."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PROTOCOL = "binary"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_FINAL, _OPCODE, _MASKED, _CONTROL = 0x80, 0x0F, 0x80, 0x08
_PROTOCOL_ERROR = 1002


class WebSocket(Wire):
    """A stream in the frames of a web socket: binary ones out, text or binary ones in."""

    prefix = "websocket"

    def __init__(self) -> None:
        super().__init__()
        self.is_ready = False
        self._request = bytearray()
        self._header = bytearray()
        self._opcode = 0
        self._mask = b""
        self._place = 0
        """How many bytes of the frame's payload have come."""
        self._left = 0
        """How many are to come."""
        self._control = bytearray()

    def decode(self, data: bytes) -> bytes:
        """The payload of the frames of data; whatever else comes is answered in `reply`."""
        if not self.is_ready:
            self._handshake(data)
            return b""
        stream = bytearray()
        at = 0
        while at < len(data) and not self.is_over:
            if self._left:
                part = data[at : at + self._left]
                at += len(part)
                self._payload(part, stream)
            else:
                self._header.append(data[at])
                at += 1
                self._begin_frame()
        return bytes(stream)

    def encode(self, data: bytes) -> bytes:
        """One binary frame."""
        return _frame(_BINARY, data)

    def _handshake(self, data: bytes) -> None:
        self._request += data
        if self._request.endswith(b"\r\n\r\n"):
            answer = _answer(self._request.decode("latin-1"))
            self.reply += answer or _REFUSAL
            self.is_ready = bool(answer)
            self.is_over = not answer
            self._request.clear()
        elif len(self._request) >= LONGEST_REQUEST:
            self._refuse(_REFUSAL)

    def _begin_frame(self) -> None:
        """Look at the header, of which one more byte has come."""
        header = self._header
        if len(header) < 2:
            return
        first, length = header[0], header[1] & 0x7F
        opcode = first & _OPCODE
        control = bool(opcode & _CONTROL)
        known = opcode in (_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG)
        reserved = first & ~(_FINAL | _OPCODE)
        if not known or reserved or not header[1] & _MASKED:
            self._break_off()
            return
        if control and (length > LONGEST_CONTROL or not first & _FINAL):
            self._break_off()
            return
        extension = {126: 2, 127: 8}.get(length, 0)
        if len(header) < 2 + extension + 4:
            return
        if extension:
            length = int.from_bytes(header[2 : 2 + extension], "big")
        self._opcode, self._left, self._place = opcode, length, 0
        self._mask = bytes(header[-4:])
        header.clear()
        if not length and control:
            self._obey()

    def _payload(self, part: bytes, stream: bytearray) -> None:
        keys = islice(cycle(self._mask), self._place % 4, None)
        plain = bytes(map(xor, part, keys))
        self._place += len(part)
        self._left -= len(part)
        if not self._opcode & _CONTROL:
            stream += plain
            return
        self._control += plain
        if not self._left:
            self._obey()

    def _obey(self) -> None:
        payload = bytes(self._control)
        self._control.clear()
        if self._opcode == _PING:
            self.reply += _frame(_PONG, payload)
        elif self._opcode == _CLOSE:
            self._refuse(_frame(_CLOSE, payload[:2]))

    def _break_off(self) -> None:
        self._refuse(_frame(_CLOSE, _PROTOCOL_ERROR.to_bytes(2, "big")))

    def _refuse(self, reply: bytes) -> None:
        self.reply += reply
        self.is_over = True


_REFUSAL = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def _frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size <= LONGEST_CONTROL:
        length = bytes((size,))
    elif size < 1 << 16:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    return bytes((_FINAL | opcode,)) + length + payload


def _answer(request: str) -> bytes | None:
    """The answer to an opening handshake, None where the request is none."""
    first, *lines = request.rstrip("\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or words[0] != "GET" or words[2] != "HTTP/1.1":
        return None
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            return None
        known = headers.get(name.lower())
        headers[name.lower()] = f"{known}, {value.strip()}" if known else value.strip()
    key = headers.get("sec-websocket-key", "")
    if (
        headers.get("upgrade", "").lower() != "websocket"
        or "upgrade" not in _listed(headers.get("connection", "").lower())
        or headers.get("sec-websocket-version") != "13"
        or len(key) != 24
    ):
        return None
    digest = hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()
    answer = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
    ]
    wanted = headers.get("sec-websocket-protocol")
    if wanted is not None:
        if _PROTOCOL not in _listed(wanted):
            return None
        answer.append(f"Sec-WebSocket-Protocol: {_PROTOCOL}")
    return "".join(f"{line}\r\n" for line in (*answer, "")).encode("latin-1")


def _listed(value: str) -> list[str]:
    return [item.strip() for item in value.split(",")]
