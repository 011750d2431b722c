"""What monitors and debuggers act on: a machine, and what there is around it on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pemu.chardev.registry import Chardevs
    from pemu.machine.drives import Drive
    from pemu.machine.machine import Machine


@dataclass
class Instance:
    """One machine that runs, with what its user has named.

    name, uuid: of -name and -uuid. ram_size: bytes of -m, or of the board. drives: of -drive
    and its kin. debug: makes a gdb server at a place as of -gdb, 'none' for none; raises
    OptionError.
    """

    machine: Machine
    chardevs: Chardevs
    name: str = ""
    uuid: bytes | None = None
    ram_size: int = 0
    drives: Iterable[Drive] = field(default_factory=tuple)
    debug: Callable[[str], object] | None = None
