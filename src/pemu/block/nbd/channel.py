"""A connection's bytes, in the clear or through TLS; one thread may send while another receives."""

from __future__ import annotations

import errno
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pemu.block.pieces import take

if TYPE_CHECKING:
    import ssl

Piece = bytes | bytearray | memoryview

_MOST_PIECES = 1024
"""Pieces of one sendmsg (IOV_MAX)."""


_SHORT = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "countryName": "C",
    "domainComponent": "DC",
    "userId": "UID",
    "streetAddress": "street",
    "emailAddress": "EMAIL",
    "surname": "surName",
}
"""Parts of a certificate's name as GnuTLS writes them; the others have the names they have here."""

_ESCAPED = str.maketrans({character: f"\\{character}" for character in ',+"\\<>;#'})
"""What would end a part's value has a backslash before it (RFC 4514)."""


class Gone(OSError):
    """The other side cannot be reached any more: it has closed, or the network is broken."""


def _waits(error: OSError) -> bool:
    """Whether TLS has nothing to receive yet."""
    import ssl

    return isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError)


def _gone(error: OSError) -> Gone:
    return Gone(error.errno or errno.ECONNRESET, _reason(error))


def _reason(error: Exception) -> str:
    """What an error says, without OpenSSL's numbers and names."""
    if type(error).__module__ != "ssl":
        return (isinstance(error, OSError) and error.strerror) or str(error)
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return "the connection was closed"
    assert isinstance(error, ssl.SSLError)
    return error.reason.lower().replace("_", " ") if error.reason else str(error)


class Channel:
    """A connected stream socket. deadline: when what is received must be there, on the clock
    of `time.monotonic`; None for no limit. Methods raise `Gone` where the other side is."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.deadline: float | None = None
        self._secure: ssl.SSLSocket | None = None
        self._sending = threading.Lock()
        self._using = threading.Lock()
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def receive_some(self, view: memoryview) -> int:
        """Fill the beginning of `view` with what there is, at least one byte; returns how many."""
        try:
            count = self._receive_some(view)
        except OSError as error:
            raise _gone(error) from None
        if not count:
            raise Gone(errno.ECONNRESET, "the connection was closed")
        return count

    def receive_ready(self, view: memoryview) -> int:
        """As `receive_some`, but 0 where there is nothing yet."""
        try:
            if self._secure is None:
                count = self.sock.recv_into(view, flags=socket.MSG_DONTWAIT)
            else:
                with self._using:
                    count = self._secure.recv_into(view)
        except OSError as error:
            if isinstance(error, BlockingIOError) or self._secure is not None and _waits(error):
                return 0
            raise _gone(error) from None
        if not count:
            raise Gone(errno.ECONNRESET, "the connection was closed")
        return count

    def _receive_some(self, view: memoryview) -> int:
        if self._secure is not None:
            return self._with_tls(self._secure.recv_into, view)
        if self.deadline is not None:
            self._await(select.POLLIN)
        return self.sock.recv_into(view)

    def receive_into(self, view: memoryview) -> None:
        """Fill `view`."""
        while view:
            view = view[self.receive_some(view) :]

    def receive(self, length: int) -> bytes:
        """`length` bytes."""
        data = bytearray(length)
        self.receive_into(memoryview(data))
        return bytes(data)

    def send(self, pieces: Sequence[Piece]) -> None:
        """Send `pieces` one after the other, nothing of other threads between them."""
        with self._sending:
            try:
                for at in range(0, len(pieces), _MOST_PIECES):
                    self._send(pieces[at : at + _MOST_PIECES])
            except OSError as error:
                raise _gone(error) from None

    def _send(self, pieces: Sequence[Piece]) -> None:
        if self._secure is not None:
            data = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            while data:
                data = data[self._with_tls(self._secure.send, data) :]
            return
        sent = self.sock.sendmsg(pieces)
        if sent != sum(map(len, pieces)):
            rest = take([memoryview(piece) for piece in pieces], sent)[1]
            while rest:
                rest = take(rest, self.sock.sendmsg(rest))[1]

    @property
    def encrypted(self) -> bool:
        """Whether TLS is in use."""
        return self._secure is not None

    def start_tls(
        self, context: ssl.SSLContext, *, server: bool, hostname: str | None = None
    ) -> None:
        """Go on in secret; nothing else may be under way. Raises Gone where that cannot be."""
        sock = self.sock
        try:
            secure = context.wrap_socket(
                sock,
                server_side=server,
                server_hostname=hostname,
                do_handshake_on_connect=False,
            )
            self.sock = secure
            secure.settimeout(None if self.deadline is None else self.deadline - time.monotonic())
            secure.do_handshake()
            secure.setblocking(False)
        except (OSError, ValueError) as error:
            raise Gone(errno.EPROTO, f"TLS handshake failed: {_reason(error)}") from None
        self._secure = secure

    def peer_name(self) -> str:
        """The distinguished name of the other side's certificate, as tls-authz sees it: its parts
        in the certificate's order."""
        found: Any = self._secure.getpeercert() if self._secure is not None else None
        return ",".join(
            "+".join(f"{_SHORT.get(key, key)}={value.translate(_ESCAPED)}" for key, value in part)
            for part in (found or {}).get("subject", ())
        )

    def _with_tls(self, method: Callable[[memoryview], int], view: memoryview) -> int:
        """Receive or send; only one thread at a time may, so that waiting is done outside."""
        import ssl

        while True:
            event = select.POLLIN
            with self._using:
                try:
                    return method(view)
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLWantWriteError:
                    event = select.POLLOUT
            self._await(event)

    def _await(self, event: int) -> None:
        """Wait until there is something, or room for something."""
        left = None
        if self.deadline is not None:
            left = max(self.deadline - time.monotonic(), 0) * 1000
        poll = select.poll()
        poll.register(self.sock, event)
        if not poll.poll(left):
            raise TimeoutError(errno.ETIMEDOUT, "it took too long")

    def limit(self, seconds: float | None) -> None:
        """Have what is received and sent take no longer than that from now on; None: for ever."""
        self.deadline = None if seconds is None else time.monotonic() + seconds
        microseconds = int((seconds or 0) * 1e6)
        limit = struct.pack("@ll", *divmod(microseconds, 1_000_000))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def shut(self) -> None:
        """Have all that waits for the other side fail; from any thread."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has gone already

    def close(self) -> None:
        """Let go of the socket; nothing else may be under way."""
        self.sock.close()
