"""The ISA bus."""

from __future__ import annotations

import pytest

from pemu.machine import prop
from pemu.machine.declare import Output
from pemu.machine.device import SystemBus
from pemu.machine.isa import IsaBus, IsaDevice
from pemu.machine.machine import Machine
from pemu.machine.region import Region
from pemu.machine.registers import Register, RegisterBank
from pemu.options.error import OptionError


class Port(IsaDevice):
    """A latch that interrupts while it is not 0."""

    driver = "port"

    iobase = prop.uint(16, 0x300, "I/O port")
    irq = prop.uint(8, 5, "interrupt")

    line = Output()
    latch = Register(0)

    def realize(self) -> None:
        self.ports(RegisterBank(self, "port", 1), self.iobase)
        self.bus.connect(self.line, self.irq)

    @latch.on_write
    def _latch_written(self, written: int, old: int) -> None:
        self.line.set(self.latch)


@pytest.fixture
def bus() -> IsaBus:
    machine = Machine()
    return IsaBus(machine, "isa.0", None, Region("isa-mem", 1 << 24), machine.io.root)


def test_device_answers_at_its_port_and_interrupts(bus: IsaBus) -> None:
    machine = bus.machine
    machine.create(Port, bus, iobase=0x310)
    machine.io.write(0x310, 9, 1)
    assert machine.io.read(0x310, 1) == 9
    assert bus.irqs[5].level == 1


def test_absent_port_reads_ones(bus: IsaBus) -> None:
    assert bus.machine.io.read(0x310, 2) == 0xFFFF


def test_port_and_interrupt_have_to_exist(bus: IsaBus) -> None:
    with pytest.raises(OptionError, match="interrupt 16 is not on bus"):
        bus.machine.create(Port, bus, irq=16)
    with pytest.raises(OptionError, match="from 0x10000 on do not fit"):
        bus.machine.create(Port, bus, iobase=0x10000)


def test_device_is_plugged_into_its_kind_of_bus(bus: IsaBus) -> None:
    with pytest.raises(OptionError, match="port plugs into a bus of kind ISA"):
        bus.machine.create(Port, SystemBus(bus.machine, "other"))
