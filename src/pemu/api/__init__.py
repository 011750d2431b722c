"""The Python API: run programs of other processors from Python. docs/python-api.md explains it."""

from pemu.api.errors import (
    BusyError,
    EndedError,
    Error,
    MemoryFault,
    StartError,
    TimeLimitError,
    UnknownNameError,
)
from pemu.api.program import CAPTURE, Call, Program, Signal
from pemu.api.views import Mapping, Memory, Registers, Symbols

__all__ = [
    "CAPTURE",
    "BusyError",
    "Call",
    "EndedError",
    "Error",
    "Mapping",
    "Memory",
    "MemoryFault",
    "Program",
    "Registers",
    "Signal",
    "StartError",
    "Symbols",
    "TimeLimitError",
    "UnknownNameError",
]
