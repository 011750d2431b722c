"""Random accesses to all registers of a machine: whatever a guest writes, no device fails.

    batter(machine, 10_000, seed=1)

Accesses go to everything in `machine.memory` and `machine.io` that is not plain RAM, each range as
often as any other, mostly to where it has registers; between them virtual time passes.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Iterable

from pemu.machine.machine import Machine
from pemu.machine.memory import AddressSpace, FlatRange
from pemu.machine.pci import IO, MASTER, MEMORY, PciBus
from pemu.machine.region import BusError, Ram

MOST_TIME = 1_000_000
"""Nanoseconds that pass between two accesses at most."""

GROWTH = 20_000
"""Objects by which a machine that has been battered before may grow."""

REPLACED = 1_000
"""Accesses after which PCI functions are put back to where their registers can be reached."""

_INTERESTING = (0, 1, 0xFF, 0x80, 0xFFFF, 0x8000, 0xFFFFFFFF, 0x80000000, (1 << 64) - 1)


def batter(machine: Machine, count: int, seed: int, spaces: Iterable[AddressSpace] = ()) -> None:
    """Make `count` accesses; what a device raises but for BusError comes out of it."""
    chance = random.Random(seed)
    every = list(spaces) or [*machine.spaces, *pci_spaces(machine)]
    virtual = machine.clocks.virtual
    views: list[list[FlatRange]] = []
    ranges: list[tuple[AddressSpace, FlatRange]] = []
    with machine.lock:
        for number in range(count):
            if number % REPLACED == 0:
                place_functions(machine)
            if views != [space.view for space in every]:
                views = [space.view for space in every]
                ranges = [one for space in every for one in registers(space)]
            if not ranges:
                return
            space, one = chance.choice(ranges)
            _access(chance, space, one)
            if not chance.randrange(8):
                virtual.set(virtual.now() + chance.randrange(MOST_TIME))
                virtual.run_timers()


def batter_for_growth(machine: Machine, count: int, seed: int) -> None:
    """Make `count` accesses twice; the second time, the number of objects must stay as it is."""
    batter(machine, count, seed)
    gc.collect()
    before = len(gc.get_objects())
    batter(machine, count, seed + 1)
    gc.collect()
    grown = len(gc.get_objects()) - before
    assert grown < GROWTH, f"{grown} more objects after {count} accesses"


def pci_spaces(machine: Machine) -> list[AddressSpace]:
    """What is on the PCI buses of a machine, for accesses that no host bridge has to pass on."""
    spaces = []
    for bus in machine.buses:
        if isinstance(bus, PciBus):
            for region in (bus.memory, bus.io):
                name = f"battered {region.name}"
                shown = (one for one in region.spaces if isinstance(one, AddressSpace))
                known = [one for one in shown if one.name == name]
                spaces.append(known[0] if known else AddressSpace(name, region, machine.order))
    return spaces


def place_functions(machine: Machine) -> None:
    """Give each PCI function's regions a place, and let it be bus master."""
    memory, io = 0x1000_0000, 0x4000
    for bus in machine.buses:
        if not isinstance(bus, PciBus):
            continue
        for devfn, device in bus.functions.items():
            for number, bar in device.bar_table.items():
                size = max(bar.region.size, 0x100)
                if bar.is_io:
                    io = -(-io // size) * size
                    place, io = io, io + size
                else:
                    memory = -(-memory // size) * size
                    place, memory = memory, memory + size
                offset = 0x30 if number == 6 else 0x10 + 4 * number
                bus.config_write(bus.number, devfn, offset, place, 4)
                if bar.high:
                    bus.config_write(bus.number, devfn, offset + 4, 0, 4)
            bus.config_write(bus.number, devfn, 4, IO | MEMORY | MASTER, 2)


def registers(space: AddressSpace) -> list[tuple[AddressSpace, FlatRange]]:
    """What is seen of a space beside plain RAM."""
    return [(space, one) for one in space.view if type(one.region) is not Ram]


def _access(chance: random.Random, space: AddressSpace, one: FlatRange) -> None:
    size = chance.choice((1, 2, 4, 8))
    length = one.end - one.start
    if chance.randrange(4):
        length = min(length, 256)
    address = one.start + chance.randrange(length)
    if chance.randrange(4):
        address &= -size
    found = chance.randrange(2)  # once for many accesses, as processors do
    try:
        if chance.randrange(2):
            if found:
                space.load(address, size)()
            else:
                space.read(address, size)
            return
        value = chance.choice(_INTERESTING) if chance.randrange(2) else chance.getrandbits(64)
        if found:
            space.store(address, size)(value & (1 << 8 * size) - 1)
        else:
            space.write(address, value, size)
    except BusError:
        pass
