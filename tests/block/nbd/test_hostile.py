"""Clients and servers that send anything: an error, or the connection ends; nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pemu.block.error import ImageError
from pemu.block.nbd import protocol as nbd
from pemu.block.nbd.channel import Channel
from pemu.block.nbd.client import Connection, Info, Negotiation
from pemu.block.nbd.export import Export
from tests.block.nbd.serving import SIZE, dialogue, open_raw

LIMITS = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

NUMBERS = st.sampled_from(
    (0, 1, 3, 511, 512, 4096, SIZE - 1, SIZE, 1 << 25, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
)
WIDE = NUMBERS | st.sampled_from((1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1))
TEXTS = st.sampled_from((b"", b"disk", b"base:allocation", b"base:", b"\xff\0", b"x" * 5000))


def strings(texts: list[bytes], lie: int) -> bytes:
    """Texts with their lengths, the last of which may be wrong."""
    data = b"".join(len(one).to_bytes(4, "big") + one for one in texts)
    return data if not lie else data + lie.to_bytes(4, "big")


OPTIONS = st.builds(
    lambda number, texts, lie, tail, length: (
        nbd.Option(
            option=number, length=len(strings(texts, lie)) + len(tail) if length < 0 else length
        ).emit()
        + strings(texts, lie)
        + tail
    ),
    st.integers(0, 12) | NUMBERS,
    st.lists(TEXTS, max_size=3),
    NUMBERS,
    st.binary(max_size=8),
    st.just(-1) | st.integers(0, 70_000),
)

REQUESTS = st.builds(
    lambda flags, kind, offset, length, data: (
        nbd.Request(flags=flags, type=kind, cookie=1, offset=offset, length=length).emit() + data
    ),
    st.integers(0, 31) | st.just(0xFFFF),
    st.integers(0, 9) | st.just(0xFFFF),
    WIDE,
    NUMBERS,
    st.binary(max_size=600),
)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """What threads have raised; there must be nothing."""
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    yield raised
    assert raised == []


def talk(tmp_path: Path, data: bytes) -> None:
    with dialogue(Export(open_raw(tmp_path / "disk"), "disk", depth=True)) as client:
        client.receive(18)
        try:
            client.send(data)
            client.sock.shutdown(1)
            while client.receive(1 << 16):
                pass
        except OSError:
            pass  # it has had enough


@LIMITS
@given(st.integers(0, 3), st.lists(OPTIONS, max_size=6))
def test_options_of_any_kind(
    tmp_path: Path, broken: list[object], flags: int, options: list[bytes]
) -> None:
    talk(tmp_path, flags.to_bytes(4, "big") + b"".join(options))


@LIMITS
@given(st.booleans(), st.lists(REQUESTS, max_size=6))
def test_requests_of_any_kind(
    tmp_path: Path, broken: list[object], structured: bool, requests: list[bytes]
) -> None:
    start = b"\0\0\0\3"
    if structured:
        start += nbd.Option(option=nbd.OPT_STRUCTURED_REPLY, length=0).emit()
        chosen = nbd.string("disk") + b"\0\0\0\1" + nbd.string(nbd.BASE_ALLOCATION)
        start += nbd.Option(option=nbd.OPT_SET_META_CONTEXT, length=len(chosen)).emit() + chosen
    name = nbd.string("disk") + b"\0\0"
    start += nbd.Option(option=nbd.OPT_GO, length=len(name)).emit() + name
    talk(tmp_path, start + b"".join(requests))


class Script(Channel):
    """A channel on which certain bytes come, and then the end."""

    def __init__(self, data: bytes) -> None:
        import socket

        ours, theirs = socket.socketpair()
        super().__init__(ours)
        threading.Thread(target=self._feed, args=(theirs, data), daemon=True).start()

    def _feed(self, sock: object, data: bytes) -> None:
        import socket

        assert isinstance(sock, socket.socket)
        with sock:
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(1 << 16):
                    pass
            except OSError:
                pass  # the client has had enough


ANSWERS = st.builds(
    lambda option, kind, texts, lie: (
        nbd.OptionReply(option=option, type=kind, length=len(strings(texts, lie))).emit()
        + strings(texts, lie)
    ),
    st.sampled_from((nbd.OPT_GO, nbd.OPT_STRUCTURED_REPLY, nbd.OPT_SET_META_CONTEXT, nbd.OPT_LIST)),
    st.integers(0, 5) | st.integers(nbd.REP_ERROR, nbd.REP_ERROR + 10),
    st.lists(TEXTS, max_size=2),
    NUMBERS,
)


@LIMITS
@given(st.integers(0, 0xFFFF), st.lists(ANSWERS, max_size=6), st.booleans())
def test_server_that_answers_anything(flags: int, answers: list[bytes], listing: bool) -> None:
    data = b"NBDMAGICIHAVEOPT" + flags.to_bytes(2, "big") + b"".join(answers)
    channel = Script(data)
    try:
        negotiation = Negotiation(channel)
        if listing:
            negotiation.exports()
        else:
            negotiation.go("disk", [nbd.BASE_ALLOCATION])
    except (ImageError, OSError):
        pass
    finally:
        channel.close()


CHUNKS = st.builds(
    lambda flags, kind, cookie, data: (
        nbd.Chunk(flags=flags, type=kind, cookie=cookie, length=len(data)).emit() + data
    ),
    st.integers(0, 2),
    st.integers(0, 6) | st.sampled_from((nbd.CHUNK_ERROR, nbd.CHUNK_ERROR_OFFSET, 0xFFFF)),
    st.integers(0, 2),
    st.binary(max_size=40) | st.builds(lambda at: at.to_bytes(8, "big") + bytes(512), WIDE),
)


@LIMITS
@given(st.lists(CHUNKS, max_size=6), st.sampled_from((nbd.READ, nbd.BLOCK_STATUS)))
def test_answers_of_any_kind(chunks: list[bytes], kind: int) -> None:
    connection = Connection(Script(b"".join(chunks)), Info(size=SIZE, structured=True))
    buffers = [memoryview(bytearray(512))] if kind == nbd.READ else []
    try:
        connection.request(kind, 0, 512, buffers=buffers)
    except OSError:
        pass
    finally:
        connection.close()
