"""Sockets as a guest sees them, against host sockets at the other end."""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from pathlib import Path

import pytest

from pemu.linux.calls.messages import MMSGHDR
from pemu.linux.structs.layout import Struct
from pemu.linux.structs.time import TIMESPEC, TIMESPEC64
from pemu.linux.types.iovec import IOVEC
from pemu.linux.types.sockets import MSGHDR
from tests.linux.fakeguest import Guest, GuestError

pytestmark = pytest.mark.usefixtures("descriptors_closed")

SOL_SOCKET = 0xFFFF
STREAM, DGRAM, NONBLOCK, CLOEXEC = 2, 1, 0x80, 0x80000
U32 = Struct("u32", "u32 value")


def order(guest: Guest) -> str:
    return ">" if guest.target.big_endian else "<"


def inet(guest: Guest, port: int, host: str = "127.0.0.1") -> bytes:
    family = struct.pack(order(guest) + "H", socket.AF_INET)
    return family + struct.pack(">H", port) + socket.inet_aton(host) + bytes(8)


def guest_pair(guest: Guest, kind: int = STREAM) -> tuple[int, int]:
    place = guest.alloc(8)
    guest.call("socketpair", socket.AF_UNIX, kind, 0, place)
    return guest.mem.u32(place), guest.mem.u32(place + 4)


# Making and naming.


def test_stream_and_datagram_have_their_mips_numbers(guest: Guest) -> None:
    for kind, expected in ((STREAM, socket.SOCK_STREAM), (DGRAM, socket.SOCK_DGRAM)):
        fd = guest.call("socket", socket.AF_INET, kind | NONBLOCK | CLOEXEC, 0)
        made = socket.socket(fileno=os.dup(fd))
        with made:
            assert made.type == expected
            assert not os.get_blocking(fd)
            assert not os.get_inheritable(fd)
        assert option(guest, fd, SOL_SOCKET, 0x1008) == kind  # SO_TYPE


def test_server_and_client_over_the_internet_protocol(guest: Guest) -> None:
    server = guest.call("socket", socket.AF_INET, STREAM, 0)
    assert guest.call("bind", server, guest.put(inet(guest, 0)), 16) == 0
    guest.call("listen", server, 5)
    place, length = guest.alloc(128), guest.put_struct(U32, value=128)
    guest.call("getsockname", server, place, length)
    assert guest.get(U32, length).value == 16
    name = guest.mem.read(place, 16)
    port = int.from_bytes(name[2:4], "big")
    assert name == inet(guest, port)

    client = guest.call("socket", socket.AF_INET, STREAM, 0)
    assert guest.call("connect", client, guest.put(inet(guest, port)), 16) == 0
    length = guest.put_struct(U32, value=6)
    place = guest.put(b"\xee" * 16)
    accepted = guest.call("accept4", server, place, length, NONBLOCK)
    assert guest.get(U32, length).value == 16
    assert guest.mem.read(place, 16)[:2] == inet(guest, 0)[:2]
    assert guest.mem.read(place + 6, 10) == b"\xee" * 10
    assert not os.get_blocking(accepted)
    peer, length = guest.alloc(16), guest.put_struct(U32, value=16)
    guest.call("getpeername", client, peer, length)
    assert guest.mem.read(peer, 16) == inet(guest, port)
    os.write(client, b"hello")
    if guest.target.abi == "o32":
        assert guest.call("recv", accepted, place, 16, 0) == 5
        assert guest.call("send", accepted, place, 5, 0) == 5
    assert guest.call("shutdown", client, 1) == 0


def test_unix_socket_by_path(guest: Guest, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "s")
    family = struct.pack(order(guest) + "H", socket.AF_UNIX)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        client = guest.call("socket", socket.AF_UNIX, STREAM, 0)
        address = family + path + b"\0"
        assert guest.call("connect", client, guest.put(address), len(address)) == 0
        place, length = guest.alloc(128), guest.put_struct(U32, value=110)
        guest.call("getpeername", client, place, length)
        assert guest.mem.read(place, len(address)) == address


def test_ipv6_address_keeps_its_scope(guest: Guest) -> None:
    fd = guest.call("socket", socket.AF_INET6, DGRAM, 0)
    address = struct.pack(order(guest) + "H", socket.AF_INET6)
    address += struct.pack(">HI", 0, 0) + socket.inet_pton(socket.AF_INET6, "::1")
    address += struct.pack(order(guest) + "I", 1)
    try:
        guest.call("bind", fd, guest.put(address), 28)
    except GuestError as error:
        pytest.skip(f"no IPv6 here: {error}")
    place, length = guest.alloc(28), guest.put_struct(U32, value=28)
    guest.call("getsockname", fd, place, length)
    assert guest.mem.read(place, 2) == address[:2]
    assert guest.mem.read(place + 8, 16) == address[8:24]


def test_errors_of_addresses(guest: Guest) -> None:
    fd = guest.call("socket", socket.AF_INET, STREAM, 0)
    cases = {
        ("bind", fd, 16, 16): errno.EFAULT,
        ("connect", fd, guest.put(inet(guest, 1)), 16): errno.ECONNREFUSED,
        ("getsockname", fd, guest.alloc(16), guest.put_struct(U32, value=-1)): errno.EINVAL,
        ("getpeername", fd, guest.alloc(16), guest.put_struct(U32, value=16)): errno.ENOTCONN,
        ("bind", 9999, guest.put(inet(guest, 0)), 16): errno.EBADF,
    }
    for (call, *args), expected in cases.items():
        with pytest.raises(GuestError) as error:
            guest.call(call, *args)
        assert error.value.errno == expected


# Data.


def test_datagrams_carry_their_sender(guest: Guest) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
        host.bind(("127.0.0.1", 0))
        port = host.getsockname()[1]
        fd = guest.call("socket", socket.AF_INET, DGRAM, 0)
        target = guest.put(inet(guest, port))
        assert guest.call("sendto", fd, b"ping", 4, 0, target, 16) == 4
        data, sender = host.recvfrom(100)
        assert data == b"ping"
        host.sendto(b"pong!", sender)
        place, name = guest.alloc(64), guest.alloc(128)
        length = guest.put_struct(U32, value=128)
        assert guest.call("recvfrom", fd, place, 64, 0, name, length) == 5
        assert guest.mem.read(place, 5) == b"pong!"
        assert guest.mem.read(name, guest.get(U32, length).value) == inet(guest, port)
        host.sendto(b"x", sender)
        assert guest.call("recvfrom", fd, place, 64, 0, 0, 0) == 1


def test_nothing_to_receive_is_eagain(guest: Guest) -> None:
    first, _ = guest_pair(guest, STREAM | NONBLOCK)
    with pytest.raises(GuestError) as error:
        guest.call("recvfrom", first, guest.alloc(8), 8, 0, 0, 0)
    assert error.value.errno == errno.EAGAIN


# Messages.


class Message:
    """A msghdr in guest memory, with room for `data`, a name and control messages."""

    def __init__(
        self,
        guest: Guest,
        data: bytes = b"",
        room: int = 0,
        control: bytes = b"",
        name: bytes = b"",
    ) -> None:
        self.guest = guest
        size = len(data) or 64
        self.buffer = guest.put(data.ljust(size, b"\0"))
        vector = guest.put_struct(IOVEC, iov_base=self.buffer, iov_len=size)
        self.control = guest.put(control.ljust(max(room, len(control)), b"\0"))
        self.name = guest.put(name.ljust(128, b"\0"))
        self.fields = {
            "msg_iov": vector,
            "msg_iovlen": 1,
            "msg_name": self.name if name else 0,
            "msg_namelen": len(name),
            "msg_control": self.control if room or control else 0,
            "msg_controllen": room or len(control),
        }
        self.address = guest.put_struct(MSGHDR, **self.fields)

    def want_name(self) -> None:
        MSGHDR.write(
            self.guest.mem,
            self.address,
            **self.fields | {"msg_name": self.name, "msg_namelen": 128},
        )

    def controls(self) -> list[tuple[int, int, bytes]]:
        """Level, type and payload of each control message that came."""
        length = self.guest.get(MSGHDR, self.address).msg_controllen
        data = self.guest.mem.read(self.control, length)
        word = self.guest.target.word
        header = order(self.guest) + ("Qii" if word == 8 else "Iii")
        size = struct.calcsize(header)
        found = []
        while len(data) >= size:
            used, level, kind = struct.unpack_from(header, data)
            found.append((level, kind, data[size:used]))
            data = data[(used + word - 1) & -word :]
        return found


def control_message(guest: Guest, level: int, kind: int, payload: bytes) -> bytes:
    word = guest.target.word
    header = order(guest) + ("Qii" if word == 8 else "Iii")
    message = struct.pack(header, struct.calcsize(header) + len(payload), level, kind) + payload
    return message + bytes(-len(message) % word)


def test_message_is_gathered_from_and_scattered_to_buffers(guest: Guest) -> None:
    first, second = guest_pair(guest)
    sizes = (3, 0, 5)
    parts = [guest.put(b"abcdefgh"[i : i + n]) for i, n in ((0, 3), (3, 0), (3, 5))]
    vectors = guest.alloc(3 * IOVEC.size(guest.mem))
    for i, (base, length) in enumerate(zip(parts, sizes, strict=True)):
        IOVEC.write(guest.mem, vectors + i * IOVEC.size(guest.mem), iov_base=base, iov_len=length)
    header = guest.put_struct(MSGHDR, msg_iov=vectors, msg_iovlen=3)
    assert guest.call("sendmsg", first, header, 0) == 8
    message = Message(guest)
    assert guest.call("recvmsg", second, message.address, 0) == 8
    assert guest.mem.read(message.buffer, 8) == b"abcdefgh"


def test_message_to_and_from_an_address(guest: Guest) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
        host.bind(("127.0.0.1", 0))
        name = inet(guest, host.getsockname()[1])
        fd = guest.call("socket", socket.AF_INET, DGRAM, 0)
        message = Message(guest, b"ping", name=name)
        assert guest.call("sendmsg", fd, message.address, 0) == 4
        data, sender = host.recvfrom(100)
        assert data == b"ping"
        host.sendto(b"x" * 100, sender)
        message = Message(guest)
        message.want_name()
        assert guest.call("recvmsg", fd, message.address, 0) == 64
        header = guest.get(MSGHDR, message.address)
        assert header.msg_flags & socket.MSG_TRUNC
        assert guest.mem.read(message.name, header.msg_namelen) == name


def test_descriptors_pass_both_ways(guest: Guest) -> None:
    first, second = guest_pair(guest)
    with open("/dev/null") as null:
        payload = struct.pack(order(guest) + "ii", null.fileno(), first)
        control = control_message(guest, SOL_SOCKET, socket.SCM_RIGHTS, payload)
        message = Message(guest, b"x", control=control)
        assert guest.call("sendmsg", first, message.address, 0) == 1
        message = Message(guest, room=64)
        assert guest.call("recvmsg", second, message.address, 0x40000000) == 1
        ((level, kind, data),) = message.controls()
        assert (level, kind) == (SOL_SOCKET, socket.SCM_RIGHTS)
        got = struct.unpack(order(guest) + "ii", data)
        assert os.path.samestat(os.fstat(got[0]), os.fstat(null.fileno()))
        assert not os.get_inheritable(got[0])
        assert guest.get(MSGHDR, message.address).msg_flags & socket.MSG_CTRUNC == 0


def test_descriptors_without_room_are_closed_and_said_to_be_cut(guest: Guest) -> None:
    first, second = guest_pair(guest)
    with socket.socket(fileno=os.dup(first)) as host:
        fds = array.array("i", [0, 0, 0, 0, 0])
        host.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    before = len(os.listdir("/proc/self/fd"))
    header = 16 if guest.target.word == 8 else 12
    message = Message(guest, room=header + 8)
    guest.call("recvmsg", second, message.address, 0)
    assert guest.get(MSGHDR, message.address).msg_flags & socket.MSG_CTRUNC
    ((_, _, data),) = message.controls()
    assert len(data) == 8
    assert len(os.listdir("/proc/self/fd")) == before + 2


def test_received_eventfd_speaks_the_guest_s_byte_order(guest: Guest) -> None:
    first, second = guest_pair(guest)
    with socket.socket(fileno=os.dup(first)) as host:
        event = os.eventfd(9)
        host.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [event]))])
    message = Message(guest, room=32)
    guest.call("recvmsg", second, message.address, 0)
    fd = struct.unpack(order(guest) + "i", message.controls()[0][2])[0]
    place = guest.alloc(8)
    guest.call("read", fd, place, 8)
    assert guest.mem.u64(place) == 9


def test_credentials_come_with_messages(guest: Guest) -> None:
    first, second = guest_pair(guest)
    one = guest.put_struct(U32, value=1)
    guest.call("setsockopt", second, SOL_SOCKET, 17, one, 4)  # SO_PASSCRED
    payload = struct.pack(order(guest) + "3I", os.getpid(), os.getuid(), os.getgid())
    control = control_message(guest, SOL_SOCKET, 2, payload)
    guest.call("sendmsg", first, Message(guest, b"x", control=control).address, 0)
    message = Message(guest, room=64)
    guest.call("recvmsg", second, message.address, 0)
    assert message.controls() == [(SOL_SOCKET, 2, payload)]


@pytest.mark.parametrize(
    ("option_number", "form", "divisor"),
    [(29, "long", 1_000_000), (35, "long", 1_000_000_000), (63, "wide", 1_000_000)],
)
def test_time_stamps_have_the_guest_s_layout(
    guest: Guest, option_number: int, form: str, divisor: int
) -> None:
    import time

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
        fd = guest.call("socket", socket.AF_INET, DGRAM, 0)
        guest.call("bind", fd, guest.put(inet(guest, 0)), 16)
        one = guest.put_struct(U32, value=1)
        guest.call("setsockopt", fd, SOL_SOCKET, option_number, one, 4)
        with socket.socket(fileno=os.dup(fd)) as same:
            host.sendto(b"x", same.getsockname())
        message = Message(guest, room=128)
        guest.call("recvmsg", fd, message.address, 0)
        ((level, kind, data),) = message.controls()
        assert (level, kind) == (SOL_SOCKET, option_number)
        letter = "q" if form == "wide" or guest.target.word == 8 else "i"
        sec, part = struct.unpack(order(guest) + 2 * letter, data)
        assert abs(sec - time.time()) < 1000
        assert 0 <= part < divisor


def test_packet_information_names_the_interface(guest: Guest) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
        fd = guest.call("socket", socket.AF_INET, DGRAM, 0)
        guest.call("bind", fd, guest.put(inet(guest, 0)), 16)
        guest.call("setsockopt", fd, 0, 8, guest.put_struct(U32, value=1), 4)
        guest.call("setsockopt", fd, 0, 13, guest.put_struct(U32, value=1), 4)
        with socket.socket(fileno=os.dup(fd)) as same:
            host.sendto(b"x", same.getsockname())
        message = Message(guest, room=128)
        guest.call("recvmsg", fd, message.address, 0)
        found = {(level, kind): data for level, kind, data in message.controls()}
        index = struct.unpack_from(order(guest) + "i", found[0, 8])[0]
        assert index == socket.if_nametoindex("lo")
        assert found[0, 1] == b"\0"


def test_extended_error_has_the_guest_s_number(guest: Guest) -> None:
    fd = guest.call("socket", socket.AF_INET, DGRAM, 0)
    guest.call("setsockopt", fd, 0, 11, guest.put_struct(U32, value=1), 4)  # IP_RECVERR
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    guest.call("connect", fd, guest.put(inet(guest, port)), 16)
    os.write(fd, b"x")
    message = Message(guest, room=128)
    message.want_name()
    guest.call("recvmsg", fd, message.address, socket.MSG_ERRQUEUE)
    ((level, kind, data),) = message.controls()
    assert (level, kind) == (0, 11)
    number, origin = struct.unpack_from(order(guest) + "IB", data)
    assert (number, origin) == (146, 2)  # ECONNREFUSED of MIPS, told by ICMP
    assert data[16:24] == inet(guest, 0)[:8]


def test_malformed_control_message_is_an_error(guest: Guest) -> None:
    first, _ = guest_pair(guest)
    for control in (
        control_message(guest, SOL_SOCKET, 1, b"")[:-4] + b"\0" * 8,
        b"\xff" * 32,
        control_message(guest, 1, 1, b"\0\0\0\0"),
    ):
        with pytest.raises(GuestError) as error:
            guest.call("sendmsg", first, Message(guest, b"x", control=control).address, 0)
        assert error.value.errno == errno.EINVAL


def test_many_messages_at_once(guest: Guest) -> None:
    first, second = guest_pair(guest, DGRAM)
    step = MMSGHDR.size(guest.mem)
    many = guest.alloc(3 * step)
    for i, data in enumerate((b"one", b"two!", b"three")):
        part = guest.get(MSGHDR, Message(guest, data).address)
        MMSGHDR.write(guest.mem, many + i * step, msg_hdr=part)
    assert guest.call("sendmmsg", first, many, 3, 0) == 3
    length_at = MMSGHDR.of(guest.mem).offsets["msg_len"]
    assert [guest.mem.u32(many + i * step + length_at) for i in range(3)] == [3, 4, 5]
    room = guest.alloc(4 * step)
    messages = [Message(guest) for _ in range(4)]
    for i, message in enumerate(messages):
        MMSGHDR.write(guest.mem, room + i * step, msg_hdr=guest.get(MSGHDR, message.address))
    limit = guest.put_struct(TIMESPEC, tv_sec=1000)
    assert guest.call("recvmmsg", second, room, 4, 0x10000, limit) == 3
    assert [guest.mem.u32(room + i * step + length_at) for i in range(3)] == [3, 4, 5]
    assert guest.mem.read(messages[2].buffer, 5) == b"three"
    assert 500 < guest.get(TIMESPEC, limit).tv_sec < 1000
    with pytest.raises(GuestError) as error:
        guest.call("recvmmsg", second, room, 4, 0x40, 0)
    assert error.value.errno == errno.EAGAIN


def test_many_messages_with_a_64_bit_time(narrow: Guest) -> None:
    first, second = guest_pair(narrow, DGRAM)
    os.write(first, b"data")
    room = narrow.alloc(MMSGHDR.size(narrow.mem))
    MMSGHDR.write(narrow.mem, room, msg_hdr=narrow.get(MSGHDR, Message(narrow).address))
    limit = narrow.put_struct(TIMESPEC64, tv_sec=1000)
    assert narrow.call("recvmmsg_time64", second, room, 1, 0, limit) == 1


# Options.


def option(guest: Guest, fd: int, level: int, number: int) -> int:
    place, length = guest.alloc(4), guest.put_struct(U32, value=4)
    guest.call("getsockopt", fd, level, number, place, length)
    assert guest.get(U32, length).value == 4
    return guest.mem.u32(place)


@pytest.mark.parametrize(
    ("number", "value", "host_number"),
    [
        (0x0004, 1, socket.SO_REUSEADDR),
        (0x0008, 1, socket.SO_KEEPALIVE),
        (0x0200, 1, socket.SO_REUSEPORT),
        (0x0100, 1, socket.SO_OOBINLINE),
        (12, 3, socket.SO_PRIORITY),
        (0x1004, 17, socket.SO_RCVLOWAT),
    ],
)
def test_options_have_mips_numbers(guest: Guest, number: int, value: int, host_number: int) -> None:
    fd = guest.call("socket", socket.AF_INET, STREAM, 0)
    guest.call("setsockopt", fd, SOL_SOCKET, number, guest.put_struct(U32, value=value), 4)
    assert option(guest, fd, SOL_SOCKET, number) == value
    with socket.socket(fileno=os.dup(fd)) as same:
        assert same.getsockopt(socket.SOL_SOCKET, host_number) == value


def test_numbers_of_the_host_are_no_options(guest: Guest) -> None:
    fd = guest.call("socket", socket.AF_INET, STREAM, 0)
    for level, number in ((SOL_SOCKET, 2), (1, 2), (SOL_SOCKET, 5), (0, 64)):
        with pytest.raises(GuestError) as error:
            option(guest, fd, level, number)
        assert error.value.errno == errno.ENOPROTOOPT


def test_pending_error_is_the_guest_s(guest: Guest) -> None:
    fd = guest.call("socket", socket.AF_INET, STREAM | NONBLOCK, 0)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(GuestError) as error:
        guest.call("connect", fd, guest.put(inet(guest, port)), 16)
    assert error.value.errno == errno.EINPROGRESS
    assert option(guest, fd, SOL_SOCKET, 0x1007) == 146
    assert option(guest, fd, SOL_SOCKET, 0x1007) == 0


def test_time_limits_have_longs_or_64_bits(guest: Guest) -> None:
    fd = guest.call("socket", socket.AF_INET, STREAM, 0)
    word = "qq" if guest.target.word == 8 else "ii"
    for number, form in ((0x1006, word), (66, "qq")):
        value = struct.pack(order(guest) + form, 5, 500000)
        guest.call("setsockopt", fd, SOL_SOCKET, number, guest.put(value), len(value))
        place, length = guest.alloc(32), guest.put_struct(U32, value=len(value))
        guest.call("getsockopt", fd, SOL_SOCKET, number, place, length)
        assert guest.get(U32, length).value == len(value)
        assert guest.mem.read(place, len(value)) == value
        with socket.socket(fileno=os.dup(fd)) as same:
            assert struct.unpack("qq", same.getsockopt(1, socket.SO_RCVTIMEO, 16)) == (5, 500000)


def test_linger_is_a_structure(guest: Guest) -> None:
    fd = guest.call("socket", socket.AF_INET, STREAM, 0)
    value = struct.pack(order(guest) + "ii", 1, 30)
    guest.call("setsockopt", fd, SOL_SOCKET, 0x80, guest.put(value), 8)
    with socket.socket(fileno=os.dup(fd)) as same:
        assert struct.unpack("ii", same.getsockopt(1, socket.SO_LINGER, 8)) == (1, 30)
    place, length = guest.alloc(8), guest.put_struct(U32, value=8)
    guest.call("getsockopt", fd, SOL_SOCKET, 0x80, place, length)
    assert guest.mem.read(place, 8) == value


def test_credentials_of_the_peer(guest: Guest) -> None:
    first, _ = guest_pair(guest)
    place, length = guest.alloc(12), guest.put_struct(U32, value=12)
    guest.call("getsockopt", first, SOL_SOCKET, 18, place, length)
    assert struct.unpack(order(guest) + "3I", guest.mem.read(place, 12)) == (
        os.getpid(),
        os.getuid(),
        os.getgid(),
    )


def test_filter_program_is_attached_and_told(guest: Guest) -> None:
    first, second = guest_pair(guest, DGRAM)
    form = order(guest) + "HBBI"
    program = struct.pack(form, 0x06, 0, 0, 3)  # ret #3: cut packets to three bytes
    pointer = guest.put(program)
    word = guest.target.word
    prog = guest.alloc(2 * word)
    guest.mem.put_u16(prog, 1)
    guest.mem.put_word(prog + word, pointer)
    guest.call("setsockopt", second, SOL_SOCKET, 26, prog, 2 * word)
    os.write(first, b"abcdef")
    assert os.read(second, 10) == b"abc"
    place, length = guest.alloc(64), guest.put_struct(U32, value=8)
    guest.call("getsockopt", second, SOL_SOCKET, 26, place, length)
    assert guest.get(U32, length).value == 1
    assert guest.mem.read(place, 8) == program


def test_byte_sized_and_textual_options(guest: Guest) -> None:
    fd = guest.call("socket", socket.AF_INET, DGRAM, 0)
    guest.call("setsockopt", fd, 0, 33, guest.put(b"\x07"), 1)  # IP_MULTICAST_TTL
    assert option(guest, fd, 0, 33) == 7
    tcp = guest.call("socket", socket.AF_INET, STREAM, 0)
    place, length = guest.alloc(16), guest.put_struct(U32, value=16)
    guest.call("getsockopt", tcp, 6, 13, place, length)  # TCP_CONGESTION
    with socket.socket(fileno=os.dup(tcp)) as same:
        assert guest.mem.read(place, 16) == same.getsockopt(6, socket.TCP_CONGESTION, 16)


def test_traffic_class_is_no_table_of_netfilter(guest: Guest) -> None:
    fd = guest.call("socket", socket.AF_INET6, DGRAM, 0)
    one = guest.put_struct(U32, value=1)
    for number in (66, 67):  # IPV6_RECVTCLASS, IPV6_TCLASS
        guest.call("setsockopt", fd, 41, number, one, 4)
        assert option(guest, fd, 41, number) == 1
    with pytest.raises(GuestError):
        guest.call("setsockopt", fd, 41, 64, one, 4)  # IP6T_SO_SET_REPLACE


def test_multicast_membership_by_index(guest: Guest) -> None:
    fd = guest.call("socket", socket.AF_INET, DGRAM, 0)
    group = socket.inet_aton("224.0.0.251") + bytes(4)
    group += struct.pack(order(guest) + "i", socket.if_nametoindex("lo"))
    assert guest.call("setsockopt", fd, 0, 35, guest.put(group), 12) == 0
    word = guest.target.word
    request = struct.pack(order(guest) + "I", socket.if_nametoindex("lo")).ljust(word, b"\0")
    request += inet(guest, 0, "224.0.0.252").ljust(128, b"\0")
    assert guest.call("setsockopt", fd, 0, 42, guest.put(request), len(request)) == 0
    with open("/proc/net/igmp") as file:
        assert "FC0000E0" in file.read()


def test_tcp_information(guest: Guest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        fd = guest.call("socket", socket.AF_INET, STREAM, 0)
        name = inet(guest, server.getsockname()[1])
        guest.call("connect", fd, guest.put(name), 16)
        place, length = guest.alloc(256), guest.put_struct(U32, value=232)
        guest.call("getsockopt", fd, 6, 11, place, length)
        data = guest.mem.read(place, 232)
        with socket.socket(fileno=os.dup(fd)) as same:
            host = same.getsockopt(6, socket.TCP_INFO, 232)
        assert data[0] == host[0] == 1  # established
        assert guest.mem.u32(place + 16) == struct.unpack_from("<I", host, 16)[0]  # snd_mss
        send, receive = host[6] & 15, host[6] >> 4
        high, low = data[6] >> 4, data[6] & 15
        assert (send, receive) == ((high, low) if guest.target.big_endian else (low, high))


# Netlink, and o32's one call for all.


def test_netlink_speaks_the_guest_s_byte_order(guest: Guest) -> None:
    fd = guest.call("socket", socket.AF_NETLINK, 3 | CLOEXEC, 0)
    name = struct.pack(order(guest) + "HHII", socket.AF_NETLINK, 0, 0, 0)
    guest.call("bind", fd, guest.put(name), 12)
    body = struct.pack(order(guest) + "BBHiII", 0, 0, 0, socket.if_nametoindex("lo"), 0, 0)
    request = struct.pack(order(guest) + "IHHII", 16 + len(body), 18, 1, 77, 0) + body
    assert guest.call("sendto", fd, guest.put(request), len(request), 0, 0, 0) == len(request)
    message = Message(guest, b"\0" * 8192)
    message.want_name()
    size = guest.call("recvmsg", fd, message.address, 0)
    data = guest.mem.read(message.buffer, size)
    length, kind, _, sequence, _ = struct.unpack_from(order(guest) + "IHHII", data)
    assert (length, kind, sequence) == (size, 16, 77)
    assert b"lo\0" in data
    assert guest.mem.u16(message.name) == socket.AF_NETLINK
    assert guest.call("write", fd, guest.put(request), len(request)) == len(request)
    assert guest.call("recvfrom", fd, message.buffer, 8192, 0, 0, 0) == size
    assert guest.mem.u32(message.buffer) == size


def test_netlink_error_has_the_guest_s_number(guest: Guest) -> None:
    fd = guest.call("socket", socket.AF_NETLINK, 3, 0)
    body = struct.pack(order(guest) + "BBHiII", 0, 0, 0, 9999, 0, 0)
    request = struct.pack(order(guest) + "IHHII", 16 + len(body), 18, 5, 1, 0) + body
    guest.call("sendto", fd, guest.put(request), len(request), 0, 0, 0)
    place = guest.alloc(256)
    guest.call("recvfrom", fd, place, 256, 0, 0, 0)
    assert guest.mem.u16(place + 4) == 2
    assert struct.unpack(order(guest) + "i", guest.mem.read(place + 16, 4)) == (-errno.ENODEV,)


def test_socketcall_makes_the_other_calls(o32: Guest) -> None:
    def call(number: int, *args: int) -> int:
        block = o32.put(b"".join(struct.pack(order(o32) + "I", a & 0xFFFFFFFF) for a in args))
        return o32.call("socketcall", number, block)

    pair = o32.alloc(8)
    assert call(8, socket.AF_UNIX, DGRAM, 0, pair) == 0
    first, second = o32.mem.u32(pair), o32.mem.u32(pair + 4)
    assert call(9, first, o32.put(b"data"), 4, 0) == 4
    place = o32.alloc(16)
    assert call(12, second, place, 16, 0, 0, 0) == 4
    assert o32.mem.read(place, 4) == b"data"
    assert call(14, first, SOL_SOCKET, 0x1001, o32.put_struct(U32, value=8192), 4) == 0
    assert call(1, socket.AF_INET, STREAM, 0) > 2
    assert call(13, first, 2) == 0
    with pytest.raises(GuestError) as error:
        call(21)
    assert error.value.errno == errno.EINVAL


def test_strace_shows_addresses(guest: Guest) -> None:
    guest.trace()
    fd = guest.call("socket", socket.AF_INET, STREAM | CLOEXEC, 0)
    guest.call("bind", fd, guest.put(inet(guest, 0)), 16)
    text = guest.log.take()
    assert "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP)" in text
    address = '{sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr("127.0.0.1")}'
    assert f"bind({fd}, {address}, 16) = 0" in text
