"""Flash as a driver sees it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pemu.devices.storage.cfi_flash import CfiFlash
from pemu.machine.drives import Drive
from pemu.machine.machine import Machine
from pemu.machine.region import Order
from pemu.options.error import OptionError
from tests.devices.anyaccess import check_state
from tests.devices.storage.host import drive_of
from tests.machine.battering import batter

BASE = 0x1E00_0000
BLOCK, BLOCKS = 0x10000, 4


def chip(order: Order = "big", drive: Drive | None = None) -> Machine:
    machine = Machine(order)
    flash = machine.create(
        CfiFlash, num_blocks=BLOCKS, sector_length=BLOCK, drive=drive, big_endian=order == "big"
    )
    machine.memory.root.add(flash.region, BASE)
    machine.reset()
    return machine


def write(machine: Machine, *values: int, at: int = 0) -> None:
    for value in values:
        machine.memory.write(BASE + at, value, 4)


def read(machine: Machine, at: int = 0) -> int:
    return machine.memory.read(BASE + at, 4)


@pytest.mark.parametrize("order", ["big", "little"])
def test_query(order: str) -> None:
    machine = chip("big" if order == "big" else "little")
    write(machine, 0x98, at=0x55 * 4)
    assert [read(machine, 4 * word) for word in (0x10, 0x11, 0x12, 0x13)] == [0x51, 0x52, 0x59, 1]
    assert [read(machine, 4 * word) for word in (0x27, 0x2C, 0x2D, 0x2E, 0x2F, 0x30)] == [
        18,
        1,
        BLOCKS - 1,
        0,
        0,
        1,
    ]
    lane = 3 if order == "big" else 0
    assert machine.memory.read(BASE + 0x40 + lane, 1) == 0x51
    write(machine, 0xFF)
    assert read(machine, 0x40) == 0xFFFFFFFF


def test_programming_clears_bits_and_erasing_sets_them() -> None:
    machine = chip()
    write(machine, 0x40, 0x12345678, at=0x20)
    assert read(machine) == 0x800080
    write(machine, 0x40, 0xFFFF0000, at=0x20)
    write(machine, 0xFF)
    assert read(machine, 0x20) == 0x12340000
    write(machine, 0x20, 0xD0, at=0x40)
    write(machine, 0xFF)
    assert read(machine, 0x20) == 0xFFFFFFFF


def test_buffer_is_programmed_when_confirmed() -> None:
    machine = chip()
    write(machine, 0xE8, 3, at=0x10000)
    for word in range(4):
        write(machine, 0x01010101 * word, at=0x10100 + 4 * word)
    assert machine.memory.dma_read(BASE + 0x10100, 4) == b"\0\x80\0\x80"
    write(machine, 0xD0, at=0x10000)
    write(machine, 0xFF)
    assert [read(machine, 0x10100 + 4 * word) for word in range(5)] == [
        0,
        0x01010101,
        0x02020202,
        0x03030303,
        0xFFFFFFFF,
    ]


def test_wrong_sequences_are_told_of() -> None:
    machine = chip()
    write(machine, 0x20, 0x00)
    assert read(machine) & 0xFF == 0xB0
    write(machine, 0x50, 0x70)
    assert read(machine) & 0xFF == 0x80
    write(machine, 0xE8, 0xFFFF)
    assert read(machine) & 0x30 == 0x30


def test_contents_are_kept_in_the_image(tmp_path: Path) -> None:
    path = tmp_path / "flash"
    path.write_bytes(b"\xff" * BLOCK * BLOCKS)
    drive = drive_of(path, ",if=pflash")
    machine = chip("big", drive)
    write(machine, 0x40, 0x70656D75, at=0x100)
    drive.backend.close()
    assert path.read_bytes()[0x100:0x104] == b"pemu"
    again = chip("big", drive_of(path, ",if=pflash,snapshot=on"))
    assert read(again, 0x100) == 0x70656D75


def test_readonly_image_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "flash"
    path.write_bytes(b"\xff" * BLOCK * BLOCKS)
    machine = chip("big", drive_of(path, ",if=pflash,readonly=on"))
    write(machine, 0x40, 0, at=0x100)
    assert read(machine) & 0x12 == 0x12
    write(machine, 0xFF)
    assert read(machine, 0x100) == 0xFFFFFFFF


def test_image_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flash"
    path.write_bytes(bytes(1024))
    with pytest.raises(OptionError, match="device requires 262144 bytes, .* provides 1024 bytes"):
        chip("big", drive_of(path, ",if=pflash"))


@pytest.mark.parametrize("order", ["big", "little"])
def test_random_accesses(order: str) -> None:
    machine = chip("big" if order == "big" else "little")
    batter(machine, 20_000, seed=1)
    chance = random.Random(2)
    for _ in range(5000):
        command = chance.choice((0x20, 0x40, 0xE8, 0xD0, 0x98, 0x90, 0x70, 0xFF, 3, 0x50))
        offset = chance.randrange(BLOCK * BLOCKS)
        machine.memory.write(BASE + offset, command, chance.choice((1, 2, 4, 8)))
        machine.memory.read(BASE + chance.randrange(BLOCK * BLOCKS), chance.choice((1, 2, 4)))
    check_state(machine)
