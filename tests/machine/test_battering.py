"""Random accesses to the example machine, and that they would find a device that fails."""

from __future__ import annotations

import pytest

from pemu.machine import board
from pemu.machine.configuration import Configuration
from pemu.machine.machine import Machine
from pemu.machine.region import Mmio
from tests.machine.battering import batter, batter_for_growth
from tests.machine.countdown import Countdown
from tests.machine.lamp import LampPost


def test_example_withstands_random_accesses() -> None:
    machine = Machine("big")
    board.build(LampPost, machine, Configuration())
    machine.reset_devices()
    batter_for_growth(machine, 5_000, seed=1)
    (timer,) = machine.devices
    assert isinstance(timer, Countdown)
    assert timer.starts > 0


def test_device_that_fails_is_found() -> None:
    machine = Machine("big")

    def read(offset: int, size: int) -> int:
        return [0, 0, 0][offset]

    machine.memory.root.add(Mmio("bad", 4, read, lambda *written: None, maximum=1), 0x1000)
    with pytest.raises(IndexError):
        batter(machine, 1_000, seed=1)


def test_device_that_grows_is_found() -> None:
    machine = Machine("big")
    hoard: list[list[int]] = []
    machine.memory.root.add(
        Mmio("bad", 4, lambda offset, size: 0, lambda *written: hoard.append([1])), 0x1000
    )
    with pytest.raises(AssertionError, match="more objects"):
        batter_for_growth(machine, 60_000, seed=1)
