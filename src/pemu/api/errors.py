"""What goes wrong in the Python API: one hierarchy under `Error`."""

from __future__ import annotations


class Error(Exception):
    """The base of all errors of `pemu`."""


class StartError(Error):
    """A program cannot be started; the text is what the command would say, and how to mend it."""


class EndedError(Error):
    """The program has ended, and with it its registers and memory."""


class BusyError(Error):
    """The program is running, and this is not the thread or the place to ask it anything."""


class MemoryFault(Error):
    """Guest memory that is not mapped was read or written; `address` is where the access began."""

    def __init__(self, address: int, size: int) -> None:
        super().__init__(f"{size} bytes at guest address {address:#x} are not all mapped")
        self.address = address
        self.size = size


class UnknownNameError(Error, LookupError):
    """A register, symbol, system call or signal that does not exist."""


class TimeLimitError(Error, TimeoutError):
    """`run` has come to its time limit; the program is stopped and can be run on."""
