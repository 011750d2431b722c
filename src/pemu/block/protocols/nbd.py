"""Exports of NBD servers: nbd://host:port/name, nbd+unix:///name?socket=path, nbd:host:port."""

from __future__ import annotations

import errno
import os
import time
from itertools import chain, repeat
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

from pemu.block.creation import Creation
from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.filters.aligned import Aligned
from pemu.block.image import Extent, Image, Limits
from pemu.block.nbd import protocol as nbd
from pemu.block.nbd.channel import Channel, Gone
from pemu.block.nbd.client import Connection, Negotiation
from pemu.block.nbd.tls import Credentials, find_credentials
from pemu.block.opening import Opening
from pemu.block.pieces import Buffers, Pieces, take
from pemu.options.error import OptionError
from pemu.options.keyval import Group, Key
from pemu.options.types import Bool, Enum, Int, Text
from pemu.sockets import Address, Inet, Inherited, Unix, connect

LONGEST_STATUS = 1 << 30
"""Bytes that are asked about at a time; requests have 32 bits for it."""

LONGEST_PLAIN = 1 << 30
"""Bytes of a request without data."""

SHORTEST = 0.1
"""Seconds for an attempt to connect when there are no more left."""

HANDSHAKE = 10.0
"""Seconds in which a server that was lost must have answered when it is there again."""

PAUSES = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between attempts to connect again."""


class NbdImage(Image):
    """An export. hostname: whose certificate the server must have. context: of block status.

    reconnect: seconds that requests wait for a lost connection to come back, 0 to fail at once;
    the next request tries again in either case. patience: seconds that opening tries for.
    """

    format: ClassVar[str] = "nbd"

    def __init__(
        self, name: str, address: Address, export: str, *, readonly: bool,
        credentials: Credentials | None = None, hostname: str | None = None,
        context: str = nbd.BASE_ALLOCATION, reconnect: int = 0, patience: int = 0,
    ) -> None:  # fmt: skip
        self._address = address
        self._export = export
        self._credentials = credentials
        self._hostname = hostname
        self._context = context
        self._reconnect = reconnect
        self._connection = self._connect_patiently(patience, SHORTEST if patience else 0)
        self.info = self._connection.info
        try:
            if self.info.flags & nbd.READ_ONLY and not readonly:
                raise ImageError("request on write denied without write permission")
            if self.info.size > 1 << 63:
                raise ImageError(f"the export has {self.info.size} bytes, which no image can have")
            if context != nbd.BASE_ALLOCATION and context not in self.info.contexts:
                raise ImageError("requested x-dirty-bitmap not found")
        except BaseException:
            self._connection.close()
            raise
        super().__init__(name, self.info.size, readonly=readonly)

    # The connection

    def _connect(self, patience: float | None) -> Connection:
        """Within so many seconds, None for any number. Raises ImageError, Gone."""
        try:
            sock = connect(self._address, timeout=patience)
        except OptionError as error:
            raise Gone(errno.ECONNREFUSED, str(error)) from None
        sock.settimeout(None)
        channel = Channel(sock)
        try:
            channel.limit(patience)
            negotiation = Negotiation(channel, self._credentials, self._hostname)
            info = negotiation.go(self._export, [self._context])
            channel.limit(None)
            return Connection(channel, info)
        except BaseException:
            channel.close()
            raise

    def _connect_patiently(self, seconds: float, least: float) -> Connection:
        """Try again for so long. Raises ImageError.

        least: seconds that every attempt may take, since a server may be there and say nothing; 0
        for any number.
        """
        end = time.monotonic() + seconds
        pauses = chain(PAUSES, repeat(PAUSES[-1]))
        while True:
            try:
                return self._connect(max(end - time.monotonic(), least) or None)
            except Gone as error:
                left = end - time.monotonic()
                if left <= 0:
                    raise ImageError(str(error.strerror)) from None
            time.sleep(min(next(pauses), left))

    def _connected(self) -> Connection:
        """The connection, a new one where the old one is lost. Raises OSError."""
        connection = self._connection
        if connection.lost is None:
            return connection
        with self.lock:
            if self._connection.lost is None:
                return self._connection
            reason = str(self._connection.lost.strerror)
            try:
                connection = self._connect_patiently(self._reconnect, HANDSHAKE)
                info = connection.info
                if info.size != self.info.size or info.flags & ~self.info.flags & nbd.READ_ONLY:
                    connection.close()
                    raise ImageError("the export has changed")
            except ImageError as error:
                raise OSError(
                    errno.EIO, f"NBD server '{self._address}' is lost ({reason}; {error})"
                ) from None
            self._connection.close()
            self._connection = connection
            return connection

    def _request(self, kind: int, offset: int = 0, length: int = 0, **rest: Any) -> Any:
        while True:
            connection = self._connected()
            try:
                return connection.request(kind, offset, length, **rest)
            except Gone as error:
                if not self._reconnect:
                    raise OSError(
                        errno.EIO, f"NBD server '{self._address}' is lost ({error.strerror})"
                    ) from None

    # The image

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        length = sum(map(len, buffers))
        most = self._most()
        if 0 < length <= most:
            self._request(nbd.READ, offset, length, buffers=buffers)
            return
        rest = list(buffers)
        while rest:
            part, rest = take(rest, most)
            length = sum(map(len, part))
            self._request(nbd.READ, offset, length, buffers=part)
            offset += length

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        rest = [memoryview(piece) for piece in pieces]
        most = self._most()
        while rest:
            part, rest = take(rest, most)
            length = sum(map(len, part))
            self._request(nbd.WRITE, offset, length, pieces=part)
            offset += length

    def _most(self) -> int:
        most = min(self.info.most, nbd.MAX_REQUEST)
        return max(most // self.info.least * self.info.least, 1)

    def _plain(self, kind: int, offset: int, length: int, flags: int) -> None:
        while length:
            step = min(length, LONGEST_PLAIN)
            self._request(kind, offset, step, flags=flags)
            offset += step
            length -= step

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        if self.info.flags & nbd.SEND_WRITE_ZEROES:
            self._plain(nbd.WRITE_ZEROES, offset, length, 0 if unmap else nbd.NO_HOLE)
        else:
            super()._write_zeroes(offset, length, unmap=unmap)

    @property
    def fast_zeroes(self) -> bool:
        return bool(self.info.flags & nbd.SEND_WRITE_ZEROES)

    def _discard(self, offset: int, length: int) -> None:
        if self.info.flags & nbd.SEND_TRIM:
            self._plain(nbd.TRIM, offset, length, 0)

    def flush(self) -> None:
        if self.info.flags & nbd.SEND_FLUSH:
            self._request(nbd.FLUSH)

    def _status(self, offset: int, length: int) -> Extent:
        identity = self._connected().info.contexts.get(self._context)
        if identity is None:
            return Extent(length, offset=offset, file=self)
        length = min(length, LONGEST_STATUS)
        status = self._request(nbd.BLOCK_STATUS, offset, length, flags=nbd.REQ_ONE)
        entries = status.get(identity)
        if not entries or not entries[0][0]:
            raise OSError(errno.EIO, f"NBD server '{self._address}' gave no block status")
        found, flags = entries[0]
        return Extent(
            min(found, length),
            zero=bool(flags & nbd.STATUS_ZERO),
            data=not flags & nbd.STATUS_HOLE,
            offset=offset,
            file=self,
        )

    def truncate(self, size: int, *, preallocation: str = "off") -> None:
        if size > self.size:
            raise ImageError("Cannot grow NBD nodes")

    def limits(self) -> Limits:
        return Limits(alignment=self.info.least)

    def allocated(self) -> int | None:
        return None

    def grow(self) -> None:
        """Writes beyond the end fail all the same: an export stays as long as it is."""

    def reopen(self, *, readonly: bool) -> None:
        if not readonly and self.info.flags & nbd.READ_ONLY:
            raise ImageError("request on write denied without write permission")
        self.readonly = readonly

    def _close(self) -> None:
        self._connection.close()


def _parse_name(name: str) -> dict[str, Any]:
    scheme = name.partition(":")[0]
    rest = name[len(scheme) + 1 :]
    if rest.startswith("//"):
        return _parse_uri(name, scheme)
    if scheme != "nbd":
        raise ImageError(f"'{name}' is no NBD address; write {scheme}://...")
    return _parse_old(name, rest)


def _parse_uri(name: str, scheme: str) -> dict[str, Any]:
    if scheme not in ("nbd", "nbd+tcp", "nbd+unix"):
        raise ImageError(f"'{scheme}' is no NBD address; there are nbd, nbd+tcp and nbd+unix")
    try:
        parts = urlsplit(name)
        port = parts.port
        query = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise ImageError(f"'{name}' is no valid URI: {error}") from None
    path = unquote(parts.path, errors="surrogateescape").removeprefix("/")
    export = {"export": path} if path else {}
    if scheme == "nbd+unix":
        if parts.netloc or list(query) != ["socket"]:
            raise ImageError(f"'{name}' is no valid URI; write nbd+unix:///export?socket=path")
        return {"server": {"type": "unix", "path": query["socket"][0]}, **export}
    if query or not parts.hostname:
        raise ImageError(f"'{name}' is no valid URI; write {scheme}://host:port/export")
    host = unquote(parts.hostname)
    return {
        "server": {"type": "inet", "host": host, "port": str(port or nbd.DEFAULT_PORT)},
        **export,
    }


def _parse_old(name: str, rest: str) -> dict[str, Any]:
    """nbd:host:port[:exportname=x] and nbd:unix:path[:exportname=x]."""
    where, _, export = rest.partition(":exportname=")
    tree: dict[str, Any] = {"export": export} if export else {}
    if where.startswith("unix:"):
        return {"server": {"type": "unix", "path": where[5:]}, **tree}
    host, colon, port = where.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise ImageError(f"'{name}' is no NBD address; write nbd:host:port or nbd:unix:path")
    return {"server": {"type": "inet", "host": host.strip("[]"), "port": port}, **tree}


_SERVER = Group(
    "server",
    (
        Key("type", Enum(("inet", "unix", "vsock", "fd")), "kind of address", required=True),
        Key("host", Text("host"), "host name or address"),
        Key("port", Text("port"), "port"),
        Key("path", Text("path"), "path of the socket"),
        Key("str", Text("fd"), "descriptor of a connected socket"),
        Key("abstract", Bool(), "whether the path is in the abstract name space", default=False),
        Key("tight", Bool(), "whether an abstract name has its own length", default=True),
        Key("ipv4", Bool(), "whether IPv4 may be used"),
        Key("ipv6", Bool(), "whether IPv6 may be used"),
        Key("to", Int(), "of listeners only"),
        Key("numeric", Bool(), "whether the host is a number"),
        Key("keep-alive", Bool(), "whether to look for dead connections"),
        Key("cid", Text("cid"), "of vsock"),
    ),
)


def socket_address(server: dict[str, Any]) -> Address:
    """The address that keys of `server` describe. Raises ImageError."""

    def needed(key: str) -> str:
        if server[key] is None:
            raise ImageError(f"Parameter 'server.{key}' is missing")
        return str(server[key])

    if server["type"] == "inet":
        return Inet(
            needed("host"),
            needed("port"),
            server["ipv4"],
            server["ipv6"],
            numeric=bool(server["numeric"]),
            keep_alive=bool(server["keep-alive"]),
        )
    if server["type"] == "unix":
        return Unix(needed("path"), server["abstract"], server["tight"])
    if server["type"] == "fd":
        number = needed("str")
        if not number.isdigit():
            raise ImageError(f"'server.str': '{number}' is no descriptor; give its number")
        return Inherited(os.dup(int(number)))
    raise ImageError("addresses of type 'vsock' are not supported yet; use inet or unix")


def _open(opening: Opening) -> Image:
    options = opening.options
    address = _address(options)
    credentials = hostname = None
    if options["tls-creds"] is not None:
        credentials = find_credentials(opening.graph.objects, options["tls-creds"], server=False)
        hostname = options["tls-hostname"]
        if hostname is None:
            hostname = address.host if isinstance(address, Inet) else None
        if hostname is None and credentials.context.check_hostname:
            raise ImageError("the server's name for TLS is unknown; give tls-hostname")
    elif options["tls-hostname"] is not None:
        raise ImageError("tls-hostname is of no use without tls-creds")
    image = NbdImage(
        opening.name or _said(address, options["export"] or ""),
        address,
        options["export"] or "",
        readonly=opening.mode.readonly,
        credentials=credentials,
        hostname=hostname,
        context=options["x-dirty-bitmap"] or nbd.BASE_ALLOCATION,
        reconnect=options["reconnect-delay"],
        patience=options["open-timeout"],
    )
    return Aligned(image, image.info.least) if image.info.least > 1 else image


def _said(address: Address, export: str) -> str:
    """The URI of an export; '' where there is none for it."""
    if isinstance(address, Unix) and not address.abstract:
        return f"nbd+unix:///{quote(export)}?socket={address.path}"
    if isinstance(address, Inet):
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"nbd://{host}:{address.port}" + (f"/{quote(export)}" if export else "")
    return ""


def _address(options: dict[str, Any]) -> Address:
    server, path, host = options["server"], options["path"], options["host"]
    if (server is not None) + (path is not None) + (host is not None) != 1:
        if server is path is host is None:
            raise ImageError("NBD server address missing")
        raise ImageError("only one of server, path and host may be given")
    if server is not None:
        return socket_address(server)
    return Unix(path) if path is not None else Inet(host, options["port"] or str(nbd.DEFAULT_PORT))


DRIVER = Driver(
    "nbd",
    _open,
    keys=(
        Key("server", _SERVER, "where the server is"),
        Key("host", Text("host"), "the server's host"),
        Key("port", Text("port"), "the server's port"),
        Key("path", Text("path"), "the server's Unix socket"),
        Key("export", Text("name"), "name of the export"),
        Key("tls-creds", Text("id"), "credentials for TLS"),
        Key("tls-hostname", Text("host"), "name in the server's certificate"),
        Key("x-dirty-bitmap", Text("context"), "context that `status` tells of"),
        Key("reconnect-delay", Int(), "seconds that requests wait for the server", default=0),
        Key("open-timeout", Int(), "seconds that opening tries for", default=0),
    ),
    children=(),
    create=Creation.reuse,
    parse_name=_parse_name,
)
