"""Which devices there are: found by name, listed, and made from what -device says."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from pemu.devices import DRIVERS
from pemu.devices.later import kind_of
from pemu.machine.device import Bus, Device
from pemu.machine.machine import Machine
from pemu.options.error import HelpRequest, OptionError, quoted, unknown
from pemu.options.keyval import split

CATEGORIES = {
    "bridge": "Controller/Bridge/Hub devices",
    "usb": "USB devices",
    "storage": "Storage devices",
    "network": "Network devices",
    "input": "Input devices",
    "display": "Display devices",
    "sound": "Sound devices",
    "misc": "Misc devices",
    "cpu": "CPU devices",
    "watchdog": "Watchdog devices",
}


def find(driver: str, drivers: Mapping[str, str] = DRIVERS) -> type[Device]:
    """The class of the device that is called `driver`. Raises OptionError."""
    place = drivers.get(driver)
    if place is None:
        kind = kind_of(driver)
        if kind:
            raise OptionError(f"{quoted(driver)} (a {kind}) is not supported yet")
        raise unknown(
            f"{quoted(driver)} is not a valid device model name",
            driver,
            drivers,
            "-device help lists them",
        )
    module, _, name = place.partition(":")
    found: type[Device] = getattr(importlib.import_module(f"pemu.devices.{module}"), name)
    if found.driver != driver:
        raise ValueError(f"{place} declares the driver {found.driver}, not {driver}")
    return found


def listing(drivers: Mapping[str, str] = DRIVERS) -> str:
    """The answer to `-device help`."""
    by_category: dict[str, list[str]] = {}
    for name in sorted(drivers):
        one = find(name, drivers)
        if one.user_creatable:
            text = f'name "{name}", bus {one.plugs_into.kind}'
            if one.description:
                text += f', desc "{one.description}"'
            by_category.setdefault(one.category, []).append(text)
    parts = [
        "\n".join([f"{title}:", *by_category[key]]) + "\n"
        for key, title in CATEGORIES.items()
        if key in by_category
    ]
    return "\n".join(parts)


def usage(driver: type[Device]) -> str:
    """The answer to `-device name,help`."""
    rows = []
    for key, declared in sorted(driver.properties().items()):
        text = declared.help
        if declared.default is not None:
            text = f"{text} (default: {declared.type.format(declared.default)})".strip()
        rows.append((f"{key}=<{declared.type.name}>", text))
    width = max((len(left) for left, _ in rows), default=0)
    lines = [f"  {left:<{width}} - {text}" if text else f"  {left}" for left, text in rows]
    return "\n".join([f"{driver.driver} options:", *lines]) + "\n"


def answer(text: str, drivers: Mapping[str, str] = DRIVERS) -> None:
    """Raise HelpRequest with the answer if the value of a -device asks for help."""
    given = dict(split(text, "driver"))
    if "help" in given or "?" in given:
        name = given.get("driver")
        raise HelpRequest(usage(find(name, drivers)) if name else listing(drivers))


def add_device(machine: Machine, text: str, drivers: Mapping[str, str] = DRIVERS) -> Device:
    """Make the device that `-device text` describes. Raises OptionError."""
    given = dict(split(text, "driver"))
    name = given.pop("driver", None)
    if not name:
        raise OptionError("'driver' is missing; write -device name, -device help lists the names")
    driver = find(name, drivers)
    if not driver.user_creatable:
        raise OptionError(f"{quoted(name)} is part of boards; -device cannot add it")
    id, bus_name = given.pop("id", None) or "", given.pop("bus", None) or ""
    known = driver.properties()
    values: dict[str, Any] = {}
    for key, value in given.items():
        declared = known.get(key)
        if declared is None:
            raise unknown(
                f"{quoted(f'{name}.{key}')} is no property",
                key,
                known,
                f"-device {name},help lists the properties",
            )
        if value is None:
            raise OptionError(f"{quoted(key)} has no value; write {key}=<{declared.type.name}>")
        values[declared.name] = machine.parse_property(driver, key, value)
    return machine.create(driver, _bus(machine, driver, bus_name), id=id, **values)


def _bus(machine: Machine, driver: type[Device], name: str) -> Bus:
    kind = driver.plugs_into
    if name:
        for bus in machine.buses:
            if bus.name == name:
                return bus
        names = [bus.name for bus in machine.buses]
        raise unknown(f"bus {quoted(name)} not found", name, names, "'info qtree' shows the buses")
    found = machine.find_bus(kind)
    if found is None:
        there = any(isinstance(bus, kind) for bus in machine.buses)
        what = "with room for" if there else "for"
        raise OptionError(f"no '{kind.kind}' bus found {what} device '{driver.driver}'")
    return found
