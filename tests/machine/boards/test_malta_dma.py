"""Random accesses to the whole Malta board while its disks, CD-ROM drive and floppy do DMA."""

from __future__ import annotations

import gc
import random
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pemu.machine import board
from pemu.machine.board import MIB
from pemu.machine.boards.malta import Malta
from pemu.machine.configuration import Configuration
from pemu.machine.machine import Machine
from pemu.machine.memory import AddressSpace
from pemu.machine.pci import PciBus
from tests.devices.storage.host import drive_of
from tests.machine.battering import GROWTH, batter, pci_spaces, place_functions
from tests.machine.idle_cpu import IdleCpu

AT_ONCE = 500
"""Random accesses while a set of transfers is under way."""

IDE = 0x51
TABLE, MEMORY = 0x1000, 0x2_0000
CHANNELS = (0x1F0, 0x3F6), (0x170, 0x376)
READ, WRITE, PACKET = 0xC8, 0xCA, 0xA0
READ_10 = bytes((0x28, 0, 0, 0, 0, 3, 0, 0, 8, 0, 0, 0))


class Bench:
    """The machine.

    completions: of requests that are done, of which the device has not heard.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.completions: deque[Callable[[], object]] = deque()
        self.drives = []
        for name, size, options in (
            ("disk", 8 << 20, ",if=ide,index=0"),
            ("cd", 4 << 20, ",if=ide,index=2,media=cdrom"),
            ("floppy", 1440 << 10, ",if=floppy,index=0"),
        ):
            path = folder / name
            path.write_bytes(random.Random(size).randbytes(size))
            drive = drive_of(path, options, post=self.completions.append)
            drive.backend.immediate = False
            monkeypatch.setattr(drive.backend.image, "read_cached", lambda *_: False)
            self.drives.append(drive)
        self.machine = Machine("little")
        self.machine.new_cpu = IdleCpu
        config = Configuration(ram_size=64 * MIB, firmware=__file__, drives=self.drives)
        board.build(Malta, self.machine, config)
        self.machine.reset()
        self.bus = next(one for one in self.machine.buses if isinstance(one, PciBus))

    @property
    def ports(self) -> AddressSpace:
        return next(one for one in pci_spaces(self.machine) if one.root is self.bus.io)

    def start(self, chance: random.Random) -> None:
        """Have each drive begin a transfer, whatever state the guest has brought it into."""
        place_functions(self.machine)
        self.bus.config_write(0, IDE, 0x40, 0x8000_8000, 4)
        base = self.bus.config_read(0, IDE, 0x20, 4) & ~0xF
        self.machine.memory.dma_write(TABLE, MEMORY.to_bytes(4, "little") + b"\0\x40\0\x80")
        self._ide(0, base, chance.choice((READ, WRITE)))
        self._ide(1, base + 8, PACKET)
        self._floppy(chance.choice((0x46, 0x4A)))

    def busy(self) -> list[bool]:
        """Whether disk, CD-ROM drive and floppy have a transfer under way."""
        read = self.ports.read
        return [read(0x1F7, 1) & 0x80 != 0, read(0x177, 1) & 0x80 != 0, read(0x3F4, 1) == 0x10]

    def _ide(self, channel: int, master: int, command: int) -> None:
        write = self.ports.write
        registers, control = CHANNELS[channel]
        write(control, 4, 1)
        write(control, 0, 1)
        write(master, 0, 1)
        write(master + 4, TABLE, 4)
        for register, value in ((6, 0xE0), (1, 1), (2, 32), (3, 0), (4, 0), (5, 0), (7, command)):
            write(registers + register, value, 1)
        if command == PACKET:
            for at in range(0, len(READ_10), 2):
                write(registers, int.from_bytes(READ_10[at : at + 2], "little"), 2)
        write(master, 1 if command == WRITE else 9, 1)

    def _floppy(self, mode: int) -> None:
        write = self.ports.write
        for port, value in (
            (0x0D, 0),
            (0x0B, mode),
            (0x04, 0),
            (0x04, 0),
            (0x05, 0xFF),
            (0x05, 0x0F),
            (0x81, MEMORY >> 16),
            (0x0A, 2),
            (0x3F2, 0x00),
            (0x3F2, 0x1C),
            *((0x3F5, value) for value in (0x03, 0xDF, 0x02)),
            *((0x3F5, value) for value in (0xC6 if mode == 0x46 else 0xC5, 0, 0, 0)),
            *((0x3F5, value) for value in (1, 2, 18, 0x1B, 0xFF)),
        ):
            write(port, value, 1)

    def complete(self) -> None:
        """Let devices hear of what is done."""
        with self.machine.lock:
            while self.completions:
                self.completions.popleft()()

    def batter(self, count: int, seed: int) -> None:
        """Make `count` accesses, with new transfers under way all the time."""
        chance = random.Random(seed)
        for number in range(count // AT_ONCE):
            with self.machine.lock:
                self.start(chance)
                assert all(self.busy())
            batter(self.machine, AT_ONCE, seed + number)
            self.complete()
        for drive in self.drives:
            drive.backend.drain()
        self.complete()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(tmp_path, monkeypatch)
    yield made
    made.machine.unplug_devices()
    for drive in made.drives:
        drive.backend.close()


def test_transfers_come_to_their_end(bench: Bench) -> None:
    bench.start(random.Random(1))
    assert all(bench.busy())
    while any(bench.busy()):
        for drive in bench.drives:
            drive.backend.drain()
        bench.complete()


def test_random_accesses(bench: Bench) -> None:
    bench.batter(10_000, seed=1)


@pytest.mark.slow
def test_a_million_random_accesses(bench: Bench) -> None:
    bench.batter(500_000, seed=1000)
    gc.collect()
    before = len(gc.get_objects())
    bench.batter(500_000, seed=1_001_000)
    gc.collect()
    assert len(gc.get_objects()) - before < GROWTH
