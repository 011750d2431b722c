"""Files on web and FTP servers (http, https, ftp, ftps), read in pieces.

Source: RFC 9110 section 14 (range requests), RFC 959 and RFC 3659 (REST, SIZE).
"""

from __future__ import annotations

import contextlib
import errno
import ftplib
import re
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from pemu.block.crypto.secrets import secret
from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.image import SECTOR, Extent, Image
from pemu.block.opening import Opening
from pemu.block.pieces import Buffers, take
from pemu.options.keyval import Key
from pemu.options.types import Bool, Int, Size, Text

READAHEAD = 256 << 10
"""Bytes of a request, unless the options say otherwise."""

_KEPT = 16
"""Pieces that are kept in memory."""

_CONNECTIONS = 8

_MOST_REDIRECTS = 20

_MOST_DIGITS = 18
"""Of the length of a file."""

_FTP_ERRORS = (ftplib.Error, OSError, EOFError, ValueError)


class Server(ABC):
    """Where a file is. Raises ImageError from `size`, OSError from `fetch`."""

    @abstractmethod
    def size(self) -> int:
        """Bytes of the file."""

    @abstractmethod
    def fetch(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes at `offset`; called from several threads."""

    def close(self) -> None:
        """End all connections."""


class WebServer(Server):
    """A file at an http or https URL. options: values of KEYS; secrets: passwords and cookies."""

    def __init__(self, url: str, options: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        import urllib3

        self.url = url
        headers = {}
        if "cookie" in secrets:
            headers["Cookie"] = secrets["cookie"]
        user = _credentials(url, options, secrets)
        if user:
            headers |= urllib3.make_headers(basic_auth=":".join(user))
        self._timeout = options["timeout"] or None
        verify = options["sslverify"]
        shared: dict[str, Any] = {
            "headers": headers,
            "maxsize": _CONNECTIONS,
            "timeout": urllib3.Timeout(total=self._timeout),
            "retries": urllib3.Retry(
                total=None, redirect=_MOST_REDIRECTS, connect=1, read=1, status=0, other=0
            ),
            "cert_reqs": "CERT_REQUIRED" if verify else "CERT_NONE",
            "ssl_context": ssl.create_default_context() if verify else None,
        }
        if not verify:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        proxy = _proxy(url)
        self._pool: Any
        if proxy:
            name = options["proxy-username"]
            proxy_headers = (
                urllib3.make_headers(proxy_basic_auth=f"{name}:{secrets.get('proxy', '')}")
                if name
                else None
            )
            self._pool = urllib3.ProxyManager(proxy, proxy_headers=proxy_headers, **shared)
        else:
            self._pool = urllib3.PoolManager(**shared)
        self._ranges = options["force-range"]

    def size(self) -> int:
        from urllib3.exceptions import HTTPError

        try:
            answer = self._pool.request("HEAD", self.url)
        except HTTPError as error:
            raise ImageError(f"'{self.url}': {_reason(error)}") from None
        if answer.status >= 400:
            raise ImageError(
                f"'{self.url}': the server answers {answer.status} {answer.reason or ''}".rstrip()
            )
        if answer.headers.get("Accept-Ranges", "").lower() != "bytes" and not self._ranges:
            raise ImageError("Server does not support 'range' (byte ranges).")
        length = answer.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > _MOST_DIGITS:
            raise ImageError(f"'{self.url}': Server didn't report file size.")
        return int(length)

    def fetch(self, offset: int, length: int) -> bytes:
        from urllib3.exceptions import HTTPError

        headers = {**self._pool.headers, "Range": f"bytes={offset}-{offset + length - 1}"}
        try:
            answer = self._pool.request("GET", self.url, headers=headers, preload_content=False)
            try:
                if answer.status != 206:
                    raise _failed(f"{self.url}: the server answers {answer.status} to a range")
                self._expect_range(answer.headers.get("Content-Range"), offset)
                data = self._body(answer, length)
            except BaseException:
                answer.close()
                raise
            answer.release_conn()
        except HTTPError as error:
            raise _failed(f"{self.url}: {_reason(error)}") from None
        if len(data) != length:
            raise _failed(f"{self.url}: {len(data)} bytes came instead of {length}")
        return data

    def _expect_range(self, told: str | None, offset: int) -> None:
        """Raise OSError where the server says that it sends another range."""
        if told is not None and not re.match(rf"bytes +{offset}-", told):
            raise _failed(f"{self.url}: the range {told!r} came instead of that from {offset} on")

    def _body(self, answer: Any, length: int) -> bytes:
        """What the server sends, or as much of it as shows that it is too much. Raises OSError."""
        end = None if self._timeout is None else time.monotonic() + self._timeout
        pieces, left = [], length + 1
        while left > 0:
            piece = answer.read1(left)
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
            if end is not None and left > 1 and time.monotonic() > end:
                raise _failed(
                    f"{self.url}: only {length + 1 - left} of {length} bytes came in "
                    f"{self._timeout} seconds (timeout)"
                )
        return b"".join(pieces)

    def close(self) -> None:
        self._pool.clear()


class FtpServer(Server):
    """A file at an ftp or ftps URL; each thread has a connection of its own."""

    def __init__(self, url: str, options: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self.url = url
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._path = unquote(parts.path).lstrip("/")
        self._user = _credentials(url, options, secrets) or ("anonymous", "pemu@")
        self._timeout = options["timeout"] or None
        self._context: ssl.SSLContext | None = None
        if parts.scheme == "ftps":
            self._context = ssl.create_default_context()
            if not options["sslverify"]:
                self._context.check_hostname = False
                self._context.verify_mode = ssl.CERT_NONE
        self._idle: list[ftplib.FTP] = []
        self._lock = threading.Lock()

    def _connect(self) -> ftplib.FTP:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        made: ftplib.FTP
        if self._context is not None:
            made = ftplib.FTP_TLS(timeout=self._timeout, context=self._context)
        else:
            made = ftplib.FTP(timeout=self._timeout)
        try:
            made.connect(self._host, self._port)
            made.login(*self._user)
            if isinstance(made, ftplib.FTP_TLS):
                made.prot_p()
            made.voidcmd("TYPE I")
        except BaseException:
            made.close()
            raise
        return made

    def size(self) -> int:
        try:
            connection = self._connect()
            size = connection.size(self._path)
        except _FTP_ERRORS as error:
            raise ImageError(f"'{self.url}': {_reason(error)}") from None
        self._idle.append(connection)
        if size is None:
            raise ImageError(f"'{self.url}': Server didn't report file size.")
        return size

    def fetch(self, offset: int, length: int) -> bytes:
        connection = None
        try:
            connection = self._connect()
            pieces, left = [], length
            with connection.transfercmd(f"RETR {self._path}", offset) as data:
                while left:
                    piece = data.recv(min(left, 1 << 20))
                    if not piece:
                        break
                    pieces.append(piece)
                    left -= len(piece)
            with contextlib.suppress(ftplib.Error):  # that the transfer was cut short
                connection.voidresp()
        except _FTP_ERRORS as error:
            if connection is not None:
                connection.close()
            raise _failed(f"{self.url}: {_reason(error)}") from None
        if left:
            raise _failed(f"{self.url}: the file ends before {offset + length}")
        with self._lock:
            self._idle.append(connection)
        return b"".join(pieces)

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()


class WebFile(Image):
    """A file of a server, which is only read. readahead: bytes of a request."""

    format: ClassVar[str] = "http"
    writable = False

    def __init__(self, url: str, server: Server, readahead: int) -> None:
        super().__init__(url, server.size(), readonly=True)
        self._server = server
        self._readahead = readahead
        self._pieces: OrderedDict[int, bytes] = OrderedDict()

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        rest = list(buffers)
        end = offset + sum(map(len, buffers))
        while offset < end:
            number, inside = divmod(offset, self._readahead)
            piece = memoryview(self._piece(number))[inside : inside + end - offset]
            taken, rest = take(rest, len(piece))
            offset += len(piece)
            for view in taken:
                view[:] = piece[: len(view)]
                piece = piece[len(view) :]

    def _piece(self, number: int) -> bytes:
        with self.lock:
            if number in self._pieces:
                self._pieces.move_to_end(number)
                return self._pieces[number]
        start = number * self._readahead
        data = self._server.fetch(start, min(self._readahead, self.size - start))
        with self.lock:
            self._pieces[number] = data
            while len(self._pieces) > _KEPT:
                self._pieces.popitem(last=False)
        return data

    def _status(self, offset: int, length: int) -> Extent:
        return Extent(length, offset=offset, file=self)

    def flush(self) -> None:
        """Nothing is written."""

    def allocated(self) -> int | None:
        return None

    def _close(self) -> None:
        self._server.close()


def _credentials(
    url: str, options: Mapping[str, Any], secrets: Mapping[str, str]
) -> tuple[str, str] | None:
    """User and password, from the options or from the URL."""
    parts = urlsplit(url)
    if options["username"] is not None:
        return options["username"], secrets.get("password", "")
    if parts.username is not None:
        return unquote(parts.username), unquote(parts.password or "")
    return None


def _proxy(url: str) -> str | None:
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


def _reason(error: BaseException) -> str:
    """What went wrong, without the addresses of objects that libraries put into messages."""
    inner = getattr(error, "reason", None)
    while isinstance(inner, BaseException):
        error, inner = inner, getattr(inner, "reason", None)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return re.sub(r"<[^>]* at 0x[0-9a-f]+>:? *|HTTPS?Connection\([^)]*\): *", "", text)


def _failed(text: str) -> OSError:
    return OSError(errno.EIO, text)


def _open(opening: Opening) -> Image:
    options = opening.options
    url = options["url"]
    parts = urlsplit(url)
    if parts.scheme != opening.driver:
        raise ImageError(f"'{url}' does not begin with {opening.driver}://")
    try:
        parts.port  # noqa: B018 - raises for a bad one
    except ValueError as error:
        raise ImageError(f"'{url}': {error}") from None
    if not parts.hostname:
        raise ImageError(f"'{url}' names no host")
    if not opening.mode.readonly:
        raise PermissionError(errno.EACCES, f"{opening.driver} cannot be written; use read-only=on")
    if options["readahead"] % 512:
        raise ImageError(f"HTTP_READAHEAD_SIZE {options['readahead']} is not a multiple of 512")
    objects = opening.graph.objects
    secrets = {}
    for key, id in (
        ("cookie", "cookie-secret"),
        ("password", "password-secret"),
        ("proxy", "proxy-password-secret"),
    ):
        if options[id] is not None:
            secrets[key] = secret(objects, options[id]).decode("utf-8", "replace")
    if options["cookie"] is not None:
        if "cookie" in secrets:
            raise ImageError("curl driver cannot handle both cookie and cookie secret")
        secrets["cookie"] = options["cookie"]
    kind = WebServer if parts.scheme in ("http", "https") else FtpServer
    server = kind(url, options, secrets)
    try:
        return WebFile(url, server, max(options["readahead"], SECTOR))
    except BaseException:
        server.close()
        raise


KEYS = (
    Key("url", Text("url", empty=False), "where it is", required=True),
    Key("readahead", Size(0, 1 << 30), "bytes of a request", default=READAHEAD),
    Key("timeout", Int(0, 10000), "seconds that an answer may take, 0 for any", default=5),
    Key("sslverify", Bool(), "check the server's certificate", default=True),
    Key("username", Text(), "user"),
    Key("password-secret", Text("id"), "id of the secret with the password"),
    Key("proxy-username", Text(), "user at the proxy"),
    Key("proxy-password-secret", Text("id"), "id of the secret with the proxy's password"),
    Key("cookie", Text(), "cookies to send: name=value; name=value"),
    Key("cookie-secret", Text("id"), "id of the secret with the cookies"),
    Key("force-range", Bool(), "ask for ranges although none are announced", default=False),
)

DRIVERS = {
    name: Driver(name, _open, keys=KEYS, children=(), parse_name=lambda url: {"url": url})
    for name in ("http", "https", "ftp", "ftps")
}
"""Readers of the four protocols; nothing can be made or written."""
