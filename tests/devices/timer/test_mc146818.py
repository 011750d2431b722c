"""The real-time clock, with time that the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given

from pemu.devices.timer.mc146818 import Mc146818
from pemu.machine.isa import IsaBus
from pemu.machine.machine import Machine
from pemu.machine.wallclock import WallClock
from tests.devices.anyaccess import Access, accesses, advance, check_state, perform

SECOND, MILLISECOND, MICROSECOND = 1_000_000_000, 1_000_000, 1000
A, B, C, D = 10, 11, 12, 13
PIE, AIE, UIE = 64, 32, 16


class Clock:
    """A clock that starts at `base` and follows virtual time."""

    def __init__(self, base: str = "2026-11-21T13:59:58", base_year: int = 0) -> None:
        self.machine = Machine("little")
        self.machine.rtc = WallClock(self.machine.clocks, base, "vm")
        bus = IsaBus(self.machine, "isa.0", None, self.machine.memory.root, self.machine.io.root)
        self.rtc = self.machine.create(Mc146818, bus, base_year=base_year)
        self.bus = bus
        self.machine.reset_devices()

    def __getitem__(self, register: int) -> int:
        self.machine.io.write(0x70, register, 1)
        return self.machine.io.read(0x71, 1)

    def __setitem__(self, register: int, value: int) -> None:
        self.machine.io.write(0x70, register, 1)
        self.machine.io.write(0x71, value, 1)

    def wait(self, nanoseconds: int) -> None:
        advance(self.machine, nanoseconds)

    def irq(self) -> int:
        return self.bus.irqs[8].level

    def time(self) -> tuple[int, ...]:
        """Hours, minutes, seconds as the registers have them."""
        return self[4], self[2], self[0]

    def date(self) -> tuple[int, ...]:
        """Century, year, month, day, weekday."""
        return self[0x32], self[9], self[8], self[7], self[6]


@pytest.fixture
def rtc() -> Clock:
    return Clock()


def test_shows_time_and_date(rtc: Clock) -> None:
    assert rtc.time() == (0x13, 0x59, 0x58)
    assert rtc.date() == (0x20, 0x26, 0x11, 0x21, 7)
    rtc.wait(2 * SECOND)
    assert rtc.time() == (0x14, 0x00, 0x00)


def test_binary_and_12_hours(rtc: Clock) -> None:
    rtc[B] = 4
    assert rtc.time() == (0x80 | 1, 59, 58)
    assert rtc.date() == (20, 26, 11, 21, 7)
    rtc.wait(11 * 3600 * SECOND)
    assert rtc[4] == 12


def test_base_year() -> None:
    assert Clock(base_year=2000).date()[:2] == (0x00, 0x26)


def test_initial_registers(rtc: Clock) -> None:
    assert (rtc[A] & 0x7F, rtc[B], rtc[C], rtc[D]) == (0x26, 2, 0, 0x80)


def test_update_in_progress_rises_before_each_second(rtc: Clock) -> None:
    rtc.wait(SECOND // 2)
    assert not rtc[A] & 0x80
    rtc.wait(SECOND // 2 - 245 * MICROSECOND)
    assert not rtc[A] & 0x80
    rtc.wait(2 * MICROSECOND)
    assert rtc[A] & 0x80
    rtc.wait(243 * MICROSECOND + 1983 * MICROSECOND)
    assert rtc[A] & 0x80
    rtc.wait(2 * MICROSECOND)
    assert not rtc[A] & 0x80


@pytest.mark.parametrize(("late", "seen"), [(490, True), (510, False), (2000, False)])
def test_polling_guest_sees_no_rise_that_it_is_late_for(rtc: Clock, late: int, seen: bool) -> None:
    """What it measures from rise to rise is right, however late the host runs it."""
    rtc.wait(SECOND - 10 * MILLISECOND)
    assert not rtc[A] & 0x80
    rtc.wait(10 * MILLISECOND - 244 * MICROSECOND + late * MICROSECOND)
    for _ in range(3):
        assert bool(rtc[A] & 0x80) == seen
        rtc.wait(10 * MICROSECOND)
    rtc.wait(SECOND - (late + 50) * MICROSECOND)
    assert not rtc[A] & 0x80
    rtc.wait(30 * MICROSECOND)
    assert rtc[A] & 0x80


def test_polling_guest_that_is_always_late_sees_a_rise_in_the_end(rtc: Clock) -> None:
    rtc.wait(SECOND - 10 * MILLISECOND)
    seen = []
    for _ in range(6):
        assert not rtc[A] & 0x80
        rtc.wait(18 * MILLISECOND)
        seen.append(rtc[A] >> 7)
        rtc.wait(SECOND - 18 * MILLISECOND)
    assert seen == [0, 0, 0, 0, 0, 1]


def test_reader_that_does_not_poll_sees_an_update(rtc: Clock) -> None:
    rtc.wait(SECOND + 500 * MICROSECOND)
    assert rtc[A] & 0x80


def test_rare_reader_sees_no_update_that_is_over(rtc: Clock) -> None:
    rtc.wait(SECOND // 2)
    for _ in range(5):
        assert not rtc[A] & 0x80
        rtc.wait(SECOND)


def test_setting_the_time(rtc: Clock) -> None:
    rtc[B] = 0x82
    assert not rtc[A] & 0x80
    for register, value in ((4, 0x23), (2, 0x30), (0, 0x15), (7, 0x31), (8, 0x12), (9, 0x99)):
        rtc[register] = value
    rtc[0x32] = 0x19
    rtc.wait(10 * SECOND)
    assert rtc.time() == (0x23, 0x30, 0x15)
    rtc[B] = 2
    rtc.wait(SECOND)
    assert rtc.time() == (0x23, 0x30, 0x16)
    assert rtc.date()[:4] == (0x19, 0x99, 0x12, 0x31)
    rtc.wait(3600 * SECOND)
    assert rtc.date()[:4] == (0x20, 0x00, 0x01, 0x01)


def test_weekday_is_what_the_guest_says(rtc: Clock) -> None:
    rtc[6] = 3
    rtc.wait(24 * 3600 * SECOND)
    assert rtc[6] == 4


def test_divider_reset_delays_the_first_update_by_half_a_second(rtc: Clock) -> None:
    rtc[A] = 0x76
    rtc.wait(300 * MILLISECOND)
    rtc[0] = 0x20
    rtc[A] = 0x26
    rtc.wait(499 * MILLISECOND)
    assert rtc[0] == 0x20
    rtc.wait(2 * MILLISECOND)
    assert rtc[0] == 0x21


def test_update_interrupt(rtc: Clock) -> None:
    rtc[C]
    rtc[B] = 2 | UIE
    rtc.wait(SECOND - MICROSECOND)
    assert not rtc.irq()
    rtc.wait(2 * MICROSECOND)
    assert rtc.irq()
    assert rtc[C] & 0xB0 == 0x90
    assert not rtc.irq()
    rtc.wait(SECOND)
    assert rtc.irq()


def test_alarm(rtc: Clock) -> None:
    rtc[5], rtc[3], rtc[1] = 0x14, 0x00, 0x03
    rtc[B] = 2 | AIE
    rtc.wait(5 * SECOND - MICROSECOND)
    assert not rtc.irq()
    rtc.wait(2 * MICROSECOND)
    assert rtc.irq()
    assert rtc[C] & 0xA0 == 0xA0
    rtc.wait(86399 * SECOND)
    assert not rtc.irq()
    rtc.wait(SECOND)
    assert rtc.irq()


@pytest.mark.parametrize(
    ("alarm", "seconds"),
    [
        ((0xFF, 0xFF, 0xFF), 1),
        ((0xFF, 0xFF, 0x05), 7),
        ((0xFF, 0x59, 0x57), 3599),
        ((0xC0, 0x00, 0x00), 2),
        ((0x13, 0x59, 0x58), 86400),
        ((0x05, 0xC0, 0xC0), 15 * 3600 + 2),
    ],
)
def test_alarm_with_any_hour_minute_or_second(
    rtc: Clock, alarm: tuple[int, int, int], seconds: int
) -> None:
    rtc[5], rtc[3], rtc[1] = alarm
    rtc[B] = 2 | AIE
    rtc.wait(seconds * SECOND - MICROSECOND)
    assert not rtc.irq()
    rtc.wait(2 * MICROSECOND)
    assert rtc.irq()


def test_alarm_that_no_time_fits(rtc: Clock) -> None:
    rtc[3] = 0x77
    rtc[B] = 2 | AIE
    rtc.wait(2 * 86400 * SECOND)
    assert not rtc.irq()


@pytest.mark.parametrize(("rate", "hertz"), [(3, 8192), (6, 1024), (15, 2), (1, 256), (2, 128)])
def test_periodic_interrupt(rtc: Clock, rate: int, hertz: int) -> None:
    rtc[A] = 0x20 | rate
    rtc[C]
    rtc[B] = 2 | PIE
    for _ in range(4):
        deadline = rtc.machine.clocks.virtual.deadline()
        assert deadline is not None
        rtc.wait(deadline - rtc.machine.clocks.virtual.now())
        assert rtc.irq()
        assert rtc[C] & 0xC0 == 0xC0
    assert rtc.machine.clocks.virtual.now() == pytest.approx(4 * SECOND / hertz, rel=1e-3)


def test_flags_without_interrupts(rtc: Clock) -> None:
    rtc[C]
    rtc.wait(3 * SECOND)
    assert rtc[C] == 0x50 | (0x20 if rtc[C] & 0x20 else 0)
    assert not rtc.irq()
    assert rtc.machine.clocks.virtual.deadline() is None


def test_index_port_cannot_be_read(rtc: Clock) -> None:
    assert rtc.machine.io.read(0x70, 1) == 0xFF


def test_cmos_ram_survives_reset(rtc: Clock) -> None:
    rtc[0x40] = 0x5A
    rtc.machine.io.write(0x72, 0x40, 1)
    rtc.machine.io.write(0x73, 0xA5, 1)
    rtc[B] = 2 | PIE
    rtc[0] = 0x30
    rtc.machine.reset_devices()
    assert (rtc[0x40], rtc[B], rtc[0]) == (0x5A, 2, 0x30)
    rtc.machine.io.write(0x72, 0x40, 1)
    assert rtc.machine.io.read(0x73, 1) == 0xA5


@given(accesses(4))
def test_any_accesses(made: list[Access]) -> None:
    rtc = Clock()
    for access in made:
        perform(rtc.machine.io, 0x70, [access])
        advance(rtc.machine, 3 * MILLISECOND)
    check_state(rtc.machine)


@given(accesses(14))
def test_any_registers(made: list[Access]) -> None:
    rtc = Clock()
    for register, _, value in made:
        if value is None:
            rtc[register]
        else:
            rtc[register] = value & 0xFF
        advance(rtc.machine, 400 * MILLISECOND)
    rtc.time()
    check_state(rtc.machine)
