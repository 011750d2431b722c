"""Clocks, sleeping and timers as a guest sees them."""

from __future__ import annotations

import errno
import signal
import time

import pytest

from pemu.linux.calls.timex import TIMEX
from pemu.linux.structs.layout import Struct
from pemu.linux.structs.time import (
    ITIMERSPEC,
    ITIMERSPEC64,
    ITIMERVAL,
    TIMESPEC,
    TIMESPEC64,
    TIMEVAL,
    TIMEZONE,
    TMS,
)
from pemu.linux.syscall import ERESTART_RESTARTBLOCK, ERESTARTNOHAND
from tests.linux.fakeguest import Guest, GuestError

U32 = Struct("u32", "u32 value")
SIGEVENT = Struct("sigevent", "ulong value", "int signo", "int notify", "int thread")
CLOCK_REALTIME, CLOCK_MONOTONIC = 0, 1


def test_gettimeofday_gives_the_host_s_time(guest: Guest) -> None:
    now = guest.out(TIMEVAL)
    assert guest.call("gettimeofday", now, guest.out(TIMEZONE)) == 0
    assert abs(guest.get(TIMEVAL, now).tv_sec - time.time()) < 1000


def test_clock_gettime_gives_the_host_s_time(guest: Guest) -> None:
    now = guest.out(TIMESPEC)
    assert guest.call("clock_gettime", CLOCK_MONOTONIC, now) == 0
    value = guest.get(TIMESPEC, now)
    assert abs(value.tv_sec + value.tv_nsec / 1e9 - time.monotonic()) < 1000


def test_clock_gettime64_gives_the_host_s_time(narrow: Guest) -> None:
    now = narrow.out(TIMESPEC64)
    assert narrow.call("clock_gettime64", CLOCK_REALTIME, now) == 0
    assert abs(narrow.get(TIMESPEC64, now).tv_sec - time.time()) < 1000


def test_unknown_clock_is_an_error(guest: Guest) -> None:
    with pytest.raises(GuestError) as error:
        guest.call("clock_gettime", 77, guest.out(TIMESPEC))
    assert error.value.errno == errno.EINVAL


def test_clock_getres_is_the_host_s(guest: Guest) -> None:
    result = guest.out(TIMESPEC)
    guest.call("clock_getres", CLOCK_MONOTONIC, result)
    value = guest.get(TIMESPEC, result)
    assert value.tv_sec + value.tv_nsec / 1e9 == time.clock_getres(time.CLOCK_MONOTONIC)


def test_time_is_returned_and_stored(o32: Guest) -> None:
    place = o32.out(U32)
    now = o32.call("time", place)
    assert abs(now - time.time()) < 1000
    assert o32.get(U32, place).value == now


def test_times_counts_ticks(guest: Guest) -> None:
    result = guest.out(TMS)
    guest.call("times", result)
    assert guest.get(TMS, result).tms_utime >= 0


def test_adjtimex_reads_the_clock_s_state(guest: Guest) -> None:
    state = guest.put_struct(TIMEX, modes=0)
    guest.call("adjtimex", state)
    assert 9000 < guest.get(TIMEX, state).tick < 11000


def test_nanosleep_sleeps(guest: Guest) -> None:
    before = time.monotonic()
    assert guest.call("nanosleep", guest.put_struct(TIMESPEC, tv_nsec=2_000_000), 0) == 0
    assert time.monotonic() - before >= 0.002


def test_nanosleep_refuses_a_wrong_interval(guest: Guest) -> None:
    with pytest.raises(GuestError) as error:
        guest.call("nanosleep", guest.put_struct(TIMESPEC, tv_nsec=1_000_000_000), 0)
    assert error.value.errno == errno.EINVAL


def test_interrupted_sleep_tells_what_remains(guest: Guest) -> None:
    remaining = guest.out(TIMESPEC)
    guest.interrupt_next = True
    guest.load("nanosleep", guest.put_struct(TIMESPEC, tv_sec=1000), remaining)
    guest.trap()
    assert 500 < guest.get(TIMESPEC, remaining).tv_sec < 1000


def test_interrupted_sleep_goes_on(guest: Guest) -> None:
    for duration in (0.05, 1, 10, 60):  # one that is over already is not interrupted
        start = time.monotonic()
        sec, nsec = divmod(int(duration * 1e9), 1_000_000_000)
        guest.interrupt_next = True
        guest.load("nanosleep", guest.put_struct(TIMESPEC, tv_sec=sec, tv_nsec=nsec), 0)
        guest.trap()
        if guest.restart:
            break
    assert guest.restart == ERESTART_RESTARTBLOCK
    guest.restart = 0
    assert guest.call("restart_syscall") == 0
    assert time.monotonic() - start >= duration


def test_interrupted_absolute_sleep_is_made_again(guest: Guest) -> None:
    deadline = int(time.monotonic()) + 100
    guest.interrupt_next = True
    until = guest.put_struct(TIMESPEC, tv_sec=deadline)
    guest.load("clock_nanosleep", CLOCK_MONOTONIC, 1, until, 0)
    guest.trap()
    assert guest.restart == ERESTARTNOHAND


def test_64_bit_sleep_ignores_the_padding_of_nanoseconds(narrow: Guest) -> None:
    request = narrow.put_struct(TIMESPEC64, tv_nsec=0x7FFFFFFF_000F4240)
    assert narrow.call("clock_nanosleep_time64", CLOCK_REALTIME, 0, request, 0) == 0


def test_setting_the_clock_with_a_wrong_time_is_an_error(narrow: Guest) -> None:
    new = narrow.put_struct(TIMESPEC64, tv_nsec=2_000_000_000)
    with pytest.raises(GuestError) as error:
        narrow.call("clock_settime64", CLOCK_REALTIME, new)
    assert error.value.errno in (errno.EINVAL, errno.EPERM)


# Timers.


def test_interval_timer_is_set_told_and_stopped(guest: Guest) -> None:
    new = guest.put_struct(ITIMERVAL, it_value={"tv_sec": 1000}, it_interval={"tv_usec": 7})
    guest.call("setitimer", 0, new, 0)
    now = guest.out(ITIMERVAL)
    guest.call("getitimer", 0, now)
    value = guest.get(ITIMERVAL, now)
    assert 500 < value.it_value.tv_sec <= 1000
    old = guest.out(ITIMERVAL)
    guest.call("setitimer", 0, guest.put_struct(ITIMERVAL), old)
    assert 500 < guest.get(ITIMERVAL, old).it_value.tv_sec <= 1000
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_alarm_tells_the_seconds_left(guest: Guest) -> None:
    assert guest.call("alarm", 1000) == 0
    assert 500 < guest.call("alarm", 0) <= 1000


@pytest.fixture
def timer(guest: Guest) -> int:
    event = guest.put_struct(SIGEVENT, notify=1)
    place = guest.out(U32)
    guest.call("timer_create", CLOCK_MONOTONIC, event, place)
    number: int = guest.get(U32, place).value
    return number


def test_posix_timer_is_set_and_told(guest: Guest, timer: int) -> None:
    new = guest.put_struct(ITIMERSPEC, it_value={"tv_sec": 1000}, it_interval={"tv_nsec": 5})
    assert guest.call("timer_settime", timer, 0, new, 0) == 0
    now = guest.out(ITIMERSPEC)
    assert guest.call("timer_gettime", timer, now) == 0
    value = guest.get(ITIMERSPEC, now)
    assert 500 < value.it_value.tv_sec < 1000
    assert value.it_interval.tv_nsec == 5
    assert guest.call("timer_getoverrun", timer) == 0
    assert guest.call("timer_delete", timer) == 0
    with pytest.raises(GuestError) as error:
        guest.call("timer_gettime", timer, now)
    assert error.value.errno == errno.EINVAL


def test_posix_timer_takes_64_bit_times(narrow: Guest) -> None:
    place = narrow.out(U32)
    narrow.call("timer_create", CLOCK_MONOTONIC, narrow.put_struct(SIGEVENT, notify=1), place)
    timer = narrow.get(U32, place).value
    new = narrow.put_struct(ITIMERSPEC64, it_value={"tv_sec": 1 << 33, "tv_nsec": 0x1234 << 32 | 9})
    narrow.call("timer_settime64", timer, 0, new, 0)
    old = narrow.out(ITIMERSPEC64)
    narrow.call("timer_settime64", timer, 0, narrow.put_struct(ITIMERSPEC64), old)
    assert narrow.get(ITIMERSPEC64, old).it_value.tv_sec >> 10 in ((1 << 23) - 1, 1 << 23)
    narrow.call("timer_delete", timer)


def test_timer_id_that_cannot_be_stored_leaves_no_timer(guest: Guest) -> None:
    with pytest.raises(GuestError) as error:
        guest.call("timer_create", CLOCK_MONOTONIC, guest.put_struct(SIGEVENT, notify=1), 16)
    assert error.value.errno == errno.EFAULT
