"""What generated code and the operating system's side agree on about a guest's signals.

Apart from the code itself (`syscalls.signals`), as every start of a program needs these.
"""

from __future__ import annotations

SIGNALS = 128
"""Signals that a guest has at most, from 1."""

ACTION = 32
"""Bytes of an action, as it stands in the table of actions and in a call's converted arguments."""

HANDLER, FLAGS, MASK = 0, 8, 16  # u64, u64, 16 bytes

# The table at the context's SIGNALS: byte offsets.
NUMBERS = 0  # u8 by the guest's number from 1: the host's, 0 for none, or BY_PYTHON
UNBLOCKABLE = 128  # a set: those that nobody can mask or catch
CAUGHT = 144  # a set: those whose default Pemu brings about itself
ACTIONS = 160  # u64: host address of the actions by the guest's number from 1
ON_SIGNAL = 168  # u64: host address of the handler that records signals
RESTORER = 176  # u64
TABLE_BYTES = 184

BY_PYTHON = 255

DEFAULT, IGNORE = 0, 1

NO_CHILD_STOP, NO_CHILD_WAIT = 1, 0x10000
"""The guest's SA_NOCLDSTOP and SA_NOCLDWAIT."""

BLOCK, UNBLOCK, SET = range(3)
"""First argument of `pemu_change_mask`."""
