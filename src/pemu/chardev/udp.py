"""`udp`: each write is one datagram, and datagrams that come are read as one stream."""

from __future__ import annotations

import socket
from typing import Any

from pemu.chardev.descriptor import DescriptorChardev
from pemu.chardev.interface import Host
from pemu.options.error import OptionError
from pemu.options.keyval import Key
from pemu.options.types import Bool, Text
from pemu.sockets import Inet

KEYS = (
    Key("host", Text("host"), "where datagrams are sent", default="localhost"),
    Key("port", Text("port", empty=False), "the port there", required=True),
    Key("localaddr", Text("host"), "the own address", default=""),
    Key("localport", Text("port", empty=False), "the own port (0: any free one)", default="0"),
    Key("ipv4", Bool(), "use IPv4 addresses"),
    Key("ipv6", Bool(), "use IPv6 addresses"),
)

LARGEST_DATAGRAM = 65507
"""Bytes of a UDP datagram's data over IPv4."""


class Udp(DescriptorChardev):
    """Datagrams to and from one other end. What the network does not take is lost."""

    kind = "udp"

    def __init__(self, host: Host, label: str, options: dict[str, Any]) -> None:
        super().__init__(host, label, options)
        self._socket = _open(options)
        self._came = bytearray()
        """The rest of a datagram that the front end has not taken."""
        self._read_from(self._socket.fileno())

    def close(self, patience: float = 0) -> None:
        """Close the socket."""
        super().close(patience)
        self._socket.close()

    def _watch(self) -> None:
        self._hand_on()
        if not self._came:
            super()._watch()

    def _readable(self) -> None:
        try:
            self._came += self._socket.recv(LARGEST_DATAGRAM)
        except OSError:
            return  # there is none, or an earlier one of this side has met nobody
        self._hand_on()

    def _hand_on(self) -> None:
        while self._came and (room := self._room()) > 0:
            data = bytes(self._came[:room])
            del self._came[:room]
            self._deliver(data)
        if self._came:
            self._pause()

    def _write(self, data: bytes, whole: bool) -> int:
        for start in range(0, len(data), LARGEST_DATAGRAM):
            try:
                self._socket.send(data[start : start + LARGEST_DATAGRAM])
            except OSError:
                pass
        return len(data)

    def _send(self, data: bytes) -> None:
        self._write(data, True)


def _open(options: dict[str, Any]) -> socket.socket:
    ipv4, ipv6 = options["ipv4"], options["ipv6"]
    remote = Inet(options["host"] or "localhost", options["port"], ipv4, ipv6)
    local = Inet(options["localaddr"], options["localport"], ipv4, ipv6)
    reason = "no address"
    for family, target in remote.resolve(socket.SOCK_DGRAM):
        for own_family, own in local.resolve(socket.SOCK_DGRAM, passive=True):
            if own_family != family:
                continue
            sock = socket.socket(family, socket.SOCK_DGRAM)
            try:
                sock.setblocking(False)
                sock.bind(own)
                sock.connect(target)
                return sock
            except OSError as error:
                reason = error.strerror or str(error)
                sock.close()
    raise OptionError(f"cannot send from {str(local)!r} to {str(remote)!r}: {reason}")


BACKEND = Udp
