"""The empty machine: memory and a processor only where they are asked for, no devices.

For monitors, debuggers and tests, as QEMU's board of the same name.
"""

from __future__ import annotations

from typing import ClassVar

from pemu.machine.board import Board
from pemu.options.error import OptionError


class Empty(Board):
    """RAM at address 0 if -m says how much, a processor if -cpu says which."""

    name: ClassVar[str] = "none"
    description: ClassVar[str] = "empty machine"

    def create(self) -> None:
        if self.config.kernel:
            raise OptionError("-kernel: board none starts nothing; choose another one with -M")
        if self.config.ram_size:
            self.machine.memory.root.add(self.main_memory("ram"), 0)
        if self.config.cpu:
            self.machine.add_cpu(self.config.cpu)
