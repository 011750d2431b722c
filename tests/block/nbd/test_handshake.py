"""The server's side of the handshake, as a dialogue; clients that do what they must not."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pemu.block.nbd import protocol as nbd
from pemu.block.nbd.export import Export
from tests.block.nbd.serving import SIZE, Client, dialogue, open_raw

NAME = nbd.string("disk")


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def client(tmp_path: Path, warnings: list[str]) -> Iterator[Client]:
    image = open_raw(tmp_path / "disk")
    export = Export(image, "disk", "a disk", depth=True)
    with dialogue(export, Export(image.retain(), "same"), warn=warnings.append) as client:
        yield client


def test_export_name_without_zeroes(client: Client) -> None:
    client.greet()
    client.send(nbd.Option(option=nbd.OPT_EXPORT_NAME, length=4).emit() + b"disk")
    size, flags = struct.unpack(">QH", client.receive(10))
    assert size == SIZE
    assert flags & (nbd.HAS_FLAGS | nbd.SEND_DF) == nbd.HAS_FLAGS


def test_export_name_with_zeroes_for_the_oldest_clients(client: Client) -> None:
    client.greet(0)
    client.send(nbd.Option(option=nbd.OPT_EXPORT_NAME, length=4).emit() + b"disk")
    assert client.receive(134)[10:] == bytes(124)


def test_list_names_all_exports(client: Client) -> None:
    client.greet()
    assert client.option(nbd.OPT_LIST) == [
        (nbd.REP_SERVER, NAME + b"a disk"),
        (nbd.REP_SERVER, nbd.string("same")),
        (nbd.REP_ACK, b""),
    ]


def test_info_leaves_the_handshake_open_and_go_ends_it(client: Client) -> None:
    client.greet()
    asked = NAME + b"\0\1" + nbd.INFO_BLOCK_SIZE.to_bytes(2, "big")
    replies = client.option(nbd.OPT_INFO, asked)
    assert {data[:2] for kind, data in replies if kind == nbd.REP_INFO} == {
        b"\0\0",
        b"\0\2",
        b"\0\3",
    }
    assert replies[-1] == (nbd.REP_ACK, b"")
    assert client.go("disk")[-1] == (nbd.REP_ACK, b"")
    client.request(nbd.FLUSH)
    assert client.simple() == 0


def test_contexts_are_chosen_for_one_export(client: Client) -> None:
    client.greet()
    client.option(nbd.OPT_STRUCTURED_REPLY)
    query = nbd.string("base:allocation")
    for listing, queries, found in (
        (nbd.OPT_LIST_META_CONTEXT, [], [b"base:allocation", b"qemu:allocation-depth"]),
        (nbd.OPT_LIST_META_CONTEXT, [nbd.string("qemu:")], [b"qemu:allocation-depth"]),
        (nbd.OPT_SET_META_CONTEXT, [nbd.string("qemu:"), query], [b"base:allocation"]),
        (nbd.OPT_SET_META_CONTEXT, [nbd.string("x:y")], []),
    ):
        data = NAME + len(queries).to_bytes(4, "big") + b"".join(queries)
        replies = client.option(listing, data)
        assert [data[4:] for _, data in replies[:-1]] == found
    client.option(nbd.OPT_SET_META_CONTEXT, NAME + b"\0\0\0\1" + query)
    assert client.go("same")[-1] == (nbd.REP_ACK, b"")
    client.request(nbd.BLOCK_STATUS, 0, 512)
    assert client.error()[0] == 22


@pytest.mark.parametrize(
    ("option", "data", "error"),
    [
        (nbd.OPT_LIST, b"x", nbd.ERR_INVALID),
        (nbd.OPT_STRUCTURED_REPLY, b"x", nbd.ERR_INVALID),
        (nbd.OPT_STARTTLS, b"", nbd.ERR_POLICY),
        (nbd.OPT_GO, b"", nbd.ERR_INVALID),
        (nbd.OPT_GO, b"\xff\xff\xff\xffdisk\0\0", nbd.ERR_INVALID),
        (nbd.OPT_GO, NAME + b"\0\3\0\0", nbd.ERR_INVALID),
        (nbd.OPT_GO, NAME + b"\0\0\0", nbd.ERR_INVALID),
        (nbd.OPT_GO, nbd.string("other") + b"\0\0", nbd.ERR_UNKNOWN),
        (nbd.OPT_SET_META_CONTEXT, NAME + b"\0\0\0\0", nbd.ERR_INVALID),  # not structured
        (11, b"", nbd.ERR_UNSUP),
        (0xFFFFFFFF, b"abc", nbd.ERR_UNSUP),
        (nbd.OPT_GO, bytes(100_000), nbd.ERR_TOO_BIG),
    ],
)
def test_malformed_option_is_refused_and_the_next_one_answered(
    client: Client, option: int, data: bytes, error: int
) -> None:
    client.greet()
    assert client.option(option, data)[-1][0] == error
    assert client.option(nbd.OPT_ABORT) == [(nbd.REP_ACK, b"")]
    assert client.closed()


@pytest.mark.parametrize(
    ("data", "warning"),
    [
        (b"\0\0\0\xff", "unknown flags 0xff"),
        (b"\0\0\0\3" + bytes(16), "does not begin as one"),
        (b"\0\0\0\0" + nbd.Option(option=nbd.OPT_LIST, length=0).emit(), "fixed newstyle"),
        (b"\0\0\0\3" + nbd.Option(option=3, length=1 << 31).emit(), "an option of 2147483648"),
        (b"\0\0\0\3" + nbd.Option(option=1, length=3).emit() + b"not", "no export of that name"),
        (b"\0\0\0\3" + nbd.Option(option=6, length=9).emit(), ""),
        (b"", ""),
    ],
)
def test_client_that_cannot_be_answered_is_sent_away(
    client: Client, warnings: list[str], data: bytes, warning: str
) -> None:
    client.receive(18)
    client.send(data)
    client.sock.shutdown(1)
    assert client.closed()
    assert not warning or warning in warnings[0]


def test_options_without_end_are_not_answered_for_ever(client: Client) -> None:
    client.greet()
    for _ in range(1000):
        client.option(nbd.OPT_LIST)
    assert client.closed()
