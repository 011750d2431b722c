"""The time of day of -rtc."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from pemu.machine.clock import SECOND, Clocks
from pemu.machine.wallclock import WallClock
from pemu.options.error import OptionError


def test_host_time() -> None:
    assert abs(WallClock(Clocks()).now() - time.time_ns()) < 1000 * SECOND


def test_date_moved_by_virtual_time() -> None:
    clocks = Clocks()
    clock = WallClock(clocks, "2006-06-17T16:01:21", "vm")
    clocks.virtual.set(9 * SECOND)
    assert clock.now() == int(datetime(2006, 6, 17, 16, 1, 30, tzinfo=UTC).timestamp()) * SECOND


def test_date_alone_is_midnight() -> None:
    clock = WallClock(Clocks(), "2006-06-17", "vm")
    assert clock.now() == int(datetime(2006, 6, 17, tzinfo=UTC).timestamp()) * SECOND


def test_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XXX-3")
    time.tzset()
    try:
        ahead = WallClock(Clocks(), "localtime").now() - time.time_ns()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert abs(ahead - 3 * 3600 * SECOND) < 1000 * SECOND


def test_no_date() -> None:
    with pytest.raises(OptionError, match="'tomorrow' is no date"):
        WallClock(Clocks(), "tomorrow")
