"""poll, select and epoll on real pipes."""

from __future__ import annotations

import errno
import os
import select
import signal
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from pemu.linux.mips.signals import pack_sigset
from pemu.linux.structs.time import TIMESPEC, TIMESPEC64, TIMEVAL
from pemu.linux.syscall import ERESTART_RESTARTBLOCK, ERESTARTNOHAND
from tests.linux.fakeguest import Guest, GuestError

POLLIN, POLLOUT, POLLNVAL, POLLWRBAND = 1, 4, 0x20, 0x100


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def fds(guest: Guest, *wanted: tuple[int, int]) -> int:
    order = ">" if guest.target.big_endian else "<"
    data = b"".join(struct.pack(order + "ihH", fd, events, 0xFFFF) for fd, events in wanted)
    return guest.put(data)


def happened(guest: Guest, place: int, count: int) -> list[int]:
    return [guest.mem.u16(place + 8 * i + 6) for i in range(count)]


def test_poll_tells_what_is_ready(guest: Guest, pipe: tuple[int, int]) -> None:
    place = fds(guest, (pipe[0], POLLIN), (pipe[1], POLLOUT), (-1, POLLIN), (9999, POLLIN))
    assert guest.call("poll", place, 4, 0) == 2
    assert happened(guest, place, 4) == [0, POLLOUT, 0, POLLNVAL]
    os.write(pipe[1], b"x")
    assert guest.call("poll", place, 2, -1) == 2
    assert happened(guest, place, 2) == [POLLIN, POLLOUT]
    assert guest.mem.u32(place) == pipe[0]


def test_poll_waits_for_its_time(guest: Guest, pipe: tuple[int, int]) -> None:
    place = fds(guest, (pipe[0], POLLIN))
    before = time.monotonic()
    assert guest.call("poll", place, 1, 3) == 0
    assert time.monotonic() - before >= 0.003
    assert happened(guest, place, 1) == [0]


def test_poll_knows_the_mips_number_of_a_writable_band(guest: Guest) -> None:
    import socket

    one, other = socket.socketpair()
    with one, other:
        place = fds(guest, (one.fileno(), POLLWRBAND))
        assert guest.call("poll", place, 1, 0) == 1
        assert happened(guest, place, 1) == [POLLWRBAND]


def test_interrupted_poll_goes_on_with_the_time_left(guest: Guest, pipe: tuple[int, int]) -> None:
    place = fds(guest, (pipe[0], POLLIN))
    before = time.monotonic()
    guest.interrupt_next = True
    guest.load("poll", place, 1, 30)
    guest.trap()
    assert guest.restart == ERESTART_RESTARTBLOCK
    guest.restart = 0
    assert guest.call("restart_syscall") == 0
    assert time.monotonic() - before >= 0.03


def test_ppoll_takes_and_returns_the_time(guest: Guest, pipe: tuple[int, int]) -> None:
    place = fds(guest, (pipe[1], POLLOUT))
    limit = guest.put_struct(TIMESPEC, tv_sec=1000)
    assert guest.call("ppoll", place, 1, limit, 0, 0) == 1
    assert 500 < guest.get(TIMESPEC, limit).tv_sec < 1000


def test_ppoll_time64(narrow: Guest, pipe: tuple[int, int]) -> None:
    place = fds(narrow, (pipe[0], POLLIN))
    limit = narrow.put_struct(TIMESPEC64, tv_nsec=0x77 << 32 | 1_000_000)
    assert narrow.call("ppoll_time64", place, 1, limit, 0, 0) == 0


def test_poll_of_memory_that_is_not_there_is_a_fault(guest: Guest) -> None:
    with pytest.raises(GuestError) as error:
        guest.call("poll", 16, 1, 0)
    assert error.value.errno == errno.EFAULT


def signal_set(guest: Guest, *signals: int) -> int:
    """The address of a set of guest signals."""
    return guest.put(pack_sigset(sum(1 << (n - 1) for n in signals), guest.target))


@pytest.mark.parametrize("call", ["ppoll", "pselect6", "epoll_pwait"])
def test_wait_under_another_mask_lets_only_its_signals_in(guest: Guest, call: str) -> None:
    """SIGUSR1 is blocked, then pending; the set of the call does not block it."""
    came = []
    old = signal.signal(signal.SIGUSR1, lambda *_: came.append(1))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    epfd = guest.call("epoll_create1", 0)
    try:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        mask = signal_set(guest, 1, 9, 18)
        limit = guest.put_struct(TIMESPEC, tv_sec=5)
        if call == "ppoll":
            guest.load(call, 0, 0, limit, mask, 16)
        elif call == "pselect6":
            pair = guest.alloc(16)
            guest.mem.put_word(pair, mask)
            guest.mem.put_word(pair + guest.target.word, 16)
            guest.load(call, 0, 0, 0, 0, limit, pair)
        else:
            guest.load(call, epfd, guest.alloc(16), 1, 5000, mask, 16)
        guest.thread.sigmask = 1 << 15
        guest.trap()
        assert came == [1]
        assert guest.restart in (ERESTARTNOHAND, ERESTART_RESTARTBLOCK)
        assert guest.thread.saved_mask == 1 << 15
        assert guest.thread.sigmask == 1 | 1 << 17
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        signal.signal(signal.SIGUSR1, old)
        os.close(epfd)


def test_wait_that_is_not_interrupted_keeps_the_mask(guest: Guest, pipe: tuple[int, int]) -> None:
    guest.thread.sigmask = 4
    place = fds(guest, (pipe[1], POLLOUT))
    assert guest.call("ppoll", place, 1, 0, signal_set(guest, 1), 16) == 1
    assert (guest.thread.sigmask, guest.thread.saved_mask) == (4, None)
    with pytest.raises(GuestError) as error:
        guest.call("ppoll", place, 1, 0, signal_set(guest, 1), 8)
    assert error.value.errno == errno.EINVAL
    assert (guest.thread.sigmask, guest.thread.saved_mask) == (4, None)


def fd_set(guest: Guest, *members: int) -> bytes:
    word = guest.target.word
    words = [0] * (1024 // (8 * word))
    for fd in members:
        words[fd // (8 * word)] |= 1 << fd % (8 * word)
    order = "big" if guest.target.big_endian else "little"
    return b"".join(value.to_bytes(word, order) for value in words)  # type: ignore[arg-type]


@pytest.mark.parametrize("fd", [0, 7, 33, 63, 64, 100])
def test_select_finds_a_descriptor_in_any_word(
    guest: Guest, pipe: tuple[int, int], fd: int
) -> None:
    taken = os.dup2(pipe[1], fd + 300)
    try:
        writers = guest.put(fd_set(guest, taken))
        readers = guest.put(fd_set(guest, pipe[0]))
        limit = guest.put_struct(TIMEVAL, tv_sec=1000)
        assert guest.call("_newselect", taken + 1, readers, writers, 0, limit) == 1
        assert guest.mem.read(writers, 128) == fd_set(guest, taken)
        assert guest.mem.read(readers, 128) == fd_set(guest)
        assert 500 < guest.get(TIMEVAL, limit).tv_sec < 1000
    finally:
        os.close(taken)


def test_select_writes_only_the_words_it_was_given(guest: Guest, pipe: tuple[int, int]) -> None:
    count = max(pipe) + 1
    size = -(-count // (8 * guest.target.word)) * guest.target.word
    readers = guest.put(fd_set(guest, pipe[0])[:size] + b"\xaa" * 16)
    assert guest.call("_newselect", count, readers, 0, 0, guest.put_struct(TIMEVAL)) == 0
    assert guest.mem.read(readers + size, 16) == b"\xaa" * 16


def test_interrupted_select_is_made_again(guest: Guest) -> None:
    guest.interrupt_next = True
    guest.load("_newselect", 0, 0, 0, 0, guest.put_struct(TIMEVAL, tv_sec=1))
    guest.trap()
    assert guest.restart == ERESTARTNOHAND


def test_select_refuses_a_negative_count_and_time(guest: Guest) -> None:
    for count, sec in ((-1, 0), (0, -1)):
        with pytest.raises(GuestError) as error:
            guest.call("_newselect", count, 0, 0, 0, guest.put_struct(TIMEVAL, tv_sec=sec))
        assert error.value.errno == errno.EINVAL


def test_pselect_waits(guest: Guest, pipe: tuple[int, int]) -> None:
    readers = guest.put(fd_set(guest, pipe[0]))
    mask = guest.alloc(16)
    limit = guest.put_struct(TIMESPEC, tv_nsec=1_000_000)
    assert guest.call("pselect6", pipe[0] + 1, readers, 0, 0, limit, mask) == 0
    os.write(pipe[1], b"x")
    readers = guest.put(fd_set(guest, pipe[0]))
    assert guest.call("pselect6", pipe[0] + 1, readers, 0, 0, 0, 0) == 1


# epoll.


def event(guest: Guest, events: int, data: int) -> int:
    order = ">" if guest.target.big_endian else "<"
    return guest.put(struct.pack(order + "I4xQ", events, data))


def test_epoll_gives_the_data_back(guest: Guest, pipe: tuple[int, int]) -> None:
    epfd = guest.call("epoll_create1", 0x80000)
    try:
        assert not os.get_inheritable(epfd)
        wanted = event(guest, select.EPOLLIN | select.EPOLLET, 0x1122334455667788)
        guest.call("epoll_ctl", epfd, 1, pipe[0], wanted)
        os.write(pipe[1], b"x")
        out = guest.alloc(64)
        assert guest.call("epoll_wait", epfd, out, 4, -1) == 1
        assert guest.mem.u32(out) == select.EPOLLIN
        assert guest.mem.u64(out + 8) == 0x1122334455667788
        assert guest.call("epoll_wait", epfd, out, 4, 0) == 0
        assert guest.call("epoll_ctl", epfd, 2, pipe[0], 0) == 0
    finally:
        os.close(epfd)


def test_epoll_with_two_events(guest: Guest, pipe: tuple[int, int]) -> None:
    epfd = guest.call("epoll_create", 5)
    try:
        for number, fd in enumerate(pipe):
            guest.call("epoll_ctl", epfd, 1, fd, event(guest, 5, number + 1))
        os.write(pipe[1], b"x")
        out = guest.alloc(64)
        assert guest.call("epoll_pwait", epfd, out, 2, 1000, 0, 0) == 2
        assert {guest.mem.u64(out + 8), guest.mem.u64(out + 24)} == {1, 2}
    finally:
        os.close(epfd)


def test_epoll_waits_for_its_time_and_goes_on(guest: Guest, pipe: tuple[int, int]) -> None:
    epfd = guest.call("epoll_create1", 0)
    try:
        guest.call("epoll_ctl", epfd, 1, pipe[0], event(guest, 1, 1))
        before = time.monotonic()
        guest.interrupt_next = True
        guest.load("epoll_wait", epfd, guest.alloc(64), 4, 20)
        guest.trap()
        assert guest.restart == ERESTART_RESTARTBLOCK
        guest.restart = 0
        assert guest.call("restart_syscall") == 0
        assert time.monotonic() - before >= 0.02
        limit = guest.put_struct(TIMESPEC64, tv_nsec=2_000_000)
        assert guest.call("epoll_pwait2", epfd, guest.alloc(64), 4, limit, 0, 0) == 0
    finally:
        os.close(epfd)


def test_epoll_refuses_no_room(guest: Guest) -> None:
    epfd = guest.call("epoll_create1", 0)
    try:
        for count in (0, -1, 0x7FFFFFFF):
            with pytest.raises(GuestError) as error:
                guest.call("epoll_wait", epfd, guest.alloc(16), count, 0)
            assert error.value.errno == errno.EINVAL
    finally:
        os.close(epfd)
