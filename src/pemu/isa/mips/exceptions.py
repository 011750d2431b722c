"""Exception codes, as in the ExcCode field of the CP0 Cause register."""

from __future__ import annotations

ADDRESS_LOAD = 4
ADDRESS_STORE = 5
SYSCALL = 8
BREAKPOINT = 9
RESERVED_INSTRUCTION = 10
COPROCESSOR_UNUSABLE = 11
OVERFLOW = 12
TRAP = 13
FLOATING_POINT = 15
THREAD = 25
DSP_DISABLED = 26
