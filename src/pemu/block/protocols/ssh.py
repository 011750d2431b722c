"""Files on other hosts, through SFTP over SSH."""

from __future__ import annotations

import base64
import getpass
import hashlib
import os
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from pemu.block.creation import Creation
from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.image import Extent, Image
from pemu.block.opening import Mode, Opening
from pemu.block.pieces import Buffers, Pieces
from pemu.block.protocols.sftp import CREATE, READ, TRUNCATE, WRITE, Sftp
from pemu.block.tree import typed
from pemu.options.keyval import Group, Key
from pemu.options.types import Enum, Int, Text

HASHES = ("md5", "sha1", "sha256")

TIMEOUT = 30
"""Seconds to wait for a connection."""

_CHECK = (
    Key("mode", Enum(("none", "hash", "known_hosts")), default="known_hosts"),
    Key("type", Enum(HASHES), "of the hash"),
    Key("hash", Text("hash"), "fingerprint in hexadecimal; sha256 in base64, too"),
)

KEYS = (
    Key(
        "server",
        Group(
            "server",
            (
                Key("host", Text("host", empty=False), "name or address", required=True),
                Key("port", Int(1, 65535), "TCP port", default=22),
            ),
        ),
        "the host that has it",
    ),
    Key("host", Text("host", empty=False), "the same as server.host"),
    Key("port", Int(1, 65535), "the same as server.port"),
    Key("path", Text("path", empty=False), "the file there", required=True),
    Key("user", Text("user", empty=False), "user there (default: the local one's name)"),
    Key(
        "host-key-check",
        Group("host-key-check", _CHECK),
        "how it is made sure that it is the right host",
    ),
    Key("host_key_check", Text(), "the same in a word: yes, no, or sha256:... and so on"),
)


class SshFile(Image):
    """A file that an SFTP server has. options: values of KEYS. how: of `Sftp.open`, if not as
    `mode` has it. Raises ImageError.
    """

    format: ClassVar[str] = "ssh"

    def __init__(self, name: str, options: Mapping[str, Any], mode: Mode, how: int = 0) -> None:
        import paramiko

        self._transport = connect(options)
        self.grows = mode.grows
        try:
            try:
                self._sftp = Sftp(self._transport.open_session(timeout=TIMEOUT))
            except (OSError, paramiko.SSHException, EOFError) as error:
                raise ImageError(f"'{name}': the server offers no SFTP: {error}") from None
            self._path = options["path"]
            usual = READ if mode.readonly else READ | WRITE
            self._handle, size = self._opened(how or usual)
            if size is None:
                raise ImageError(f"'{name}': the server does not tell the file's size")
        except BaseException:
            self._transport.close()
            raise
        super().__init__(name, size, readonly=mode.readonly)

    def _opened(self, how: int) -> tuple[bytes, int | None]:
        """A handle of the file, and its size where the server tells it. Raises ImageError."""
        try:
            handle = self._sftp.open(self._path, how)
            return handle, self._sftp.size(handle)
        except OSError as error:
            raise ImageError(
                f"failed to open remote file '{self._path}': {error.strerror}"
            ) from None

    def reopen(self, *, readonly: bool) -> None:
        if readonly == self.readonly:
            return
        with self.lock:
            other, _ = self._opened(READ if readonly else READ | WRITE)
            self._sftp.close(self._handle)
            self._handle = other
        self.readonly = readonly

    def within(self, offset: int, length: int, *, writes: bool = False) -> None:
        if writes and self.grows and not self.readonly and offset >= 0 <= length:
            return
        super().within(offset, length, writes=writes)

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        with self.lock:
            for view in buffers:
                self._sftp.read_into(self._handle, offset, view)
                offset += len(view)

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        with self.lock:
            for piece in pieces:
                self._sftp.write(self._handle, offset, memoryview(piece))
                offset += len(piece)
            self.size = max(self.size, offset)

    def flush(self) -> None:
        with self.lock:
            if self._sftp.syncs:  # a server without it does what it can
                self._sftp.fsync(self._handle)

    def _status(self, offset: int, length: int) -> Extent:
        return Extent(length, offset=offset, file=self)

    def truncate(self, size: int, *, preallocation: str = "off") -> None:
        if preallocation != "off":
            raise ImageError(f"Unsupported preallocation mode '{preallocation}'")
        if size < self.size:
            raise ImageError("ssh driver does not support shrinking files")
        if size > self.size:
            self.within(size, 0, writes=True)
            self._write_from(size - 1, [b"\0"])

    def grow(self) -> None:
        self.grows = True

    def allocated(self) -> int | None:
        return None

    def _close(self) -> None:
        try:
            self._sftp.close(self._handle)
        finally:
            self._transport.close()


def connect(options: Mapping[str, Any]) -> Any:
    """A connection (paramiko.Transport) to the server, whose key is right. Raises ImageError."""
    import socket

    import paramiko

    host, port = options["server"]["host"], options["server"]["port"]
    try:
        connection = socket.create_connection((host, port), TIMEOUT)
    except OSError as error:
        raise ImageError(f"'{host}:{port}': {error.strerror or error}") from None
    transport = paramiko.Transport(connection)
    transport.banner_timeout = transport.handshake_timeout = TIMEOUT  # less than that otherwise
    try:
        transport.start_client(timeout=TIMEOUT)
        check_key(transport.get_remote_server_key(), host, port, options["host-key-check"] or {})
        authenticate(transport, options["user"] or getpass.getuser())
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        raise ImageError(f"'{host}:{port}': {error or 'the connection has ended'}") from None
    except BaseException:
        transport.close()
        raise
    return transport


def check_key(key: Any, host: str, port: int, check: Mapping[str, Any]) -> None:
    """Raise ImageError unless the host has the key that it should have."""
    import paramiko

    mode = check.get("mode") or "known_hosts"
    if mode == "none":
        return
    if mode == "hash":
        kind, wanted = check.get("type"), check.get("hash")
        if not kind or not wanted:
            raise ImageError("host-key-check.mode=hash needs host-key-check.type and .hash")
        found = hashlib.new(kind, key.asbytes()).digest()
        base = base64.b64encode(found).decode().rstrip("=")
        plain = wanted.replace(":", "").lower()
        if plain != found.hex() and wanted.rstrip("=") != base:
            raise ImageError(
                f"remote host key fingerprint '{kind}:{found.hex()}' does not match "
                f"host_key_check '{kind}:{wanted}'"
            )
        return
    known = paramiko.HostKeys()
    for path in (os.path.expanduser("~/.ssh/known_hosts"), "/etc/ssh/ssh_known_hosts"):
        try:
            known.load(path)
        except OSError:
            continue
    name = host if port == 22 else f"[{host}]:{port}"
    if known.lookup(name) is None:
        raise ImageError(
            f"no host key was found in known_hosts for '{name}'; connect with ssh once, or use "
            "host-key-check.mode=hash"
        )
    if not known.check(name, key):
        raise ImageError(f"host key does not match the one in known_hosts for '{name}'")


def authenticate(transport: Any, user: str) -> None:
    """Log in with a key of the agent, or of ~/.ssh that has no passphrase. Raises ImageError."""
    import paramiko

    keys: list[Any] = list(paramiko.Agent().get_keys())
    kinds = (
        ("id_ed25519", paramiko.Ed25519Key),
        ("id_ecdsa", paramiko.ECDSAKey),
        ("id_rsa", paramiko.RSAKey),
    )
    for name, kind in kinds:
        try:
            keys.append(kind.from_private_key_file(os.path.expanduser(f"~/.ssh/{name}")))
        except (OSError, paramiko.SSHException):
            continue
    try:
        transport.auth_none(user)
    except paramiko.SSHException:
        pass
    for key in keys:
        if transport.is_authenticated():
            break
        try:
            transport.auth_publickey(user, key)
        except paramiko.SSHException:
            continue
    if not transport.is_authenticated():
        raise ImageError(
            f"failed to authenticate as '{user}' using publickey authentication; add a key to "
            "ssh-agent or to ~/.ssh"
        )


def parse_name(name: str) -> dict[str, Any]:
    """The keys that ssh://[user@]host[:port]/path[?host_key_check=...] stands for."""
    parts = urlsplit(name)
    try:
        port = parts.port
    except ValueError as error:
        raise ImageError(f"'{name}': {error}") from None
    if not parts.hostname or not parts.path:
        raise ImageError(f"'{name}' is not ssh://[user@]host[:port]/path")
    tree: dict[str, Any] = {
        "server": {"host": parts.hostname, "port": port or 22},
        "path": unquote(parts.path),
    }
    if parts.username:
        tree["user"] = unquote(parts.username)
    for key, value in parse_qsl(parts.query):
        if key != "host_key_check":
            raise ImageError(f"'{name}': unknown parameter '{key}'; there is host_key_check")
        tree["host-key-check"] = _check(value)
    return tree


def _check(value: str) -> dict[str, str]:
    """What host_key_check=VALUE stands for."""
    if value == "no":
        return {"mode": "none"}
    if value == "yes":
        return {"mode": "known_hosts"}
    kind, colon, wanted = value.partition(":")
    if colon and kind in HASHES:
        return {"mode": "hash", "type": kind, "hash": wanted}
    raise ImageError(f"unknown host_key_check setting ({value}); use yes, no, or sha256:...")


def _settled(options: Mapping[str, Any]) -> dict[str, Any]:
    """Values of KEYS with `server` and `host-key-check` where the old keys say it. Raises
    ImageError.
    """
    settled = dict(options)
    if options["server"] is None:
        if options["host"] is None:
            used = "port may not be used without host" if options["port"] else "give server.host"
            raise ImageError(f"No hostname was specified: {used}")
        settled["server"] = {"host": options["host"], "port": options["port"] or 22}
    elif options["host"] is not None or options["port"] is not None:
        raise ImageError("'server' and 'host' or 'port' cannot be given at the same time")
    if options["host_key_check"] is not None:
        if options["host-key-check"] is not None:
            raise ImageError(
                "'host-key-check' and 'host_key_check' cannot be given at the same time"
            )
        check = typed(_check(options["host_key_check"]), _CHECK, "'host_key_check'")
        settled["host-key-check"] = check
    return settled


def _said(options: Mapping[str, Any]) -> str:
    server = options["server"]
    user = f"{options['user']}@" if options["user"] else ""
    port = f":{server['port']}" if server["port"] != 22 else ""
    check = options["host_key_check"]
    asked = f"?host_key_check={check}" if check is not None else ""
    return f"ssh://{user}{server['host']}{port}{options['path']}{asked}"


def _open(opening: Opening) -> Image:
    options = _settled(opening.options)
    return SshFile(_said(options), options, opening.mode)


def _create(creation: Creation) -> None:
    options = _settled(typed(parse_name(creation.name), KEYS, "Block protocol 'ssh'"))
    file = SshFile(creation.name, options, Mode(grows=True), READ | WRITE | CREATE | TRUNCATE)
    try:
        file.truncate(creation.size)
        file.flush()
    finally:
        file.close()


DRIVER = Driver("ssh", _open, keys=KEYS, children=(), create=_create, parse_name=parse_name)
