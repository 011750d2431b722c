"""PCI configuration space, base addresses, interrupts and bus mastering."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemu.machine.irq import Irq
from pemu.machine.machine import Machine
from pemu.machine.memory import AddressSpace
from pemu.machine.pci import PciBus, PciDevice
from pemu.machine.region import Mmio, Ram, Region
from pemu.machine.registers import Register
from pemu.options.error import OptionError


class Card(PciDevice):
    """A card with three kinds of BARs."""

    driver = "card"
    vendor = 0x8086
    product = 0x1234
    class_code = 0x0200
    revision = 3
    pin = 1

    mode = Register(0x40, 8, writable=0x0F, bank="config")

    def realize(self) -> None:
        self.add_bar(0, self._answering(0x1000, 0x11))
        self.add_bar(1, self._answering(0x20, 0x22), io=True)
        self.add_bar(2, self._answering(0x10000, 0x33), wide=True)

    def _answering(self, size: int, value: int) -> Mmio:
        return Mmio("bar", size, lambda offset, size: value, lambda *written: None, maximum=1)


def pci(machine: Machine) -> PciBus:
    memory, io = Region("pci-mem", 1 << 64), Region("pci-io", 1 << 16)
    machine.memory.root.add(memory, 0)
    machine.io.root.add(io, 0)
    return PciBus(machine, "pci.0", None, memory, io, [Irq() for _ in range(4)])


def read(device: PciDevice, offset: int, size: int = 4) -> int:
    assert device.addr is not None
    return device.bus.config_read(0, device.addr, offset, size)


def write(device: PciDevice, offset: int, value: int, size: int = 4) -> None:
    assert device.addr is not None
    device.bus.config_write(0, device.addr, offset, value, size)


@pytest.fixture
def machine() -> Machine:
    return Machine("little")


@pytest.fixture
def card(machine: Machine) -> Card:
    device = machine.create(Card, pci(machine))
    machine.reset_devices()
    return device


def test_header(card: Card) -> None:
    assert read(card, 0) == 0x12348086
    assert read(card, 2, 2) == 0x1234
    assert read(card, 8) == 0x02000003
    assert read(card, 0x3D, 1) == 1
    assert read(card, 0x2C) == 0x11001AF4


def test_absent_function_reads_ones(card: Card) -> None:
    assert card.bus.config_read(0, 0x50, 0, 2) == 0xFFFF
    assert card.bus.config_read(3, 0, 0, 4) == 0xFFFFFFFF


def test_sizing(card: Card) -> None:
    for offset in range(0x10, 0x28, 4):
        write(card, offset, 0xFFFFFFFF)
    assert [read(card, offset) for offset in range(0x10, 0x28, 4)] == [
        0xFFFFF000,
        0xFFFFFFE1,
        0xFFFF0004,
        0xFFFFFFFF,
        0,
        0,
    ]


def test_regions_are_seen_where_the_guest_puts_them(card: Card) -> None:
    memory, io = card.machine.memory, card.machine.io
    write(card, 0x10, 0x8000_0000)
    write(card, 0x14, 0x1040)
    write(card, 0x18, 0x4000_0000)
    write(card, 0x1C, 0x12)
    assert memory.view == []
    write(card, 4, 3, 2)
    assert memory.read(0x8000_0010, 1) == 0x11
    assert io.read(0x1043, 1) == 0x22
    assert memory.read(0x12_4000_0010, 1) == 0x33
    write(card, 4, 1, 2)
    assert memory.view == []
    assert len(io.view) == 1


def test_region_that_is_being_sized_is_nowhere(card: Card) -> None:
    write(card, 4, 2, 2)
    write(card, 0x10, 0xFFFFFFFF)
    assert card.machine.memory.view == []


def test_reset_takes_regions_away(machine: Machine, card: Card) -> None:
    write(card, 0x10, 0x8000_0000)
    write(card, 4, 2, 2)
    machine.reset_devices()
    assert machine.memory.view == []
    assert read(card, 0x14) == 1


def test_bar_written_a_byte_at_a_time(card: Card) -> None:
    for at, value in enumerate((0, 0, 0x34, 0x12)):
        write(card, 0x10 + at, value, 1)
    assert read(card, 0x10) == 0x12340000


def test_interrupts_share_a_line() -> None:
    bus = pci(Machine("little"))
    one = bus.machine.create(Card, bus, addr=0)
    two = bus.machine.create(Card, bus, addr=4 * 8)
    one.intx.raise_()
    two.intx.raise_()
    one.intx.lower()
    assert bus.lines[0].level
    two.intx.lower()
    assert not bus.lines[0].level


def test_interrupt_can_be_disabled_by_the_command_register(card: Card) -> None:
    line = card.bus.lines[0]
    card.intx.raise_()
    assert line.level
    assert read(card, 6, 2) & 8
    write(card, 4, 0x400, 2)
    assert not line.level
    write(card, 4, 0, 2)
    assert line.level


def test_dma_needs_the_bus_master_bit(card: Card) -> None:
    ram = Ram("ram", 0x1000)
    card.machine.memory.root.add(ram, 0)
    card.dma_write(0, b"no")
    write(card, 4, 4, 2)
    card.dma_write(4, b"yes")
    assert card.dma_read(0, 8) == b"\0\0\0\0yes\0"


def test_dma_goes_to_the_space_of_the_bus() -> None:
    bus = pci(Machine("little"))
    root, ram = Region("inbound", 1 << 64), Ram("ram", 0x1000)
    root.add(ram, 0x8000_0000)
    bus.dma_space = AddressSpace("pci-dma", root, "little")
    card = bus.machine.create(Card, bus)
    write(card, 4, 4, 2)
    card.dma_write(0x8000_0000, b"there")
    assert ram.read_bytes(0, 5) == b"there"


def test_capabilities_are_listed(card: Card) -> None:
    assert card.add_capability(1, 8) == 0x44
    assert card.add_capability(5, 0x10) == 0x4C
    assert read(card, 6, 2) & 0x10
    assert read(card, 0x34, 1) == 0x4C
    assert read(card, 0x4C, 2) == 0x4405
    assert read(card, 0x44, 2) == 0x0001


def test_expansion_rom(card: Card) -> None:
    rom = Ram("rom", 0x1000, readonly=True)
    rom.write_bytes(0, b"\x55\xaa")
    card.add_rom(rom)
    write(card, 0x30, 0xFFFFFFFF)
    assert read(card, 0x30) == 0xFFFFF001
    write(card, 0x30, 0x8000_0001)
    write(card, 4, 2, 2)
    assert card.machine.memory.dma_read(0x8000_0000, 2) == b"\x55\xaa"


def test_expansion_rom_of_a_given_size(tmp_path: Path) -> None:
    path = tmp_path / "rom"
    path.write_bytes(bytes(3000))
    bus = pci(Machine("little"))
    card = bus.machine.create(Card, bus, romfile=str(path), romsize=65536)
    write(card, 0x30, 0xFFFFFFFF)
    assert read(card, 0x30) == 0xFFFF0001
    for size in (2048, 5000):
        with pytest.raises(OptionError, match=f"romsize={size}: give a power of two from 4096"):
            bus.machine.create(Card, bus, romfile=str(path), romsize=size)


def test_expansion_rom_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rom"
    path.write_bytes(b"\x55\xaa" + bytes(3000))
    bus = pci(Machine("little"))
    card = bus.machine.create(Card, bus, romfile=str(path))
    write(card, 0x30, 0xFFFFFFFF)
    assert read(card, 0x30) == 0xFFFFF001
    with pytest.raises(OptionError, match="card: romfile: '/nonexistent' cannot be read"):
        bus.machine.create(Card, bus, romfile="/nonexistent")


def test_state_holds_where_regions_are(machine: Machine, card: Card) -> None:
    write(card, 0x10, 0x8000_0000)
    write(card, 4, 2, 2)
    saved = machine.save_devices()
    machine.reset_devices()
    machine.load_devices(saved)
    assert machine.memory.read(0x8000_0000, 1) == 0x11


def test_places_on_the_bus() -> None:
    bus = pci(Machine("little"))
    create = bus.machine.create
    assert create(Card, bus).addr == 0
    assert create(Card, bus, addr=0x51).addr == 0x51
    assert create(Card, bus).addr == 8
    with pytest.raises(OptionError, match=r"card: 00\.0 on bus pci\.0 is taken by card"):
        create(Card, bus, addr=0)
    with pytest.raises(OptionError, match="needs multifunction=on"):
        create(Card, bus, addr=1)


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 0xFFFFFFFF), st.sampled_from((1, 2, 4))))
)
def test_any_configuration_writes(writes: list[tuple[int, int, int]]) -> None:
    machine = Machine("little")
    card = machine.create(Card, pci(machine))
    machine.reset_devices()
    for offset, value, size in writes:
        write(card, offset, value & (1 << 8 * size) - 1, size)
    assert read(card, 0) == 0x12348086
    assert read(card, 0x10) & 0xFFF == 0
    assert read(card, 0x14) & 0x1F == 1
    assert read(card, 0x18) & 0xFFFF == 4
    assert read(card, 0x40) & ~0x0F == 0
