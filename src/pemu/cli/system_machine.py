"""-machine: the board's name, and the properties that all boards have."""

from __future__ import annotations

from typing import Any

from pemu.cli import outcome
from pemu.cli.configfile import MACHINE_KEYS
from pemu.cli.system_options import COMMAND, SystemOptions
from pemu.options.error import OptionError
from pemu.options.types import Bool

_ANONYMOUS_SHARED, _FILE_SHARED = 2, 8

_GROUPS = {"boot": "boot", "memory": "m", "smp": "smp"}
"""The option whose keys stand behind such a name and a dot."""


def machine_option(options: SystemOptions) -> tuple[str, dict[str, str | None]]:
    """The board's name and the properties that all -M together give."""
    name, properties = "", {}
    for items in options.machine:
        for key, text in items:
            if key == "type":
                name = text or ""
            elif key in ("help", "?") and text is None and len(items) == 1:
                name = "help"
            else:
                properties[key] = text
    return name, properties


def general_properties(program: str, options: SystemOptions, properties: dict[str, Any]) -> None:
    """Carry out the properties of `GENERAL`, which are options by another name.

    Raises OptionError.
    """
    for attribute, key in MACHINE_KEYS.items():
        if key in properties:
            setattr(options, attribute, properties.pop(key) or "")
    if "accel" in properties:
        names = (properties.pop("accel") or "tcg").split(":")
        if options.accel:
            raise OptionError("-accel and -M accel= say the same; give one of them")
        _choose_accelerator(program, "-M accel=", names)
    _choose_accelerator(program, "-accel ", [one["accel"] for one in options.accel])
    if properties.pop("graphics", "on") == "off":
        options.nographic = True
    options.memory_backend = properties.pop("memory-backend", None) or ""
    for key in ("usb", "mem-merge"):
        _switch(properties, key)  # boards have their USB controllers; files' pages stay apart
    if not _switch(properties, "dump-guest-core"):
        _keep_out_of_core_dumps()
    _take_groups(options, properties)


def _switch(properties: dict[str, str | None], key: str) -> bool:
    """Take a property that is on or off."""
    try:
        return bool(Bool().parse(properties.pop(key, None) or "on"))
    except OptionError as error:
        raise error.within(f"-M {key}") from None


def _keep_out_of_core_dumps() -> None:
    """Have the host leave out of core dumps what is shared, as guest memory is (core(5))."""
    with open("/proc/self/coredump_filter", "r+") as file:
        wanted = int(file.read(), 16) & ~(_ANONYMOUS_SHARED | _FILE_SHARED)
        file.seek(0)
        file.write(f"{wanted:#x}")


def _take_groups(options: SystemOptions, properties: dict[str, str | None]) -> None:
    """Carry out smp.cpus=, memory.size=, boot.order= and their kin."""
    for group, name in _GROUPS.items():
        found = [key for key in properties if key.startswith(f"{group}.")]
        if not found:
            continue
        option = COMMAND.names[name]
        assert option.type is not None
        if getattr(options, option.dest):
            raise OptionError(f"-{name} and -M {found[0]}= say the same; give one of them")
        items = []
        for key in found:
            value = (properties.pop(key) or "on").replace(",", ",,")
            items.append(f"{key.partition('.')[2].replace('max-size', 'maxmem')}={value}")
        try:
            given = option.type.parse(",".join(items))
        except OptionError as error:
            raise error.within(f"-M {group}") from None
        setattr(options, option.dest, [given] if option.repeat else given)


def _choose_accelerator(program: str, option: str, names: list[str]) -> None:
    """Take the first of the accelerators that there is, having warned of those before."""
    if names and "tcg" not in names:
        raise OptionError(f"{option}{names[0]}: there is no such accelerator; use tcg")
    for name in names[: names.index("tcg")] if names else ():
        outcome.fail(program, f"warning: {option}{name}: there is no such accelerator")
