"""`info pci`: the functions on all PCI buses, as text."""

from __future__ import annotations

from pemu.machine.machine import Machine
from pemu.machine.pci import PciBus, PciDevice
from pemu.machine.pciclasses import class_name


def info_pci(machine: Machine) -> str:
    """All functions with their ids, interrupts and base addresses."""
    lines: list[str] = []
    for bus in machine.buses:
        if isinstance(bus, PciBus):
            for _, device in sorted(bus.functions.items()):
                _function(lines, device)
    return "".join(f"{line}\n" for line in lines)


def _function(lines: list[str], device: PciDevice) -> None:
    assert device.addr is not None
    slot, function = device.addr >> 3, device.addr & 7
    lines.append(f"  Bus {device.bus.number:2}, device {slot:3}, function {function}:")
    kind = class_name(device.class_code)
    lines.append(f"    {kind}: PCI device {device.vendor:04x}:{device.product:04x}")
    lines.append(f"      PCI subsystem {device.subsystem_vendor:04x}:{device.subsystem:04x}")
    if device.pin:
        pin = "ABCD"[device.pin - 1]
        lines.append(f"      IRQ {device.interrupt_line}, pin {pin}")
    for number, bar in sorted(device.bar_table.items()):
        start, end = device.bar_ends(number)
        if bar.is_io:
            lines.append(f"      BAR{number}: I/O at {start:#06x} [{end:#06x}].")
        else:
            kind = f"{64 if bar.high else 32} bit{' prefetchable' if bar.flags & 8 else ''} memory"
            lines.append(f"      BAR{number}: {kind} at {start:#010x} [{end:#010x}].")
    lines.append(f'      id "{device.id}"')
