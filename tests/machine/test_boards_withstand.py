"""Random accesses to everything on every board."""

from __future__ import annotations

import pytest

from pemu.machine import board
from pemu.machine.board import MIB
from pemu.machine.boards import BOARDS
from pemu.machine.configuration import Configuration
from pemu.machine.machine import Machine
from pemu.machine.region import Order
from tests.machine.battering import batter, batter_for_growth
from tests.machine.idle_cpu import IdleCpu

ALL = [(one, name) for one in BOARDS for name in BOARDS[one]]


def made(architecture: str, name: str, order: Order) -> Machine:
    machine = Machine(order)
    machine.new_cpu = IdleCpu
    # Any bytes will do as firmware: nothing runs them.
    config = Configuration(ram_size=64 * MIB, firmware=__file__)
    board.build(board.find(name, architecture), machine, config)
    machine.reset()
    return machine


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize(("architecture", "name"), ALL)
def test_board_withstands_random_accesses(architecture: str, name: str, order: Order) -> None:
    batter(made(architecture, name, order), 20_000, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "name"), ALL)
def test_board_withstands_a_million_random_accesses(architecture: str, name: str) -> None:
    batter_for_growth(made(architecture, name, "little"), 500_000, seed=2)
