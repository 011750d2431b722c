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

NAMES = {
    ADDRESS_LOAD: "address error load",
    ADDRESS_STORE: "address error store",
    SYSCALL: "syscall",
    BREAKPOINT: "break",
    RESERVED_INSTRUCTION: "reserved instruction",
    COPROCESSOR_UNUSABLE: "coprocessor unusable",
    OVERFLOW: "arithmetic overflow",
    TRAP: "trap",
    FLOATING_POINT: "floating point",
    THREAD: "thread",
    DSP_DISABLED: "DSP disabled",
}
"""What logs call them."""
