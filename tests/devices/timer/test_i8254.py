"""The interval timer: modes, ways of reading, the gate of the speaker's counter."""

from __future__ import annotations

import pytest
from hypothesis import given

from pemu.devices.timer.i8254 import FREQUENCY, I8254
from pemu.machine.isa import IsaBus
from pemu.machine.machine import Machine
from tests.devices.anyaccess import Access, accesses, advance, check_state, perform

SECOND = 1_000_000_000


class Timer:
    """A timer whose time is moved by ticks."""

    def __init__(self) -> None:
        self.machine = Machine("little")
        bus = IsaBus(self.machine, "isa.0", None, self.machine.memory.root, self.machine.io.root)
        self.pit = self.machine.create(I8254, bus)
        self.machine.reset_devices()
        self.tick = 0
        self.edges: list[tuple[int, int]] = []
        self.pit.irq.connect(lambda level: self.edges.append((self.now(), level)))

    def now(self) -> int:
        """The present tick."""
        return self.machine.clocks.virtual.now() * FREQUENCY // SECOND

    def wait(self, ticks: int) -> None:
        self.tick += ticks
        until = -(-self.tick * SECOND // FREQUENCY)
        advance(self.machine, until - self.machine.clocks.virtual.now())

    def read(self, port: int) -> int:
        return self.machine.io.read(port, 1)

    def write(self, port: int, *values: int) -> None:
        for value in values:
            self.machine.io.write(port, value, 1)

    def program(self, counter: int, mode: int, count: int, *, bcd: int = 0) -> None:
        self.write(0x43, counter << 6 | 0x30 | mode << 1 | bcd)
        self.write(0x40 + counter, count & 0xFF, count >> 8)

    def count(self, counter: int) -> int:
        """Latch and read a counter."""
        self.write(0x43, counter << 6)
        return self.read(0x40 + counter) | self.read(0x40 + counter) << 8

    def status(self, counter: int) -> int:
        self.write(0x43, 0xE0 | 2 << counter)
        return self.read(0x40 + counter)

    def out(self, counter: int) -> int:
        return self.status(counter) >> 7

    def rises_after(self, ticks: int, counter: int) -> bool:
        """Whether a counter's output goes from 0 to 1 after so many ticks and not before."""
        self.wait(ticks - 1)
        before = self.out(counter)
        self.wait(1)
        return (before, self.out(counter)) == (0, 1)

    def gate(self, level: int) -> None:
        self.write(0x61, level)


@pytest.fixture
def pit() -> Timer:
    return Timer()


def test_mode_0_interrupts_once(pit: Timer) -> None:
    pit.program(0, 0, 1000)
    assert pit.out(0) == 0
    pit.wait(999)
    assert pit.count(0) == 1
    assert not pit.pit.irq.level
    pit.wait(1)
    assert pit.out(0) == 1
    pit.wait(1000)
    assert pit.edges == [(1000, 1)]
    assert pit.count(0) == 0x10000 - 1000


def test_mode_0_stops_at_the_first_of_two_bytes(pit: Timer) -> None:
    pit.program(0, 0, 100)
    pit.wait(100)
    pit.write(0x40, 50)
    assert pit.out(0) == 0
    pit.wait(1000)
    assert pit.out(0) == 0
    pit.write(0x40, 0)
    assert pit.rises_after(50, 0)


def test_gate_holds_mode_0(pit: Timer) -> None:
    pit.gate(1)
    pit.program(2, 0, 100)
    pit.wait(30)
    pit.gate(0)
    pit.wait(1000)
    assert pit.count(2) == 70
    pit.gate(1)
    assert pit.rises_after(70, 2)


def test_mode_1_is_triggered_by_the_gate(pit: Timer) -> None:
    pit.program(2, 1, 100)
    pit.wait(500)
    assert pit.out(2) == 1
    pit.gate(1)
    assert pit.out(2) == 0
    pit.wait(60)
    pit.gate(0)
    pit.gate(1)
    assert pit.rises_after(100, 2)


def test_mode_2_divides(pit: Timer) -> None:
    pit.program(0, 2, 1000)
    assert pit.count(0) == 1000
    pit.wait(1)
    assert pit.count(0) == 999
    pit.wait(998)
    assert (pit.count(0), pit.out(0)) == (1, 0)
    pit.wait(1)
    assert (pit.count(0), pit.out(0)) == (1000, 1)
    pit.wait(3000)
    assert [tick for tick, level in pit.edges if level] == [0, 1000, 2000, 3000, 4000]


def test_new_count_of_mode_2_waits_for_the_end_of_the_period(pit: Timer) -> None:
    pit.program(0, 2, 1000)
    pit.wait(300)
    pit.write(0x40, 500 & 0xFF, 500 >> 8)
    assert pit.status(0) & 0x40
    assert pit.count(0) == 700
    pit.wait(700)
    assert pit.count(0) == 500
    assert not pit.status(0) & 0x40
    pit.wait(1100)
    assert [tick for tick, level in pit.edges if level] == [0, 1000, 1500, 2000]


def test_gate_stops_and_restarts_mode_2(pit: Timer) -> None:
    pit.gate(1)
    pit.program(2, 2, 100)
    pit.wait(99)
    assert pit.out(2) == 0
    pit.gate(0)
    assert pit.out(2) == 1
    pit.wait(12)
    pit.gate(1)
    pit.wait(10)
    assert pit.count(2) == 90


@pytest.mark.parametrize(("count", "high"), [(100, 50), (101, 51)])
def test_mode_3_is_a_square_wave(pit: Timer, count: int, high: int) -> None:
    pit.gate(1)
    pit.program(2, 3, count)
    levels = []
    for _ in range(2 * count):
        levels.append(pit.out(2))
        pit.wait(1)
    assert levels == ([1] * high + [0] * (count - high)) * 2


def test_mode_3_counts_by_two(pit: Timer) -> None:
    pit.gate(1)
    pit.program(2, 3, 10)
    values = []
    for _ in range(6):
        values.append(pit.count(2))
        pit.wait(1)
    assert values == [10, 8, 6, 4, 2, 10]


def test_mode_3_interrupts(pit: Timer) -> None:
    pit.program(0, 3, 1000)
    pit.wait(2000)
    assert pit.edges == [(0, 1), (500, 0), (1000, 1), (1500, 0), (2000, 1)]


def test_mode_4_strobes_once(pit: Timer) -> None:
    pit.program(0, 4, 1000)
    pit.wait(999)
    assert pit.out(0) == 1
    assert pit.rises_after(2, 0)
    pit.wait(100_000)
    assert [tick for tick, level in pit.edges if level] == [0, 1001]


def test_mode_5_strobes_after_a_trigger(pit: Timer) -> None:
    pit.program(2, 5, 100)
    pit.wait(200)
    assert pit.out(2) == 1
    pit.gate(1)
    assert pit.rises_after(101, 2)


def test_port_61_shows_output_and_refresh(pit: Timer) -> None:
    pit.program(2, 0, 100)
    pit.gate(3)
    assert pit.read(0x61) & 0x2F == 3
    pit.wait(100)
    assert pit.read(0x61) & 0x2F == 0x23
    seen = set()
    for _ in range(4):
        pit.wait(18)
        seen.add(pit.read(0x61) & 0x10)
    assert seen == {0, 0x10}


def test_latch_holds_the_count(pit: Timer) -> None:
    pit.program(0, 2, 1000)
    pit.wait(10)
    pit.write(0x43, 0x00)
    pit.wait(10)
    pit.write(0x43, 0x00)
    assert pit.read(0x40) | pit.read(0x40) << 8 == 990
    assert pit.read(0x40) | pit.read(0x40) << 8 == 980


def test_read_back_of_status_and_count(pit: Timer) -> None:
    pit.program(0, 2, 1000)
    pit.program(1, 3, 0x1234)
    pit.wait(1)
    pit.write(0x43, 0xC6)
    assert pit.read(0x40) == 0x80 | 0x34
    assert pit.read(0x40) | pit.read(0x40) << 8 == 999
    assert pit.read(0x41) == 0x80 | 0x36
    assert pit.read(0x41) | pit.read(0x41) << 8 == 0x1232


def test_counts_of_one_byte(pit: Timer) -> None:
    pit.write(0x43, 0x14)
    pit.write(0x40, 100)
    assert [pit.read(0x40), pit.read(0x40)] == [100, 100]
    pit.write(0x43, 0x24)
    pit.write(0x40, 2)
    pit.wait(1)
    assert pit.read(0x40) == 1
    assert pit.pit.initial[0] == 512


def test_decimal_counting(pit: Timer) -> None:
    pit.program(0, 2, 0x1000, bcd=1)
    pit.wait(1)
    assert pit.count(0) == 0x0999
    pit.program(0, 2, 0, bcd=1)
    assert pit.count(0) == 0
    pit.wait(1)
    assert pit.count(0) == 0x9999


def test_status_before_a_count_is_written(pit: Timer) -> None:
    pit.write(0x43, 0x34)
    assert pit.status(0) == 0x80 | 0x40 | 0x34


def test_nothing_runs_that_was_not_programmed(pit: Timer) -> None:
    assert pit.machine.clocks.virtual.deadline() is None


def test_fast_counter_does_not_fill_the_host(pit: Timer) -> None:
    pit.program(0, 2, 2)
    pit.wait(FREQUENCY // 1000)
    assert len(pit.edges) <= 2 * 1000 // 50 + 2


@given(accesses(4), accesses(1, 10), accesses(4))
def test_any_accesses(first: list[Access], gates: list[Access], then: list[Access]) -> None:
    pit = Timer()
    for made in (first, then):
        for access in made:
            perform(pit.machine.io, 0x40, [access])
            advance(pit.machine, 100_000)
        perform(pit.machine.io, 0x61, gates)
        pit.read(0x61)
    check_state(pit.machine)
