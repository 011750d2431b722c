"""The Lamp Post, the example of docs/adding-a-board.md: RAM, a boot ROM and one timer."""

from __future__ import annotations

from typing import ClassVar

from pemu.machine import prop
from pemu.machine.board import MIB, Board
from pemu.machine.files import load_file
from pemu.machine.region import Alias, Ram
from pemu.options.error import OptionError, quoted
from tests.machine.countdown import Countdown

TIMER, ROM = 0x1F00_0000, 0x1FC0_0000
ROM_SIZE = 4 * MIB


class LampPost(Board):
    """RAM from 0 on, its mirror, the timer, and a ROM where the processor starts."""

    name: ClassVar[str] = "lamp"
    description: ClassVar[str] = "Lamp Post evaluation board"
    default_ram: ClassVar[int] = 16 * MIB

    ticks = prop.uint(32, 1_000_000, "the timer's ticks a second")

    def create(self) -> None:
        if self.ram_size > 256 * MIB:
            raise OptionError(f"-m: board {self.name} has room for at most 256 MiB")
        root = self.machine.memory.root
        ram = Ram("lamp.ram", self.ram_size)
        root.add(ram, 0)
        root.add(Alias("lamp.mirror", ram), 0x8000_0000)
        timer = self.machine.create(Countdown, frequency=self.ticks)
        root.add(timer.registers, TIMER)
        if self.config.firmware:
            path = self.config.find(self.config.firmware)
            if path is None:
                raise OptionError(f"-bios: {quoted(self.config.firmware)} is not there")
            rom = Ram("lamp.rom", ROM_SIZE, readonly=True)
            rom.write_bytes(0, load_file(path, "-bios", ROM_SIZE))
            root.add(rom, ROM)
