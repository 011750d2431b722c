"""Guest memory as Python reads and writes it, with engines in the process and without."""

from __future__ import annotations

import os
import tempfile
import threading

import pytest

from pemu.engine.code.cache import CodeCache
from pemu.engine.engine import Engine
from pemu.engine.host.masking import with_signals_blocked
from pemu.engine.layout.pages import PAGE, READ, WRITE
from pemu.engine.memory.access import GuestFault
from pemu.engine.memory.process import AddressSpace
from pemu.isa.mips.cpu import architecture

START = 0x100000
PRIVATE = 0x22
SHARED = 0x01


@pytest.fixture(scope="module")
def spaces() -> list[AddressSpace]:
    """Two address spaces of one process, each with an engine."""
    cache = CodeCache(os.path.join(os.environ["PEMU_TEST_CACHE"], "code"))
    made = []
    for big_endian in (True, False):
        space = AddressSpace(32, big_endian)
        Engine(architecture("24Kf", big_endian, "o32"), space, cache=cache)
        space.map(START, 2 * PAGE, READ | WRITE, PRIVATE | 0x10)
        made.append(space)
    return made


def test_numbers_come_back_in_guest_byte_order(spaces: list[AddressSpace]) -> None:
    for space in spaces:
        space.put_u32(START, 0x11223344)
        assert space.u32(START) == 0x11223344
    assert spaces[0].read(START, 4) == spaces[1].read(START, 4)[::-1]


def test_each_space_tells_the_first_missing_address(spaces: list[AddressSpace]) -> None:
    for space in spaces:
        with pytest.raises(GuestFault) as caught:
            space.read(START + 2 * PAGE - 5, 9)
        assert caught.value.address == START + 2 * PAGE


def test_a_write_stops_at_the_first_missing_address(spaces: list[AddressSpace]) -> None:
    for space in spaces:
        with pytest.raises(GuestFault) as caught:
            space.write(START + 2 * PAGE - 2, b"abcd")
        assert caught.value.address == START + 2 * PAGE
        assert space.read(START + 2 * PAGE - 2, 2) == b"ab"


def test_a_read_beyond_the_end_of_a_file_faults(spaces: list[AddressSpace]) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"content")
        file.flush()
        for space in spaces:
            place = space.map(None, 2 * PAGE, READ, SHARED, file.fileno())
            assert space.read(place, 7) == b"content"
            with pytest.raises(GuestFault):
                space.read(place + PAGE, 1)
            space.unmap(place, 2 * PAGE)


def test_a_thread_with_blocked_signals_survives_a_fault(spaces: list[AddressSpace]) -> None:
    found: list[int] = []

    def look() -> None:
        try:
            spaces[0].read(0, 4)
        except GuestFault as fault:
            found.append(fault.address)

    thread = threading.Thread(target=look)
    with_signals_blocked(thread.start)
    thread.join()
    assert found == [0]


def test_memory_that_vanishes_meanwhile_faults(spaces: list[AddressSpace]) -> None:
    space = spaces[0]
    place = START + 16 * PAGE
    done = threading.Event()

    def change() -> None:
        for _ in range(300):
            space.map(place, PAGE, READ | WRITE, PRIVATE | 0x10)
            space.unmap(place, PAGE)
        done.set()

    thread = threading.Thread(target=change)
    thread.start()
    outcomes: set[bytes | int] = set()
    while not done.is_set():
        try:
            outcomes.add(space.read(place, 64))
        except GuestFault as fault:
            outcomes.add(fault.address)
    thread.join()
    assert outcomes <= {bytes(64), place}
