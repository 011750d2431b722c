"""Requests to the server, byte by byte, also those that are none."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pemu.block.nbd import protocol as nbd
from pemu.block.nbd.export import Export
from tests.block.nbd.serving import SIZE, Client, dialogue, open_raw


@pytest.fixture
def simple(tmp_path: Path) -> Iterator[Client]:
    """A client with simple replies."""
    with dialogue(Export(open_raw(tmp_path / "disk"))) as client:
        client.greet()
        client.go()
        yield client


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A client with structured replies and two contexts."""
    with dialogue(Export(open_raw(tmp_path / "disk"), depth=True)) as client:
        client.greet()
        client.option(nbd.OPT_STRUCTURED_REPLY)
        names = nbd.string(nbd.BASE_ALLOCATION) + nbd.string(nbd.ALLOCATION_DEPTH)
        client.option(nbd.OPT_SET_META_CONTEXT, nbd.string("") + b"\0\0\0\2" + names)
        client.go()
        yield client


def test_what_is_written_is_read(simple: Client) -> None:
    simple.request(nbd.WRITE, 1000, 5)
    simple.send(b"hello")
    assert simple.simple() == 0
    simple.request(nbd.READ, 999, 7)
    assert simple.simple() == 0
    assert simple.receive(7) == b"\0hello\0"


@pytest.mark.parametrize("length", [1, 70_000, 300_000, SIZE])
@pytest.mark.parametrize("flags", [0, nbd.FUA])
def test_write_that_comes_in_parts(simple: Client, length: int, flags: int) -> None:
    data = bytes(range(251)) * (length // 251 + 1)
    simple.request(nbd.WRITE, SIZE - length, length, flags=flags)
    for at in range(0, length, 50_001):
        simple.send(data[at : min(at + 50_001, length)])
    assert simple.simple() == 0
    simple.request(nbd.READ, SIZE - length, length)
    assert simple.simple() == 0
    assert simple.receive(length) == data[:length]


def test_requests_that_come_together_are_all_answered(simple: Client) -> None:
    one = nbd.Request(flags=0, type=nbd.READ, cookie=7, offset=512, length=4096).emit()
    simple.send(one * 500 + one[:11])
    for _ in range(500):
        assert simple.simple() == 0
        assert simple.receive(4096) == bytes(4096)
    simple.send(one[11:])
    assert simple.simple() == 0


def test_long_read_leaves_out_zeros(client: Client) -> None:
    client.request(nbd.WRITE, 65536, 4096)
    client.send(b"a" * 4096)
    assert client.simple() == 0
    client.request(nbd.READ, 0, SIZE)
    got = bytearray(b"?" * SIZE)
    kinds = []
    flags = 0
    while not flags & nbd.CHUNK_DONE:
        flags, kind, data = client.chunk()
        kinds.append(kind)
        at = int.from_bytes(data[:8], "big")
        if kind == nbd.CHUNK_HOLE:
            length = int.from_bytes(data[8:], "big")
            got[at : at + length] = bytes(length)
        else:
            got[at : at + len(data) - 8] = data[8:]
    assert got == bytes(65536) + b"a" * 4096 + bytes(SIZE - 69632)
    assert kinds == [nbd.CHUNK_HOLE, nbd.CHUNK_DATA, nbd.CHUNK_HOLE]


def test_read_in_one_piece(client: Client) -> None:
    client.request(nbd.READ, 0, SIZE, flags=nbd.DF)
    assert client.chunk() == (nbd.CHUNK_DONE, nbd.CHUNK_DATA, bytes(8 + SIZE))


def test_block_status_of_two_contexts(client: Client) -> None:
    client.request(nbd.WRITE, 65536, 4096)
    client.send(b"a" * 4096)
    client.simple()
    client.request(nbd.BLOCK_STATUS, 0, SIZE)
    found = [client.chunk(), client.chunk()]
    assert [(flags, kind) for flags, kind, _ in found] == [(0, 5), (1, 5)]
    rest = SIZE - 69632
    assert struct.unpack(">7I", found[0][2]) == (0, 65536, 3, 4096, 0, rest, 3)
    assert struct.unpack(">3I", found[1][2]) == (1, SIZE, 1)


def test_block_status_of_one_stretch(client: Client) -> None:
    client.request(nbd.WRITE, 65536, 4096)
    client.send(b"a" * 4096)
    client.simple()
    client.request(nbd.BLOCK_STATUS, 65000, 2000, flags=nbd.REQ_ONE)
    assert struct.unpack(">3I", client.chunk()[2]) == (0, 536, 3)


def test_zeroes_trim_cache_and_flush(client: Client) -> None:
    client.request(nbd.WRITE, 0, 131072)
    client.send(b"a" * 131072)
    assert client.simple() == 0
    for kind, flags in (
        (nbd.WRITE_ZEROES, nbd.FAST_ZERO | nbd.FUA),
        (nbd.WRITE_ZEROES, nbd.NO_HOLE),
        (nbd.TRIM, nbd.FUA),
        (nbd.CACHE, 0),
    ):
        client.request(kind, 4096, 8192, flags=flags)
        assert client.simple() == 0
    client.request(nbd.FLUSH)
    assert client.simple() == 0
    client.request(nbd.READ, 4000, 8192 + 200)
    assert client.chunk()[2][8:] == b"a" * 96 + bytes(8192) + b"a" * 104


@pytest.mark.parametrize(
    ("kind", "offset", "length", "flags", "error"),
    [
        (nbd.READ, SIZE, 1, 0, errno.EINVAL),
        (nbd.READ, (1 << 64) - 1, 2, 0, errno.EINVAL),
        (nbd.READ, 0, (32 << 20) + 1, 0, errno.EINVAL),
        (nbd.READ, 0, 512, nbd.FAST_ZERO, errno.EINVAL),
        (nbd.WRITE_ZEROES, SIZE - 1, 2, 0, errno.ENOSPC),
        (nbd.TRIM, 0, 0xFFFFFFFF, 0, errno.EINVAL),
        (nbd.BLOCK_STATUS, 0, 0, 0, errno.EINVAL),
        (8, 0, 1, 0, errno.EINVAL),
        (0xFFFF, 0, 1, 0xFFFF, errno.EINVAL),
    ],
)
def test_request_that_is_none_is_answered_with_an_error(
    client: Client, kind: int, offset: int, length: int, flags: int, error: int
) -> None:
    client.request(kind, offset, length, flags=flags)
    assert client.error()[0] == error
    client.request(nbd.READ, 0, 0)
    assert client.chunk() == (nbd.CHUNK_DONE, nbd.CHUNK_NONE, b"")


def test_write_beyond_the_end_is_taken_and_refused(client: Client) -> None:
    client.request(nbd.WRITE, SIZE - 100, 200)
    client.send(bytes(200))
    assert client.error() == (errno.ENOSPC, "No space left on device")
    client.request(nbd.FLUSH)
    assert client.simple() == 0


@pytest.mark.parametrize(
    "head",
    [
        bytes(28),
        nbd.Request(flags=0, type=nbd.WRITE, cookie=7, offset=0, length=0xFFFFFFFF).emit(),
        nbd.Request(flags=0, type=nbd.DISCONNECT, cookie=7, offset=0, length=0).emit(),
    ],
)
def test_connection_ends(client: Client, head: bytes) -> None:
    client.send(head)
    assert client.closed()


@pytest.mark.parametrize("kind", [nbd.WRITE_ZEROES, nbd.TRIM, nbd.WRITE])
def test_export_that_is_read_only_is_not_written(tmp_path: Path, kind: int) -> None:
    with dialogue(Export(open_raw(tmp_path / "disk"), readonly=True)) as client:
        client.greet()
        client.go()
        client.request(kind, 0, 512)
        client.send(bytes(512) if kind == nbd.WRITE else b"")
        assert client.simple() == errno.EPERM


def test_reads_that_are_not_in_memory_are_answered_in_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = open_raw(tmp_path / "disk")
    image.write(0, bytes(range(256)) * 256)
    file = image.file
    assert file is not None
    fetched: list[int] = []

    def prefetch(offset: int, length: int) -> bool:
        fetched.append(offset)
        return True

    monkeypatch.setattr(image, "read_cached", lambda offset, buffers: False)
    monkeypatch.setattr(file, "prefetch", prefetch)
    with dialogue(Export(image)) as client:
        client.greet()
        client.go()
        for at in range(0, 65536, 256):
            client.request(nbd.READ, at + 1, 255)
        for _ in range(256):
            assert client.simple() == 0
            assert client.receive(255) == bytes(range(1, 256))
    assert len(fetched) == 256


def test_read_that_fails_after_it_was_expected_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = open_raw(tmp_path / "disk")

    def fail(offset: int, buffers: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(image, "read_cached", lambda offset, buffers: False)
    monkeypatch.setattr(image, "read_into", fail)
    with dialogue(Export(image)) as client:
        client.greet()
        client.go()
        client.request(nbd.READ, 0, 512)
        assert client.simple() == errno.EIO
        client.request(nbd.FLUSH)
        assert client.simple() == 0
