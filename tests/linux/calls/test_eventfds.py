"""eventfd, timerfd and signalfd, with their data read as a guest does."""

from __future__ import annotations

import errno
import os
import signal
import threading

import pytest

from pemu.linux import fdtable, translators
from pemu.linux.structs.time import ITIMERSPEC, ITIMERSPEC64
from tests.linux.fakeguest import Guest, GuestError

pytestmark = pytest.mark.usefixtures("descriptors_closed")

NONBLOCK, CLOEXEC = 0x80, 0x80000
SIGUSR1 = 16
"""Its number on MIPS."""


def test_eventfd_counts_in_the_guest_s_byte_order(guest: Guest) -> None:
    fd = guest.call("eventfd2", 5, CLOEXEC)
    place = guest.alloc(8)
    assert guest.call("read", fd, place, 8) == 8
    assert guest.mem.u64(place) == 5
    guest.mem.put_u64(place, 7)
    assert guest.call("write", fd, place, 8) == 8
    assert os.read(fd, 8) == (7).to_bytes(8, "little")
    assert not os.get_inheritable(fd)


def test_eventfd_without_flags_blocks_and_is_inherited(guest: Guest) -> None:
    fd = guest.call("eventfd", 1)
    assert os.get_inheritable(fd)
    assert os.get_blocking(fd)


def test_nonblocking_has_the_mips_number(guest: Guest) -> None:
    fd = guest.call("eventfd2", 0, NONBLOCK)
    assert not os.get_blocking(fd)
    with pytest.raises(GuestError) as error:
        guest.call("read", fd, guest.alloc(8), 8)
    assert error.value.errno == errno.EAGAIN


def test_unknown_flags_are_an_error(guest: Guest) -> None:
    for call, args in (("eventfd2", (0, 0x40)), ("timerfd_create", (1, 0x40))):
        with pytest.raises(GuestError) as error:
            guest.call(call, *args)
        assert error.value.errno == errno.EINVAL


def test_timerfd_counts_expirations(guest: Guest) -> None:
    fd = guest.call("timerfd_create", 1, CLOEXEC)
    new = guest.put_struct(ITIMERSPEC, it_value={"tv_nsec": 1000})
    guest.call("timerfd_settime", fd, 0, new, 0)
    place = guest.alloc(8)
    assert guest.call("read", fd, place, 8) == 8
    assert guest.mem.u64(place) == 1
    now = guest.out(ITIMERSPEC)
    guest.call("timerfd_gettime", fd, now)
    assert guest.get(ITIMERSPEC, now).it_value.tv_sec == 0


def test_timerfd_takes_64_bit_times(narrow: Guest) -> None:
    fd = narrow.call("timerfd_create", 1, 0)
    new = narrow.put_struct(ITIMERSPEC64, it_value={"tv_sec": 1 << 33, "tv_nsec": 5 << 32})
    narrow.call("timerfd_settime64", fd, 0, new, 0)
    now = narrow.out(ITIMERSPEC64)
    narrow.call("timerfd_gettime64", fd, now)
    assert narrow.get(ITIMERSPEC64, now).it_value.tv_sec in ((1 << 33) - 1, 1 << 33)
    old = narrow.out(ITIMERSPEC64)
    narrow.call("timerfd_settime64", fd, 0, narrow.put_struct(ITIMERSPEC64), old)
    assert narrow.get(ITIMERSPEC64, old).it_value.tv_sec in ((1 << 33) - 1, 1 << 33)


def sigset(guest: Guest, *signals: int) -> int:
    """A set of signals: an array of longs."""
    word = guest.target.word
    bits = sum(1 << (number - 1) for number in signals)
    order = "big" if guest.target.big_endian else "little"
    words = [bits >> 8 * word * i & ((1 << 8 * word) - 1) for i in range(16 // word)]
    return guest.put(b"".join(w.to_bytes(word, order) for w in words))


def test_signalfd_tells_the_guest_s_signal_number(guest: Guest) -> None:
    fd = guest.call("signalfd4", -1, sigset(guest, SIGUSR1), 16, NONBLOCK | CLOEXEC)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        place = guest.alloc(128)
        assert guest.call("read", fd, place, 256) == 128
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    assert guest.mem.u32(place) == SIGUSR1
    assert guest.mem.u32(place + 12) == os.getpid()
    assert guest.mem.u32(place + 16) == os.getuid()


def test_signalfd_wants_the_size_of_a_mips_set(guest: Guest) -> None:
    with pytest.raises(GuestError) as error:
        guest.call("signalfd4", -1, sigset(guest), 8, 0)
    assert error.value.errno == errno.EINVAL


def test_signalfd_mask_is_changed_on_the_same_descriptor(guest: Guest) -> None:
    fd = guest.call("signalfd", -1, sigset(guest, SIGUSR1), 16)
    assert guest.call("signalfd4", fd, sigset(guest, 1), 16, 0) == fd


def test_descriptors_from_elsewhere_are_recognized(guest: Guest) -> None:
    import socket

    event = os.eventfd(3)
    translators.adopt(guest.thread, event)
    place = guest.alloc(8)
    guest.call("read", event, place, 8)
    assert guest.mem.u64(place) == 3
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        translators.adopt(guest.thread, netlink.fileno())
        assert isinstance(fdtable.translator(netlink.fileno()), translators.Netlink)
        fdtable.forget(netlink.fileno())
    with open("/dev/null") as null:
        translators.adopt(guest.thread, null.fileno())
        assert fdtable.translator(null.fileno()) is None
