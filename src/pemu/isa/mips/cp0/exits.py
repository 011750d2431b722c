"""What a processor asks of its machine: numbers of exits with reason SYSTEM (`engine.exits`)."""

from __future__ import annotations

EXIT_COMPARE = 1
"""The timer has been set. The argument is virtual time in ns at which it expires, or NEVER."""

EXIT_WAIT = 2
"""WAIT: the machine sleeps until an interrupt is pending."""

EXIT_CACHE = 3
"""The guest invalidates the instruction cache without saying for which memory."""

EXIT_HOOKS = 4
"""Watch registers that compare instruction fetches have changed. The argument is 1 if the present
instruction is to be run again."""

EXIT_STEP = 5
"""DERET with Debug.SSt: the machine goes to DEPC, runs one instruction, and enters debug mode."""

EXIT_COUNTERS = 6
"""Performance counters that interrupt have been written."""

EXIT_SEMIHOSTING = 7
"""SDBBP 1 where semihosting is wanted: the machine does what the program asks for."""

NEVER = (1 << 64) - 1
