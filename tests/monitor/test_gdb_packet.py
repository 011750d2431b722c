"""The framing of gdb's protocol."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemu.monitor.gdb.packet import (
    MAX_PACKET,
    RETRIES,
    Connection,
    Disconnected,
    Framer,
    checksum,
    escape,
    frame,
    unescape,
)
from tests.patience import LONG


def framed(body: bytes) -> bytes:
    """A packet with these bytes as they are, escapes and repeats included."""
    return b"$" + body + b"#%02x" % checksum(body)


def events(data: bytes) -> list[bytes | str]:
    return list(Framer().feed(data))


@given(st.binary(max_size=300), st.integers(1, 20))
def test_packet_survives_however_it_is_cut(content: bytes, size: int) -> None:
    framer = Framer()
    data = frame(content)
    found = []
    for at in range(0, len(data), size):
        found += list(framer.feed(data[at : at + size]))
    assert found == [content]


@given(st.binary(max_size=300))
def test_escaped_data_have_no_special_bytes(content: bytes) -> None:
    assert not set(escape(content)) & set(b"$#*")
    assert unescape(escape(content)) == content


def test_repeats_are_expanded() -> None:
    assert events(framed(b"0* ")) == [b"0000"]
    assert events(framed(b"ab*~c")) == [b"a" + b"b" * 98 + b"c"]


@pytest.mark.parametrize("body", [b"* ", b"a*", b"a*\x1f", b"a*\x7f", b"}"])
def test_nonsense_in_a_packet_makes_it_bad(body: bytes) -> None:
    assert events(framed(body)) == [Framer.BAD]


def test_repeats_do_not_make_a_packet_longer_than_the_limit() -> None:
    assert events(framed(b"a" + b"*~" * (MAX_PACKET // 2 - 1))) == [Framer.BAD]


def test_wrong_checksum_makes_a_packet_bad() -> None:
    assert events(b"$g#00") == [Framer.BAD]
    assert events(b"$g#zz") == [Framer.BAD]


def test_packet_that_is_too_long_is_bad_and_the_next_is_not() -> None:
    assert events(framed(b"a" * (MAX_PACKET + 1)) + frame(b"g")) == [Framer.BAD, b"g"]


def test_packet_without_an_end_is_dropped_when_the_next_begins() -> None:
    assert events(b"$abc" + frame(b"g")) == [b"g"]


def test_noise_between_packets_is_skipped() -> None:
    data = b"xx\xff" + frame(b"g") + b"\0\3+-" + frame(b"?")
    assert events(data) == [b"g", Framer.INTERRUPT, Framer.ACK, Framer.REFUSED, b"?"]


@given(st.binary(max_size=400))
def test_anything_may_come_and_good_packets_are_found_after_it(noise: bytes) -> None:
    framer = Framer()
    for event in framer.feed(noise):
        assert isinstance(event, bytes | str)
    # Whatever the state was: this ends it.
    list(framer.feed(b"$#00"))
    list(framer.feed(b"$#00"))
    assert list(framer.feed(frame(b"g"))) == [b"g"]


@pytest.fixture
def ends() -> tuple[Connection, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(LONG)
    return Connection(ours), theirs


def test_packets_are_acknowledged_until_gdb_wants_no_more(
    ends: tuple[Connection, socket.socket],
) -> None:
    connection, gdb = ends
    gdb.sendall(frame(b"g") + b"$g#00")
    assert list(connection.receive()) == [b"g"]
    assert gdb.recv(100) == b"+-"
    connection.no_ack = True
    gdb.sendall(frame(b"?"))
    assert list(connection.receive()) == [b"?"]
    connection.send(b"S05")
    assert gdb.recv(100) == frame(b"S05")


def test_refused_packet_is_sent_again_but_not_for_ever(
    ends: tuple[Connection, socket.socket],
) -> None:
    connection, gdb = ends
    connection.send(b"OK")
    gdb.sendall(b"-")
    list(connection.receive())
    assert gdb.recv(100) == frame(b"OK") * 2
    gdb.sendall(b"-" * RETRIES)
    with pytest.raises(Disconnected):
        list(connection.receive())


def test_end_of_the_connection_is_told(ends: tuple[Connection, socket.socket]) -> None:
    connection, gdb = ends
    gdb.close()
    with pytest.raises(Disconnected):
        list(connection.receive())


def test_interrupt_is_told_as_none(ends: tuple[Connection, socket.socket]) -> None:
    connection, gdb = ends
    gdb.sendall(b"\3")
    assert list(connection.receive()) == [None]
