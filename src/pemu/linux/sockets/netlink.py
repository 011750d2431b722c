"""Netlink messages between a guest and the host's kernel.

Netlink speaks the byte order of the kernel. A big-endian guest's messages are therefore turned
here, header, family header and attributes, by tables of the attribute types (Linux uapi headers
`linux/netlink.h`, `rtnetlink.h`, `if_link.h`, `if_addr.h`, `neighbour.h`, `fib_rules.h`,
`nexthop.h`, `genetlink.h`, `inet_diag.h`, `unix_diag.h`). An attribute that no table knows keeps
its payload. For guests of either order the error numbers in acknowledgements are converted.

Left out: the attributes of generic netlink families other than the controller, of traffic control
kinds, and of XFRM; their headers are converted and their payloads pass as they are.
"""

from __future__ import annotations

import struct

from pemu.linux.structs.byteorder import size, swap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Attributes = dict[int, "str | Attributes | Special"]
    Special = Callable[["Turn", bytes], bytes]
    Family = tuple[str, Attributes]

NETLINK_ROUTE = 0
NETLINK_USERSOCK = 2
NETLINK_SOCK_DIAG = 4
NETLINK_AUDIT = 9
NETLINK_CONNECTOR = 11
NETLINK_NETFILTER = 12
NETLINK_KOBJECT_UEVENT = 15
NETLINK_GENERIC = 16

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLA_TYPE_MASK = 0x3FFF
NLA_F_NESTED = 0x8000

_HEADER = 16
_RAW_PROTOCOLS = (NETLINK_USERSOCK, NETLINK_KOBJECT_UEVENT)
_ANY = -1  # key of what applies to every attribute type that has no entry of its own


class Turn:
    """One message's conversion: its direction and the byte order it comes in.

    `source` is '<' or '>' for a message whose byte order changes, the order of the data as they
    stand; `family` is the first byte of the family header.
    """

    __slots__ = ("family", "request", "source")

    def __init__(self, source: str, request: bool) -> None:
        self.source = source
        self.request = request
        self.family = 0

    def attributes(self, data: bytes, table: Attributes) -> bytes:
        """A stream of attributes, each payload converted as `table` says."""
        out = bytearray()
        pos = 0
        while pos + 4 <= len(data):
            length, kind = struct.unpack_from(self.source + "HH", data, pos)
            if length < 4 or pos + length > len(data):
                break
            out += swap(data[pos : pos + 4], "2H")
            out += self.payload(data[pos + 4 : pos + length], kind, table)
            pos += length
            pad = min(-length & 3, len(data) - pos)
            out += data[pos : pos + pad]
            pos += pad
        return bytes(out) + data[pos:]

    def payload(self, data: bytes, kind: int, table: Attributes) -> bytes:
        """An attribute's payload turned around, as `table` says for its kind."""
        rule = table.get(kind & NLA_TYPE_MASK)
        if rule is None:
            rule = table.get(_ANY)
        if isinstance(rule, str):
            return swap(data, rule)
        if isinstance(rule, dict):
            return self.attributes(data, rule)
        if rule is not None:
            return rule(self, data)
        return self.attributes(data, {}) if kind & NLA_F_NESTED else data


def _numbers(
    H: tuple[int, ...] = (),
    I: tuple[int, ...] = (),  # noqa: E741
    Q: tuple[int, ...] = (),
) -> Attributes:
    """Attribute types whose payload is one number, by its width as in `byteorder`."""
    table: Attributes = dict.fromkeys(H, "H")
    table.update(dict.fromkeys(I, "I"))
    table.update(dict.fromkeys(Q, "Q"))
    return table


# rtnetlink

_IFINFO = "2BH3I"
_BRIDGE_PORT = _numbers(
    H=(2, 15, 16, 17, 18, 31),
    I=(3, 34, 37, 38),
    Q=(21, 22, 23),
)
_BRIDGE = _numbers(
    H=(6, 9, 12, 39),
    I=(1, 2, 3, 4, 5, 13, 26, 27, 28, 29),
    Q=(16, 17, 18, 19, 30, 31, 32, 33, 34, 35),
) | {46: "2I"}


def _veth_peer(turn: Turn, data: bytes) -> bytes:
    return swap(data[:16], _IFINFO) + turn.attributes(data[16:], _LINK)


_LINK_KINDS: dict[bytes, Attributes] = {
    b"vlan": {1: "H", 2: "2I", 3: {1: "2I"}, 4: {1: "2I"}},
    b"veth": {1: _veth_peer},
    b"bridge": _BRIDGE,
    b"macvlan": {1: "I", 2: "H", 3: "I", 6: "I", 7: "I", 8: "I"},
    b"ipvlan": {1: "H", 2: "H"},
    b"vrf": {1: "I"},
    b"tun": {1: "I", 2: "I", 8: "I", 9: "I"},
    b"bond": _numbers(I=(2, 3, 4, 5, 7, 9, 10, 11, 15, 18, 19, 20)),
    b"vxlan": {1: "I", 3: "I", 8: "I", 9: "I"},
}


def _link_info(turn: Turn, data: bytes) -> bytes:
    """IFLA_LINKINFO: what IFLA_INFO_DATA holds depends on the sibling IFLA_INFO_KIND."""
    table: Attributes = {}
    pos = 0
    while pos + 4 <= len(data):
        length, kind = struct.unpack_from(turn.source + "HH", data, pos)
        if length < 4:
            break
        name = data[pos + 4 : pos + length].rstrip(b"\0")
        if kind & NLA_TYPE_MASK == 1:
            table[2] = _LINK_KINDS.get(name, {})
        elif kind & NLA_TYPE_MASK == 4 and name == b"bridge":
            table[5] = _BRIDGE_PORT
        pos += (length + 3) & ~3
    return turn.attributes(data, table)


_AF_SPEC: Attributes = {
    2: {1: {_ANY: "I"}},
    10: {1: "I", 2: "I*", 3: "Q*", 5: "4I", 6: "Q*", 9: "I"},
}
_BRIDGE_AF_SPEC: Attributes = {0: "H", 1: "H", 2: "2H"}


def _link_af_spec(turn: Turn, data: bytes) -> bytes:
    return turn.attributes(data, _BRIDGE_AF_SPEC if turn.family == 7 else _AF_SPEC)


def _link_protinfo(turn: Turn, data: bytes) -> bytes:
    if turn.family == 7:
        return turn.attributes(data, _BRIDGE_PORT)
    table = _AF_SPEC.get(turn.family)
    return turn.attributes(data, table) if isinstance(table, dict) else data


_LINK: Attributes = _numbers(
    I=(
        *(4, 5, 8, 9, 10, 13, 15, 19, 21, 27, 28, 29, 30, 31, 32, 35, 37, 40, 41, 44, 45, 46, 47),
        *(48, 49, 50, 51, 58, 59, 60, 61, 63, 64),
    )
) | {
    7: "I*",
    12: _link_protinfo,
    14: "3QH",
    18: _link_info,
    23: "Q*",
    26: _link_af_spec,
    43: _numbers(I=(1, 3, 4, 5, 6, 7)),
    52: {},
    55: {1: "I", 2: "I"},
}
_ADDR: Attributes = {6: "4I", 8: "I", 9: "I", 10: "I"}


def _next_hops(turn: Turn, data: bytes) -> bytes:
    """RTA_MULTIPATH: `struct rtnexthop` records, each followed by its own attributes."""
    out = b""
    while len(data) >= 8:
        length = struct.unpack_from(turn.source + "H", data)[0]
        if length < 8 or length > len(data):
            break
        out += swap(data[:8], "H2BI") + turn.attributes(data[8:length], _ROUTE)
        end = (length + 3) & ~3
        out += data[length:end]
        data = data[end:]
    return out + data


_METRICS: Attributes = {16: "", _ANY: "I"}
_ROUTE: Attributes = _numbers(H=(18, 21), I=(3, 4, 6, 11, 15, 16, 23, 25, 30)) | {
    8: _METRICS,
    9: _next_hops,
    12: "8I",
    17: "3Q",
}
_NEIGHBOUR: Attributes = _numbers(H=(5,), I=(4, 7, 8, 9, 10, 11, 13, 15)) | {3: "4I"}
_RULE: Attributes = _numbers(I=(4, 6, 10, 11, 13, 14, 15, 16)) | {20: "2I", 23: "2H", 24: "2H"}
_TRAFFIC: Attributes = {
    3: "Q7I",
    7: {1: "QI", 2: "2I", 3: "5I", 5: "2Q", 7: "QI", 8: "Q"},
    11: "I",
    13: "I",
    14: "I",
    15: "I",
}
_NEXT_HOP: Attributes = {1: "I", 3: "H", 5: "I", 7: "H", 10: "I"}
_NEIGHBOUR_TABLE: Attributes = {
    2: "I",
    3: "I",
    4: "I",
    5: "2H7I",
    6: _numbers(I=(1, 2, 8, 9, 10, 11, 14, 16, 17)) | {_ANY: "Q"},
    7: "Q*",
    8: "Q",
}

_ADDR_HEADER = "4BI"
_TRAFFIC_HEADER = "2BH4I"
# First message type of each group of four (new, delete, get, set): family header and attributes.
_ROUTE_FAMILIES: dict[int, Family] = {
    16: (_IFINFO, _LINK),
    20: (_ADDR_HEADER, _ADDR),
    24: ("8BI", _ROUTE),
    28: ("2BHIH2B", _NEIGHBOUR),
    32: ("8BI", _RULE),
    36: (_TRAFFIC_HEADER, _TRAFFIC),
    40: (_TRAFFIC_HEADER, _TRAFFIC),
    44: (_TRAFFIC_HEADER, _TRAFFIC),
    52: ("2BHI4B", {2: "2I"}),
    56: (_ADDR_HEADER, _ADDR),
    60: (_ADDR_HEADER, _ADDR),
    64: ("2BH", _NEIGHBOUR_TABLE),
    72: ("4B2I", {2: "I"}),
    80: ("B", {_ANY: "I"}),
    84: ("4BI", {}),
    88: ("B", {_ANY: "I"}),
    92: ("2BH2I", {1: "Q*"}),
    100: (_TRAFFIC_HEADER, _TRAFFIC),
    104: ("4BI", _NEXT_HOP),
    108: (_IFINFO, _LINK),
}

# Socket diagnosis

TCP_INFO = "8B24I4Q6I4Q2I2Q6I2HI"
_SOCKET_ID = "36B3I"  # ports and addresses are in network order already
_INET_REQUEST: Family = ("4BI" + _SOCKET_ID, {})
_INET_REPLY: Family = (
    "4B" + _SOCKET_ID + "5I",
    {1: "4I", 2: TCP_INFO, 3: "4I", 7: "9I", 9: "2H3I", 15: "I", 16: "5I", 17: "I", 21: "Q"},
)
_UNIX_REQUEST: Family = ("2BH5I", {})
_UNIX_REPLY: Family = ("4B3I", {1: "2I", 2: "I", 3: "I*", 4: "2I", 5: "9I", 7: "I"})
_NETLINK_REQUEST: Family = ("2BH4I", {})
_NETLINK_REPLY: Family = ("4B6I", {0: "9I", 1: "I*", 2: "4I", 3: "4I", 4: "I"})
_PACKET_REQUEST: Family = ("2BH4I", {})
_PACKET_REPLY: Family = ("2BH3I", {0: "5I", 4: "I", 5: "I", 6: "9I"})
_DIAG: dict[int, tuple[Family, Family]] = {
    1: (_UNIX_REQUEST, _UNIX_REPLY),
    2: (_INET_REQUEST, _INET_REPLY),
    10: (_INET_REQUEST, _INET_REPLY),
    16: (_NETLINK_REQUEST, _NETLINK_REPLY),
    17: (_PACKET_REQUEST, _PACKET_REPLY),
}

# Other families

_GENERIC_HEADER = "2BH"
_CONTROLLER: Attributes = {
    1: "H",
    3: "I",
    4: "I",
    5: "I",
    6: {_ANY: {1: "I", 2: "I"}},
    7: {_ANY: {2: "I"}},
    10: "I",
}
_EXTENDED_ACK: Attributes = {2: "I", 5: "I", 6: "I"}


def _family(turn: Turn, protocol: int, kind: int) -> Family:
    """Family header and attribute table of a message of type `kind`."""
    if protocol == NETLINK_ROUTE:
        return _ROUTE_FAMILIES.get(kind & ~3, ("", {}))
    if protocol == NETLINK_SOCK_DIAG:
        pair = _DIAG.get(turn.family)
        return ("", {}) if pair is None else pair[0 if turn.request else 1]
    if protocol == NETLINK_GENERIC:
        return (_GENERIC_HEADER, _CONTROLLER if kind == 16 else {})
    if protocol == NETLINK_NETFILTER:
        return ("4B", {})
    if protocol == NETLINK_AUDIT:
        return ("I*", {}) if kind in (1000, 1001) else ("", {})
    if protocol == NETLINK_CONNECTOR:
        return ("4I2H2IQ2I", {})
    return ("", {})


def _body(turn: Turn, protocol: int, kind: int, data: bytes) -> bytes:
    """What follows the message header."""
    turn.family = data[0] if data else 0
    header, table = _family(turn, protocol, kind)
    if not header:
        return data
    start = (size(header) + 3) & ~3
    return swap(data[:start], header) + (
        data[start:] if header.endswith("*") else turn.attributes(data[start:], table)
    )


def _acknowledgement(
    turn: Turn | None,
    protocol: int,
    kind: int,
    flags: int,
    data: bytes,
    to_guest_errno: Callable[[int], int],
) -> bytes:
    """NLMSG_ERROR and NLMSG_DONE: an error number, the message it is about, extended attributes."""
    if len(data) < 4:
        return data
    error = struct.unpack_from("<i", data)[0]
    number = -to_guest_errno(-error) if error < 0 else error
    head = struct.pack("<i" if turn is None else ">i", number)
    rest = data[4:]
    if turn is None:
        return head + rest
    original = b""
    if kind == NLMSG_ERROR and len(rest) >= _HEADER:
        length = _HEADER
        if error and not flags & NLM_F_CAPPED:
            length = struct.unpack_from("<I", rest)[0]
        about = Turn("<", True)
        original = rest[:length]
        message_type = struct.unpack_from("<H", original, 4)[0]
        original = swap(original[:_HEADER], "I2H2I") + _body(
            about, protocol, message_type, original[_HEADER:]
        )
        end = (length + 3) & ~3
        original += rest[length:end]
        rest = rest[end:]
    if flags & NLM_F_ACK_TLVS:
        rest = turn.attributes(rest, _EXTENDED_ACK)
    return head + original + rest


def translate(
    data: bytes,
    protocol: int,
    to_host: bool,
    big_endian: bool,
    to_guest_errno: Callable[[int], int],
) -> bytes:
    """A datagram of netlink messages, for the other side.

    data            what the guest sends (`to_host`) or the host's kernel sent
    protocol        NETLINK_... of the socket
    big_endian      byte order of the guest; the host is little-endian
    to_guest_errno  error number of the host -> the guest's

    A datagram that ends early or holds no messages is converted as far as it makes sense.
    """
    if protocol in _RAW_PROTOCOLS or (to_host and not big_endian):
        return data
    source = ">" if to_host and big_endian else "<"
    out = bytearray()
    pos = 0
    while pos + _HEADER <= len(data):
        length, kind, flags = struct.unpack_from(source + "IHH", data, pos)
        if length < _HEADER:
            break
        header = data[pos : pos + _HEADER]
        body = data[pos + _HEADER : pos + length]
        turn = Turn(source, to_host) if big_endian else None
        if not to_host and kind in (NLMSG_ERROR, NLMSG_DONE):
            body = _acknowledgement(turn, protocol, kind, flags, body, to_guest_errno)
        elif turn is not None and kind >= 16:
            body = _body(turn, protocol, kind, body)
        out += swap(header, "I2H2I") if big_endian else header
        out += body
        end = (pos + length + 3) & ~3
        out += data[pos + length : end]
        pos = end
    return bytes(out) + data[pos:]
