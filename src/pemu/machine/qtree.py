"""`info qtree`: the devices by the buses that they are plugged into, as text."""

from __future__ import annotations

from pemu.machine.declare import Inputs, Output, Outputs, Property
from pemu.machine.device import Bus, Device
from pemu.machine.machine import Machine
from pemu.machine.region import Region
from pemu.options.types import Bool, Int, Size


def qtree(machine: Machine) -> str:
    """The tree below the system bus."""
    lines: list[str] = []
    _bus(lines, machine, machine.system_bus, "")
    return "\n".join(lines) + "\n"


def _bus(lines: list[str], machine: Machine, bus: Bus, indent: str) -> None:
    lines += [f"{indent}bus: {bus.name}", f"{indent}  type {bus.kind}"]
    for device in reversed(bus.devices):  # QEMU shows the last one first
        _device(lines, machine, device, indent + "  ")


def _device(lines: list[str], machine: Machine, device: Device, indent: str) -> None:
    lines.append(f'{indent}dev: {device.driver}, id "{device.id}"')
    indent += "  "
    for name, declared in device.declarations.items():
        if isinstance(declared, Output):
            lines.append(f'{indent}gpio-out "{name}" 1')
        elif isinstance(declared, Outputs):
            lines.append(f'{indent}gpio-out "{name}" {declared.count}')
        elif isinstance(declared, Inputs):
            lines.append(f'{indent}gpio-in "{name}" {declared.count}')
    for key, one in device.properties().items():
        lines.append(f"{indent}{key} = {_value(one, getattr(device, one.name))}")
    lines += [indent + line for line in device.bus.describe(device)]
    if device.bus is machine.system_bus:
        for region in device.regions:
            lines.append(f"{indent}mmio {_place(region):016x}/{region.size:016x}")
    for bus in machine.buses:
        if bus.owner is device:
            _bus(lines, machine, bus, indent)


def _place(region: Region) -> int:
    """The address of a region that a board has mapped."""
    if region.parent is None:
        return (1 << 64) - 1
    place = 0
    at: Region | None = region
    while at is not None:
        place += at.address
        at = at.parent
    return place


def _value(declared: Property[object], value: object) -> str:
    if declared.backend or value is None:
        name = getattr(value, "label", None) or getattr(value, "id", None) or ""
        return f'"{name}"'
    if isinstance(declared.type, Bool):
        return "true" if value else "false"
    if isinstance(declared.type, Int | Size) and isinstance(value, int):
        return f"{value} ({value:#x})"
    if isinstance(value, str):
        return f'"{value}"'
    return declared.type.format(value)
