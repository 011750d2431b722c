"""The monitor's commands, by subject. `COMMANDS` has them all."""

from pemu.monitor.commands import blocks, chardevs, debug, general, info, input, memory, storage
from pemu.monitor.schema import COMMANDS, INFO

__all__ = [
    "COMMANDS",
    "INFO",
    "blocks",
    "chardevs",
    "debug",
    "general",
    "info",
    "input",
    "memory",
    "storage",
]
