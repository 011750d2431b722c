"""Options of sockets: how the value of each is turned between guest and host.

Most values are ints or structures without word-sized fields, which only a big-endian guest has
otherwise; those that hold longs or pointers are converted for every guest. A value whose option
is not listed is turned as a number if it has a number's size, else passed as it is.

Left out: the tables of iptables and its like (`ENOPROTOOPT`), whose structures hold pointers and
longs, and memory-mapped zero-copy receive.
"""

from __future__ import annotations

import errno
import struct

from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.mips.errno import to_guest as errno_to_guest
from pemu.linux.mips.socket_numbers import (
    HOST_SOL_SOCKET,
    SOCKET_OPTIONS,
    SOCKET_TYPES,
    SOL_SOCKET,
)
from pemu.linux.sockets import sockaddr
from pemu.linux.structs.byteorder import swap
from pemu.linux.structs.layout import Struct
from pemu.linux.structs.time import TIMEVAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.linux.process import Thread

    Value = Callable[[Thread, bytes, bool], bytes]
    Rule = str | Value

SOL_IP, SOL_TCP, SOL_IPV6, SOL_ICMPV6 = 0, 6, 41, 58
SOL_PACKET, SOL_NETLINK, SOL_VSOCK, SOL_TLS, SOL_CAN_RAW = 263, 270, 40, 282, 101

SO_TYPE, SO_ERROR, SO_LINGER, SO_PEERCRED = 3, 4, 13, 17
SO_RCVTIMEO_OLD, SO_SNDTIMEO_OLD = 20, 21
SO_ATTACH_FILTER, SO_ATTACH_REUSEPORT_CBPF, SO_PEERNAME = 26, 51, 28

OPTLEN_MAX = 1 << 20
"""Longest value in bytes; the kernel takes far less for every option."""

_REFUSED = {
    SOL_IP: (9, 16, 17, *range(64, 100)),
    SOL_IPV6: (6, 34, 35, 64, 65, 68, 69),
    SOL_TCP: (35,),
}
"""IP_PKTOPTIONS, IPsec policies, tables of netfilter; TCP_ZEROCOPY_RECEIVE."""

_RINGS = (5, 13)
"""PACKET_RX_RING, PACKET_TX_RING: memory shared with the host's kernel, in its byte order."""

SOCK_FPROG = Struct("sock_fprog", "ushort len", "ptr filter")
_SOCK_FILTER = "H2BI"
_HOST_FPROG = struct.Struct("<H6xQ")


def _timeval(t: Thread, data: bytes, to_host: bool) -> bytes:
    guest, host = TIMEVAL.of(t.mem), TIMEVAL.host()
    source, target = (guest, host) if to_host else (host, guest)
    return TIMEVAL.convert(data, source, target) if len(data) >= source.size else data


def _socket_type(t: Thread, data: bytes, to_host: bool) -> bytes:
    kind = SOCKET_TYPES.to_guest(int.from_bytes(data, "little"))
    return kind.to_bytes(4, t.mem.order)


def _error(t: Thread, data: bytes, to_host: bool) -> bytes:
    number = int.from_bytes(data, "little")
    return (errno_to_guest(number) if number else 0).to_bytes(4, t.mem.order)


def _address(t: Thread, data: bytes, to_host: bool) -> bytes:
    turn = sockaddr.to_host if to_host else sockaddr.to_guest
    return turn(data, t.target.big_endian)


def _group(addresses: int, tail: str) -> Value:
    """An interface index and socket addresses, which are aligned as a long; then `tail`."""

    def convert(t: Thread, data: bytes, to_host: bool) -> bytes:
        guest, host = t.target.word, 8
        source, target = (guest, host) if to_host else (host, guest)
        order = t.target.big_endian
        out = swap(data[:4], "I") if order else data[:4]
        out += b"\0" * (target - 4)
        pos = source
        for _ in range(addresses):
            out += _address(t, data[pos : pos + sockaddr.MAX_SIZE], to_host)
            pos += sockaddr.MAX_SIZE
        if tail:
            out += swap(data[pos : pos + 8], tail) if order else data[pos : pos + 8]
            pos += 8
            while pos < len(data):
                out += _address(t, data[pos : pos + sockaddr.MAX_SIZE], to_host)
                pos += sockaddr.MAX_SIZE
        return out

    return convert


def _tcp_info(t: Thread, data: bytes, to_host: bool) -> bytes:
    """Two bytes hold bit fields, which big-endian compilers allot from the high end."""
    if not t.target.big_endian:
        return data
    from pemu.linux.sockets.netlink import TCP_INFO

    out = bytearray(swap(data, TCP_INFO))
    if len(out) > 7:
        out[6] = (out[6] << 4 | out[6] >> 4) & 0xFF
        out[7] = (out[7] & 1) << 7 | (out[7] & 6) << 4
    return bytes(out)


def _tcp_md5(t: Thread, data: bytes, to_host: bool) -> bytes:
    if not t.target.big_endian:
        return data
    start = sockaddr.MAX_SIZE
    return _address(t, data[:start], to_host) + swap(data[start:], "2BHI")


_MULTICAST_GROUPS: dict[int, Rule] = {
    42: _group(1, ""),  # MCAST_JOIN_GROUP
    43: _group(2, ""),  # MCAST_BLOCK_SOURCE
    44: _group(2, ""),  # MCAST_UNBLOCK_SOURCE
    45: _group(1, ""),  # MCAST_LEAVE_GROUP
    46: _group(2, ""),  # MCAST_JOIN_SOURCE_GROUP
    47: _group(2, ""),  # MCAST_LEAVE_SOURCE_GROUP
    48: _group(1, "2I"),  # MCAST_MSFILTER
}

_RULES: dict[int, dict[int, Rule]] = {
    HOST_SOL_SOCKET: {
        SO_TYPE: _socket_type,
        SO_ERROR: _error,
        SO_LINGER: "2I",
        SO_PEERCRED: "3I",
        SO_RCVTIMEO_OLD: _timeval,
        SO_SNDTIMEO_OLD: _timeval,
        25: "",  # SO_BINDTODEVICE
        SO_PEERNAME: _address,
        31: "",  # SO_PEERSEC
        37: "I*",  # SO_TIMESTAMPING_OLD
        55: "I*",  # SO_MEMINFO
        59: "I*",  # SO_PEERGROUPS
        61: "2I",  # SO_TXTIME
        65: "I*",  # SO_TIMESTAMPING_NEW
        66: "2Q",  # SO_RCVTIMEO_NEW
        67: "2Q",  # SO_SNDTIMEO_NEW
    },
    SOL_IP: {
        4: "",  # IP_OPTIONS
        32: "8BI",  # IP_MULTICAST_IF: an address, two, or two and an index
        35: "8BI",  # IP_ADD_MEMBERSHIP
        36: "8BI",  # IP_DROP_MEMBERSHIP
        37: "",  # IP_UNBLOCK_SOURCE
        38: "",  # IP_BLOCK_SOURCE
        39: "",  # IP_ADD_SOURCE_MEMBERSHIP
        40: "",  # IP_DROP_SOURCE_MEMBERSHIP
        41: "8B2I",  # IP_MSFILTER
        **_MULTICAST_GROUPS,
    },
    SOL_TCP: {
        11: _tcp_info,  # TCP_INFO
        13: "",  # TCP_CONGESTION
        14: _tcp_md5,  # TCP_MD5SIG
        22: "I*",  # TCP_REPAIR_OPTIONS
        26: "I*",  # TCP_CC_INFO
        28: "",  # TCP_SAVED_SYN
        29: "5I",  # TCP_REPAIR_WINDOW
        31: "",  # TCP_ULP
        32: _tcp_md5,  # TCP_MD5SIG_EXT
        33: "",  # TCP_FASTOPEN_KEY
    },
    SOL_IPV6: {
        2: "16BI",  # IPV6_2292PKTINFO
        3: "",  # IPV6_2292HOPOPTS
        4: "",  # IPV6_2292DSTOPTS
        5: "",  # IPV6_2292RTHDR
        20: "16BI",  # IPV6_JOIN_GROUP
        21: "16BI",  # IPV6_LEAVE_GROUP
        27: "16BI",  # IPV6_JOIN_ANYCAST
        28: "16BI",  # IPV6_LEAVE_ANYCAST
        32: "22B3HI",  # IPV6_FLOWLABEL_MGR
        50: "16BI",  # IPV6_PKTINFO
        54: "",  # IPV6_HOPOPTS
        55: "",  # IPV6_RTHDRDSTOPTS
        57: "",  # IPV6_RTHDR
        59: "",  # IPV6_DSTOPTS
        61: "H22B2I",  # IPV6_PATHMTU
        **_MULTICAST_GROUPS,
    },
    SOL_ICMPV6: {1: "8I"},  # ICMPV6_FILTER
    SOL_PACKET: {
        1: "I2H",  # PACKET_ADD_MEMBERSHIP
        2: "I2H",  # PACKET_DROP_MEMBERSHIP
        5: "I*",  # PACKET_RX_RING
        6: "I*",  # PACKET_STATISTICS
        13: "I*",  # PACKET_TX_RING
        21: "Q3I",  # PACKET_ROLLOVER_STATS
    },
    SOL_NETLINK: {9: "I*"},  # NETLINK_LIST_MEMBERSHIPS
    SOL_VSOCK: {6: _timeval, 8: "2Q"},  # SO_VM_SOCKETS_CONNECT_TIMEOUT, old and new
    SOL_TLS: {1: "2H", 2: "2H"},  # TLS_TX, TLS_RX: a header, then keys
    SOL_CAN_RAW: {1: "I*"},  # CAN_RAW_FILTER
}

_PLAIN: dict[int, tuple[int, ...]] = {
    # REUSEADDR DONTROUTE BROADCAST SNDBUF RCVBUF KEEPALIVE OOBINLINE PRIORITY REUSEPORT PASSCRED
    # RCVLOWAT ACCEPTCONN PROTOCOL DOMAIN
    HOST_SOL_SOCKET: (2, 5, 6, 7, 8, 9, 10, 12, 15, 16, 18, 30, 38, 39),
    SOL_IP: (1, 2, 10, 11, 12, 13),  # TOS TTL MTU_DISCOVER RECVERR RECVTTL RECVTOS
    # NODELAY MAXSEG CORK KEEPIDLE KEEPINTVL KEEPCNT SYNCNT LINGER2 DEFER_ACCEPT WINDOW_CLAMP
    # QUICKACK USER_TIMEOUT
    SOL_TCP: (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 18),
    SOL_IPV6: (16, 26, 49),  # UNICAST_HOPS V6ONLY RECVPKTINFO
}
"""Options that are an int for native code too: the host's numbers by the host's level."""


def plain_options() -> dict[int, tuple[int, list[tuple[int, int]]]]:
    """By the guest's level: the host's, and rows of the guest's and the host's numbers."""
    own = [
        (guest, host) for guest, host in SOCKET_OPTIONS.rows() if host in _PLAIN[HOST_SOL_SOCKET]
    ]
    others = {
        level: (level, [(number, number) for number in numbers])
        for level, numbers in _PLAIN.items()
        if level != HOST_SOL_SOCKET
    }
    return {SOL_SOCKET: (HOST_SOL_SOCKET, own), **others}


_ASKED = frozenset(((SOL_IP, 41), (SOL_IP, 48), (SOL_IPV6, 32), (SOL_IPV6, 48)))
"""Options whose value getsockopt reads before it fills it: source filters, flow labels."""

_BY_SIZE = {2: "H", 4: "I", 8: "Q"}


def _host_numbers(t: Thread, level: int, option: int) -> tuple[int, int]:
    """The host's numbers; raises OSError(ENOPROTOOPT) for what is no option of the guest."""
    if level == SOL_SOCKET:
        if not SOCKET_OPTIONS.known(option):
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        return HOST_SOL_SOCKET, SOCKET_OPTIONS.to_host(option)
    refused = option in _REFUSED.get(level, ())
    if level == SOL_PACKET and t.target.big_endian:
        refused = option in _RINGS
    if refused or level == HOST_SOL_SOCKET:
        raise OSError(errno.ENOPROTOOPT, "Protocol not available")
    return level, option


def _turn(t: Thread, level: int, option: int, data: bytes, to_host: bool) -> bytes:
    rules = _RULES.get(level)
    rule = rules.get(option) if rules else None
    if rule is None:
        rule = _BY_SIZE.get(len(data), "")
    if not isinstance(rule, str):
        return rule(t, data, to_host)
    return swap(data, rule) if rule and t.target.big_endian else data


def set_option(t: Thread, fd: int, level: int, option: int, value: int, size: int) -> int:
    """Make setsockopt; `size` is the signed length of the guest's value."""
    level, option = _host_numbers(t, level, option)
    if size < 0 or size > OPTLEN_MAX:
        return -errno.EINVAL
    keep = b""
    if not value:
        return t.host_syscall(NR["setsockopt"], fd, level, option, 0, size)
    if (level, option) in (
        (HOST_SOL_SOCKET, SO_ATTACH_FILTER),
        (HOST_SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF),
        (SOL_PACKET, 22),  # PACKET_FANOUT_DATA
    ):
        if size < SOCK_FPROG.size(t.mem):
            return -errno.EINVAL
        program = SOCK_FPROG.read(t.mem, value)
        keep = t.mem.read(program.filter, 8 * program.len)
        if t.target.big_endian:
            keep = b"".join(swap(keep[i : i + 8], _SOCK_FILTER) for i in range(0, len(keep), 8))
        data = _HOST_FPROG.pack(program.len, address_of(keep))
    else:
        data = _turn(t, level, option, t.mem.read(value, size), True)
    return t.host_syscall(NR["setsockopt"], fd, level, option, address_of(data), len(data))


def get_option(t: Thread, fd: int, level: int, option: int, value: int, length: int) -> int:
    """Make getsockopt; `length` is the address of the length of the guest's value."""
    level, option = _host_numbers(t, level, option)
    size = t.mem.u32(length)
    if size >> 31:
        return -errno.EINVAL
    if (level, option) == (HOST_SOL_SOCKET, SO_ATTACH_FILTER):
        return _get_filter(t, fd, value, length, size)
    room = min(size, OPTLEN_MAX)
    # What is larger on the host than in the guest gets room to be converted from.
    wider = _RULES.get(level, {}).get(option) is _timeval and t.target.word == 4
    content = b""
    if (level, option) in _ASKED:
        content = _turn(t, level, option, t.mem.read(value, room), True)
    capacity = 2 * room if wider else max(room, len(content))
    buffer = HostBuffer(capacity, content)
    used = HostBuffer(4, capacity.to_bytes(4, "little"))
    result = t.host_syscall(NR["getsockopt"], fd, level, option, buffer.address, used.address)
    actual = int.from_bytes(used.raw, "little")
    if result < 0:
        if result == -errno.ERANGE:
            t.mem.put_u32(length, actual)
        return result
    data = _turn(t, level, option, buffer.raw[: min(actual, buffer.size)], False)
    t.mem.write(value, data[:size])
    t.mem.put_u32(length, actual if len(data) == actual else min(len(data), size))
    return result


def _get_filter(t: Thread, fd: int, value: int, length: int, count: int) -> int:
    """SO_GET_FILTER: the length counts instructions."""
    buffer = HostBuffer(8 * min(count, 4096) or 1)
    used = HostBuffer(4, min(count, 4096).to_bytes(4, "little"))
    result = t.host_syscall(
        NR["getsockopt"],
        fd,
        HOST_SOL_SOCKET,
        SO_ATTACH_FILTER,
        buffer.address if count else 0,
        used.address,
    )
    if result >= 0:
        got = int.from_bytes(used.raw, "little")
        if count:
            data = buffer.raw[: 8 * got]
            if t.target.big_endian:
                data = b"".join(swap(data[i : i + 8], _SOCK_FILTER) for i in range(0, len(data), 8))
            t.mem.write(value, data)
        t.mem.put_u32(length, got)
    return result
