"""Virtual time that follows instructions: adjusted to the host's speed, or aligned with it."""

from __future__ import annotations

import threading

import pytest

from pemu.machine.clock import MILLISECOND, SECOND, InstructionCount
from pemu.machine.icount import InstructionTime, best_shift
from pemu.machine.machine import Machine


class Counting:
    """An engine's cpu that has run as many instructions as the test says."""

    def __init__(self) -> None:
        self.instructions = 0
        self.granted = 0
        self.shift = -1

    def grant(self, instructions: int) -> None:
        self.granted = instructions

    def set_instruction_time(self, shift: int) -> None:
        self.shift = shift


class Guest:
    """A guest on a host whose clock the test moves: `time.host` stands still otherwise."""

    def __init__(self, shift: int | None, *, align: bool = False) -> None:
        self.host = 5 * SECOND
        self.said: list[str] = []
        self.cpu = Counting()
        self.machine = Machine()
        self.time = InstructionTime(
            self.machine,
            self.cpu,
            InstructionCount(shift, True, align),
            lambda offset: None,
            threading.Event(),
            warn=self.said.append,
            host=lambda: self.host,
            sleep=self.sleep,
        )
        self.machine.clocks.virtual.start()
        self.time.started()
        self.time.limit()

    def sleep(self, seconds: float) -> None:
        self.host += int(seconds * SECOND)

    def run(self, host_ns: int, each: float) -> None:
        """Run for so long by the host's clock, an instruction taking `each` ns of it."""
        end = self.host + host_ns
        while self.host < end:
            count = max(min(self.cpu.granted, int((end - self.host) / each)), 1)
            self.cpu.instructions += count
            self.cpu.granted -= count
            self.host += max(int(count * each), 1)
            if self.cpu.granted <= 0:
                self.time.run_timers()

    @property
    def now(self) -> int:
        return self.machine.clocks.virtual.now()


@pytest.mark.parametrize(("each", "shift"), [(1.0, 0), (1.9, 1), (2.2, 1), (6.0, 3), (700.0, 9)])
def test_shift_follows_the_speed_of_the_host(each: float, shift: int) -> None:
    assert best_shift(int(each * 1_000_000), 1_000_000, 0) == shift


@pytest.mark.parametrize(("busy", "shift"), [(1, 0), (1 << 60, 10)])
def test_shift_stays_within_its_limits(busy: int, shift: int) -> None:
    assert best_shift(busy, 1_000_000, 0) == shift


def test_lag_is_made_up_for() -> None:
    assert best_shift(4_000_000, 1_000_000, -SECOND) == 3
    assert best_shift(4_000_000, 1_000_000, SECOND) == 1


@pytest.mark.parametrize("each", [0.7, 3.0, 40.0])
def test_automatic_shift_keeps_virtual_time_near_the_hosts(each: float) -> None:
    guest = Guest(None)
    guest.run(20 * SECOND, each)
    if each < 1:  # no shift is small enough: virtual time cannot be slower
        assert guest.time.shift == 0
        return
    assert abs(guest.time.lead) < SECOND
    guest.run(20 * SECOND, each)
    assert abs(guest.time.lead) < SECOND


def test_virtual_time_never_jumps_back_when_the_shift_changes() -> None:
    guest = Guest(None)
    before = guest.now
    for each in (2.0, 200.0, 1.0, 50.0):
        for _ in range(20):
            guest.run(50 * MILLISECOND, each)
            assert guest.now >= before
            before = guest.now


def test_fixed_shift_does_not_look_at_the_host() -> None:
    guest = Guest(4)
    guest.cpu.instructions = 1000
    guest.host += 20 * SECOND
    guest.time.run_timers()
    assert (guest.now, guest.cpu.shift) == (16_000, 4)
    assert guest.machine.clocks.virtual.deadline() is None


def test_guest_that_is_late_is_told_of_when_aligned() -> None:
    guest = Guest(0, align=True)
    guest.run(4 * SECOND, 2.0)
    assert guest.said
    assert guest.said[0].startswith("Warning: The guest is now late by ")
    assert len(guest.said) <= 3


def test_guest_that_is_ahead_waits_when_aligned() -> None:
    guest = Guest(10, align=True)
    guest.run(4 * SECOND, 2.0)
    assert abs(guest.time.lead) < 20 * MILLISECOND
    assert guest.said == []


def test_pause_does_not_count_as_lag() -> None:
    guest = Guest(None)
    guest.machine.clocks.virtual.stop()
    guest.host += 100 * SECOND
    guest.machine.clocks.virtual.start()
    guest.time.started()
    assert guest.time.lead == 0
