"""How a stream travels through a connection: as it is, or in a protocol of terminals.

Source for telnet: RFC 854 (commands), RFC 855 (options), RFC 856 (binary), 857 (echo), 858
(suppress go ahead).
"""

from __future__ import annotations


class Wire:
    """A stream as it is.

    `is_ready` says whether the stream has begun; until then `decode` is given single bytes. After
    `decode`, `reply` is what is to be sent back at once, `breaks` counts the breaks that have come,
    and `is_over` says that the connection is to be ended.
    """

    prefix = "tcp"

    def __init__(self) -> None:
        self.is_ready = True
        self.is_over = False
        self.reply = b""
        self.breaks = 0

    def greeting(self, server: bool) -> bytes:
        """What is sent when the connection is made."""
        return b""

    def decode(self, data: bytes) -> bytes:
        """The stream's bytes in what came, not more than came."""
        return data

    def encode(self, data: bytes) -> bytes:
        """What is sent for bytes of the stream."""
        return data


IAC, DONT, DO, WONT, WILL, SB, BREAK, SE = 255, 254, 253, 252, 251, 250, 243, 240
_BINARY, _ECHO, _SUPPRESS_GO_AHEAD = 0, 1, 3


class Telnet(Wire):
    """Telnet: a server wants each key at once, unchanged, and shows what is typed itself.

    The other end's answers are skipped, whatever they are: there is nothing to be done otherwise.
    """

    prefix = "telnet"

    def __init__(self) -> None:
        super().__init__()
        self._before = 0
        """The command that the next byte belongs to; 0 between commands."""
        self._in_option = False
        """Whether what comes is the inside of SB ... SE."""

    def greeting(self, server: bool) -> bytes:
        """A server's side of the options."""
        if not server:
            return b""
        wanted = ((WILL, _ECHO), (WILL, _SUPPRESS_GO_AHEAD), (WILL, _BINARY), (DO, _BINARY))
        return bytes(byte for command in wanted for byte in (IAC, *command))

    def decode(self, data: bytes) -> bytes:
        """The bytes that are not commands."""
        if not self._before and not self._in_option and IAC not in data:
            return data
        stream = bytearray()
        for byte in data:
            before, self._before = self._before, 0
            if before == IAC:
                self._command(byte, stream)
            elif before:
                pass  # the option that DO, DONT, WILL or WONT speaks of
            elif byte == IAC:
                self._before = IAC
            elif not self._in_option:
                stream.append(byte)
        return bytes(stream)

    def encode(self, data: bytes) -> bytes:
        """Bytes with the value of IAC are sent twice."""
        return data.replace(b"\xff", b"\xff\xff")

    def _command(self, byte: int, stream: bytearray) -> None:
        if byte == SB:
            self._in_option = True
        elif byte == SE:
            self._in_option = False
        elif self._in_option:
            pass  # IAC IAC is a byte of the option
        elif byte == IAC:
            stream.append(IAC)
        elif byte == BREAK:
            self.breaks += 1
        elif byte in (DO, DONT, WILL, WONT):
            self._before = byte
