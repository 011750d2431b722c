"""Resource limits by MIPS numbers."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator

import pytest

from pemu.linux.calls import limits
from pemu.linux.structs.time import RUSAGE
from tests.linux.fakeguest import Guest, GuestError

NOFILE, AS, STACK, CORE = 5, 6, 3, 4
ENDLESS = (1 << 64) - 1


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    limits._kept.clear()
    yield
    limits._kept.clear()


def get(guest: Guest, number: int) -> tuple[int, int]:
    place = guest.out(limits.RLIMIT64)
    guest.call("prlimit64", 0, number, 0, place)
    value = guest.get(limits.RLIMIT64, place)
    return value.rlim_cur, value.rlim_max


def test_number_of_open_files_is_limit_five(guest: Guest) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert get(guest, NOFILE) == (soft, hard)
    place = guest.out(limits.RLIMIT)
    guest.call("getrlimit", NOFILE, place)
    assert guest.get(limits.RLIMIT, place).rlim_cur == soft


def test_soft_limit_is_set_on_the_host(guest: Guest) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    largest = min(hard, 0x7FFFFFFF) if guest.target.word == 4 and hard < 0 else hard
    new = guest.put_struct(limits.RLIMIT, rlim_cur=soft - 1, rlim_max=largest)
    guest.call("setrlimit", NOFILE, new)
    try:
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft - 1, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_limit_has_the_abi_s_number(guest: Guest) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    assert soft == resource.RLIM_INFINITY
    place = guest.out(limits.RLIMIT)
    guest.call("getrlimit", AS, place)
    expected = 0x7FFFFFFF if guest.target.word == 4 else ENDLESS
    assert guest.get(limits.RLIMIT, place).rlim_cur == expected
    assert get(guest, AS) == (ENDLESS, ENDLESS)


def test_limit_of_the_address_space_is_told_back_but_not_the_host_s(guest: Guest) -> None:
    new = guest.put_struct(limits.RLIMIT64, rlim_cur=1 << 20, rlim_max=1 << 30)
    guest.call("prlimit64", 0, AS, new, 0)
    assert get(guest, AS) == (1 << 20, 1 << 30)
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_small_stack_limit_does_not_bind_the_host(guest: Guest) -> None:
    before = resource.getrlimit(resource.RLIMIT_STACK)
    new = guest.put_struct(limits.RLIMIT64, rlim_cur=64 << 10, rlim_max=ENDLESS)
    guest.call("prlimit64", 0, STACK, new, 0)
    assert get(guest, STACK)[0] == 64 << 10
    assert resource.getrlimit(resource.RLIMIT_STACK) == before


def test_soft_limit_above_the_hard_one_is_an_error(guest: Guest) -> None:
    for number in (AS, CORE):
        new = guest.put_struct(limits.RLIMIT64, rlim_cur=2, rlim_max=1)
        with pytest.raises(GuestError) as error:
            guest.call("prlimit64", 0, number, new, 0)
        assert error.value.errno == errno.EINVAL


def test_unknown_limit_is_an_error(guest: Guest) -> None:
    with pytest.raises(GuestError) as error:
        guest.call("getrlimit", 16, guest.out(limits.RLIMIT))
    assert error.value.errno == errno.EINVAL


def test_usage_is_the_host_s(guest: Guest) -> None:
    place = guest.out(RUSAGE)
    guest.call("getrusage", 0, place)
    usage = guest.get(RUSAGE, place)
    own = resource.getrusage(resource.RUSAGE_SELF)
    assert 0 < usage.ru_maxrss <= own.ru_maxrss
    assert abs(usage.ru_utime.tv_sec - own.ru_utime) < 2


def test_limit_of_another_process_is_asked_of_the_host(guest: Guest) -> None:
    place = guest.out(limits.RLIMIT64)
    guest.call("prlimit64", os.getppid(), NOFILE, 0, place)
    assert guest.get(limits.RLIMIT64, place).rlim_cur > 0
