"""Control messages of sendmsg and recvmsg: headers by ABI, payloads by kind.

A header is a size_t and two ints, messages are aligned to the word size (for n32 and o32 to 4
bytes, also under a 64-bit kernel). Levels and types are the host's but for SOL_SOCKET. Payloads
whose kind is not known are turned as a number if they have its size, else passed as they are.
"""

from __future__ import annotations

import errno
import struct

from pemu.linux.mips.errno import to_guest as errno_to_guest
from pemu.linux.mips.socket_numbers import HOST_SOL_SOCKET, SOL_SOCKET
from pemu.linux.sockets import sockaddr
from pemu.linux.structs.byteorder import swap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pemu.linux.process import Thread
    from pemu.linux.structs.layout import Struct

    Payload = str | Callable[[Thread, bytes, bool], bytes]

SOL_IP, SOL_TCP, SOL_UDP, SOL_IPV6 = 0, 6, 17, 41
SOL_SCTP, SOL_PACKET, SOL_NETLINK, SOL_ALG = 132, 263, 270, 279
SCM_RIGHTS = 1

_HOST = struct.Struct("<Qii")


def _header(t: Thread) -> struct.Struct:
    order = ">" if t.target.big_endian else "<"
    return struct.Struct(f"{order}{'Q' if t.target.word == 8 else 'I'}ii")


def _times(name: str, count: int) -> Callable[[Thread, bytes, bool], bytes]:
    """`count` structures `name` with longs in them."""

    def convert(t: Thread, data: bytes, to_host: bool) -> bytes:
        from pemu.linux.structs import time as time_structs

        layout: Struct = getattr(time_structs, name)
        guest, host = layout.of(t.mem), layout.host()
        source, target = (guest, host) if to_host else (host, guest)
        if len(data) < count * source.size:
            return data
        return b"".join(
            target.pack(source.unpack(data, i * source.size).__dict__) for i in range(count)
        )

    return convert


def _address(t: Thread, data: bytes, to_host: bool) -> bytes:
    turn = sockaddr.to_host if to_host else sockaddr.to_guest
    return turn(data, t.target.big_endian)


def _extended_error(t: Thread, data: bytes, to_host: bool) -> bytes:
    """`struct sock_extended_err` and the address of who sent the error."""
    if to_host or len(data) < 16:
        return data
    error = errno_to_guest(int.from_bytes(data[:4], "little"))
    rest = data[4:16] + _address(t, data[16:], False)
    if not t.target.big_endian:
        return error.to_bytes(4, "little") + rest
    return error.to_bytes(4, "big") + swap(rest, "4B2I")


def _path_mtu(t: Thread, data: bytes, to_host: bool) -> bytes:
    return swap(data, "H22B2I") if t.target.big_endian else data


_PAYLOADS: dict[tuple[int, int], Payload] = {
    (HOST_SOL_SOCKET, SCM_RIGHTS): "I*",
    (HOST_SOL_SOCKET, 2): "3I",  # SCM_CREDENTIALS
    (HOST_SOL_SOCKET, 3): "",  # SCM_SECURITY
    (HOST_SOL_SOCKET, 29): _times("TIMEVAL", 1),  # SCM_TIMESTAMP
    (HOST_SOL_SOCKET, 35): _times("TIMESPEC", 1),  # SCM_TIMESTAMPNS
    (HOST_SOL_SOCKET, 37): _times("TIMESPEC", 3),  # SCM_TIMESTAMPING
    (HOST_SOL_SOCKET, 58): "4I",  # SCM_TIMESTAMPING_PKTINFO
    (HOST_SOL_SOCKET, 61): "Q",  # SCM_TXTIME
    (HOST_SOL_SOCKET, 63): "2Q",  # SCM_TIMESTAMP_NEW
    (HOST_SOL_SOCKET, 64): "2Q",  # SCM_TIMESTAMPNS_NEW
    (HOST_SOL_SOCKET, 65): "6Q",  # SCM_TIMESTAMPING_NEW
    (SOL_IP, 7): "",  # IP_RETOPTS
    (SOL_IP, 8): "I",  # IP_PKTINFO
    (SOL_IP, 11): _extended_error,  # IP_RECVERR
    (SOL_IP, 18): "",  # SCM_SECURITY
    (SOL_IP, 20): _address,  # IP_ORIGDSTADDR
    (SOL_UDP, 103): "H",  # UDP_SEGMENT
    (SOL_IPV6, 2): "16BI",  # IPV6_2292PKTINFO
    (SOL_IPV6, 11): "",  # IPV6_FLOWINFO
    (SOL_IPV6, 25): _extended_error,  # IPV6_RECVERR
    (SOL_IPV6, 50): "16BI",  # IPV6_PKTINFO
    (SOL_IPV6, 61): _path_mtu,  # IPV6_PATHMTU
    (SOL_IPV6, 74): _address,  # IPV6_ORIGDSTADDR
    (SOL_SCTP, 1): "3H6B5I",  # SCTP_SNDRCV
    (SOL_SCTP, 2): "2H4B2I",  # SCTP_SNDINFO
    (SOL_SCTP, 3): "3H6B4I",  # SCTP_RCVINFO
    (SOL_SCTP, 4): "2H4B2I",  # SCTP_NXTINFO
    (SOL_PACKET, 8): "3I4H",  # PACKET_AUXDATA
    (SOL_NETLINK, 3): "I",  # NETLINK_PKTINFO
    (SOL_ALG, 2): "I",  # ALG_SET_IV
}


def _payload(t: Thread, level: int, kind: int, data: bytes, to_host: bool) -> bytes:
    rule = _PAYLOADS.get((level, kind))
    if rule is None:
        rule = "I" if len(data) == 4 else ""
    if not isinstance(rule, str):
        return rule(t, data, to_host)
    return swap(data, rule) if t.target.big_endian else data


def to_host(t: Thread, data: bytes) -> bytes:
    """The control messages that a guest sends; raises OSError(EINVAL) for a malformed header."""
    header = _header(t)
    align = t.target.word - 1
    out = bytearray()
    pos = 0
    while len(data) - pos >= header.size:
        length, level, kind = header.unpack_from(data, pos)
        if length < header.size or length > len(data) - pos:
            raise OSError(errno.EINVAL, "Invalid argument")
        if level == SOL_SOCKET:
            level = HOST_SOL_SOCKET
        elif level == HOST_SOL_SOCKET:
            raise OSError(errno.EINVAL, "Invalid argument")
        payload = _payload(t, level, kind, data[pos + header.size : pos + length], True)
        out += _HOST.pack(_HOST.size + len(payload), level, kind) + payload
        out += b"\0" * (-len(out) & 7)
        pos += (length + align) & ~align
    return bytes(out)


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Level, type and payload of each of the host's control messages."""
    pos = 0
    while len(data) - pos >= _HOST.size:
        length, level, kind = _HOST.unpack_from(data, pos)
        if length < _HOST.size:
            return
        yield level, kind, data[pos + _HOST.size : pos + length]
        pos += (length + 7) & ~7


def host_room(t: Thread, room: int) -> int:
    """Bytes of control messages to ask the host for, when a guest has `room` bytes."""
    return room and 2 * room + 64


def to_guest(t: Thread, data: bytes, room: int) -> tuple[bytes, bool]:
    """The host's control messages in a guest's buffer of `room` bytes; whether some were cut.

    Descriptors that found no room are closed, as the kernel does not install them.
    """
    header = _header(t)
    align = t.target.word - 1
    out = b""
    cut = False
    for level, kind, payload in messages(data):
        is_rights = level == HOST_SOL_SOCKET and kind == SCM_RIGHTS
        left = room - len(out) - header.size
        if is_rights:
            fits = max(left, 0) // 4 * 4
            if fits < len(payload):
                cut = True
                _close(payload[fits:])
                payload = payload[:fits]
            if not payload:
                continue
            _adopt(t, payload)
        if left < 0:
            cut = True
            continue
        turned = _payload(t, level, kind, payload, False)
        if len(turned) > left:
            cut = True
            turned = turned[:left]
        guest_level = SOL_SOCKET if level == HOST_SOL_SOCKET else level
        out += header.pack(header.size + len(turned), guest_level, kind) + turned
        out += b"\0" * min(-len(out) & align, room - len(out))
    return out, cut


def _descriptors(payload: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(payload) // 4}i", payload[: len(payload) // 4 * 4])


def _close(payload: bytes) -> None:
    import os

    for fd in _descriptors(payload):
        os.close(fd)


def _adopt(t: Thread, payload: bytes) -> None:
    from pemu.linux.translators import adopt

    for fd in _descriptors(payload):
        adopt(t, fd)
