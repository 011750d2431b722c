"""The SMBus host and the EEPROMs of memory modules."""

from __future__ import annotations

import pytest

from pemu.devices.i2c.eeprom import SmbusEeprom, spd_sdram
from pemu.devices.i2c.piix4_smbus import BLOCK, BYTE, BYTE_DATA, QUICK, WORD_DATA, Piix4Smbus
from pemu.machine.machine import Machine
from tests.devices.anyaccess import check_state
from tests.machine.battering import batter

PORT = 0x1100


class Bench:
    """A machine with the host, and an EEPROM at address 0x50."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.host = self.machine.create(Piix4Smbus)
        self.machine.io.root.add(self.host.registers, PORT)
        self.eeprom = self.machine.create(SmbusEeprom, self.host.smbus, address=0x50)
        self.eeprom.contents[:] = bytes(range(256))
        self.machine.reset()

    def read(self, register: int) -> int:
        return self.machine.io.read(PORT + register, 1)

    def write(self, register: int, value: int) -> None:
        self.machine.io.write(PORT + register, value, 1)

    def transfer(self, protocol: int, address: int, command: int = 0, control: int = 0) -> int:
        """Carry out a transfer; returns the status after it."""
        self.write(0, 0x1E)
        self.write(4, address)
        self.write(3, command)
        self.write(2, 0x40 | protocol << 2 | control)
        return self.read(0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_who_is_there(bench: Bench) -> None:
    assert bench.transfer(QUICK, 0xA0) == 0x02
    assert bench.transfer(QUICK, 0xA2) == 0x04


def test_bytes_and_words_are_read(bench: Bench) -> None:
    bench.transfer(BYTE_DATA, 0xA1, 0x23)
    assert bench.read(5) == 0x23
    bench.transfer(BYTE, 0xA1)
    assert bench.read(5) == 0x24
    bench.transfer(WORD_DATA, 0xA1, 0x40)
    assert (bench.read(5), bench.read(6)) == (0x40, 0x41)


def test_bytes_are_written(bench: Bench) -> None:
    bench.write(5, 0x77)
    bench.transfer(BYTE_DATA, 0xA0, 0x10)
    assert bench.eeprom.contents[0x10] == 0x77
    bench.transfer(BYTE, 0xA0, 0x10)
    bench.transfer(BYTE, 0xA1)
    assert bench.read(5) == 0x77


def test_blocks(bench: Bench) -> None:
    bench.transfer(BLOCK, 0xA1, 4)
    assert bench.read(5) == 4
    bench.read(2)
    assert [bench.read(7) for _ in range(4)] == [5, 6, 7, 8]


def test_end_interrupts(bench: Bench) -> None:
    bench.transfer(QUICK, 0xA0, control=1)
    assert bench.host.irq.level
    bench.write(0, 2)
    assert not bench.host.irq.level


@pytest.mark.parametrize("size", [4, 8, 64, 128, 512, 1024])
def test_module_tells_its_size(size: int) -> None:
    data = spd_sdram(size << 20)
    assert data[31] * 4 * data[5] == size
    assert data[63] == sum(data[:63]) & 0xFF


def test_random_accesses(bench: Bench) -> None:
    batter(bench.machine, 20_000, seed=1)
    check_state(bench.machine)
