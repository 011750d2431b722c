"""Images on another host, through an SFTP server of the test's own."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import paramiko
import pytest

from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.opening import Mode
from tests.patience import LONG


class Login(paramiko.ServerInterface):  # type: ignore[misc]
    """Lets everybody in, or nobody."""

    allows = True

    def check_auth_none(self, username: str) -> int:
        return int(paramiko.AUTH_SUCCESSFUL if self.allows else paramiko.AUTH_FAILED)

    def get_allowed_auths(self, username: str) -> str:
        return "none,publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)


class Handle(paramiko.SFTPHandle):  # type: ignore[misc]
    """An open file."""

    def stat(self) -> Any:
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))


class Files(paramiko.SFTPServerInterface):  # type: ignore[misc]
    """The host's files."""

    def open(self, path: str, flags: int, attr: Any) -> Any:
        try:
            fd = os.open(path, flags, 0o600)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        writes = flags & (os.O_WRONLY | os.O_RDWR)
        handle = Handle(flags)
        handle.readfile = handle.writefile = os.fdopen(fd, "r+b" if writes else "rb", buffering=0)
        return handle


class Server(threading.Thread):
    """Serves connections until its listener is closed."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.key = paramiko.ECDSAKey.generate()
        self.login = Login()
        self.transports: list[Any] = []

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.banner_timeout = transport.handshake_timeout = LONG
            transport.add_server_key(self.key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
            transport.start_server(server=self.login, event=threading.Event())
            self.transports.append(transport)

    def url(self, path: Path, check: str = "no") -> str:
        return f"ssh://me@127.0.0.1:{self.port}{path}?host_key_check={check}"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    made.start()
    yield made
    made.listener.shutdown(socket.SHUT_RDWR)  # wakes the thread, which could take others' clients
    made.join()
    made.listener.close()
    for transport in made.transports:
        transport.close()


def opened(url: str, *, readonly: bool = False) -> Image:
    return Graph().open_name(url, format="raw", mode=Mode(readonly=readonly))


def test_file_is_read_and_written(server: Server, tmp_path: Path) -> None:
    file, chance = tmp_path / "disk", random.Random(1)
    expected = bytearray(chance.randbytes(500_000 // 512 * 512))
    file.write_bytes(expected)
    image = opened(server.url(file))
    assert image.size == len(expected)
    for _ in range(20):
        offset = chance.randrange(len(expected) - 100_000)
        length = chance.randrange(100_000)
        assert image.read(offset, length) == expected[offset : offset + length]
        data = chance.randbytes(chance.randrange(1, 5000))
        image.write(offset, data)
        expected[offset : offset + len(data)] = data
    image.flush()
    assert file.read_bytes() == expected
    image.close()


def test_image_is_made(server: Server, tmp_path: Path) -> None:
    url = server.url(tmp_path / "new")
    Graph().create("raw", url, 4096, {})
    assert (tmp_path / "new").read_bytes() == bytes(4096)


def test_old_keys_mean_the_same(server: Server, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"abcd" * 128)
    tree = {"driver": "ssh", "host": "127.0.0.1", "port": str(server.port), "user": "me"}
    image = Graph().open({**tree, "path": str(tmp_path / "disk"), "host_key_check": "no"})
    assert image.read(0, 4) == b"abcd"
    image.close()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "No hostname was specified"),
        ({"port": "1"}, "port may not be used without host"),
        ({"host": "h", "server": {"host": "h"}}, "'server' and 'host' or 'port' cannot"),
        ({"host": "h", "host_key_check": "maybe"}, "unknown host_key_check setting"),
        (
            {"host": "h", "host_key_check": "no", "host-key-check": {"mode": "none"}},
            "'host-key-check' and 'host_key_check' cannot",
        ),
    ],
)
def test_keys_that_contradict_each_other(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Graph().open({"driver": "ssh", "path": "/x", **keys})


def test_file_is_reopened_for_writing(server: Server, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(4096))
    image = opened(server.url(tmp_path / "disk"), readonly=True)
    image.reopen(readonly=False)
    image.write(512, b"x" * 512)
    image.reopen(readonly=True)
    with pytest.raises(PermissionError):
        image.write(0, b"x")
    assert image.read(512, 2) == b"xx"
    image.close()
    assert (tmp_path / "disk").read_bytes()[512:1024] == b"x" * 512


def test_file_that_is_not_there(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="failed to open remote file '.*none': No such file"):
        opened(server.url(tmp_path / "none"))


def test_hosts_key_is_checked(server: Server, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(512))
    right = hashlib.sha256(server.key.asbytes()).hexdigest()
    opened(server.url(tmp_path / "disk", f"sha256:{right}"), readonly=True).close()
    wrong = hashlib.sha256(b"").hexdigest()
    with pytest.raises(ImageError, match="does not match"):
        opened(server.url(tmp_path / "disk", f"sha256:{wrong}"))


def test_hosts_key_is_looked_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").write_bytes(bytes(512))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ImageError, match="no host key was found"):
        opened(server.url(tmp_path / "disk", "yes"))
    (tmp_path / ".ssh").mkdir()
    line = f"[127.0.0.1]:{server.port} {server.key.get_name()} {server.key.get_base64()}\n"
    (tmp_path / ".ssh" / "known_hosts").write_text(line)
    opened(server.url(tmp_path / "disk", "yes")).close()


def test_login_that_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    server.login.allows = False
    with pytest.raises(ImageError, match="failed to authenticate as 'me'"):
        opened(server.url(tmp_path / "disk"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ssh://127.0.0.1:1/x?host_key_check=no", "refused"),
        ("ssh:///x", "is not ssh://"),
        ("ssh://h:70000/x", "[Pp]ort"),
        ("ssh://h/x?host_key_check=maybe", "unknown host_key_check setting"),
        ("ssh://h/x?compress=1", "unknown parameter 'compress'"),
    ],
)
def test_addresses_that_cannot_be_used(url: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        opened(url)


def test_server_that_goes_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(4096))
    image = opened(server.url(tmp_path / "disk"))
    for transport in server.transports:
        transport.close()
    with pytest.raises(OSError, match="SFTP|closed|[Cc]onnection"):
        read_often(image)
    with suppress(OSError):
        image.close()


def read_often(image: Image) -> None:
    for _ in range(100):
        image.read(0, 512)
