"""The server as a whole: how many clients, when they go, what is left behind."""

from __future__ import annotations

import gc
import os
import socket
import threading
from pathlib import Path
from queue import Queue

import pytest

from pemu.block.graph import Graph
from pemu.block.nbd import handshake
from pemu.block.nbd import protocol as nbd
from pemu.block.nbd.channel import Channel
from pemu.block.nbd.export import Export
from pemu.block.nbd.server import Server
from pemu.block.opening import Mode
from pemu.sockets import Unix, listen
from tests.block.nbd.serving import SIZE, Client, dialogue, open_raw, serving
from tests.patience import LONG, until


def test_many_clients_write_at_once(tmp_path: Path) -> None:
    image = open_raw(tmp_path / "disk")

    def work(uri: str, number: int) -> None:
        client = Graph().open_name(uri, format="nbd", mode=Mode())
        for at in range(number * 16384, (number + 1) * 16384, 1024):
            client.write(at, bytes([number + 1]) * 1024)
        client.close()

    with serving(tmp_path, Export(image, shared=True)) as uri:
        threads = [threading.Thread(target=work, args=(uri, n)) for n in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    data = (tmp_path / "disk").read_bytes()
    assert data[: 32 * 16384] == b"".join(bytes([n + 1]) * 16384 for n in range(32))


def connect(tmp_path: Path) -> Client:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(tmp_path / "socket"))
    return Client(sock)


def test_client_beyond_the_limit_waits_its_turn(tmp_path: Path) -> None:
    with serving(tmp_path, Export(open_raw(tmp_path / "disk")), limit=1):
        first, second = connect(tmp_path), connect(tmp_path)
        first.greet()
        first.go()
        second.greet()
        assert second.option(nbd.OPT_LIST)[-1][0] == nbd.REP_ACK
        second.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            second.go()
        first.sock.close()
        second.sock.settimeout(LONG)
        assert nbd.OptionReply.parse(second.receive(nbd.OptionReply.SIZE)).type == nbd.REP_INFO
        second.sock.close()


def test_client_that_says_nothing_keeps_nobody_away(tmp_path: Path) -> None:
    with serving(tmp_path, Export(open_raw(tmp_path / "disk")), limit=1):
        silent = [connect(tmp_path) for _ in range(5)]
        client = connect(tmp_path)
        client.greet()
        assert client.go()[-1][0] == nbd.REP_ACK
        for one in (*silent, client):
            one.sock.close()


def test_client_that_waits_learns_that_the_server_ends(tmp_path: Path) -> None:
    with serving(tmp_path, Export(open_raw(tmp_path / "disk")), limit=1):
        first, second = connect(tmp_path), connect(tmp_path)
        for one in (first, second):
            one.greet()
        first.go()
        name = nbd.string("") + b"\0\0"
        second.send(nbd.Option(option=nbd.OPT_GO, length=len(name)).emit() + name)
    assert second.closed()
    for one in (first, second):
        one.sock.close()


def test_client_that_says_nothing_is_sent_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "PATIENCE", 0.1)
    warnings: list[str] = []
    with dialogue(Export(open_raw(tmp_path / "disk")), warn=warnings.append) as client:
        client.receive(18)
        assert client.closed()
    assert warnings == ["negotiation failed: it took too long"]


def test_slow_client_may_take_its_time_after_the_handshake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float | None] = []
    limit = Channel.limit

    def noted(channel: Channel, seconds: float | None) -> None:
        limits.append(seconds)
        limit(channel, seconds)

    monkeypatch.setattr(Channel, "limit", noted)
    with dialogue(Export(open_raw(tmp_path / "disk"))) as client:
        client.greet()
        client.go()
        client.request(nbd.FLUSH)
        assert client.simple() == 0
    assert set(limits[:-1]) == {handshake.PATIENCE}
    assert limits[-1] is None


def test_client_without_a_thread_is_sent_away_and_the_next_one_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = ["can't start new thread"]
    start = threading.Thread.start

    def may_start(thread: threading.Thread) -> None:
        if refusals:
            raise RuntimeError(refusals.pop())
        start(thread)

    with serving(tmp_path, Export(open_raw(tmp_path / "disk"))):
        monkeypatch.setattr(threading.Thread, "start", may_start)
        first, second = connect(tmp_path), connect(tmp_path)
        assert first.closed()
        second.greet()
        assert second.go()[-1][0] == nbd.REP_ACK
        for one in (first, second):
            one.sock.close()


def test_stop_sends_clients_away_and_removes_the_socket(tmp_path: Path) -> None:
    export = Export(open_raw(tmp_path / "disk"))
    with serving(tmp_path, export):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(tmp_path / "socket"))
        client = Client(sock)
        client.greet()
        client.go()
    assert client.closed()
    assert not (tmp_path / "socket").exists()
    sock.close()


def test_clients_of_a_removed_export_are_sent_away(tmp_path: Path) -> None:
    image = open_raw(tmp_path / "disk")
    exports = [Export(image, "one"), Export(image, "other")]
    server = Server([], exports)
    ends = []
    for export in exports:
        ours, theirs = socket.socketpair()
        server.serve(theirs)
        client = Client(ours)
        client.greet()
        client.go(export.name)
        client.request(nbd.FLUSH)
        client.simple()
        ends.append(client)
    assert server.users("one") == 1
    server.remove("one")
    assert ends[0].closed()
    ends[1].request(nbd.FLUSH)
    assert ends[1].simple() == 0
    server.stop()
    image.close()


def test_end_of_a_client_is_told_only_of_one_that_had_requests(tmp_path: Path) -> None:
    told: list[int] = []
    image = open_raw(tmp_path / "disk")
    server = Server([listen(Unix(str(tmp_path / "socket")))], [Export(image)], gone=told.append)
    server.start()
    for chosen in (False, True):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "socket"))
            client = Client(sock)
            client.greet()
            if chosen:
                client.go()
            else:
                client.option(nbd.OPT_ABORT)
                assert client.closed()
                until(lambda: not server._clients, "the end of the first client")
    server.stop()
    image.close()
    assert len(told) == 1


def test_client_that_only_looks_may_be_the_last_one(tmp_path: Path) -> None:
    told: Queue[int] = Queue()
    with serving(tmp_path, Export(open_raw(tmp_path / "disk")), gone=told.put):
        looking, using = connect(tmp_path), connect(tmp_path)
        for client in (looking, using):
            client.greet()
        using.go()
        using.sock.close()
        assert told.get(timeout=LONG) == 1
        looking.option(nbd.OPT_ABORT)
        looking.sock.close()
        assert told.get(timeout=LONG) == 0


def test_writethrough_flushes_each_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    image = open_raw(tmp_path / "disk")
    monkeypatch.setattr(image, "flush", lambda: flushed.append(1))
    with dialogue(Export(image, writethrough=True)) as client:
        client.greet()
        client.go()
        client.request(nbd.WRITE, 0, 4)
        client.send(b"abcd")
        assert client.simple() == 0
        client.request(nbd.WRITE_ZEROES, 0, 4)
        assert client.simple() == 0
        client.request(nbd.READ, 0, 4)
        assert client.simple() == 0
    assert len(flushed) == 2


def test_nothing_is_left_open(tmp_path: Path) -> None:
    def once() -> None:
        with serving(tmp_path, Export(open_raw(tmp_path / "disk"))) as uri:
            image = Graph().open_name(uri, format="nbd")
            assert image.size == SIZE
            image.close()

    once()
    gc.collect()  # what other tests have left
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    once()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


@pytest.mark.parametrize("kind", [nbd.READ, nbd.FLUSH])
def test_error_inside_the_server_costs_one_client_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    image = open_raw(tmp_path / "disk")

    def break_down(*_: object) -> bool:
        raise KeyError("something")

    monkeypatch.setattr(image, "read_cached", break_down)
    monkeypatch.setattr(image, "flush", break_down)
    told: list[str] = []
    with dialogue(Export(image), failed=told.append) as client:
        client.greet()
        client.go()
        client.request(kind, 0, 512)
        assert client.closed()
    assert told == ["internal error: KeyError: 'something'"]


def test_client_that_takes_no_answers_and_breaks_the_protocol_is_let_go(tmp_path: Path) -> None:
    with dialogue(Export(open_raw(tmp_path / "disk"))) as client:
        client.greet()
        client.go()
        for _ in range(8):
            client.request(nbd.READ, 0, SIZE)
        client.send(bytes(28))
        while client.receive(1 << 20):
            pass
