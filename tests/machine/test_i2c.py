"""The I2C bus, with a memory of two bytes' depth."""

from __future__ import annotations

import pytest

from pemu.machine import state
from pemu.machine.i2c import I2cBus, I2cDevice
from pemu.machine.machine import Machine
from pemu.options.error import OptionError


class Memory(I2cDevice):
    """256 bytes: the first byte sent is an address."""

    driver = "memory"

    data = state.memory(256)
    place = state.uint(8)
    first = state.flag()

    def start(self, reading: bool) -> bool:
        self.first = not reading
        return True

    def send(self, byte: int) -> bool:
        if self.first:
            self.place, self.first = byte, False
        else:
            self.data[self.place] = byte
            self.place = self.place + 1 & 0xFF
        return True

    def receive(self) -> int:
        value = self.data[self.place]
        self.place = self.place + 1 & 0xFF
        return value


@pytest.fixture
def bus() -> I2cBus:
    bus = I2cBus(Machine(), "i2c")
    bus.machine.create(Memory, bus, address=0x50)
    return bus


def test_write_and_read(bus: I2cBus) -> None:
    assert bus.write(0x50, b"\x10abc")
    assert bus.read(0x50, b"\x11", 2) == b"bc"


def test_absent_device_does_not_acknowledge(bus: I2cBus) -> None:
    assert not bus.start(0x51, False)
    assert not bus.write(0x51, b"x")
    assert bus.read(0x51, b"x", 1) is None
    assert bus.receive() == 0xFF


def test_address_is_used_once(bus: I2cBus) -> None:
    with pytest.raises(OptionError, match="memory: address 0x50 is taken"):
        bus.machine.create(Memory, bus, address=0x50)
