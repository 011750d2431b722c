"""What the user wants of a machine: what boards build it from."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pemu.chardev.interface import Chardev
    from pemu.machine.drives import Drive
    from pemu.machine.memory_backend import MemoryBackend


@dataclass
class Configuration:
    """The options that boards carry out.

    ram_size: bytes of -m, 0 for the board's default. ram_slots, ram_maximum: of -m for hotplug.
    ram_backend: where on the host it is, None for anywhere.
    cpu: the processor model, empty for the board's default; cpus: how many.
    kernel, initrd, dtb, firmware: host paths, empty for none; append: the kernel's command line.
    serials, parallels: back ends by number, None for a port that is connected to nothing; a board
        leaves out ports for which there is no entry, if `defaults` is False.
    drives: all of -drive, -hda and so on; `drive` finds one.
    defaults: whether the board makes its default devices (not so with -nodefaults).
    boot_order: letters of -boot order=, empty for the board's; boot_once; boot_menu.
    directories: of -L, where firmware is looked for.
    uuid: 16 bytes, or None. name: of -name.
    seed: what -seed gives, for what a board makes by chance.
    """

    ram_size: int = 0
    ram_slots: int = 0
    ram_maximum: int = 0
    ram_backend: MemoryBackend | None = None
    cpu: str = ""
    cpus: int = 1
    kernel: str = ""
    initrd: str = ""
    append: str = ""
    dtb: str = ""
    firmware: str = ""
    serials: list[Chardev | None] = field(default_factory=list)
    parallels: list[Chardev | None] = field(default_factory=list)
    drives: list[Drive] = field(default_factory=list)
    defaults: bool = True
    boot: dict[str, Any] = field(default_factory=dict)
    directories: list[str] = field(default_factory=list)
    uuid: bytes | None = None
    name: str = ""
    seed: int | None = None

    def serial(self, number: int) -> Chardev | None:
        """The back end of serial port `number`, None for none."""
        return self.serials[number] if number < len(self.serials) else None

    def parallel(self, number: int) -> Chardev | None:
        """The back end of parallel port `number`, None for none."""
        return self.parallels[number] if number < len(self.parallels) else None

    def drive(self, interface: str, bus: int, unit: int) -> Drive | None:
        """The drive at a place of an interface ('ide', 'pflash', 'floppy', ...), None for none."""
        for drive in self.drives:
            if (drive.interface, drive.bus, drive.unit) == (interface, bus, unit):
                return drive
        return None

    def find(self, name: str) -> str | None:
        """The path of a firmware file: as it is, or in one of the directories; None for none."""
        for place in ("", *self.directories):
            path = os.path.join(place, name)
            if os.path.isfile(path):
                return path
        return None
