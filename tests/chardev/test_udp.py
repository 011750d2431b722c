"""Datagrams."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from pemu.chardev.udp import Udp
from pemu.options.error import OptionError
from tests.chardev.conftest import Front, World
from tests.patience import LONG


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(LONG)
    yield sock
    sock.close()


def options(peer: socket.socket) -> str:
    return f"udp,id=u,host=127.0.0.1,port={peer.getsockname()[1]},localaddr=127.0.0.1"


def test_each_write_is_a_datagram(world: World, peer: socket.socket) -> None:
    port, _ = world.connect(options(peer))
    port.write(b"one")
    port.write(b"two")
    assert peer.recv(100) == b"one"
    assert peer.recv(100) == b"two"
    assert port.filename == "udp"


def test_datagrams_that_come_are_one_stream(world: World, peer: socket.socket) -> None:
    port, front = world.connect(options(peer))
    port.write(b"?")
    _, address = peer.recvfrom(10)
    peer.sendto(b"one", address)
    peer.sendto(b"two", address)
    front.expect(b"onetwo")


def test_large_datagram_waits_until_the_front_end_takes_all(
    world: World, peer: socket.socket
) -> None:
    data = bytes(range(256)) * 100
    port, front = world.connect(options(peer), Front(room=0))
    assert isinstance(port, Udp)
    port.write(b"?")
    peer.sendto(data, peer.recvfrom(10)[1])
    for at in range(0, len(data), 6400):
        front.room = 6400
        port.accept_input()
        front.expect(data[at : at + 6400])


def test_nobody_at_the_other_end_is_no_error(world: World) -> None:
    gone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    gone.bind(("127.0.0.1", 0))
    port, front = world.connect(options(gone))
    gone.close()
    for _ in range(10):
        assert port.write(b"x") == 1
    assert not front.got


def test_port_is_required(world: World) -> None:
    with pytest.raises(OptionError, match="'port' is missing"):
        world.chardevs.create("udp,id=u")
