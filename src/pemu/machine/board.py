"""How a board is declared; docs/adding-a-board.md walks through one.

A board is a class with its facts as class attributes and `create`, which builds the machine. Its
properties (`prop`) are those that `-M name,prop=value` sets.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pemu.machine.boards import BOARDS, DEFAULTS
from pemu.machine.declare import Declaring, Property
from pemu.machine.region import Ram
from pemu.options.error import OptionError, quoted, unknown

if TYPE_CHECKING:
    from pemu.machine.configuration import Configuration
    from pemu.machine.machine import Machine

MIB = 1 << 20


class Board(Declaring, ABC):
    """Base of boards: `machine` is what it builds, `config` what the user wants.

    name, description: as `-M help` shows them. default_cpu: by target ('mips', 'mips64el', ...).
    default_ram: bytes. most_cpus: what -smp may say. drive_interface: where -hda and drives without
    `if` are. empty_drives: options, such as 'cdrom' and 'fda', of drives that are there without a
    medium if nothing says otherwise.
    nothing_to_start: what the user can do about it where `create` has found neither kernel nor
    firmware; empty otherwise.
    """

    name: ClassVar[str] = ""
    description: ClassVar[str] = ""
    default_cpu: ClassVar[Mapping[str, str]] = {}
    default_ram: ClassVar[int] = 128 * MIB
    most_cpus: ClassVar[int] = 1
    drive_interface: ClassVar[str] = "ide"
    empty_drives: ClassVar[tuple[str, ...]] = ()

    def __init__(self, machine: Machine, config: Configuration) -> None:
        self.machine = machine
        self.config = config
        self.nothing_to_start = ""
        for name, declared in self.declarations.items():
            assert isinstance(declared, Property), f"board {self.name}: {name} is no property"
            self.__dict__[name] = declared.default

    @property
    def ram_size(self) -> int:
        """Bytes of RAM that the machine is to have."""
        return self.config.ram_size or self.default_ram

    def main_memory(self, name: str) -> Ram:
        """The machine's RAM, where on the host the user wants it."""
        return Ram(name, self.ram_size, backend=self.config.ram_backend)

    @abstractmethod
    def create(self) -> None:
        """Build the machine. Raises OptionError for what the user wants and cannot have."""

    def set(self, key: str, text: str) -> None:
        """Set a property from text. Raises OptionError."""
        known = self.properties()
        declared = known.get(key)
        if declared is None:
            raise unknown(
                f"-M {self.name}: there is no property {quoted(key)}",
                key,
                known,
                f"-M {self.name},help lists the properties",
            )
        try:
            value = declared.type.parse(text)
        except OptionError as error:
            raise error.within(f"-M {self.name},{key}") from None
        setattr(self, declared.name, value)

    @classmethod
    def usage(cls) -> str:
        """The answer to `-M name,help`: its own properties, and those of every board."""
        rows = [(f"{key}=<{kind}>", text) for key, kind, text in GENERAL]
        for key, declared in cls.properties().items():
            default = "" if declared.default is None else declared.type.format(declared.default)
            text = declared.help + (f" (default: {default})" if default else "")
            rows.append((f"{key}=<{declared.type.name}>", text))
        width = max(len(left) for left, _ in rows)
        lines = [f"  {left:<{width}} - {text}" for left, text in sorted(rows)]
        return "\n".join([f"{cls.name}-machine options:", *lines]) + "\n"


GENERAL = (
    ("accel", "str", "accelerator: tcg"),
    ("append", "str", "the kernel's command line, as -append"),
    ("boot.order", "str", "boot order, as -boot order; likewise the other keys of -boot"),
    ("dtb", "str", "device tree file, as -dtb"),
    ("dump-guest-core", "on|off", "whether core dumps of the host have guest memory"),
    ("firmware", "str", "firmware image, as -bios"),
    ("graphics", "on|off", "off as with -nographic"),
    ("initrd", "str", "initial RAM disk, as -initrd"),
    ("kernel", "str", "kernel, as -kernel"),
    ("mem-merge", "on|off", "nothing: the host does not merge pages of files"),
    ("memory.size", "size", "RAM, as -m; likewise memory.slots and memory.max-size"),
    ("memory-backend", "str", "id of the -object that is the machine's RAM"),
    ("smp.cpus", "int", "processors, as -smp; likewise the other keys of -smp"),
    ("usb", "on|off", "nothing, as -usb"),
)
"""Properties that every board has: key, type, help. The command carries them out."""

Table = Mapping[str, Mapping[str, str]]


def find(name: str, architecture: str, boards: Table = BOARDS) -> type[Board]:
    """The board called `name`, the default one if that is empty. Raises OptionError."""
    known = boards.get(architecture, {})
    if not name:
        name = DEFAULTS.get(architecture, "")
        if name not in known:
            raise OptionError("no board was given, and there is no default; -M help lists them")
    place = known.get(name)
    if place is None:
        raise unknown(f"-M: unsupported machine {quoted(name)}", name, known, "-M help lists them")
    module, _, attribute = place.partition(":")
    found: type[Board] = getattr(
        importlib.import_module(f"pemu.machine.boards.{module}"), attribute
    )
    if found.name != name:
        raise ValueError(f"{place} declares the board {found.name}, not {name}")
    return found


def listing(architecture: str, boards: Table = BOARDS) -> str:
    """The answer to `-M help`."""
    rows = []
    for name in sorted(boards.get(architecture, {})):
        mark = " (default)" if name == DEFAULTS.get(architecture) else ""
        rows.append(f"{name:<20} {find(name, architecture, boards).description}{mark}\n")
    return "Supported machines are:\n" + "".join(rows)


def build(
    board: type[Board],
    machine: Machine,
    config: Configuration,
    given: Sequence[tuple[str, str]] = (),
) -> Board:
    """Make a board with the properties `given` as text, and let it create the machine."""
    if config.cpus > board.most_cpus:
        raise OptionError(
            f"-smp {config.cpus}: board {board.name} has at most {board.most_cpus} processor"
            + ("s" if board.most_cpus > 1 else "")
        )
    made = board(machine, config)
    for key, text in given:
        made.set(key, text)
    from pemu.machine.region import transaction

    with transaction():
        made.create()
    return made
