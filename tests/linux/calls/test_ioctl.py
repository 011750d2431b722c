"""ioctl of terminals, files, block devices and sockets."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import socket
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from pemu.linux.ioctls import modules, requests
from pemu.linux.ioctls.filesystems import FIEMAP, FIEMAP_EXTENT
from pemu.linux.ioctls.request import INT
from pemu.linux.ioctls.sockets import IFCONF, IFREQ, IFREQ_ADDRESS, IFREQ_INT, IFREQ_SHORT
from pemu.linux.ioctls.terminals import TERMIO, TERMIOS, TERMIOS2, WINSIZE
from tests.linux.fakeguest import Guest, GuestError

# Guest flags and indices that differ from the host's.
IEXTEN, TOSTOP, ECHO, ICANON = 0x100, 0x8000, 8, 2
VMIN, VTIME, VEOF, VEOL = 4, 5, 16, 17


def number(guest: Guest, name: str) -> int:
    """The guest's number of a request."""
    for module in modules():
        for found, request in requests(module, guest.target.word).items():
            if request.name == name:
                return found
    raise KeyError(name)


def ioctl(guest: Guest, fd: int, name: str, argument: int = 0) -> int:
    return guest.call("ioctl", fd, number(guest, name), argument)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Master and slave of a pseudoterminal."""
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def test_modes_have_the_guests_bits_and_order(guest: Guest, terminal: tuple[int, int]) -> None:
    _, slave = terminal
    modes = termios.tcgetattr(slave)
    modes[3] |= termios.TOSTOP | termios.IEXTEN | termios.ECHO
    modes[6][termios.VMIN] = 7
    modes[6][termios.VTIME] = 9
    modes[6][termios.VEOF] = b"\x05"
    modes[6][termios.VEOL] = b"\x06"
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    start = guest.out(TERMIOS)
    ioctl(guest, slave, "TCGETS", start)
    found = guest.get(TERMIOS, start)
    assert found.c_lflag & (TOSTOP | IEXTEN | ECHO) == TOSTOP | IEXTEN | ECHO
    assert found.c_cflag == modes[2]
    assert [found.c_cc[i] for i in (VMIN, VTIME, VEOF, VEOL)] == [7, 9, 5, 6]
    changed = {**found.__dict__, "c_lflag": found.c_lflag & ~(TOSTOP | ICANON)}
    TERMIOS.write(guest.mem, start, **changed)
    ioctl(guest, slave, "TCSETSW", start)
    after = termios.tcgetattr(slave)
    assert after[3] == modes[3] & ~(termios.TOSTOP | termios.ICANON)
    assert after[6][termios.VMIN] == 7


def test_modes_with_speeds(guest: Guest, terminal: tuple[int, int]) -> None:
    _, slave = terminal
    start = guest.out(TERMIOS2)
    ioctl(guest, slave, "TCGETS2", start)
    found = guest.get(TERMIOS2, start)
    assert found.c_ospeed == 38400
    speed = {"c_cflag": found.c_cflag & ~0x100F | 0x1000, "c_ispeed": 12345, "c_ospeed": 12345}
    TERMIOS2.write(guest.mem, start, **{**found.__dict__, **speed})
    ioctl(guest, slave, "TCSETS2", start)
    ioctl(guest, slave, "TCGETS2", start)
    assert guest.get(TERMIOS2, start).c_ospeed == 12345


def test_old_modes_keep_the_upper_half(guest: Guest, terminal: tuple[int, int]) -> None:
    _, slave = terminal
    modes = termios.tcgetattr(slave)
    start = guest.out(TERMIO)
    ioctl(guest, slave, "TCGETA", start)
    found = guest.get(TERMIO, start)
    assert found.c_cflag == modes[2] & 0xFFFF
    TERMIO.write(guest.mem, start, **{**found.__dict__, "c_lflag": found.c_lflag & ~ECHO})
    ioctl(guest, slave, "TCSETA", start)
    assert termios.tcgetattr(slave)[3] == modes[3] & ~termios.ECHO


def test_window_size(guest: Guest, terminal: tuple[int, int]) -> None:
    master, slave = terminal
    size = guest.put_struct(WINSIZE, ws_row=24, ws_col=80, ws_xpixel=1, ws_ypixel=2)
    ioctl(guest, master, "TIOCSWINSZ", size)
    assert os.get_terminal_size(slave) == (80, 24)
    out = guest.out(WINSIZE)
    ioctl(guest, slave, "TIOCGWINSZ", out)
    assert guest.get(WINSIZE, out).__dict__ == guest.get(WINSIZE, size).__dict__


def test_pseudoterminals(guest: Guest) -> None:
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    out = guest.put_struct(INT, value=0)
    ioctl(guest, master, "TIOCSPTLCK", out)
    ioctl(guest, master, "TIOCGPTN", out)
    name = os.ttyname(peer := ioctl(guest, master, "TIOCGPTPEER", 2 | 0x800))
    assert name == f"/dev/pts/{guest.get(INT, out).value}"
    os.close(peer)
    os.close(master)


def test_not_a_terminal(guest: Guest) -> None:
    read, write = os.pipe()
    with pytest.raises(GuestError) as caught:
        ioctl(guest, read, "TCGETS", guest.out(TERMIOS))
    assert caught.value.errno == errno.ENOTTY
    os.close(read)
    os.close(write)


def test_requests_of_every_descriptor(guest: Guest) -> None:
    read, write = os.pipe()
    os.write(write, b"12345")
    out = guest.put_struct(INT, value=1)
    ioctl(guest, read, "FIONBIO", out)
    assert not os.get_blocking(read)
    ioctl(guest, read, "FIOCLEX")
    assert fcntl.fcntl(read, fcntl.F_GETFD) == 1
    ioctl(guest, read, "FIONREAD", out)
    assert guest.get(INT, out).value == 5
    os.close(read)
    os.close(write)


def test_unknown_request_is_logged(guest: Guest) -> None:
    guest.log.items.add("unimp")
    with pytest.raises(GuestError) as caught:
        guest.call("ioctl", 0, 0x5455AA, 0)
    assert caught.value.errno == errno.ENOTTY
    assert guest.log.take() == "Unsupported ioctl request: 0x5455aa\n"


def test_extents_of_a_file(guest: Guest, tmp_path: Path) -> None:
    with open(tmp_path / "f", "w+b") as file:
        file.write(b"x" * 8192)
        file.flush()
        os.fsync(file.fileno())
        head = FIEMAP.size(guest.mem)
        start = guest.alloc(head + 4 * FIEMAP_EXTENT.size(guest.mem))
        FIEMAP.write(guest.mem, start, fm_length=1 << 40, fm_extent_count=4)
        try:
            ioctl(guest, file.fileno(), "FS_IOC_FIEMAP", start)
        except GuestError as error:
            pytest.skip(f"the file system maps no extents ({error})")
        found = guest.get(FIEMAP, start)
        assert found.fm_mapped_extents == 1
        assert FIEMAP_EXTENT.read(guest.mem, start + head).fe_length >= 8192


def test_file_flags_move_an_int_although_numbered_for_a_long(guest: Guest, tmp_path: Path) -> None:
    with open(tmp_path / "f", "w+b") as file:
        start = guest.put(b"\xff" * 8)
        try:
            ioctl(guest, file.fileno(), "FS_IOC_GETFLAGS", start)
        except GuestError as error:
            pytest.skip(f"the file system has no flags ({error})")
        assert guest.mem.read(start + 4, 4) == b"\xff" * 4


def test_block_requests_of_another_file_fail_cleanly(guest: Guest, tmp_path: Path) -> None:
    with open(tmp_path / "f", "w+b") as file, pytest.raises(GuestError) as caught:
        ioctl(guest, file.fileno(), "BLKGETSIZE64", guest.alloc(8))
    assert caught.value.errno in (errno.ENOTTY, errno.EOPNOTSUPP)


@pytest.fixture
def sock() -> Iterator[int]:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    yield made.fileno()
    made.close()


def named(guest: Guest, name: bytes) -> int:
    start = guest.out(IFREQ)
    guest.mem.write(start, name.ljust(IFREQ.size(guest.mem), b"\0"))
    return start


def test_loopback_interface(guest: Guest, sock: int) -> None:
    request = named(guest, b"lo")
    ioctl(guest, sock, "SIOCGIFINDEX", request)
    assert guest.get(IFREQ_INT, request).ifr_ivalue == socket.if_nametoindex("lo")
    ioctl(guest, sock, "SIOCGIFNAME", request)
    assert guest.mem.read(request, 3) == b"lo\0"
    ioctl(guest, sock, "SIOCGIFFLAGS", request)
    assert guest.get(IFREQ_SHORT, request).ifr_flags & 8
    ioctl(guest, sock, "SIOCGIFADDR", request)
    address = guest.get(IFREQ_ADDRESS, request).ifr_addr
    assert (address.sa_family, address.sa_data[2:6]) == (2, bytes((127, 0, 0, 1)))
    ioctl(guest, sock, "SIOCGIFHWADDR", request)
    assert guest.get(IFREQ_ADDRESS, request).ifr_addr.sa_family == 772
    with pytest.raises(GuestError) as caught:
        ioctl(guest, sock, "SIOCGIFADDR", named(guest, b"none"))
    assert caught.value.errno == errno.ENODEV


def test_list_of_interfaces(guest: Guest, sock: int) -> None:
    size = IFREQ.size(guest.mem)
    room = guest.alloc(10 * size)
    conf = guest.put_struct(IFCONF, ifc_len=0, ifc_buf=0)
    ioctl(guest, sock, "SIOCGIFCONF", conf)
    needed = guest.get(IFCONF, conf).ifc_len
    IFCONF.write(guest.mem, conf, ifc_len=10 * size, ifc_buf=room)
    ioctl(guest, sock, "SIOCGIFCONF", conf)
    length = guest.get(IFCONF, conf).ifc_len
    assert length == needed
    names = [guest.mem.read(room + i, 16).rstrip(b"\0") for i in range(0, length, size)]
    assert b"lo" in names


def test_socket_requests_with_mips_numbers(guest: Guest) -> None:
    left, right = socket.socketpair()
    right.send(b"abc")
    out = guest.put_struct(INT, value=os.getpid())
    ioctl(guest, left.fileno(), "SIOCSPGRP", out)
    ioctl(guest, left.fileno(), "SIOCGPGRP", out)
    assert guest.get(INT, out).value == os.getpid()
    ioctl(guest, left.fileno(), "FIONREAD", out)
    assert guest.get(INT, out).value == 3
    left.close()
    right.close()


def test_strace_names_the_request(guest: Guest, sock: int) -> None:
    guest.trace()
    request = named(guest, b"lo")
    ioctl(guest, sock, "SIOCGIFFLAGS", request)
    assert f"ioctl({sock}, SIOCGIFFLAGS, {request:#x}) = 0" in guest.log.take()


def test_no_two_requests_share_a_number() -> None:
    for word in (4, 8):
        numbers = [found for module in modules() for found in requests(module, word)]
        assert len(numbers) == len(set(numbers))


def test_every_request_is_found_by_its_number() -> None:
    from pemu.linux.ioctls import find

    for word in (4, 8):
        for module in modules():
            for found, request in requests(module, word).items():
                assert find(found, word) is request
