"""Telnet and WebSocket streams, taken apart at any place and fed with anything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pemu.chardev.websocket import LONGEST_CONTROL, LONGEST_REQUEST, WebSocket
from pemu.chardev.wire import Telnet, Wire
from tests.chardev.test_websocket import REQUEST, frame


def fed(wire: Wire, data: bytes, cuts: list[int]) -> bytes:
    """What `wire` makes of `data` that comes in pieces."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in zip(places, places[1:], strict=False)]
    return b"".join(wire.decode(piece) for piece in pieces)


def opened() -> WebSocket:
    wire = WebSocket()
    for byte in REQUEST.encode():
        wire.decode(bytes((byte,)))
    assert wire.is_ready
    wire.reply = b""
    return wire


CUTS = st.lists(st.integers(0, 1 << 16), max_size=8)


@given(st.lists(st.sampled_from([b"\xff", b"\xfa", b"\xf0", b"a", b"\0"])), CUTS)
def test_what_telnet_sends_telnet_understands(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    assert fed(Telnet(), Telnet().encode(data), cuts) == data


@given(st.binary(), CUTS)
def test_telnet_delivers_no_more_than_came(data: bytes, cuts: list[int]) -> None:
    wire = Telnet()
    assert len(fed(wire, data, cuts)) <= len(data)


@given(st.lists(st.binary(max_size=300)), CUTS)
def test_frames_are_put_together(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(frame(2, part) + frame(9, part[:LONGEST_CONTROL]) for part in parts)
    wire = opened()
    assert fed(wire, data, cuts) == b"".join(parts)
    assert not wire.is_over


@given(st.binary(max_size=2000), CUTS)
def test_nonsense_after_the_handshake_ends_the_connection_at_most(
    data: bytes, cuts: list[int]
) -> None:
    wire = opened()
    assert len(fed(wire, data, cuts)) <= len(data)
    assert len(wire.reply) <= len(data) + 4


@given(st.binary(max_size=2 * LONGEST_REQUEST))
def test_nonsense_instead_of_a_handshake_is_refused(data: bytes) -> None:
    wire = WebSocket()
    for byte in data + b"\r\n\r\n":
        if wire.is_over:
            break
        wire.decode(bytes((byte,)))
    assert wire.is_over
    assert wire.reply.startswith(b"HTTP/1.1 400 ")
