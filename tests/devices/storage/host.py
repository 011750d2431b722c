"""A machine with a PIIX4 IDE function, and what a driver does with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pemu.block.backend import Backend
from pemu.block.graph import Graph
from pemu.block.opening import Mode
from pemu.devices.storage.ide_cd import IdeCd
from pemu.devices.storage.ide_hd import IdeDisk
from pemu.devices.storage.piix4_ide import Piix4Ide
from pemu.machine.drives import DRIVE, Drive, Drives
from pemu.machine.irq import Irq
from pemu.machine.machine import Machine
from pemu.machine.pci import IO, MASTER, PciBus
from pemu.machine.region import Order, Ram, Region

BASE = 0xC000
TABLE, MEMORY = 0x1000, 0x10000
READY, DRQ, ERROR, BUSY = 0x40, 0x08, 0x01, 0x80


def drive_of(path: Path | None, text: str = "", **options: Any) -> Drive:
    """A drive whose requests are carried out at once."""
    made = Drives("ide").add(DRIVE.parse(f"file={path or ''}{text}"))
    mode = Mode(readonly=made.readonly, discard=True)
    image = Graph().open_name(str(path), format="raw", mode=mode) if path else None
    made.backend = Backend(image, immediate=True, **options)
    return made


class Host:
    """The machine: `disks` and `cds` by unit (0, 1; 2, 3 on the second channel)."""

    def __init__(
        self, disks: dict[int, Drive], cds: dict[int, Drive] | None = None, order: Order = "little"
    ) -> None:
        self.machine = Machine(order)
        self.ram = Ram("ram", 1 << 20)
        self.machine.memory.root.add(self.ram, 0)
        self.pci = PciBus(
            self.machine,
            "pci",
            None,
            Region("pci-memory", 1 << 32),
            self.machine.io.root,
            [Irq() for _ in range(4)],
        )
        self.ide = self.machine.create(Piix4Ide, self.pci, addr=0x51)
        for unit, drive in disks.items():
            self.machine.create(IdeDisk, self.ide.buses[unit // 2], unit=unit % 2, drive=drive)
        for unit, drive in (cds or {}).items():
            self.machine.create(IdeCd, self.ide.buses[unit // 2], unit=unit % 2, drive=drive)
        self.machine.reset()
        self.pci.config_write(0, 0x51, 0x20, BASE, 4)
        self.pci.config_write(0, 0x51, 4, IO | MASTER, 2)
        self.channel = 0

    def close(self) -> None:
        self.machine.unplug_devices()

    def port(self, register: int) -> int:
        return (0x1F0, 0x170)[self.channel] + register

    def read(self, register: int) -> int:
        return self.machine.io.read(self.port(register), 1)

    def write(self, register: int, value: int) -> None:
        self.machine.io.write(self.port(register), value, 1)

    def control(self, value: int) -> None:
        self.machine.io.write((0x3F6, 0x376)[self.channel], value, 1)

    @property
    def irq(self) -> int:
        return self.ide.irqs[self.channel].level

    def command(
        self, command: int, lba: int = 0, count: int = 0, *, features: int = 0, select: int = 0xE0
    ) -> None:
        """Write the task file, with 28 bits of address."""
        self.write(6, select | lba >> 24)
        for register, value in ((1, features), (2, count), (3, lba), (4, lba >> 8), (5, lba >> 16)):
            self.write(register, value & 0xFF)
        self.write(7, command)

    def command_ext(self, command: int, lba: int, count: int) -> None:
        """Write the task file, with 48 bits of address."""
        self.write(6, 0xE0)
        for value, shift in ((count, 8), (count, 0)):
            self.write(2, value >> shift & 0xFF)
        for first in (24, 0):
            for place in range(3):
                self.write(3 + place, lba >> first + 8 * place & 0xFF)
        self.write(7, command)

    def pull(self, length: int, size: int = 2) -> bytes:
        """Read data from the data register."""
        little = self.machine.order
        return b"".join(
            self.machine.io.read(self.port(0), size).to_bytes(size, little)
            for _ in range(0, length, size)
        )

    def push(self, data: bytes, size: int = 2) -> None:
        """Write data to the data register."""
        for at in range(0, len(data), size):
            value = int.from_bytes(data[at : at + size], self.machine.order)
            self.machine.io.write(self.port(0), value, size)

    def table(self, *pieces: tuple[int, int]) -> None:
        """Write a table of descriptors (address, length) and tell the bus master."""
        data = bytearray()
        for index, (address, length) in enumerate(pieces):
            last = 1 << 31 if index == len(pieces) - 1 else 0
            data += address.to_bytes(4, "little") + (length & 0xFFFF | last).to_bytes(4, "little")
        self.ram.write_bytes(TABLE, bytes(data))
        self.master_write(4, TABLE, 4)

    def master_write(self, register: int, value: int, size: int = 1) -> None:
        data = value.to_bytes(size, "little")
        address = BASE + 8 * self.channel + register
        self.machine.io.write(address, int.from_bytes(data, self.machine.order), size)

    def master_read(self, register: int) -> int:
        return self.machine.io.read(BASE + 8 * self.channel + register, 1)

    def packet(self, *packet: int, length: int = 2048, dma: bool = False) -> None:
        """Issue a packet command; what it answers is to be read."""
        self.command(0xA0, length << 8, features=int(dma))
        assert self.read(7) & DRQ
        self.push(bytes(packet).ljust(12, b"\0"))

    def packet_data(self, *packet: int, length: int = 2048) -> bytes:
        """Issue a packet command and read all that it answers."""
        self.packet(*packet, length=length)
        data = b""
        while self.read(7) & DRQ:
            count = self.read(4) | self.read(5) << 8
            data += self.pull(count + count % 2)[:count]
        return data
