"""gdb's own signal numbers, which its protocol uses whatever the target's are.

Source: gdb, `include/gdb/signals.def`.
"""

from __future__ import annotations

from pemu.linux.mips.signals import NAMES

_NAMES = (
    "0 HUP INT QUIT ILL TRAP ABRT EMT FPE KILL BUS SEGV SYS PIPE ALRM TERM URG STOP TSTP CONT CHLD "
    "TTIN TTOU IO XCPU XFSZ VTALRM PROF WINCH LOST USR1 USR2 PWR"
).split()
_UNKNOWN = 143

_TO_GDB = {number: _NAMES.index(name) for number, name in enumerate(NAMES) if number}
_TO_GDB[32] = 77
_TO_GDB.update((number, number + 12) for number in range(33, 64))
_TO_GDB.update((number, number + 14) for number in range(64, 128))
_FROM_GDB = {gdb: number for number, gdb in _TO_GDB.items()}


def to_gdb(signo: int) -> int:
    """gdb's number of a guest signal."""
    return _TO_GDB.get(signo, _UNKNOWN)


def from_gdb(number: int) -> int | None:
    """The guest's number of a signal of gdb's; None if the guest has no such signal."""
    return _FROM_GDB.get(number)
