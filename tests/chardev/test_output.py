"""The queue before a descriptor: what reaches the host when, and in how many calls."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pemu.chardev.output import LIMIT, Output
from tests.chardev.conftest import World
from tests.patience import LONG, until

BURST = 2000


class Pipe:
    """An output to a socket that keeps calls apart."""

    def __init__(self, world: World) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.setblocking(False)
        self.theirs.settimeout(LONG)
        self.output = Output(world.host, self.ours.fileno(), lambda: None, lambda error: None)

    def next(self) -> bytes:
        """What the next call of the host has brought."""
        return self.theirs.recv(2 * LIMIT)

    def calls_for(self, data: bytes) -> int:
        """How many calls bring `data`."""
        got, calls = b"", 0
        while len(got) < len(data):
            got += self.next()
            calls += 1
        assert got == data
        return calls


@pytest.fixture
def pipe(world: World) -> Iterator[Pipe]:
    world.start()
    pipe = Pipe(world)
    yield pipe
    world.stop()
    pipe.ours.close()
    pipe.theirs.close()


def test_first_byte_comes_without_the_io_thread(pipe: Pipe) -> None:
    pipe.output.write(b"e", whole=False)
    pipe.theirs.setblocking(False)
    assert pipe.next() == b"e"


def test_bytes_of_a_burst_share_calls(pipe: Pipe) -> None:
    data = bytes(number & 0xFF for number in range(BURST))
    for byte in data:
        assert pipe.output.write(bytes((byte,)), whole=False) == 1
    assert pipe.calls_for(data) < BURST / 4


def test_what_is_sent_comes_at_once_behind_what_was_gathered(pipe: Pipe) -> None:
    pipe.output.write(b"a", whole=False)
    pipe.output.write(b"b", whole=False)
    pipe.output.send(b"answer")
    pipe.theirs.setblocking(False)
    assert pipe.calls_for(b"abanswer") <= 3
    assert pipe.output.backlog == 0


def test_flush_writes_what_was_gathered(pipe: Pipe) -> None:
    pipe.output.write(b"a", whole=False)
    pipe.output.write(b"b", whole=False)
    pipe.output.flush(1)
    pipe.theirs.setblocking(False)
    assert pipe.calls_for(b"ab") <= 2


def test_error_that_comes_when_the_loop_has_ended_is_told(world: World, pipe: Pipe) -> None:
    world.stop()
    while not pipe.output.backlog:
        pipe.output.write(bytes(LIMIT), whole=False)
    pipe.theirs.close()
    error = pipe.output.flush(LONG)
    assert isinstance(error, ConnectionError)
    assert pipe.output.flush(LONG) is None


def test_more_than_the_queue_holds_is_refused_while_gathering(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pemu.chardev.output.GATHER", 3600)
    pipe.output.write(b"a", whole=False)
    assert pipe.output.write(bytes(2 * LIMIT), whole=False) == LIMIT


def test_a_regular_file_gets_what_was_gathered(world: World, tmp_path: Path) -> None:
    world.start()
    fd = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    output = Output(world.host, fd, lambda: None, lambda error: None)
    data = b"0123456789" * 50
    for byte in data:
        output.write(bytes((byte,)), whole=False)
    until(lambda: (tmp_path / "out").read_bytes() == data, "what was gathered")
    os.close(fd)
