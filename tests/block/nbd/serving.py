"""Servers for tests, on a Unix socket or a pair of sockets, and a client that speaks in bytes."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.nbd import protocol as nbd
from pemu.block.nbd.export import Export
from pemu.block.nbd.server import Server
from pemu.block.opening import Mode
from pemu.sockets import Unix, listen
from tests.patience import LONG

SIZE = 1 << 20


def open_raw(path: Path, *, size: int = SIZE, readonly: bool = False) -> Image:
    """An image of a raw file, which is made where there is none."""
    if not path.exists():
        path.write_bytes(b"")
        with path.open("r+b") as file:
            file.truncate(size)
    return Graph().open_name(str(path), format="raw", mode=Mode(readonly=readonly, discard=True))


@contextmanager
def serving(path: Path, *exports: Export, **options: Any) -> Iterator[str]:
    """Serve exports on a Unix socket in the directory `path`; the value is the URI of the first."""
    server = Server([listen(Unix(str(path / "socket")))], exports, **options)
    server.start()
    try:
        yield f"nbd+unix:///{exports[0].name}?socket={path / 'socket'}"
    finally:
        server.stop()
        for export in exports:
            export.image.close()


class Client:
    """One end of a pair of sockets, at whose other end a server is."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._early = b""
        sock.settimeout(LONG)

    def send(self, data: bytes) -> None:
        """Send all of `data`, and take what comes meanwhile: the server may wait for that."""
        rest = memoryview(data)
        limit = self.sock.gettimeout()
        self.sock.setblocking(False)
        try:
            while rest:
                ready = select.select([self.sock], [self.sock], [], LONG)
                assert any(ready), "the server neither takes nor gives anything"
                if ready[1]:
                    with suppress(BlockingIOError):
                        rest = rest[self.sock.send(rest) :]
                elif not self._take():
                    raise ConnectionResetError("the server has closed the connection")
        finally:
            self.sock.settimeout(limit)

    def _take(self) -> bool:
        part = self.sock.recv(1 << 16)
        self._early += part
        return bool(part)

    def receive(self, length: int) -> bytes:
        """Exactly `length` bytes; fewer where the server has closed."""
        data, self._early = self._early[:length], self._early[length:]
        while len(data) < length:
            part = self.sock.recv(length - len(data))
            if not part:
                break
            data += part
        return data

    def closed(self) -> bool:
        """Whether the server closes the connection without another word."""
        try:
            return self.receive(1) == b""
        except ConnectionResetError:
            return True

    def greet(self, flags: int = 3) -> None:
        """Receive the greeting, and answer."""
        assert self.receive(18) == b"NBDMAGICIHAVEOPT\0\3"
        self.send(flags.to_bytes(4, "big"))

    def option(self, number: int, data: bytes = b"") -> list[tuple[int, bytes]]:
        """Send an option; the answers up to the last one."""
        self.send(nbd.Option(option=number, length=len(data)).emit() + data)
        found = []
        while True:
            head = nbd.OptionReply.parse(self.receive(nbd.OptionReply.SIZE))
            assert head.option == number
            found.append((head.type, self.receive(head.length)))
            if head.type == nbd.REP_ACK or head.type & nbd.REP_ERROR:
                return found

    def go(self, name: str = "") -> list[tuple[int, bytes]]:
        """Choose an export."""
        return self.option(nbd.OPT_GO, nbd.string(name) + b"\0\0")

    def request(
        self, kind: int, offset: int = 0, length: int = 0, *, flags: int = 0, cookie: int = 7
    ) -> None:
        """Send a request's head."""
        self.send(
            nbd.Request(flags=flags, type=kind, cookie=cookie, offset=offset, length=length).emit()
        )

    def simple(self) -> int:
        """Receive a simple reply; its error."""
        head = nbd.SimpleReply.parse(self.receive(nbd.SimpleReply.SIZE))
        assert (head.magic, head.cookie) == (nbd.SIMPLE_MAGIC, 7)
        return head.error

    def chunk(self) -> tuple[int, int, bytes]:
        """Receive a chunk: flags, type, data."""
        head = nbd.Chunk.parse(self.receive(nbd.Chunk.SIZE))
        assert (head.magic, head.cookie) == (nbd.CHUNK_MAGIC, 7)
        return head.flags, head.type, self.receive(head.length)

    def error(self) -> tuple[int, str]:
        """Receive a chunk that is an error: its number and text."""
        flags, kind, data = self.chunk()
        assert (flags, kind) == (nbd.CHUNK_DONE, nbd.CHUNK_ERROR)
        number, length = struct.unpack_from(">IH", data)
        assert length == len(data) - 6
        return number, data[6:].decode()


@contextmanager
def dialogue(*exports: Export, **options: Any) -> Iterator[Client]:
    """A client of a server of `exports`."""
    server = Server([], exports, **options)
    ours, theirs = socket.socketpair()
    server.serve(theirs)
    try:
        yield Client(ours)
    finally:
        ours.close()
        server.stop()
        for export in exports:
            export.image.close()
