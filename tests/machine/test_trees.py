"""`info mtree` and `info qtree`."""

from __future__ import annotations

from pemu.machine.i2c import I2cBus, I2cDevice
from pemu.machine.infopci import info_pci
from pemu.machine.irq import Irq
from pemu.machine.machine import Machine
from pemu.machine.mtree import Shown, flat, mtree
from pemu.machine.pci import PciBus, PciDevice
from pemu.machine.qtree import qtree
from pemu.machine.region import Alias, Ram, Region
from tests.machine.countdown import Countdown


def small_machine() -> Machine:
    machine = Machine("big")
    timer = machine.create(Countdown, id="t0")
    root = machine.memory.root
    ram = Ram("ram", 0x4000)
    root.add(ram, 0x8000_0000)
    root.add(Alias("w", ram, 0x1000, 0x2000), 0)
    box = Region("box", 0x1000)
    root.add(box, 0x1F00_0000, 1)
    box.add(timer.registers, 0x100)
    rom = Ram("rom", 0x1000, readonly=True)
    root.add(rom, 0x1FC0_0000)
    rom.enabled = False
    return machine


def test_tree_of_regions() -> None:
    assert (
        mtree(small_machine().spaces)
        == """\
address-space: memory
  0000000000000000-ffffffffffffffff (prio 0, i/o): system
    0000000000000000-0000000000001fff (prio 0, ram): alias w @ram 0000000000001000-0000000000002fff
    000000001f000000-000000001f000fff (prio 1, i/o): box
      000000001f000100-000000001f00010f (prio 0, i/o): countdown
    0000000080000000-0000000080003fff (prio 0, ram): ram

address-space: I/O
  0000000000000000-000000000000ffff (prio 0, i/o): io

memory-region: ram
  0000000080000000-0000000080003fff (prio 0, ram): ram
"""
    )


def test_tree_of_regions_with_what_is_not_seen() -> None:
    text = mtree(small_machine().spaces, Shown(disabled=True))
    assert "    000000001fc00000-000000001fc00fff (prio 0, rom): rom [disabled]\n" in text


def test_trees_with_owners() -> None:
    machine = small_machine()
    for text in (mtree, flat):
        shown = text(machine.spaces, Shown(owners=True))
        assert " countdown owner:{dev id=t0}\n" in shown
        assert "(prio 0, ram): ram" in shown
        assert all(line.endswith((" orphan", "}")) for line in shown.splitlines() if "prio" in line)


def test_flat_view() -> None:
    machine = small_machine()
    assert (
        flat([machine.memory])
        == """\
FlatView #0
 AS "memory", root: system
 Root memory region: system
  0000000000000000-0000000000001fff (prio 0, ram): ram @0000000000001000
  000000001f000100-000000001f00010f (prio 0, i/o): countdown
  0000000080000000-0000000080003fff (prio 0, ram): ram
"""
    )


def test_tree_of_devices() -> None:
    machine = small_machine()
    bus = I2cBus(machine, "i2c", machine.devices[0])
    machine.create(Sensor, bus, address=0x48)
    assert (
        qtree(machine)
        == """\
bus: main-system-bus
  type System
  dev: countdown, id "t0"
    gpio-out "irq" 1
    frequency = 1000000 (0xf4240)
    mmio 000000001f000100/0000000000000010
    bus: i2c
      type i2c-bus
      dev: sensor, id ""
        address = 72 (0x48)
"""
    )


def test_pci_functions() -> None:
    machine = Machine("little")
    lines = [Irq() for _ in range(4)]
    bus = PciBus(machine, "pci.0", None, Region("m", 1 << 32), Region("i", 1 << 16), lines)
    card = machine.create(Card, bus, addr=0x51, id="c0")
    bus.config_write(0, 0x51, 0x10, 0x1100, 4)
    bus.config_write(0, 0x51, 0x3C, 9, 1)
    bus.config_write(0, 0x51, 4, 1, 2)
    assert (
        info_pci(machine)
        == """\
  Bus  0, device  10, function 1:
    IDE controller: PCI device 1234:5678
      PCI subsystem 1af4:1100
      IRQ 9, pin A
      BAR0: I/O at 0x1100 [0x110f].
      BAR1: 32 bit prefetchable memory at 0xffffffffffffffff [0x00000ffe].
      id "c0"
"""
    )
    assert card.describe() == [
        "class IDE controller, addr 00:0a.1, pci id 1234:5678 (sub 1af4:1100)",
        "bar 0: i/o at 0x1100 [0x110f]",
        "bar 1: mem at 0xffffffffffffffff [0xffe]",
    ]


class Card(PciDevice):
    """A card with two BARs."""

    driver = "card"
    product = 0x5678
    class_code = 0x0101
    pin = 1

    def realize(self) -> None:
        self.add_bar(0, Ram("io", 16), io=True)
        self.add_bar(1, Ram("memory", 0x1000), prefetchable=True)


class Sensor(I2cDevice):
    """A device on the I2C bus."""

    driver = "sensor"
