"""Conversion of netlink messages, judged by the host's own kernel."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest

from pemu.linux.sockets import netlink
from pemu.linux.structs.byteorder import size, swap
from tests.patience import LONG

RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_NEWADDR = 18, 22, 26, 20
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300


def same_errno(number: int) -> int:
    return number


def exchange(request: bytes, protocol: int = netlink.NETLINK_ROUTE) -> list[bytes]:
    """Datagrams that the host's kernel answers `request` with, up to the end of a dump."""
    replies = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as sock:
        sock.settimeout(LONG)
        sock.bind((0, 0))
        sock.send(request)
        while True:
            data = sock.recv(1 << 16)
            replies.append(data)
            kind, flags = struct.unpack_from("<HH", data, 4)
            last = data
            while True:
                length = (struct.unpack_from("<I", last)[0] + 3) & ~3
                kind, flags = struct.unpack_from("<HH", last, 4)
                if length >= len(last):
                    break
                last = last[length:]
            if kind in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR) or not flags & 2:
                return replies


def big_endian_request(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">IHHII", 16 + len(body), kind, flags, 7, 0) + body


def to_host(data: bytes, protocol: int = netlink.NETLINK_ROUTE) -> bytes:
    return netlink.translate(data, protocol, True, True, same_errno)


def to_guest(data: bytes, protocol: int = netlink.NETLINK_ROUTE) -> bytes:
    return netlink.translate(data, protocol, False, True, same_errno)


def attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from(">HH", data)
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def messages(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while len(data) >= 16:
        length, kind = struct.unpack_from(">IH", data)
        found.append((kind, data[16:length]))
        data = data[(length + 3) & ~3 :]
    return found


def test_big_endian_link_dump_names_the_host_s_interfaces() -> None:
    body = struct.pack(">BBHiII", 0, 0, 0, 0, 0, 0) + struct.pack(">HHI", 8, 29, 1)
    request = big_endian_request(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, body)
    links = {}
    for datagram in exchange(to_host(request)):
        for kind, payload in messages(to_guest(datagram)):
            if kind == 16:
                index, flags = struct.unpack_from(">iI", payload, 4)
                links[index] = (attributes(payload[16:]), flags)
    assert {i: a[3].rstrip(b"\0").decode() for i, (a, _) in links.items()} == dict(
        socket.if_nameindex()
    )
    with open("/sys/class/net/lo/mtu") as file:
        mtu = int(file.read())
    lo, flags = links[socket.if_nametoindex("lo")]
    assert struct.unpack(">I", lo[4])[0] == mtu
    assert flags & 8  # IFF_LOOPBACK


def test_big_endian_address_dump_tells_the_loopback_address() -> None:
    request = big_endian_request(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, b"\0\0\0\0")
    found = []
    for datagram in exchange(to_host(request)):
        for kind, payload in messages(to_guest(datagram)):
            if kind == RTM_NEWADDR:
                family, _, _, _, index = struct.unpack_from(">4BI", payload)
                found.append((family, index, attributes(payload[8:]).get(1)))
    assert (socket.AF_INET, socket.if_nametoindex("lo"), bytes([127, 0, 0, 1])) in found


@pytest.mark.parametrize("kind", [RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE])
def test_converting_a_host_dump_there_and_back_changes_nothing(kind: int) -> None:
    body = b"\0" * 16
    request = struct.pack("<IHHII", 32, kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body
    for datagram in exchange(request):
        back = to_host(to_guest(datagram))
        assert back == datagram


def test_tcp_diagnosis_shows_a_listening_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        body = struct.pack(">BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 2, 0, 1 << 10)
        body += b"\0" * 48
        request = big_endian_request(20, NLM_F_REQUEST | NLM_F_DUMP, body)
        protocol = netlink.NETLINK_SOCK_DIAG
        ports = {}
        for datagram in exchange(to_host(request, protocol), protocol):
            for kind, payload in messages(to_guest(datagram, protocol)):
                if kind == 20:
                    inode = struct.unpack_from(">I", payload, 68)[0]
                    ports[struct.unpack_from(">H", payload, 4)[0]] = inode
        assert ports[port] == os.fstat(server.fileno()).st_ino


def test_generic_netlink_controller_lists_itself() -> None:
    protocol = netlink.NETLINK_GENERIC
    body = struct.pack(">BBH", 3, 1, 0) + struct.pack(">HH", 11, 2) + b"nlctrl\0\0"
    request = big_endian_request(16, NLM_F_REQUEST, body)
    reply = exchange(to_host(request, protocol), protocol)[0]
    (kind, payload), *_ = messages(to_guest(reply, protocol))
    found = attributes(payload[4:])
    assert (kind, struct.unpack(">H", found[1])[0], found[2]) == (16, 16, b"nlctrl\0")


def test_error_number_is_the_guest_s_for_both_byte_orders() -> None:
    error = struct.pack("<i", -errno.ENETUNREACH) + struct.pack("<IHHII", 16, 24, 5, 1, 0)
    message = struct.pack("<IHHII", 36, netlink.NLMSG_ERROR, netlink.NLM_F_CAPPED, 1, 0) + error
    mips = {errno.ENETUNREACH: 128}.__getitem__
    little = netlink.translate(message, 0, False, False, mips)
    assert struct.unpack_from("<i", little, 16) == (-128,)
    assert little[:16] == message[:16]
    assert little[20:] == message[20:]
    big = netlink.translate(message, 0, False, True, mips)
    assert struct.unpack_from(">i", big, 16) == (-128,)
    assert struct.unpack_from(">IHHII", big, 20) == (16, 24, 5, 1, 0)


def test_error_returns_the_original_message_in_guest_order() -> None:
    request = big_endian_request(
        RTM_NEWADDR, NLM_F_REQUEST | NLM_F_ACK, b"\x02\x08\0\0\0\0\xff\xff"
    )
    kind, payload = messages(to_guest(exchange(to_host(request))[0]))[0]
    assert kind == netlink.NLMSG_ERROR
    assert struct.unpack_from(">i", payload)[0] < 0
    assert payload[4:16] == request[:12]
    assert payload[20:28] == request[16:]


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_cut_datagram_is_converted_without_an_error(cut: int) -> None:
    body = struct.pack(">BBHiII", 0, 0, 0, 1, 0, 0) + struct.pack(">HHI", 8, 4, 1500)
    request = big_endian_request(RTM_GETLINK, NLM_F_REQUEST, body)
    assert len(to_host(request[:cut])) == min(cut, len(request))


def test_nonsense_lengths_do_not_loop() -> None:
    assert len(to_guest(b"\0" * 64)) == 64
    body = struct.pack("<BBHiII", 0, 0, 0, 1, 0, 0) + struct.pack("<HHI", 2, 4, 1500)
    message = struct.pack("<IHHII", 16 + len(body), 16, 0, 0, 0) + body
    assert len(to_guest(message)) == len(message)


def test_uevents_pass_unchanged() -> None:
    text = b"add@/devices/virtual/x\0ACTION=add\0"
    assert to_guest(text, netlink.NETLINK_KOBJECT_UEVENT) == text


def test_swap_turns_each_field_and_keeps_what_follows() -> None:
    assert swap(b"\x01\x02\x03\x04\x05\x06\x07\x08\x09", "BHI") == (
        b"\x01\x03\x02\x07\x06\x05\x04\x08\x09"
    )
    assert swap(bytes(range(10)), "I*") == bytes([3, 2, 1, 0, 7, 6, 5, 4, 8, 9])
    assert size("8B24I4Q") == 136
