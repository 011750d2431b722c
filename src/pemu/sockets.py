"""Where sockets connect or listen: hosts with ports, Unix paths, inherited descriptors."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pemu.options.error import OptionError

LONGEST_UNIX_PATH = 107
"""Bytes of sockaddr_un's path, without the final NUL (unix(7))."""

HIGHEST_PORT = 65535


@dataclass(frozen=True)
class Inet:
    """A host and a port, by name or number; an empty host is this one, on all its addresses.

    `to` is the last port that a listener may take where the first ones are in use. With `numeric`
    names are not looked up. With `keep_alive` the host finds out when a connection is dead.
    """

    host: str
    port: str
    ipv4: bool | None = None
    ipv6: bool | None = None
    to: int | None = None
    numeric: bool = False
    keep_alive: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def resolve(self, kind: socket.SocketKind, *, passive: bool = False) -> list[Resolved]:
        """The socket addresses to try, in order; raises OptionError where there is none."""
        if self.port.isdigit() and int(self.port) > HIGHEST_PORT:
            raise OptionError(f"'{self.port}' is no port; give a number up to {HIGHEST_PORT}")
        flags = socket.AI_PASSIVE if passive else 0
        if self.numeric:
            flags |= socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        try:
            found = socket.getaddrinfo(
                self.host or None,
                self.port,
                family=self._family(),
                type=kind,
                flags=flags,
            )
        except (socket.gaierror, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no host name"
            raise OptionError(f"the address {str(self)!r} is unknown: {reason}") from None
        return [(family, address) for family, _, _, _, address in found]

    def _family(self) -> int:
        four, six = self.ipv4, self.ipv6
        if four is False and six is False:
            raise OptionError("ipv4=off and ipv6=off leave no address; switch one of them on")
        if four is six:
            return socket.AF_UNSPEC
        return socket.AF_INET if four or six is False else socket.AF_INET6


Resolved = tuple[int, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]
"""A socket's family and an address of that family."""


@dataclass(frozen=True)
class Unix:
    """A path in the file system, or with `abstract` a name in Linux's abstract name space.

    With `tight` an abstract name has its own length; else it fills the whole field with NULs.
    """

    path: str
    abstract: bool = False
    tight: bool = True

    def __str__(self) -> str:
        return self.path

    def resolve(self) -> bytes:
        """The socket address; raises OptionError where the path is too long for one."""
        name = os.fsencode(self.path)
        if len(name) > LONGEST_UNIX_PATH:
            raise OptionError(
                f"the socket path {self.path!r} is too long; it has at most "
                f"{LONGEST_UNIX_PATH} bytes"
            )
        if not self.abstract:
            return name
        name = b"\0" + name
        return name if self.tight else name.ljust(LONGEST_UNIX_PATH + 1, b"\0")


@dataclass(frozen=True)
class Inherited:
    """A socket that Pemu was started with, as descriptor `fd`."""

    fd: int

    def __str__(self) -> str:
        return f"fd:{self.fd}"

    def open(self) -> socket.socket:
        """The socket; raises OptionError where the descriptor is none."""
        try:
            if not stat.S_ISSOCK(os.fstat(self.fd).st_mode):
                raise OptionError(f"fd: descriptor '{self.fd}' is not a socket")
            os.set_inheritable(self.fd, False)
            return socket.socket(fileno=self.fd)
        except OSError as error:
            raise OptionError(f"fd: descriptor '{self.fd}': {error.strerror}") from None


Address = Inet | Unix | Inherited


def connect(address: Address, timeout: float | None = None) -> socket.socket:
    """A stream connected to `address`, having tried all that its name stands for.

    Waits at most `timeout` seconds for each. Raises OptionError where that cannot be had.
    """
    if isinstance(address, Inherited):
        return address.open()
    if isinstance(address, Unix):
        targets: Sequence[tuple[int, Any]] = [(socket.AF_UNIX, address.resolve())]
    else:
        targets = address.resolve(socket.SOCK_STREAM)
    reason = "no address"
    for family, target in targets:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            if isinstance(address, Inet) and address.keep_alive:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.connect(target)
            return sock
        except OSError as error:
            reason = error.strerror or str(error)
            sock.close()
    raise OptionError(f"cannot connect to {str(address)!r}: {reason}")


def listen(address: Address) -> socket.socket:
    """A socket that listens at `address`; raises OptionError where that cannot be had.

    A Unix socket that another process has left behind at the path is replaced.
    """
    if isinstance(address, Inherited):
        return address.open()
    if isinstance(address, Unix):
        return _listen_unix(address)
    first = int(address.port) if address.port.isdigit() else -1
    last = address.to or first
    if 0 <= last < first:
        raise OptionError(f"to: '{last}' is below the port {first}")
    reason = "no address"
    for port in range(first, last + 1):
        place = replace(address, port=str(port)) if port >= 0 else address
        for family, target in place.resolve(socket.SOCK_STREAM, passive=True):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(target)
                sock.listen(1)
                return sock
            except OSError as error:
                reason = error.strerror or str(error)
                sock.close()
    raise OptionError(f"cannot listen at {str(address)!r}: {reason}")


def _listen_unix(address: Unix) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if not address.abstract and _is_socket(address.path):
            os.unlink(address.path)
        sock.bind(address.resolve())
        sock.listen(1)
    except OSError as error:
        sock.close()
        raise OptionError(f"cannot listen at {str(address)!r}: {error.strerror}") from None
    except OptionError:
        sock.close()
        raise
    return sock


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def shown(address: object) -> str:
    """A TCP or UDP socket's address, as getsockname gives it, in the form `host:port`."""
    if not isinstance(address, tuple):
        return ""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
