"""Boards: found by name, built from options, described; shown with the documentation's example."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pemu.machine import board
from pemu.machine.board import MIB
from pemu.machine.boards import BOARDS
from pemu.machine.boards.none import Empty
from pemu.machine.configuration import Configuration
from pemu.machine.machine import Machine
from pemu.options.error import OptionError
from tests.machine import lamp
from tests.machine.countdown import Countdown
from tests.machine.lamp import LampPost

TABLE = {"mips": {"lamp": "lamp:LampPost", "none": "none:Empty"}}


@pytest.fixture(autouse=True)
def _lamp_is_a_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pemu.machine.boards.lamp", lamp)


def test_board_builds_what_the_user_wants(tmp_path: Path) -> None:
    (tmp_path / "boot.bin").write_bytes(b"start")
    machine = Machine("big")
    config = Configuration(
        ram_size=32 * MIB, firmware="boot.bin", directories=["/nowhere", str(tmp_path)]
    )
    board.build(LampPost, machine, config, [("ticks", "5")])
    assert machine.memory.dma_read(lamp.ROM, 5) == b"start"
    assert [one.end - one.start for one in machine.memory.ram_ranges()] == [
        32 * MIB,
        lamp.ROM_SIZE,
        32 * MIB,
    ]
    (timer,) = machine.devices
    assert isinstance(timer, Countdown)
    assert timer.frequency == 5


def test_board_has_its_own_amount_of_ram() -> None:
    machine = Machine("big")
    board.build(LampPost, machine, Configuration())
    assert machine.memory.ram_ranges()[0].end == 16 * MIB


@pytest.mark.parametrize(
    ("config", "given", "message"),
    [
        (Configuration(ram_size=1 << 30), [], "-m: board lamp has room for at most 256 MiB"),
        (Configuration(cpus=2), [], "-smp 2: board lamp has at most 1 processor"),
        (Configuration(), [("tiks", "1")], "-M lamp: there is no property 'tiks'; did you mean"),
        (Configuration(), [("ticks", "x")], "-M lamp,ticks: 'x' is not an integer"),
        (Configuration(firmware="gone"), [], "-bios: 'gone' is not there"),
    ],
)
def test_mistakes(config: Configuration, given: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        board.build(LampPost, Machine(), config, given)
    assert str(caught.value).startswith(message)


def test_boards_are_listed_and_found() -> None:
    assert board.listing("mips", TABLE) == (
        "Supported machines are:\n"
        "lamp                 Lamp Post evaluation board\n"
        "none                 empty machine\n"
    )
    assert board.find("lamp", "mips", TABLE) is LampPost


def test_misspelt_board() -> None:
    with pytest.raises(OptionError) as caught:
        board.find("lmap", "mips", TABLE)
    assert str(caught.value) == "-M: unsupported machine 'lmap'; did you mean 'lamp'?"


def test_properties_are_listed() -> None:
    usage = " ".join(LampPost.usage().split())
    assert " ticks=<uint32> - the timer's ticks a second (default: 1000000) " in usage


@pytest.mark.parametrize(
    ("architecture", "name"), [(one, name) for one in BOARDS for name in BOARDS[one]]
)
def test_each_board_is_where_the_table_says(architecture: str, name: str) -> None:
    assert board.find(name, architecture).name == name


def test_empty_machine_has_what_is_asked_for() -> None:
    machine = Machine("big")
    board.build(Empty, machine, Configuration())
    assert machine.memory.view == []
    machine = Machine("big")
    board.build(Empty, machine, Configuration(ram_size=MIB))
    assert len(machine.memory.ram_ranges()) == 1
