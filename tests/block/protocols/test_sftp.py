"""SFTP beside a server that the test plays."""

from __future__ import annotations

import errno
import random
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from pemu.block.protocols.sftp import READ, Packet, Sftp

CONTENTS = random.Random(7).randbytes(3_000_000)
STATUS = bytes([Packet.STATUS])
HANDLE = struct.pack(">I", 3) + b"one"


class Channel:
    """One end of a socket pair, which stands for an SSH channel."""

    def __init__(self, end: socket.socket) -> None:
        self.recv, self.sendall = end.recv, end.sendall

    def invoke_subsystem(self, name: str) -> None:
        assert name == "sftp"


class Server(threading.Thread):
    """Answers in any order, and reads in part. Nothing is written beyond `room` bytes.

    lie: how each read is answered instead, behind type and number.
    """

    def __init__(self, end: socket.socket, room: int, lie: bytes) -> None:
        super().__init__(daemon=True)
        self.end, self.lie = end, lie
        self.chance = random.Random(3)
        self.written = bytearray(room)

    def run(self) -> None:
        held: list[bytes] = []
        file = self.end.makefile("rb", buffering=0)
        while True:
            if held and (len(held) == 20 or not select.select([self.end], [], [], 0.01)[0]):
                with suppress(BrokenPipeError):
                    self.end.sendall(held.pop(self.chance.randrange(len(held))))
                continue
            packet = read_packet(file)
            if not packet:
                return
            answer = self.answer(packet[0], packet[1:5], packet[5:])
            held.append(struct.pack(">I", len(answer)) + answer)

    def answer(self, kind: int, number: bytes, body: bytes) -> bytes:
        if kind == Packet.INIT:
            return bytes([Packet.VERSION]) + struct.pack(">I", 3)
        if kind == Packet.OPEN:
            return bytes([Packet.HANDLE]) + number + HANDLE
        assert body.startswith(HANDLE)
        offset, length = struct.unpack_from(">QI", body, len(HANDLE))
        if kind == Packet.WRITE:
            data = body[len(HANDLE) + 12 :]
            assert len(data) == length
            if offset + length > len(self.written):
                return STATUS + number + struct.pack(">II", 4, 4) + b"full" + bytes(4)
            self.written[offset : offset + length] = data
            return STATUS + number + bytes(12)
        if self.lie:
            return self.lie[:1] + number + self.lie[1:]
        data = CONTENTS[offset : offset + self.chance.randint(1, length)]
        if not data:
            return STATUS + number + struct.pack(">II", 1, 3) + b"end" + bytes(4)
        return bytes([Packet.DATA]) + number + struct.pack(">I", len(data)) + data


def read_packet(file: object) -> bytes:
    def exactly(length: int) -> bytes:
        got = b""
        while len(got) < length and (more := file.read(length - len(got))):  # type: ignore[attr-defined]
            got += more
        return got

    return exactly(int.from_bytes(exactly(4), "big"))


@contextmanager
def session(room: int = 0, lie: bytes = b"") -> Iterator[tuple[Sftp, bytes, Server]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = Server(theirs, room, lie)
        server.start()
        client = Sftp(Channel(ours))
        yield client, client.open("x", READ), server
        ours.shutdown(socket.SHUT_RDWR)
        server.join()


def test_answers_in_parts_and_in_any_order_make_up_what_was_asked_for() -> None:
    with session() as (client, handle, _):
        got = bytearray(1_500_000)
        client.read_into(handle, 777, memoryview(got))
    assert got == CONTENTS[777:1_500_777]


def test_read_beyond_the_end_fails() -> None:
    with session() as (client, handle, _):
        with pytest.raises(OSError, match="end"):
            client.read_into(handle, len(CONTENTS) - 100, memoryview(bytearray(101)))
        last = bytearray(100)
        client.read_into(handle, len(CONTENTS) - 100, memoryview(last))
    assert last == CONTENTS[-100:]


def test_write_fails_if_a_part_of_it_does() -> None:
    with session(1 << 20) as (client, handle, server):
        client.write(handle, 5, memoryview(CONTENTS)[:1_000_000])
        assert server.written[5:1_000_005] == CONTENTS[:1_000_000]
        with pytest.raises(OSError, match="full"):
            client.write(handle, 0, memoryview(CONTENTS)[: (1 << 20) + 1])
        client.write(handle, 0, memoryview(b"goes on"))
        assert server.written[:7] == b"goes on"


@pytest.mark.parametrize(
    "lie",
    [
        bytes([Packet.DATA]),
        bytes([Packet.DATA]) + bytes(4),
        bytes([Packet.DATA]) + struct.pack(">I", 100) + bytes(100),
        bytes([Packet.DATA]) + struct.pack(">I", 100) + b"short",
        bytes([Packet.ATTRS]) + bytes(12),
        bytes([Packet.STATUS]) + bytes(12),
        bytes([Packet.STATUS]) + b"\1",
        bytes([Packet.STATUS]) + struct.pack(">II", 4, 1 << 31),
        bytes([Packet.DATA]) + bytes(2 << 20),
    ],
)
def test_answer_that_makes_no_sense_is_an_error(lie: bytes) -> None:
    with session(lie=lie) as (client, handle, _):
        with pytest.raises(OSError, match="makes no sense") as raised:
            client.read_into(handle, 0, memoryview(bytearray(10)))
        assert raised.value.errno == errno.EIO
