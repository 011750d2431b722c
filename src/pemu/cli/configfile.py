"""The files of -readconfig and -writeconfig: options in sections.

    [drive "disk0"]
      file = "disk.img"
      if = "ide"

is `-drive id=disk0,file=disk.img,if=ide`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from pemu.cli.system_defaults import INTERFACES
from pemu.options.error import OptionError, listed, quoted, unknown
from pemu.options.keyval import split

SECTIONS = {
    "accel": "accel",
    "action": "action",
    "add-fd": "add-fd",
    "boot-opts": "boot",
    "chardev": "chardev",
    "device": "device",
    "drive": "drive",
    "global": "global",
    "icount": "icount",
    "machine": "machine",
    "memory": "m",
    "mon": "mon",
    "msg": "msg",
    "name": "name",
    "object": "object",
    "overcommit": "overcommit",
    "rtc": "rtc",
    "sandbox": "sandbox",
    "semihosting-config": "semihosting-config",
    "smp-opts": "smp",
    "trace": "trace",
}
"""The option that a section stands for."""

IMPLIED = {
    "accel": "accel",
    "boot": "order",
    "chardev": "backend",
    "device": "driver",
    "icount": "shift",
    "m": "size",
    "machine": "type",
    "mon": "chardev",
    "name": "guest",
    "object": "qom-type",
    "sandbox": "enable",
    "semihosting-config": "enable",
    "smp": "cpus",
    "trace": "enable",
}
"""The key whose value may stand first in an option without its name."""

ONCE = {
    "boot-opts",
    "icount",
    "machine",
    "memory",
    "msg",
    "name",
    "overcommit",
    "rtc",
    "smp-opts",
}
"""Sections of options that add to each other where they are given several times."""

MACHINE_KEYS = {
    "kernel": "kernel",
    "initrd": "initrd",
    "append": "append",
    "dtb": "dtb",
    "bios": "firmware",
}
"""The properties of -machine that options stand for."""

_HEAD = re.compile(r'\[\s*([\w-]+)(?:\s+"([^"]*)")?\s*\]')
_ITEM = re.compile(r'([\w.-]+)\s*=\s*"([^"]*)"')


def read(path: str) -> list[tuple[str, str]]:
    """The options in a file, as pairs of option and value. Raises OptionError."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise OptionError(
            f"-readconfig: {quoted(path)} cannot be read ({error.strerror})"
        ) from None
    sections: list[tuple[str, list[str]]] = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        where = f"-readconfig: {path}:{number}"
        if not text or text.startswith("#"):
            continue
        head, item = _HEAD.fullmatch(text), _ITEM.fullmatch(text)
        if head:
            name, id = head.groups()
            if name not in SECTIONS:
                raise unknown(
                    f"{where}: unknown section {quoted(name)}",
                    name,
                    SECTIONS,
                    f"the sections are {listed(SECTIONS)}",
                )
            sections.append((SECTIONS[name], [f"id={_doubled(id)}"] if id else []))
        elif item and sections:
            key, value = item.groups()
            sections[-1][1].append(f"{key}={_doubled(value)}")
        elif item:
            raise OptionError(f"{where}: {quoted(text)} stands before the first [section]")
        else:
            raise OptionError(f'{where}: {quoted(text)} is neither [section] nor key = "value"')
    return [(option, ",".join(items)) for option, items in sections]


def write(path: str, given: Iterable[tuple[str, str]]) -> None:
    """Write those of `given`, pairs of option and value, that have sections.

    To standard output if `path` is "-". Raises OptionError.
    """
    names = {option: section for section, option in SECTIONS.items()}
    sections: list[tuple[str, dict[str, str | None]]] = []
    for option, text in given:
        option, text = _general(option, text)
        if option not in names:
            continue
        name = names[option]
        items = dict(split(text, IMPLIED.get(option, "")))
        once = next((before for one, before in sections if one == name in ONCE), None)
        if once is None:
            sections.append((name, items))
        else:
            once.update(items)
    parts = ["# pemu configuration file\n", *(_section(*one) for one in sections)]
    try:
        where = os.dup(1) if path == "-" else path
        with open(where, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write("\n".join(parts))
    except OSError as error:
        raise OptionError(
            f"-writeconfig: {quoted(path)} cannot be written ({error.strerror})"
        ) from None


def _section(name: str, items: dict[str, str | None]) -> str:
    id = items.get("id")
    head = f'[{name} "{id}"]' if id else f"[{name}]"
    lines = [f'  {key} = "{_shown(value)}"' for key, value in items.items() if key != "id"]
    return "\n".join([head, *lines]) + "\n"


def _general(option: str, text: str) -> tuple[str, str]:
    """The general form of an option that is short for another."""
    if option in MACHINE_KEYS:
        return "machine", f"{MACHINE_KEYS[option]}={_doubled(text)}"
    if option in INTERFACES:
        keys = {"file": text, **INTERFACES[option]}
        return "drive", ",".join(f"{key}={_doubled(str(value))}" for key, value in keys.items())
    return option, text


def _doubled(value: str) -> str:
    return value.replace(",", ",,")


def _shown(value: str | None) -> str:
    if value is None:
        return "on"
    if any(char in value for char in '"\n\r'):
        raise OptionError(
            f"-writeconfig: {quoted(value)} cannot be written: it has a '\"' or more than one line"
        )
    return value
