"""What a machine has where the command line does not say: ports, monitors and drives, as QEMU."""

from __future__ import annotations

from typing import Any, NamedTuple

from pemu.cli.system_options import SystemOptions
from pemu.machine.board import Board
from pemu.machine.drives import DRIVE, Drives
from pemu.options.error import OptionError
from pemu.options.keyval import split

INTERFACES: dict[str, dict[str, Any]] = {
    "hda": {"index": 0},
    "hdb": {"index": 1},
    "hdc": {"index": 2},
    "hdd": {"index": 3},
    "cdrom": {"index": 2, "media": "cdrom"},
    "fda": {"if": "floppy", "index": 0},
    "fdb": {"if": "floppy", "index": 1},
    "pflash": {"if": "pflash"},
    "mtdblock": {"if": "mtd"},
    "sd": {"if": "sd"},
}
"""What short options of drives stand for."""

REPLACES = {
    "isa-serial": "serial",
    "isa-parallel": "parallel",
    "isa-fdc": "floppy",
    "floppy": "floppy",
    "ide-cd": "cdrom",
    "ide-hd": "cdrom",
    "scsi-cd": "cdrom",
    "scsi-hd": "cdrom",
}
"""Drivers of -device in whose presence there is no default of a kind."""


class Ports(NamedTuple):
    """The short forms of character devices for each serial port, parallel port and monitor."""

    serials: list[str]
    parallels: list[str]
    monitors: list[str]


def ports(options: SystemOptions) -> Ports:
    """What is at the ports and where monitors are."""
    serials, parallels, monitors = options.serial, options.parallel, options.monitor
    without = replaced(options)
    elsewhere = monitors or options.mon or any(t[:4] == "mon:" for t in (*serials, *parallels))
    own_monitor = options.defaults and not elsewhere
    shown = "stdio" if options.nographic else "null"  # there is no display to put a console on
    if options.defaults and not parallels and "parallel" not in without:
        parallels = ["null"]
    if options.defaults and not serials and "serial" not in without:
        shared = options.nographic and own_monitor
        serials = ["mon:stdio" if shared else shown]
        own_monitor = own_monitor and not shared
    if own_monitor:
        monitors = [shown]
    return Ports(serials, parallels, monitors)


def drives(options: SystemOptions, board: type[Board]) -> Drives:
    """The drives that were given and the board's empty ones. Raises OptionError."""
    made = Drives(board.drive_interface, snapshot=options.snapshot)
    for name, text in options.drives:
        if name == "drive":
            said = f"-drive {text}"
            try:
                given = DRIVE.parse(text)
            except OptionError as error:
                raise error.within(said) from None
            made.add(given, said)
        else:
            made.add_file(text, f"-{name} {text}", **INTERFACES[name])
    without = replaced(options)
    for option in board.empty_drives if options.defaults else ():
        place = INTERFACES[option]
        kind = "floppy" if place.get("if") == "floppy" else place.get("media")
        if kind not in without and not made.at(place.get("if"), place["index"]):
            made.add_file("", f"-{option}", **place)
    return made


def replaced(options: SystemOptions) -> set[str]:
    """The kinds of defaults that -device options take the place of."""
    drivers = (dict(split(text, "driver")).get("driver") for text in options.device)
    return {REPLACES[driver] for driver in drivers if driver in REPLACES}
