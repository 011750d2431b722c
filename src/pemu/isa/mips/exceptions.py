"""Exception codes, as in the ExcCode field of the CP0 Cause register."""

from __future__ import annotations

INTERRUPT = 0
TLB_MODIFIED = 1
TLB_LOAD = 2
TLB_STORE = 3
ADDRESS_LOAD = 4
ADDRESS_STORE = 5
BUS_FETCH = 6
BUS_DATA = 7
SYSCALL = 8
BREAKPOINT = 9
RESERVED_INSTRUCTION = 10
COPROCESSOR_UNUSABLE = 11
OVERFLOW = 12
TRAP = 13
FLOATING_POINT = 15
WATCH = 23
MACHINE_CHECK = 24
THREAD = 25
DSP_DISABLED = 26

# Numbers of our own, for what has the code of another, less 32, and another vector or effect: there
# is no TLB entry; the address is in a segment that is closed.
TLB_REFILL_LOAD = 34
TLB_REFILL_STORE = 35
SEGMENT_LOAD = 36
SEGMENT_STORE = 37
# For what has no code.
RESET = 64
NMI = 65
CACHE_ERROR = 66
DEBUG_BREAKPOINT = 72
DEBUG_STEP = 73
DEBUG_INTERRUPT = 74

NAMES = {
    INTERRUPT: "interrupt",
    TLB_MODIFIED: "TLB modify",
    TLB_LOAD: "TLB load",
    TLB_STORE: "TLB store",
    ADDRESS_LOAD: "address error load",
    ADDRESS_STORE: "address error store",
    BUS_FETCH: "instruction bus error",
    BUS_DATA: "data bus error",
    SYSCALL: "syscall",
    BREAKPOINT: "break",
    RESERVED_INSTRUCTION: "reserved instruction",
    COPROCESSOR_UNUSABLE: "coprocessor unusable",
    OVERFLOW: "arithmetic overflow",
    TRAP: "trap",
    FLOATING_POINT: "floating point",
    WATCH: "watch",
    MACHINE_CHECK: "machine check",
    THREAD: "thread",
    DSP_DISABLED: "DSP disabled",
    TLB_REFILL_LOAD: "TLB refill load",
    TLB_REFILL_STORE: "TLB refill store",
    SEGMENT_LOAD: "address error load",
    SEGMENT_STORE: "address error store",
    RESET: "reset",
    NMI: "NMI",
    CACHE_ERROR: "cache error",
    DEBUG_BREAKPOINT: "debug break point",
    DEBUG_STEP: "debug single step",
    DEBUG_INTERRUPT: "debug interrupt",
}
"""What logs call them."""
