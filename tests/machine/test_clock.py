"""Clocks and timers, on a clock that the test moves."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from pemu.machine.clock import Clock, VirtualClock


class Time:
    """A time source that stands where it was put."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def counted() -> tuple[Time, VirtualClock]:
    time, clock = Time(), VirtualClock()
    clock.count_by(time)
    clock.start()
    return time, clock


def test_timers_run_in_order_of_time() -> None:
    time = Time()
    clock = Clock(time)
    ran: list[str] = []
    for name, when in (("c", 30), ("a", 10), ("b", 20), ("d", 40)):
        clock.timer(partial(ran.append, name)).arm(when)
    time.now = 30
    clock.run_timers()
    assert ran == ["a", "b", "c"]
    assert clock.deadline() == 40


def test_timer_armed_anew_runs_once() -> None:
    time = Time()
    clock = Clock(time)
    ran: list[int] = []
    timer = clock.timer(lambda: ran.append(time.now))
    timer.arm(10)
    timer.arm(20)
    for time.now in (10, 20, 30):
        clock.run_timers()
    assert ran == [20]
    assert timer.expires is None


def test_timer_cancelled_by_another_that_is_due_does_not_run() -> None:
    time = Time()
    clock = Clock(time)
    ran: list[int] = []
    second = clock.timer(lambda: ran.append(2))
    clock.timer(second.cancel).arm(1)
    second.arm(2)
    time.now = 5
    clock.run_timers()
    assert ran == []


def test_timer_that_arms_itself_in_the_past_does_not_hang() -> None:
    time = Time()
    clock = Clock(time)
    timer = clock.timer(lambda: timer.arm(0))
    timer.arm(0)
    clock.run_timers()
    assert timer.expires == 0


def test_earlier_deadline_is_told() -> None:
    clock = Clock(Time())
    told: list[int | None] = []
    clock.on_earlier.append(lambda: told.append(clock.deadline()))
    one, two = clock.timer(lambda: None), clock.timer(lambda: None)
    one.arm(100)
    two.arm(200)
    two.arm(50)
    assert told == [100, 50]


@given(st.lists(st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(0, 1000)))))
def test_heap_holds_what_is_armed(steps: list[tuple[int, int | None]]) -> None:
    clock = Clock(Time())
    timers = [clock.timer(lambda: None) for _ in range(10)]
    for number, when in steps:
        if when is None:
            timers[number].cancel()
        else:
            timers[number].arm(when)
        armed = [timer.expires for timer in timers if timer.expires is not None]
        assert clock.deadline() == min(armed, default=None)


def test_armed_again_and_again_the_heap_stays_small() -> None:
    clock = Clock(Time())
    timer = clock.timer(lambda: None)
    for when in range(10_000, 0, -1):
        timer.arm(when)
    assert len(clock._heap) < 200


def test_virtual_time_stands_still_while_stopped() -> None:
    time, clock = counted()
    time.now = 100
    clock.stop()
    time.now = 1000
    assert clock.now() == 100
    clock.start()
    time.now = 1010
    assert clock.now() == 110


def test_virtual_clock_is_stopped_at_first() -> None:
    clock = VirtualClock()
    assert (clock.running, clock.now(), clock.now()) == (False, 0, 0)
    clock.start()
    first = clock.now()
    assert clock.now() >= first >= 0


def test_idle_processor_skips_to_the_next_deadline() -> None:
    time, clock = counted()
    time.now = 50
    clock.timer(lambda: None).arm(80)
    assert clock.skip() == 30
    assert clock.now() == 80
    time.now = 60
    assert clock.now() == 90
