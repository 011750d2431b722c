"""The monitor's commands, by subject. `COMMANDS` has them all."""

from pemu.monitor.commands import debug, general, info, memory
from pemu.monitor.schema import COMMANDS, INFO

__all__ = ["COMMANDS", "INFO", "debug", "general", "info", "memory"]
