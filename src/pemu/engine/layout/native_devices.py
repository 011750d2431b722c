"""Accesses to devices that native code makes itself: where the function of each is found.

There are two tables, for loads and then for stores. An entry holds how the access is known (as
`tlb_table.DEVICE_SHIFT` says; 0 where the entry is empty), the host address of a native function,
and its first and third argument; the second one is the value to store. Its place in its table is
the upper bits of the product of how the access is known and FACTOR.
"""

from __future__ import annotations

PLACE_BITS = 10
ENTRIES = 1 << PLACE_BITS
FACTOR = 0x9E3779B97F4A7C15
KEY, FUNCTION, FIRST, THIRD = 0, 8, 16, 24
ENTRY_BYTES = 32

IN_PYTHON = 1 << 63
"""What a function yields where Python is to make the access."""


def place_of(key: int) -> int:
    """The place of an access in its table."""
    return (key * FACTOR & (1 << 64) - 1) >> 64 - PLACE_BITS
