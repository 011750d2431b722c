"""The protocol nbd: as the client of this server, of broken ones, and by its addresses."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.nbd import protocol as nbd
from pemu.block.nbd.channel import Channel, Gone
from pemu.block.nbd.client import Connection, Info
from pemu.block.nbd.export import Export
from pemu.block.opening import Mode
from pemu.block.protocols.nbd import DRIVER
from pemu.sockets import Unix, listen
from tests.block.nbd.serving import SIZE, open_raw, serving
from tests.patience import LONG


@contextmanager
def connected(tmp_path: Path, **options: Any) -> Iterator[Image]:
    with serving(tmp_path, Export(open_raw(tmp_path / "disk"), "x")) as uri:
        image = Graph().open_name(uri, format="raw", mode=Mode(discard=True), options=options)
        try:
            yield image
        finally:
            image.close()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with connected(tmp_path) as image:
        image.write(1000, b"hello" * 1000)
        image.write_zeroes(2000, 1000)
        image.discard(3000, 10)
        image.flush()
        assert image.read(1998, 1004)[:2] == b"lo"
        assert image.read(2000, 1000) == bytes(1000)
        assert image.read(0, SIZE)[5000:6000] == b"hello" * 200


def test_image_opened_by_keys_is_called_by_its_uri(tmp_path: Path) -> None:
    with serving(tmp_path, Export(open_raw(tmp_path / "disk"), "x")) as uri:
        path = uri.partition("socket=")[2]
        image = Graph().open(
            {"driver": "raw", "file": {"driver": "nbd", "path": path, "export": "x"}}
        )
        name = image.name
        image.close()
    assert name == f"nbd+unix:///x?socket={path}"


def test_status_comes_from_the_server(tmp_path: Path) -> None:
    with connected(tmp_path) as image:
        image.write(65536, b"a" * 4096)
        found, at = [], 0
        while at < SIZE:
            extent = image.status(at, SIZE - at)
            found.append((extent.length, extent.zero, extent.data))
            at += extent.length
        rest = SIZE - 69632
        assert found == [(65536, True, False), (4096, False, True), (rest, True, False)]


def test_requests_of_several_threads_are_answered_to_each(tmp_path: Path) -> None:
    wrong: list[int] = []

    def work(image: Image, number: int) -> None:
        base = number * 65536
        for i in range(100):
            data = bytes([number * 16 + i % 16]) * (1 + i * 97 % 9000)
            image.write(base + i, data)
            if image.read(base + i, len(data)) != data:
                wrong.append(number)

    with connected(tmp_path) as image:
        threads = [threading.Thread(target=work, args=(image, n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_error_of_the_server_is_the_requests(tmp_path: Path) -> None:
    image = open_raw(tmp_path / "disk")
    with serving(tmp_path, Export(image)) as uri:
        client = Graph().open_name(uri, format="nbd")
        client.size += 512
        with pytest.raises(OSError, match="No space left on device") as caught:
            client.write(SIZE, bytes(512))
        assert caught.value.errno == 28
        client.close()


def test_read_only_export_is_not_opened_for_writing(tmp_path: Path) -> None:
    image = open_raw(tmp_path / "disk")
    with serving(tmp_path, Export(image, readonly=True)) as uri:
        with pytest.raises(ImageError, match="request on write denied"):
            Graph().open_name(uri, format="raw")
        Graph().open_name(uri, format="raw", mode=Mode(readonly=True)).close()


def test_export_that_is_not_there(tmp_path: Path) -> None:
    image = open_raw(tmp_path / "disk")
    with serving(tmp_path, Export(image, "x")) as uri:
        with pytest.raises(ImageError, match="Requested export 'y' not available"):
            Graph().open_name(uri.replace("/x?", "/y?"), format="raw")


def test_requests_wait_for_a_server_that_comes_back(tmp_path: Path) -> None:
    with serving(tmp_path, Export(open_raw(tmp_path / "disk"), "x")) as uri:
        tree = {"driver": "nbd", **DRIVER.parse_name(uri)}  # type: ignore[misc]
        image = Graph().open({**tree, "reconnect-delay": 60})
        image.write(0, b"before")
    with serving(tmp_path, Export(open_raw(tmp_path / "disk"), "x")):
        assert image.read(0, 6) == b"before"
        image.close()


def test_server_that_has_gone_is_named(tmp_path: Path) -> None:
    with serving(tmp_path, Export(open_raw(tmp_path / "disk"), "x")) as uri:
        image = Graph().open_name(uri, format="nbd")
    with pytest.raises(OSError, match=f"NBD server '{tmp_path}/socket' is lost"):
        image.read(0, 6)
    image.close()


def _go(sock: socket.socket, flags: int = 3) -> None:
    """Be a server as far as an export's size, one option after the other."""
    sock.sendall(b"NBDMAGICIHAVEOPT" + flags.to_bytes(2, "big"))
    sock.recv(4)
    while head := sock.recv(16, socket.MSG_WAITALL):
        option = nbd.Option.parse(head)
        if option.length:
            sock.recv(option.length, socket.MSG_WAITALL)
        if option.option == nbd.OPT_GO:
            export = nbd.ExportHead(size=4096, flags=nbd.HAS_FLAGS)
            info = nbd.INFO_EXPORT.to_bytes(2, "big") + export.emit()
            _reply(sock, option.option, nbd.REP_INFO, info)
        _reply(sock, option.option, nbd.REP_ACK)
        if option.option == nbd.OPT_GO:
            return


def _reply(sock: socket.socket, option: int, kind: int, data: bytes = b"") -> None:
    head = nbd.OptionReply(option=option, type=kind, length=len(data)).emit()
    sock.sendall(head + data)


def _oldstyle(sock: socket.socket) -> None:
    size = (4096).to_bytes(8, "big")
    sock.sendall(b"NBDMAGIC" + nbd.OLD_MAGIC.to_bytes(8, "big") + size + bytes(4) + bytes(124))


@contextmanager
def pretending(tmp_path: Path, *talks: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that only says what `talks` do, one after the other, then closes."""
    path = str(tmp_path / "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve() -> None:
        sock = listener.accept()[0]
        with sock:
            for talk in talks:
                talk(sock)
            sock.shutdown(socket.SHUT_WR)
            try:
                while sock.recv(4096):
                    pass
            except ConnectionResetError:
                pass  # the client has gone without having read everything

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"nbd+unix:///?socket={path}"
    thread.join()
    listener.close()


def test_server_of_the_old_style(tmp_path: Path) -> None:
    with pretending(tmp_path, _oldstyle) as uri:
        image = Graph().open_name(uri, format="nbd", mode=Mode(readonly=True))
        assert image.size == 4096
        image.close()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"", "the connection was closed"),
        (b"HTTP/1.1 400 Bad", "this is no NBD server"),
        (b"NBDMAGICxxxxxxxx", "this is no NBD server"),
        (b"NBDMAGICIHAVEOPT\0\3" + bytes(20), "answer to an option is malformed"),
        (
            b"NBDMAGICIHAVEOPT\0\3"
            + nbd.OptionReply(option=nbd.OPT_STRUCTURED_REPLY, type=1, length=1 << 31).emit(),
            "has 2147483648 bytes",
        ),
    ],
)
def test_broken_server_is_refused(tmp_path: Path, said: bytes, message: str) -> None:
    with pretending(tmp_path, lambda sock: sock.sendall(said)) as uri:
        with pytest.raises(ImageError, match=message):
            Graph().open_name(uri, format="raw", mode=Mode(readonly=True))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (bytes(16), "begins with 0x00000000"),
        (nbd.SimpleReply(error=0, cookie=99).emit(), "request 99 that there is not"),
        (nbd.SimpleReply(error=0, cookie=1).emit(), "a simple reply to a read"),
        (
            nbd.Chunk(flags=1, type=1, cookie=1, length=520).emit() + b"\0" * 7 + b"\1",
            "beyond what was asked for",
        ),
        (nbd.Chunk(flags=1, type=0, cookie=1, length=0).emit(), "512 bytes of a read are missing"),
        (
            nbd.Chunk(flags=1, type=5, cookie=1, length=12).emit() + bytes(12),
            "nobody has asked for",
        ),
        (nbd.Chunk(flags=1, type=0x8001, cookie=1, length=1 << 31).emit(), "2147483648 bytes"),
        (b"", "the connection was closed"),
    ],
)
def test_broken_answer_is_an_error(tmp_path: Path, answer: bytes, message: str) -> None:
    def talk(sock: socket.socket) -> None:
        sock.recv(nbd.Request.SIZE, socket.MSG_WAITALL)
        sock.sendall(answer)

    with pretending(tmp_path, _go, talk) as uri:
        image = Graph().open_name(uri, format="nbd", mode=Mode(readonly=True))
        with pytest.raises(OSError, match=message) as caught:
            image.read(0, 512)
        assert caught.value.errno == 5
        image.close()


UNIX = {"type": "unix", "path": "/s"}


@pytest.mark.parametrize(
    ("name", "tree"),
    [
        ("nbd://host", {"server": {"type": "inet", "host": "host", "port": "10809"}}),
        (
            "nbd://[::1]:1/a%20b",
            {"server": {"type": "inet", "host": "::1", "port": "1"}, "export": "a b"},
        ),
        ("nbd+unix:///?socket=/s", {"server": UNIX}),
        ("nbd+unix:///x?socket=%2Fs", {"server": UNIX, "export": "x"}),
        ("nbd:unix:/s:exportname=x:y", {"server": UNIX, "export": "x:y"}),
        ("nbd:h:1", {"server": {"type": "inet", "host": "h", "port": "1"}}),
    ],
)
def test_addresses(name: str, tree: dict[str, object]) -> None:
    assert DRIVER.parse_name is not None
    assert DRIVER.parse_name(name) == tree


@pytest.mark.parametrize(
    "name", ["nbd:", "nbd:host", "nbd://", "nbd+unix:///x", "nbd+x://y/z", "nbd://h:99999/"]
)
def test_wrong_address_is_named(name: str) -> None:
    with pytest.raises(ImageError, match="address|URI|protocol"):
        Graph().open_name(name)


def test_descriptors_are_closed(tmp_path: Path) -> None:
    with connected(tmp_path) as image:
        image.read(0, 512)
    gc.collect()  # what other tests have left
    before = len(os.listdir("/proc/self/fd"))
    with connected(tmp_path) as image:
        image.read(0, 512)
    assert len(os.listdir("/proc/self/fd")) == before


class Late(Channel):
    """A channel on which what has been received is seen only after `gate` has been opened."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.begun, self.received, self.gate = (threading.Event() for _ in range(3))

    def receive_some(self, view: memoryview) -> int:
        self.begun.set()
        try:
            return super().receive_some(view)
        finally:
            self.received.set()
            assert self.gate.wait(LONG)


@contextmanager
def late() -> Iterator[tuple[Connection, Late, socket.socket]]:
    """A connection whose thread is slow to see what comes, and the server's end."""
    ours, theirs = socket.socketpair()
    channel = Late(ours)
    with ours, theirs:
        yield Connection(channel, Info(size=4096)), channel, theirs


def test_connection_may_be_lost_while_an_answer_is_received() -> None:
    with late() as (connection, channel, server), ThreadPoolExecutor() as pool:
        asked = pool.submit(connection.request, nbd.FLUSH)
        server.sendall(nbd.SimpleReply(error=0, cookie=1).emit())
        assert channel.received.wait(LONG)
        finish = connection._finish

        def finish_after_loss(cookie: int, waiting: Any) -> None:
            connection._lose(Gone(5, "another thread could not send"))
            finish(cookie, waiting)

        connection._finish = finish_after_loss  # type: ignore[method-assign]
        channel.gate.set()
        assert asked.result(LONG) == {}


def test_descriptor_of_a_lost_connection_stays_until_all_have_noticed() -> None:
    with late() as (connection, channel, server), ThreadPoolExecutor() as pool:
        asked = pool.submit(connection.request, nbd.FLUSH)
        assert channel.begun.wait(LONG)
        connection._lose(Gone(5, "another thread could not send"))
        assert channel.received.wait(LONG)
        connection.close()
        assert channel.sock.fileno() >= 0
        channel.gate.set()
        with pytest.raises(Gone):
            asked.result(LONG)
        assert channel.sock.fileno() < 0


def test_server_that_says_nothing_is_waited_for_no_longer_than_open_timeout(tmp_path: Path) -> None:
    with listen(Unix(str(tmp_path / "socket"))):
        uri = f"nbd+unix:///?socket={tmp_path / 'socket'}"
        with pytest.raises(ImageError, match="it took too long"):
            Graph().open_name(uri, format="raw", options={"file": {"open-timeout": 1}})
