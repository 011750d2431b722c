"""Socket addresses: the guest's byte order against the host's, and how -strace shows them.

Layouts do not depend on the word size. What the wire fixes (ports, Internet addresses) is in
network order on both sides and stays. Source: the address headers of Linux uapi.
"""

from __future__ import annotations

import struct

from pemu.linux.structs.byteorder import swap

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_VSOCK = 1, 2, 10, 16, 17, 40

MAX_SIZE = 128
"""Bytes of `struct sockaddr_storage`: the kernel takes and gives no more."""

_LAYOUTS = {
    4: "H",  # AF_IPX
    AF_INET: "H",
    AF_INET6: "H22BI",
    AF_NETLINK: "2H2I",
    AF_PACKET: "H2BIH",
    24: "HI",  # AF_PPPOX, packed
    29: "H2B3I",  # AF_CAN
    30: "H2B3I",  # AF_TIPC
    35: "H",  # AF_PHONET
    36: "H2BI2H",  # AF_IEEE802154
    38: "H14B2I",  # AF_ALG
    39: "H2B3I",  # AF_NFC
    AF_VSOCK: "2H2I",
    42: "H2B2I",  # AF_QIPCRTR
    44: "2H3I",  # AF_XDP
}

_FAMILIES = {
    0: "AF_UNSPEC",
    AF_UNIX: "AF_UNIX",
    AF_INET: "AF_INET",
    3: "AF_AX25",
    4: "AF_IPX",
    5: "AF_APPLETALK",
    9: "AF_X25",
    AF_INET6: "AF_INET6",
    15: "AF_KEY",
    AF_NETLINK: "AF_NETLINK",
    AF_PACKET: "AF_PACKET",
    21: "AF_RDS",
    24: "AF_PPPOX",
    29: "AF_CAN",
    30: "AF_TIPC",
    31: "AF_BLUETOOTH",
    35: "AF_PHONET",
    36: "AF_IEEE802154",
    38: "AF_ALG",
    39: "AF_NFC",
    AF_VSOCK: "AF_VSOCK",
    41: "AF_KCM",
    42: "AF_QIPCRTR",
    43: "AF_SMC",
    44: "AF_XDP",
    45: "AF_MCTP",
}


def family_name(family: int) -> str:
    """The name of a guest's address family."""
    return _FAMILIES.get(family) or str(family)


def to_host(data: bytes, big_endian: bool) -> bytes:
    """A guest's address for the host; what is too short to hold a family stays as it is."""
    if not big_endian or len(data) < 2:
        return data
    return swap(data, _LAYOUTS.get(data[0] << 8 | data[1], "H"))


def to_guest(data: bytes, big_endian: bool) -> bytes:
    """An address from the host for the guest."""
    if not big_endian or len(data) < 2:
        return data
    return swap(data, _LAYOUTS.get(data[0] | data[1] << 8, "H"))


def show(data: bytes) -> str:
    """A host address in strace's style."""
    if len(data) < 2:
        return "{sa_data=" + data.hex() + "}" if data else "NULL"
    family = data[0] | data[1] << 8
    parts = [f"sa_family={family_name(family)}"]
    body = data[2:]
    if family == AF_UNIX:
        if body:
            parts.append("sun_path=" + _path(body))
    elif family == AF_INET and len(body) >= 6:
        port = int.from_bytes(body[:2], "big")
        parts.append(f"sin_port=htons({port})")
        parts.append('sin_addr=inet_addr("{}.{}.{}.{}")'.format(*body[2:6]))
    elif family == AF_INET6 and len(body) >= 22:
        from socket import AF_INET6 as family_number
        from socket import inet_ntop

        parts.append(f"sin6_port=htons({int.from_bytes(body[:2], 'big')})")
        parts.append(f"sin6_flowinfo=htonl({int.from_bytes(body[2:6], 'big')})")
        parts.append(f'inet_pton(AF_INET6, "{inet_ntop(family_number, body[6:22])}", &sin6_addr)')
        if len(body) >= 26:
            parts.append(f"sin6_scope_id={int.from_bytes(body[22:26], 'little')}")
    elif family == AF_NETLINK and len(body) >= 10:
        pid, groups = struct.unpack_from("<II", body, 2)
        parts.append(f"nl_pid={pid}")
        parts.append(f"nl_groups={groups:08x}")
    elif family == AF_PACKET and len(body) >= 6:
        parts.append(f"sll_protocol=htons({int.from_bytes(body[:2], 'big'):#x})")
        parts.append(f"sll_ifindex={int.from_bytes(body[2:6], 'little')}")
    elif family == AF_VSOCK and len(body) >= 10:
        port, cid = struct.unpack_from("<II", body, 2)
        parts.append(f"svm_cid={cid}")
        parts.append(f"svm_port={port}")
    else:
        parts.append(f"sa_data={body.hex()}")
    return "{" + ", ".join(parts) + "}"


def _path(body: bytes) -> str:
    if body[0]:
        return '"' + body.split(b"\0")[0].decode("latin-1") + '"'
    return '@"' + body[1:].decode("latin-1").replace("\0", "\\0") + '"'
