"""POSIX message queues."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator

import pytest

from pemu.linux.calls.mqueue import MQ_ATTR, PRIORITY
from pemu.linux.structs.layout import Struct
from pemu.linux.structs.time import TIMESPEC, TIMESPEC64
from tests.linux.fakeguest import Guest, GuestError

O_RDWR, O_CREAT, O_EXCL, O_NONBLOCK = 2, 0x100, 0x400, 0x80
NAME = f"pemu-test-{os.getpid()}".encode()


@pytest.fixture
def queue(guest: Guest) -> Iterator[int]:
    attributes = guest.put_struct(MQ_ATTR, mq_maxmsg=3, mq_msgsize=64)
    fd = guest.call("mq_open", NAME, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0o600, attributes)
    yield fd
    guest.call("mq_unlink", NAME)
    os.close(fd)


def test_messages_come_by_priority(guest: Guest, queue: int) -> None:
    guest.call("mq_timedsend", queue, b"low", 3, 1, 0)
    guest.call("mq_timedsend", queue, b"higher", 6, 9, 0)
    place, priority = guest.alloc(64), guest.out(PRIORITY)
    assert guest.call("mq_timedreceive", queue, place, 64, priority, 0) == 6
    assert guest.mem.read(place, 6) == b"higher"
    assert guest.get(PRIORITY, priority).priority == 9


def test_attributes_have_the_mips_flag(guest: Guest, queue: int) -> None:
    old = guest.out(MQ_ATTR)
    guest.call("mq_getsetattr", queue, guest.put_struct(MQ_ATTR), old)
    found = guest.get(MQ_ATTR, old)
    assert (found.mq_flags, found.mq_maxmsg, found.mq_msgsize) == (O_NONBLOCK, 3, 64)
    assert os.get_blocking(queue)
    guest.call("mq_getsetattr", queue, guest.put_struct(MQ_ATTR, mq_flags=O_NONBLOCK), 0)
    assert not os.get_blocking(queue)


def test_waiting_ends_at_the_time(guest: Guest, queue: int) -> None:
    os.set_blocking(queue, True)
    limit = guest.put_struct(TIMESPEC, tv_sec=int(time.time()) - 5)
    with pytest.raises(GuestError) as error:
        guest.call("mq_timedreceive", queue, guest.alloc(64), 64, 0, limit)
    assert error.value.errno == errno.ETIMEDOUT


def test_64_bit_time(narrow: Guest) -> None:
    fd = narrow.call("mq_open", NAME, O_RDWR | O_CREAT, 0o600, 0)
    try:
        late = narrow.put_struct(TIMESPEC64, tv_sec=1 << 33, tv_nsec=7 << 32)
        assert narrow.call("mq_timedsend_time64", fd, b"x", 1, 0, late) == 0
        size = narrow.out(MQ_ATTR)
        narrow.call("mq_getsetattr", fd, 0, size)
        room = narrow.get(MQ_ATTR, size).mq_msgsize
        place = narrow.alloc(room)
        assert narrow.call("mq_timedreceive_time64", fd, place, room, 0, late) == 1
    finally:
        narrow.call("mq_unlink", NAME)
        os.close(fd)


def test_notification_is_registered_once(guest: Guest, queue: int) -> None:
    sigevent = Struct("sigevent", "ulong value", "int signo", "int notify", "int thread")
    none = guest.put_struct(sigevent, notify=1)
    assert guest.call("mq_notify", queue, none) == 0
    with pytest.raises(GuestError) as error:
        guest.call("mq_notify", queue, none)
    assert error.value.errno == errno.EBUSY
    assert guest.call("mq_notify", queue, 0) == 0


def test_queue_that_exists_is_an_error(guest: Guest, queue: int) -> None:
    with pytest.raises(GuestError) as error:
        guest.call("mq_open", NAME, O_RDWR | O_CREAT | O_EXCL, 0o600, 0)
    assert error.value.errno == errno.EEXIST


def test_cookie_of_a_thread_s_notification_passes_as_it_is(guest: Guest, queue: int) -> None:
    netlink = guest.call("socket", 16, 3, 0)
    sigevent = Struct("sigevent", "ulong value", "int signo", "int notify", "int thread")
    cookie = bytes(range(1, 32)) + b"\0"
    event = guest.put_struct(sigevent, value=guest.put(cookie), signo=netlink, notify=2)
    guest.call("mq_notify", queue, event)
    guest.call("mq_timedsend", queue, b"x", 1, 0, 0)
    place = guest.alloc(64)
    assert guest.call("recvfrom", netlink, place, 64, 0, 0, 0) == 32
    assert guest.mem.read(place, 31) == cookie[:31]
    os.close(netlink)
