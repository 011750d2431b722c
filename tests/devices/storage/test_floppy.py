"""The floppy controller as a driver sees it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pemu.devices.dma import i8237
from pemu.devices.storage.floppy import IsaFdc, format_of
from pemu.devices.storage.floppy_drive import Floppy
from pemu.machine.drives import Drive
from pemu.machine.irq import Irq
from pemu.machine.isa import IsaBus
from pemu.machine.machine import Machine
from pemu.machine.region import Ram
from pemu.options.error import OptionError
from tests.devices.anyaccess import check_state
from tests.devices.storage.host import drive_of
from tests.machine.battering import batter

BASE = 0x3F0
SIZE = 1440 * 1024


class Bench:
    """A machine with the controller."""

    def __init__(self, drive: Drive | None, with_dma: bool = False) -> None:
        self.machine = Machine()
        bus = IsaBus(
            self.machine,
            "isa",
            None,
            self.machine.memory.root,
            self.machine.io.root,
            [Irq() for _ in range(16)],
        )
        if with_dma:
            self.machine.memory.root.add(Ram("ram", 1 << 20), 0)
            i8237.pair(bus)
        self.fdc = self.machine.create(IsaFdc, bus, drivea=drive)
        self.machine.reset()

    def read(self, register: int) -> int:
        return self.machine.io.read(BASE + register, 1)

    def write(self, register: int, value: int) -> None:
        self.machine.io.write(BASE + register, value, 1)

    def command(self, *values: int) -> None:
        for value in values:
            assert self.read(4) & 0xC0 == 0x80
            self.write(5, value)

    def result(self) -> list[int]:
        values = []
        while self.read(4) & 0xD0 == 0xD0:
            values.append(self.read(5))
        return values

    def reset(self) -> None:
        self.write(2, 0)
        self.write(2, 0x1C)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "floppy"
    path.write_bytes(random.Random(1).randbytes(SIZE))
    return path


@pytest.fixture
def bench(path: Path) -> Iterator[Bench]:
    made = Bench(drive_of(path, ",if=floppy"))
    yield made
    made.machine.unplug_devices()


def test_reset_polls_four_drives(bench: Bench) -> None:
    bench.reset()
    assert bench.fdc.line.level
    for number in range(4):
        bench.command(8)
        assert bench.result() == [0xC0 | number, 0]
    bench.command(8)
    assert bench.result() == [0x80]


def test_version(bench: Bench) -> None:
    bench.command(0x10)
    assert bench.result() == [0x90]


def test_seek(bench: Bench) -> None:
    assert bench.read(7) & 0x80
    bench.command(0x0F, 0, 5)
    bench.command(8)
    assert bench.result() == [0x20, 5]
    assert not bench.read(7) & 0x80
    bench.command(0x07, 1)
    bench.command(8)
    assert bench.result()[0] == 0x71


def transfer(bench: Bench, *command: int) -> bytes:
    bench.command(0x03, 0xDF, 0x03)
    bench.command(*command)
    data = b""
    while bench.read(4) & 0x20:
        data += bytes((bench.read(5),))
    return data


def test_sectors_are_read(bench: Bench, path: Path) -> None:
    data = transfer(bench, 0xE6, 4, 2, 1, 17, 2, 18, 0x1B, 0xFF)
    offset = ((2 * 2 + 1) * 18 + 16) * 512
    assert data == path.read_bytes()[offset : offset + 1024]
    assert bench.result() == [0x44, 0x80, 0, 2, 1, 18, 2]


def test_sector_is_written(bench: Bench, path: Path) -> None:
    bench.command(0x03, 0xDF, 0x03)
    bench.command(0x45, 0, 0, 0, 18, 2, 18, 0x1B, 0xFF)
    for _ in range(512):
        assert bench.read(4) == 0xB0
        bench.write(5, 0x77)
    assert bench.result()[1] == 0x80
    assert path.read_bytes()[17 * 512 : 18 * 512] == b"\x77" * 512


def test_drive_is_added_where_there_is_none(bench: Bench, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(SIZE - 512) + b"\x55" * 512)
    added = bench.machine.create(Floppy, bench.fdc.floppies, drive=drive_of(other))
    assert added.unit == 1
    data = transfer(bench, 0xE6, 5, 79, 1, 18, 2, 18, 0x1B, 0xFF)
    assert data == b"\x55" * 512
    with pytest.raises(OptionError, match="has no room for floppy|units are in use"):
        bench.machine.create(Floppy, bench.fdc.floppies, drive=drive_of(None))


def test_place_of_the_boards_drive_is_taken(bench: Bench) -> None:
    with pytest.raises(OptionError, match="Floppy unit 0 is in use; -nodefaults leaves"):
        bench.machine.create(Floppy, bench.fdc.floppies, unit=0, drive=drive_of(None))


def test_without_a_disk() -> None:
    bench = Bench(drive_of(None, ",if=floppy"))
    assert transfer(bench, 0xE6, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF) == b""
    assert bench.result()[0] == 0x48
    assert format_of(0) is None


def test_without_a_dma_controller_nothing_answers(bench: Bench) -> None:
    bench.command(0xE6, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    assert bench.result()[:2] == [0x40, 0x10]


# By DMA


@pytest.fixture
def dma(path: Path) -> Iterator[Bench]:
    made = Bench(drive_of(path, ",if=floppy"), with_dma=True)
    yield made
    made.machine.unplug_devices()


def channel(bench: Bench, mode: int, count: int) -> None:
    """Program channel 2 for `count` bytes from 0x20000 on."""
    for port, value in (
        (0x0A, 6),
        (0x0C, 0),
        (0x0B, mode),
        (0x04, 0),
        (0x04, 0),
        (0x05, count - 1 & 0xFF),
        (0x05, count - 1 >> 8),
        (0x81, 2),
        (0x0A, 2),
    ):
        bench.machine.io.write(port, value, 1)


def test_sectors_are_read_by_dma(dma: Bench, path: Path) -> None:
    channel(dma, 0x46, 3 * 512)
    dma.command(0xE6, 0, 2, 0, 17, 2, 18, 0x1B, 0xFF)
    assert dma.fdc.line.level
    assert dma.result() == [0x04, 0, 0, 2, 1, 2, 2]
    offset = (2 * 2 * 18 + 16) * 512
    data = dma.machine.memory.dma_read(0x20000, 4 * 512)
    assert data == path.read_bytes()[offset : offset + 3 * 512] + bytes(512)


@pytest.mark.parametrize(
    ("command", "sector", "following"),
    [(0x46, 1, [0, 0, 2]), (0x46, 18, [1, 0, 1]), (0xC6, 18, [0, 1, 1])],
)
def test_result_names_the_next_sector(
    dma: Bench, command: int, sector: int, following: list[int]
) -> None:
    channel(dma, 0x46, 512)
    dma.command(command, 0, 0, 0, sector, 2, 18, 0x1B, 0xFF)
    assert dma.result() == [0, 0, 0, *following, 2]


def test_sectors_are_written_by_dma(dma: Bench, path: Path) -> None:
    dma.machine.memory.dma_write(0x20000, b"n" * 2048)
    channel(dma, 0x4A, 600)
    dma.command(0x45, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    assert dma.result() == [0, 0, 0, 0, 0, 3, 2]
    assert path.read_bytes()[:1024] == b"n" * 600 + bytes(424)


def test_transfer_waits_for_its_channel(dma: Bench) -> None:
    dma.command(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    assert dma.read(4) == 0x10
    assert not dma.fdc.line.level
    channel(dma, 0x46, 512)
    assert dma.result()[:3] == [0, 0, 0]


def test_end_of_track_before_the_terminal_count(dma: Bench) -> None:
    channel(dma, 0x46, 1024)
    dma.command(0x46, 0, 0, 0, 18, 2, 18, 0x1B, 0xFF)
    assert dma.result()[:2] == [0x40, 0x80]


def test_random_accesses_with_dma(dma: Bench) -> None:
    batter(dma.machine, 20_000, seed=2)
    check_state(dma.machine)


def test_random_accesses(bench: Bench) -> None:
    batter(bench.machine, 20_000, seed=1)
    check_state(bench.machine)


def test_random_commands(bench: Bench) -> None:
    chance = random.Random(4)
    for _ in range(2000):
        for _ in range(chance.randrange(12)):
            bench.write(5, chance.choice((0x45, 0xE6, 0x03, chance.getrandbits(8), 1, 2)))
        for _ in range(chance.randrange(600)):
            bench.read(5)
        bench.write(2, chance.choice((0, 0x1C, 0x0C)))
    check_state(bench.machine)
