"""The server's side of the WebSocket protocol, with a client written here from RFC 6455."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator

import pytest

from pemu.chardev.interface import Chardev, Event
from pemu.chardev.output import LIMIT
from tests.chardev.conftest import Front, World
from tests.chardev.test_socket import port_of, receive
from tests.patience import LONG

REQUEST = (
    "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: binary\r\n\r\n"
)
ACCEPTED = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"  # of RFC 6455, section 1.3
MASK = b"\x37\xfa\x21\x3d"


def frame(opcode: int, payload: bytes, final: bool = True) -> bytes:
    """A client's frame, which is masked."""
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 1 << 16:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    masked = bytes(byte ^ MASK[place % 4] for place, byte in enumerate(payload))
    return bytes((opcode | 0x80 * final,)) + length + MASK + masked


class Page:
    """A web page's end of the connection."""

    def __init__(self, chardev: Chardev) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port_of(chardev)), timeout=LONG)

    def ask(self, request: str = REQUEST) -> bytes:
        self.sock.sendall(request.encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += receive(self.sock, 1)
        return answer


@pytest.fixture
def page(world: World) -> Iterator[tuple[Page, Chardev, Front]]:
    port, front = world.connect("socket,id=s,host=127.0.0.1,port=0,server=on,wait=off,websocket=on")
    made = Page(port)
    yield made, port, front
    made.sock.close()


def test_handshake_opens_the_stream(page: tuple[Page, Chardev, Front]) -> None:
    peer, port, front = page
    port.write(b"lost")
    answer = peer.ask()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert ACCEPTED in answer
    assert b"Sec-WebSocket-Protocol: binary\r\n" in answer
    front.expect_event(Event.OPENED)
    assert re.fullmatch(r"websocket:127.0.0.1:\d+,server=on <-> 127.0.0.1:\d+", port.filename)


@pytest.mark.parametrize("size", [1, 125, 126, 65535, 65536])
def test_output_comes_in_binary_frames(page: tuple[Page, Chardev, Front], size: int) -> None:
    peer, port, front = page
    peer.ask()
    front.expect_event(Event.OPENED)
    port.send(b"x" * size)
    head = receive(peer.sock, 2)
    length = head[1]
    if length > 125:
        length = int.from_bytes(receive(peer.sock, 2 if length == 126 else 8), "big")
    assert (head[0], length) == (0x82, size)
    assert receive(peer.sock, size) == b"x" * size


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 100000])
def test_input_is_unmasked(page: tuple[Page, Chardev, Front], size: int) -> None:
    peer, _, front = page
    peer.ask()
    data = bytes(index % 251 for index in range(size))
    peer.sock.sendall(frame(2, data) + frame(1, b"."))
    front.expect(data + b".")


def test_frames_may_come_in_any_pieces(page: tuple[Page, Chardev, Front]) -> None:
    peer, _, front = page
    peer.ask()
    sent = frame(2, b"one", final=False) + frame(9, b"?") + frame(0, b"two")
    for at in range(len(sent)):
        peer.sock.sendall(sent[at : at + 1])
    front.expect(b"onetwo")
    assert receive(peer.sock, 3) == b"\x8a\x01?"


def test_close_is_answered_and_ends_the_connection(page: tuple[Page, Chardev, Front]) -> None:
    peer, _, front = page
    peer.ask()
    front.expect_event(Event.OPENED)
    peer.sock.sendall(frame(8, b"\x03\xe8bye"))
    assert receive(peer.sock, 100) == b"\x88\x02\x03\xe8"
    front.expect_event(Event.CLOSED)


def test_answers_do_not_break_into_frames(page: tuple[Page, Chardev, Front]) -> None:
    peer, port, front = page
    peer.ask()
    front.expect_event(Event.OPENED)
    count, size = 300, 30000

    def write() -> None:
        for _ in range(count):
            front.writable_again.clear()
            while not port.write(b"x" * size):
                assert front.writable_again.wait(LONG)
                front.writable_again.clear()

    writer = threading.Thread(target=write)
    writer.start()
    frames = 0
    while frames < count:
        peer.sock.sendall(frame(9, b"ping"))
        opcode, length = receive(peer.sock, 2)
        if opcode == 0x82:
            assert length == 126
            assert receive(peer.sock, 2 + size)[2:] == b"x" * size
            frames += 1
        else:
            assert (opcode, receive(peer.sock, length)) == (0x8A, b"ping")
    writer.join()


def test_peer_that_asks_and_does_not_read_fills_no_memory(
    page: tuple[Page, Chardev, Front],
) -> None:
    peer, port, front = page
    peer.ask()
    flood = frame(9, b"x" * 125) * 1000
    for _ in range(100):
        peer.sock.sendall(flood)
    peer.sock.sendall(frame(2, b"."))
    front.expect(b".")
    assert port.backlog < 2 * LIMIT


@pytest.mark.parametrize(
    "wrong",
    [b"\x82\x01x", b"\xc2\x81" + MASK + b"x", b"\x83\x80" + MASK, b"\x89\xfe\x00\xff", b"\x09\x80"],
)
def test_frames_against_the_rules_end_the_connection(
    page: tuple[Page, Chardev, Front], wrong: bytes
) -> None:
    peer, _, front = page
    peer.ask()
    front.expect_event(Event.OPENED)
    peer.sock.sendall(wrong)
    assert receive(peer.sock, 4) == b"\x88\x02\x03\xea"
    front.expect_event(Event.CLOSED)


@pytest.mark.parametrize(
    "request_text",
    [
        "\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        REQUEST.replace("websocket\r\n", "h2c\r\n"),
        REQUEST.replace("13\r\n", "8\r\n"),
        REQUEST.replace("dGhl", ""),
        REQUEST.replace("binary", "chat"),
        REQUEST.replace("Host: ", "Host "),
    ],
)
def test_other_requests_are_refused(page: tuple[Page, Chardev, Front], request_text: str) -> None:
    peer, _, front = page
    assert peer.ask(request_text).startswith(b"HTTP/1.1 400 ")
    assert receive(peer.sock, 1) == b""
    assert Event.OPENED not in front.events


def test_endless_request_is_refused(page: tuple[Page, Chardev, Front]) -> None:
    peer, _, _ = page
    peer.sock.sendall(b"GET /" + b"x" * 4091)
    assert receive(peer.sock, 12) == b"HTTP/1.1 400"


def test_handshake_is_read_even_if_the_front_end_takes_nothing(
    page: tuple[Page, Chardev, Front],
) -> None:
    peer, port, front = page
    front.room = 0
    assert peer.ask().startswith(b"HTTP/1.1 101 ")
    peer.sock.sendall(frame(2, b"later"))
    front.expect_event(Event.OPENED)
    front.room = 100
    port.accept_input()
    front.expect(b"later")
