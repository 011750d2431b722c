"""Scheduling calls, judged by the host's own answers."""

from __future__ import annotations

import errno
import os

import pytest

from pemu.linux.structs.byteorder import swap
from pemu.linux.structs.layout import Struct
from pemu.linux.structs.time import TIMESPEC
from tests.linux.fakeguest import Guest, GuestError

U32 = Struct("u32", "u32 value")
SCHED_ATTR = Struct(
    "sched_attr",
    *("u32 size", "u32 policy", "u64 flags", "s32 nice", "u32 priority"),
    *("u64 runtime", "u64 deadline", "u64 period"),
)


def bits(guest: Guest, data: bytes) -> set[int]:
    """The numbers in an array of the guest's longs."""
    word = guest.target.word
    order = "big" if guest.target.big_endian else "little"
    found = set()
    for i in range(0, len(data), word):
        value = int.from_bytes(data[i : i + word], order)  # type: ignore[arg-type]
        found |= {8 * i + bit for bit in range(8 * word) if value >> bit & 1}
    return found


def test_affinity_is_the_host_s(guest: Guest) -> None:
    mask = guest.alloc(128)
    size = guest.call("sched_getaffinity", 0, 128, mask)
    assert size % guest.target.word == 0
    assert bits(guest, guest.mem.read(mask, size)) == os.sched_getaffinity(0)


def test_affinity_can_be_set(guest: Guest) -> None:
    allowed = os.sched_getaffinity(0)
    chosen = max(allowed)
    word = guest.target.word
    mask = bytearray(16)
    order = "big" if guest.target.big_endian else "little"
    place = chosen // (8 * word) * word
    value = 1 << chosen % (8 * word)
    mask[place : place + word] = value.to_bytes(word, order)
    try:
        guest.call("sched_setaffinity", 0, 16, guest.put(bytes(mask)))
        assert os.sched_getaffinity(0) == {chosen}
    finally:
        os.sched_setaffinity(0, allowed)


def test_affinity_size_must_be_whole_words(guest: Guest) -> None:
    with pytest.raises(GuestError) as error:
        guest.call("sched_getaffinity", 0, guest.target.word + 1, guest.alloc(16))
    assert error.value.errno == errno.EINVAL


def test_policy_and_limits_are_the_host_s(guest: Guest) -> None:
    assert guest.call("sched_getscheduler", 0) == os.sched_getscheduler(0)
    assert guest.call("sched_get_priority_max", os.SCHED_FIFO) == 99
    assert guest.call("sched_get_priority_min", os.SCHED_FIFO) == 1
    interval = guest.out(TIMESPEC)
    guest.call("sched_rr_get_interval", 0, interval)
    assert guest.get(TIMESPEC, interval).tv_nsec >= 0
    param = guest.out(U32)
    guest.call("sched_getparam", 0, param)
    assert guest.get(U32, param).value == 0
    assert guest.call("sched_setscheduler", 0, os.SCHED_OTHER, param) == 0


def test_attributes_are_got_and_set(guest: Guest) -> None:
    place = guest.out(SCHED_ATTR)
    guest.call("sched_getattr", 0, place, 48, 0)
    found = guest.get(SCHED_ATTR, place)
    assert (found.size, found.policy) == (48, os.sched_getscheduler(0))
    assert found.nice == os.getpriority(os.PRIO_PROCESS, 0)
    assert guest.call("sched_setattr", 0, place, 0) == 0


def test_attributes_of_an_unknown_size_tell_the_known_one(guest: Guest) -> None:
    place = guest.put(b"\xff" * 128)
    guest.mem.put_u32(place, 128)
    with pytest.raises(GuestError) as error:
        guest.call("sched_setattr", 0, place, 0)
    assert error.value.errno == errno.E2BIG
    assert 48 <= guest.mem.u32(place) < 128


def test_priority_is_the_kernel_s_raw_number(guest: Guest) -> None:
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    assert guest.call("getpriority", 0, 0) == 20 - nice
    assert guest.call("setpriority", 0, 0, nice) == 0


def test_nice_of_nothing_succeeds(o32: Guest) -> None:
    assert o32.call("nice", 0) == 0


def test_getcpu_names_a_processor(guest: Guest) -> None:
    cpu = guest.out(U32)
    assert guest.call("getcpu", cpu, 0, 0) == 0
    assert guest.get(U32, cpu).value in os.sched_getaffinity(0)


def test_layout_of_attributes_is_that_of_the_structure() -> None:
    from pemu.linux.calls.scheduling import SCHED_ATTR as LAYOUT

    values = {"size": 48, "policy": 3, "flags": 5, "nice": -7, "runtime": 1 << 40, "period": 2}
    little = SCHED_ATTR.layout(8, "little").pack(values)
    assert swap(little, LAYOUT) == SCHED_ATTR.layout(8, "big").pack(values)
