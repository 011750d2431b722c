"""The IDE function of the PIIX4: two channels at the ports of a PC, and bus-master DMA.

82371AB (PIIX4) data sheet, April 1997, chapter 6; Programming Interface for Bus Master IDE
Controller, revision 1.0. The channels answer whatever IDETIM says of decoding: firmware would have
set it. Timings are kept and make no difference.
"""

from __future__ import annotations

from collections.abc import Callable

from pemu.devices.storage.dma import GuestBuffers
from pemu.devices.storage.ide import COMMAND, DATA, IdeBus, IdeDevice
from pemu.machine.declare import Outputs
from pemu.machine.irq import Irq
from pemu.machine.pci import PciDevice
from pemu.machine.region import Mmio
from pemu.machine.registers import Register, RegisterBank, Registers

CHANNELS = 2
PORTS = ((0x1F0, 0x3F6), (0x170, 0x376))

START, TO_MEMORY = 0x01, 0x08
"""Bits of the bus-master command."""
ACTIVE, FAILED, INTERRUPT, CAPABLE = 0x01, 0x02, 0x04, 0x60
"""Bits of the bus-master status."""

LAST = 1 << 31
MOST_DESCRIPTORS = 8192
"""A table of descriptors is at most 64 KiB."""


class Piix4Ide(PciDevice):
    """The function. `irqs` are the interrupts of the channels, 14 and 15 of the ISA bus."""

    driver = "piix4-ide"
    category = "storage"
    vendor = 0x8086
    product = 0x7111
    class_code = 0x0101
    prog_if = 0x80

    irqs = Outputs(CHANNELS, "of the channels")

    status = Register(0x06, 16, reset=0x0280, writable=0, clears=0x3800, bank="config")
    timing = Registers(0x40, CHANNELS, bits=16, bank="config")
    slave_timing = Register(0x44, bank="config")
    ultra_control = Register(0x48, bank="config", writable=0x0F)
    ultra_timing = Register(0x4A, 16, bank="config", writable=0x3333)

    bm_command = Registers(0x00, CHANNELS, stride=8, writable=START | TO_MEMORY)
    bm_status = Registers(0x02, CHANNELS, stride=8, writable=CAPABLE, clears=FAILED | INTERRUPT)
    bm_table = Registers(0x04, CHANNELS, bits=32, stride=8, writable=0xFFFFFFFC)

    buses: list[IdeBus]

    @status.on_read
    def _read_status(self) -> int:
        return super()._read_status()

    def realize(self) -> None:
        self.bus_master = RegisterBank(self, "piix-bmdma", 16)
        self.add_bar(4, self.bus_master, io=True)
        self.buses = []
        for number, (command, control) in enumerate(PORTS):
            line = Irq(self.irqs[number])
            line.connect(self._noting(number))
            bus = IdeBus(self.machine, f"ide.{number}", self, line, self, number)
            self.buses.append(bus)
            self.bus.io.add(self.own(self._command_block(bus)), command)
            self.bus.io.add(self.own(self._control_block(bus)), control)

    def _noting(self, number: int) -> Callable[[int], None]:
        def changed(level: int) -> None:
            if level:
                self.bm_status[number] |= INTERRUPT

        return changed

    def loaded(self) -> None:
        super().loaded()
        for number, bus in enumerate(self.buses):
            bus.line.level = self.irqs[number].level

    # Ports

    @staticmethod
    def _command_block(bus: IdeBus) -> Mmio:
        def read(offset: int, size: int) -> int:
            if offset == DATA and size > 1:
                return bus.read_data(size)
            return sum(bus.read(offset + place) << 8 * place for place in range(size))

        def write(offset: int, value: int, size: int) -> None:
            if offset == DATA and size > 1:
                bus.write_data(value, size)
                return
            for place in range(size):
                bus.write(offset + place, value >> 8 * place & 0xFF)

        return Mmio("ide", COMMAND + 1, read, write)

    @staticmethod
    def _control_block(bus: IdeBus) -> Mmio:
        return Mmio(
            "ide",
            1,
            lambda offset, size: bus.read_alternate(),
            lambda offset, value, size: bus.write_control(value),
            maximum=1,
        )

    # Bus master

    @bm_command.on_write
    def _bm_command_written(self, channel: int, written: int, old: int) -> None:
        changed = self.bm_command[channel] ^ old
        if not changed & START:
            return
        drives = self.buses[channel].units.values()
        if not written & START:
            if self.bm_status[channel] & ACTIVE:
                self.bm_status[channel] &= ~ACTIVE
                for drive in drives:
                    drive.forget_request()
            return
        self.bm_status[channel] |= ACTIVE
        for drive in drives:
            if drive.dma_direction:
                self.dma_wanted(drive)

    def dma_wanted(self, drive: IdeDevice) -> None:
        """A drive is ready; the transfer begins when the host has started it, too."""
        channel = drive.bus.number
        if not self.bm_status[channel] & ACTIVE or not self.bm_command[channel] & START:
            return
        if not self.is_master:
            self.guest_error("DMA without being bus master")
            return
        pieces = self._descriptors(channel, drive.dma_length)
        to_guest = drive.dma_direction == "in"
        drive.transfer(GuestBuffers(self.bus.dma_space, self, pieces, to_guest=to_guest))

    def _descriptors(self, channel: int, wanted: int) -> list[tuple[int, int]]:
        """The memory that the table names, up to `wanted` bytes."""
        pieces: list[tuple[int, int]] = []
        address = self.bm_table[channel]
        for _ in range(MOST_DESCRIPTORS):
            if not wanted:
                break
            entry = int.from_bytes(self.dma_read(address, 8), "little")
            length = min((entry >> 32 & 0xFFFE) or 0x10000, wanted)
            pieces.append((entry & 0xFFFFFFFE, length))
            wanted -= length
            address = address + 8 & 0xFFFFFFFF
            if entry >> 32 & LAST:
                break
        return pieces

    def dma_ended(self, drive: IdeDevice) -> None:
        """A transfer has been carried out."""
        self.bm_status[drive.bus.number] &= ~ACTIVE

    def dma_cancelled(self, drive: IdeDevice) -> None:
        """A drive does not transfer any more."""
        self.bm_status[drive.bus.number] &= ~ACTIVE
