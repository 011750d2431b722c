"""System emulation: `pemu-system-mips` and its kin, which run whole machines."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from pemu.cli import outcome
from pemu.cli.system_later import LATER_SWITCHES
from pemu.cli.system_options import COMMAND, OPTIONS, SystemOptions
from pemu.cli.user_options import CpuHelp
from pemu.machine.target import TARGETS
from pemu.options.command import Option
from pemu.options.error import OptionError, quoted

DRIVES = ("drive", "hda", "hdb", "hdc", "hdd", "fda", "fdb", "cdrom", "pflash", "mtdblock", "sd")
"""Options that say of a drive."""


def entry(target: str) -> NoReturn:
    """Be the console command `pemu-system-<target>`."""
    outcome.leave(main(target))


def main(target: str, words: Sequence[str] | None = None) -> int:
    """Run the command line `words` (without the command's name) and return the exit status.

    `target` is a name of `pemu.machine.target.TARGETS`. Without `words`, those of this process.
    """
    given = sys.argv[1:] if words is None else words
    return outcome.run(f"pemu-system-{target}", lambda: _start(target, given))


def _start(target: str, words: Sequence[str]) -> int:
    try:
        parsed = COMMAND.parse(words, dict(os.environ))
    except CpuHelp:
        from pemu.cli.user_help import cpu_models

        return outcome.show(cpu_models(target))
    if parsed.final:
        if parsed.final.name == "version":
            from pemu.version import VERSION

            return outcome.show(f"pemu-system-{target} version {VERSION}")
        return outcome.show(usage(target))
    options = gather(parsed.given, parsed.rest)
    from pemu.cli.system_run import run

    return run(TARGETS[target], options)


def usage(target: str) -> str:
    """The answer to -h."""
    rows = []
    for option in OPTIONS:
        names = ", ".join(f"-{name}" for name in (option.name, *option.aliases))
        rows.append((f"{names} {option.metavar}".rstrip(), option.help))
    width = 34
    text = f"usage: pemu-system-{target} [options] [disk_image]\n"
    text += "Runs a machine; a disk image is that of IDE hard disk 0.\n\n"
    for left, right in rows:
        gap = "\n" + " " * width if len(left) > width - 1 else " " * (width - len(left))
        text += f"{left}{gap}{right}\n"
    return text + "\nWith -nographic, Ctrl-A h shows the keys of the terminal.\n"


def gather(given: Sequence[tuple[Option, Any]], rest: Sequence[str]) -> SystemOptions:
    """What the options say, with those that -readconfig reads in its place. Raises OptionError."""
    options = SystemOptions()
    expanded = _with_files(given)
    for option, value in expanded:
        _take(options, option, value)
    for word in rest:
        options.drives.append(("hda", word))
    for group, id, key, value in options.sets:
        _set(options, group, id, key, value)
    if options.writeconfig:
        from pemu.cli.configfile import write

        given_texts = [(one.name, one.type.format(value)) for one, value in expanded if one.type]
        write(options.writeconfig, given_texts + [("hda", word) for word in rest])
    return options


def _with_files(given: Sequence[tuple[Option, Any]]) -> list[tuple[Option, Any]]:
    expanded: list[tuple[Option, Any]] = []
    for option, value in given:
        if option.name != "readconfig":
            expanded.append((option, value))
            continue
        from pemu.cli.configfile import read

        for name, text in read(value):
            known = COMMAND.names[name]
            assert known.type is not None
            try:
                expanded.append((known, known.type.parse(text)))
            except OptionError as error:
                raise error.within(f"-readconfig {value}: {name}") from None
    return expanded


def _take(options: SystemOptions, option: Option, value: Any) -> None:
    name = option.name
    if name in DRIVES:
        options.drives.append((name, value))
    elif name in LATER_SWITCHES:
        raise OptionError(f"-{name}: not supported yet")
    elif name == "no-reboot":
        options.reboot = False
    elif name == "nodefaults":
        options.defaults = False
    elif name == "semihosting":
        options.semihosting.append({"enable": True, "userspace": False, "arg": []})
    elif name == "s":
        options.gdb = "tcp::1234"
    elif option.dest and option.repeat:
        getattr(options, option.dest).append(value)
    elif option.dest:
        setattr(options, option.dest, value)


def _set(options: SystemOptions, group: str, id: str, key: str, value: str) -> None:
    """Do what -set says: add a key to an earlier option, which then counts more."""
    from pemu.options.keyval import split

    added = f",{key}={value.replace(',', ',,')}"
    if group in ("device", "chardev"):
        texts: list[str] = getattr(options, group)
        for place, text in enumerate(texts):
            if dict(split(text, "driver")).get("id") == id:
                texts[place] = text + added
                return
    elif group == "drive":
        for place, (name, text) in enumerate(options.drives):
            if name == "drive" and dict(split(text)).get("id") == id:
                options.drives[place] = (name, text + added)
                return
    else:
        raise OptionError(f"-set {group}: there is no such group; use device, drive or chardev")
    raise OptionError(
        f"-set {group}.{id}.{key}: there is no {group} {quoted(id)}; -set stands for a key of a "
        f"-{group} with that id"
    )


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        outcome.leave(
            outcome.fail("pemu.cli.system", "no target was given; write a name such as mips")
        )
    outcome.leave(main(sys.argv[1], sys.argv[2:]))
