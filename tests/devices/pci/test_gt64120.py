"""The system controller: windows that move, configuration cycles in both byte orders."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemu.devices.pci.gt64120 import Gt64120
from pemu.machine.machine import Machine
from pemu.machine.pci import PciDevice
from pemu.machine.region import Mmio, Ram
from pemu.machine.registers import Register
from tests.devices.anyaccess import Access, accesses, check_state, perform

ISD = 0x1400_0000
CONFIG_ADDRESS, CONFIG_DATA = 0xCF8, 0xCFC


class Card(PciDevice):
    """A device with a port and a register in configuration space."""

    driver = "card"
    vendor = 0x8086
    product = 0x7110
    pin = 1

    mode = Register(0x40, 32, bank="config")

    def realize(self) -> None:
        ram = Ram("card-memory", 0x1000)
        ram.write_bytes(0, b"card")
        self.add_bar(0, ram)


class Board:
    """A controller, a card in slot 10, and accesses in the processor's byte order."""

    def __init__(self, order: Any = "little") -> None:
        self.machine = Machine(order)
        self.gt = self.machine.create(Gt64120)
        self.card = self.machine.create(Card, self.gt.pci, addr=0x50)
        port = Mmio("port", 8, lambda offset, size: 0x10 + offset, lambda *_: None, maximum=1)
        self.machine.io.root.add(port, 0x3F8)
        self.machine.reset_devices()
        self.base = ISD

    def read(self, offset: int, size: int = 4) -> int:
        """Read a register as GT_READ of Linux does."""
        value = self.machine.memory.read(self.base + offset, size)
        return self._turn(value, size)

    def write(self, offset: int, value: int, size: int = 4) -> None:
        self.machine.memory.write(self.base + offset, self._turn(value, size), size)

    def irq(self) -> int:
        return self.gt.irq.level

    def _turn(self, value: int, size: int) -> int:
        return int.from_bytes(value.to_bytes(size, self.machine.order), "little")

    def config_address(self, devfn: int, register: int, bus: int = 0) -> None:
        self.write(CONFIG_ADDRESS, 0x80000000 | bus << 16 | devfn << 8 | register)

    def config_read(self, devfn: int, register: int) -> int:
        """Read configuration space as Linux does: the chip itself in another byte order."""
        self.config_address(devfn, register)
        if devfn == 0:
            return self.read(CONFIG_DATA)
        return self.machine.memory.read(self.base + CONFIG_DATA, 4)

    def config_write(self, devfn: int, register: int, value: int) -> None:
        self.config_address(devfn, register)
        self.machine.memory.write(self.base + CONFIG_DATA, value, 4)


@pytest.fixture(params=["little", "big"])
def board(request: pytest.FixtureRequest) -> Board:
    return Board(request.param)


def test_configuration_of_the_processor_side(board: Board) -> None:
    assert board.read(0) == (0x1000 if board.machine.order == "little" else 0)
    assert board.read(0x068) == 0xA0
    assert board.read(0xC00) == (0x10001 if board.machine.order == "little" else 0)


def test_registers_move(board: Board) -> None:
    board.write(0x068, 0xDF)
    assert board.machine.memory.find(ISD) is None
    board.base = 0x1BE0_0000
    assert board.read(0x068) == 0xDF


def test_io_window(board: Board) -> None:
    memory = board.machine.memory
    assert memory.read(0x1000_03F8, 1) == 0x10
    board.write(0x048, 0xC0)
    board.write(0x050, 0x40)
    assert board.read(0x0F0) == 0xC0
    assert memory.read(0x1800_03F9, 1) == 0x11
    assert memory.read(0x1800_0300, 1) == 0xFF


def test_memory_window_keeps_addresses(board: Board) -> None:
    board.config_write(0x50, 0x10, 0x1234_5000)
    board.config_write(0x50, 0x04, 2)
    assert board.machine.memory.dma_read(0x1234_5000, 4) == b"card"
    board.write(0x058, 0x80)
    board.write(0x060, 0x3F)
    assert board.machine.memory.dma_read(0x1234_5000, 4) == b"card"


def test_memory_window_with_remap(board: Board) -> None:
    board.config_write(0x50, 0x10, 0x0020_0000)
    board.config_write(0x50, 0x04, 2)
    board.write(0x0F8, 0)
    assert board.machine.memory.dma_read(0x1220_0000, 4) == b"card"
    board.write(0x058, 0x90)
    assert board.machine.memory.find(0x1220_0000) is None


def test_window_is_off_while_it_ends_before_it_begins(board: Board) -> None:
    board.write(0x050, 0)
    board.write(0x048, 0x81)
    assert board.machine.memory.find(0x1000_03F8) is None


def test_configuration_cycles(board: Board) -> None:
    assert board.config_read(0x50, 0) == 0x71108086
    assert board.config_read(0, 0) == 0x462011AB
    assert board.config_read(0, 0x04) >> 16 == 0x0280
    board.config_write(0x50, 0x40, 0x12345678)
    assert board.card.mode == 0x12345678
    assert board.config_read(0x58, 0) == 0xFFFFFFFF


def test_narrow_configuration_cycles(board: Board) -> None:
    board.card.mode = 0x12345678
    board.config_address(0x50, 0x40)
    memory, data = board.machine.memory, board.base + CONFIG_DATA
    order = board.machine.order
    bytes_seen = bytes(memory.read(data + at, 1) for at in range(4))
    assert bytes_seen == (0x12345678).to_bytes(4, order)
    assert memory.read(data + (2 if order == "big" else 0), 2) == 0x5678
    memory.write(data + (0 if order == "big" else 3), 0xAB, 1)
    assert board.card.mode == 0xAB345678


def test_configuration_needs_to_be_enabled(board: Board) -> None:
    board.write(CONFIG_ADDRESS, 0x5000)
    assert board.read(CONFIG_DATA) == 0


def test_master_abort_is_noted(board: Board) -> None:
    board.write(0xC18, 0)
    board.config_read(0x50, 0)
    assert board.read(0xC18) == 0
    board.config_read(0x58, 0)
    assert board.read(0xC18) == 1 << 18
    assert not board.irq()
    board.write(0xC1C, 1 << 18)
    assert board.irq()
    assert board.read(0xC18) == 1 << 18 | 1
    board.write(0xC18, ~(1 << 18) & 0xFFFFFFFF)
    assert not board.irq()


def test_special_cycle_is_no_error(board: Board) -> None:
    board.config_write(0xFF, 0, 0x00120002)
    assert board.read(0xC18) == 0


def test_own_base_addresses_are_fixed(board: Board) -> None:
    board.config_address(0, 0x20)
    board.write(CONFIG_DATA, 0x1BE00000)
    assert board.config_read(0, 0x20) == 0x14000000


def test_interrupt_acknowledge(board: Board) -> None:
    board.gt.acknowledge = lambda: 11
    assert board.read(0xC34) == 11


def test_pins_are_routed_as_the_board_says(board: Board) -> None:
    board.gt.route = lambda slot, pin: (slot + 1) % 4
    board.card.intx.raise_()
    assert [line.level for line in board.gt.pirqs] == [0, 0, 0, 1]


def test_reset_moves_everything_back(board: Board) -> None:
    board.write(0x068, 0xDF)
    board.machine.reset_devices()
    assert board.read(0x068) == 0xA0


REGISTERS = st.lists(
    st.tuples(
        st.sampled_from([*range(0, 0x140, 4), *range(0xC00, 0xD00, 4)]),
        st.sampled_from((1, 2, 4)),
        st.one_of(st.none(), st.integers(0, 0xFFFFFFFF)),
    )
)


@given(st.sampled_from(["little", "big"]), REGISTERS, accesses(0x1000))
def test_any_accesses(order: Any, registers: list[Access], made: list[Access]) -> None:
    board = Board(order)
    for access in (*registers, *made):
        base = board.gt.isd << 21
        perform(board.machine.memory, base, [access])
    check_state(board.machine)
