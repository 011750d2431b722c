"""`info mtree` and `info qtree`."""

from __future__ import annotations

from pemu.machine.i2c import I2cBus, I2cDevice
from pemu.machine.machine import Machine
from pemu.machine.mtree import flat, mtree
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
    000000001fc00000-000000001fc00fff (prio 0, rom): rom [disabled]
    0000000080000000-0000000080003fff (prio 0, ram): ram

address-space: I/O
  0000000000000000-000000000000ffff (prio 0, i/o): io

memory-region: ram
  0000000080000000-0000000080003fff (prio 0, ram): ram
"""
    )


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


class Sensor(I2cDevice):
    """A device on the I2C bus."""

    driver = "sensor"
