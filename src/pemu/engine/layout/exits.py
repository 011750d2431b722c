"""Why native code has been left: values of the state's fields EXIT_REASON and EXIT_CODE."""

from __future__ import annotations

EXIT_SYSCALL = 1
EXIT_EXCEPTION = 2
EXIT_FAULT = 3
EXIT_INTERRUPT = 4
EXIT_HOOK = 5
EXIT_TRACK = 6
EXIT_HOT = 7
EXIT_FLUSH = 8  # the guest asks for translations around EXIT_ADDRESS to be dropped
EXIT_FULL = 9  # no room for another block
EXIT_NEW_BLOCK = 10  # option REPORT_BLOCKS: EXIT_BLOCK has just been translated
EXIT_PART = 11  # the translator needs a part of tier 0 that is not loaded: entry EXIT_CODE of PARTS
EXIT_SYSTEM = 12  # an instruction asks for what only the machine can do: EXIT_CODE, EXIT_ADDRESS
EXIT_BUDGET = 13  # as many instructions as were granted have been run
EXIT_WATCH = 14  # a watched access is next: its kind in EXIT_CODE, EXIT_ADDRESS

FAULT_WRITE, FAULT_BUS, FAULT_FETCH, FAULT_MISALIGNED = 1, 2, 4, 8
"""Bits of EXIT_CODE with reason FAULT: the access was a write; the host's signal was SIGBUS; it was
an instruction fetch; its address was misaligned."""
