"""The parallel port of a PC: the registers of a printer port, and those of an enhanced one.

IBM PC/AT Technical Reference, printer adapter; IEEE 1284-1994 for EPP. What is printed goes to a
character device, a byte for each strobe. Nothing is ever received.
"""

from __future__ import annotations

from pemu.chardev.interface import Chardev, FrontEnd
from pemu.machine import prop, state
from pemu.machine.declare import Output
from pemu.machine.isa import IsaDevice
from pemu.machine.region import Mmio
from pemu.options.error import OptionError
from pemu.options.types import Int

PORTS = (0x378, 0x278, 0x3BC)

DATA, STATUS, CONTROL, EPP_DATA = 0, 1, 2, 4
SIZE = 8

NOT_BUSY, NOT_ACKNOWLEDGED, SELECTED, NO_ERROR = 0x80, 0x40, 0x10, 0x08
STROBE, INITIALIZE, INTERRUPT, REVERSE = 0x01, 0x04, 0x10, 0x20
CONTROL_FIXED = 0xC0


class IsaParallel(IsaDevice, FrontEnd):
    """The port."""

    driver = "isa-parallel"
    description = "parallel port"
    category = "input"

    index: prop.Property[int | None] = prop.Property(
        Int(maximum=2), None, "which of the usual ports"
    )
    iobase: prop.Property[int | None] = prop.Property(Int(maximum=0xFFFF), None, "first I/O port")
    irqnum = prop.uint(32, 7, "interrupt", key="irq")
    chardev = prop.chardev()

    line = Output("high from a byte taken until the status is read")

    data = state.uint(8)
    control = state.uint(8, reset=INITIALIZE | 0x08 | CONTROL_FIXED)
    acknowledging = state.flag(help="a byte has been taken and the guest not seen it")
    busy = state.flag(help="a byte has not been taken yet")

    region: Mmio
    backend: Chardev | None = None

    def realize(self) -> None:
        number = self.machine.number(self) if self.index is None else self.index
        if self.iobase is None and number >= len(PORTS):
            raise OptionError(f"{self.driver}: there are at most {len(PORTS)} parallel ports")
        if self.index is None:
            self.index = number
        if self.iobase is None:
            self.iobase = PORTS[number]
        self.region = Mmio("parallel", SIZE, self._read, self._write, self, maximum=1)
        self.ports(self.region, self.iobase)
        self.bus.connect(self.line, self.irqnum)
        self.backend = self.chardev.attach(self) if self.chardev else None

    def unplugged(self) -> None:
        if self.backend is not None:
            self.backend.detach()
            self.backend = None

    def _read(self, offset: int, size: int) -> int:
        if offset == DATA:
            # What drives the lines is the port itself, unless it has been turned around.
            return 0xFF if self.control & REVERSE else self.data
        if offset == STATUS:
            return self._status()
        if offset == CONTROL:
            return self.control
        return 0xFF

    def _status(self) -> int:
        status = NOT_ACKNOWLEDGED | SELECTED | NO_ERROR
        if self.busy:
            return status
        status |= NOT_BUSY
        if self.acknowledging:
            # First the acknowledgement is seen, then that it is over.
            self.acknowledging = False
            self.line.lower()
            return status & ~NOT_ACKNOWLEDGED
        return status

    def _write(self, offset: int, value: int, size: int) -> None:
        if offset == DATA and not self.busy:
            self.data = value
        elif offset == CONTROL:
            old, self.control = self.control, value | CONTROL_FIXED
            if old & STROBE and not value & STROBE and not self.busy:
                self._print()
            if not value & INTERRUPT:
                self.line.lower()
        elif offset == EPP_DATA and not self.busy:
            self.data = value
            self._print()

    def _print(self) -> None:
        """The strobe has been given."""
        if not self.control & INITIALIZE:
            return  # the printer is held in reset
        self.busy = True
        self.writable()

    def writable(self) -> None:
        """The back end takes bytes, maybe again."""
        if not self.busy:
            return
        if self.backend is not None and not self.backend.write(bytes((self.data,))):
            return
        self.busy = False
        self.acknowledging = True
        if self.control & INTERRUPT:
            self.line.raise_()
