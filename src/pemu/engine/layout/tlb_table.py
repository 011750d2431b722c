"""The tables of the soft TLB and what is said about accesses that it does not serve.

`staging.softmmu` tells what they are for.
"""

from __future__ import annotations

READ_TAG, WRITE_TAG, FETCH_TAG, ADDEND = 0, 8, 16, 24
"""Offsets in an entry. A tag is the address of the page if the access is allowed, or all ones; the
host address is the guest-virtual one plus the addend."""

ENTRY_SHIFT = 5
ENTRIES = 2048
ENTRIES_BYTES = ENTRIES << ENTRY_SHIFT
MAPPED_AT = ENTRIES_BYTES
"""Behind the entries: a bit for each, 1 if it may be of an address that is not fixed."""

MAPPED_BYTES = 4
"""Longest accesses that are looked up in the maps."""

MAP_BYTES = 8 * MAPPED_BYTES << 20
READ_MAP = MAPPED_AT + ENTRIES // 8
WRITE_MAP = READ_MAP + MAP_BYTES
TABLE_BYTES = WRITE_MAP + MAP_BYTES
MMU_MODES = 4
CONTEXT_BYTES = TABLE_BYTES * MMU_MODES
CONTEXTS = 8
"""Address spaces of the guest whose tables are kept."""

NUMBERS = 1024
"""Numbers that a guest gives its address spaces: each has a byte that tells which context it has
(plus one). After these bytes each context has 16 bits with its number."""

USED_AT = CONTEXT_BYTES * CONTEXTS + NUMBERS + 2 * CONTEXTS
"""From the start of all tables: a byte for each, not 0 if it has entries."""

TABLES_BYTES = USED_AT + CONTEXTS * MMU_MODES

MAP_RAM, MAP_WRITABLE = 1, 2
"""Bits of the map of guest-physical pages, beside the host address of a page."""

DEVICE_SHIFT = 4
"""A device access is known by its guest-physical address, shifted by this, and its bytes."""

SIZE_MASK, BEYOND_SHIFT, WHAT_MASK, IN_SLOT, FLOATS = 0x0F, 4, 0xFF, 0x100, 0x200
"""What is said of an access that the soft TLB does not serve: its bytes; how far beyond the address
is that exceptions tell (both: WHAT_MASK); by compiled regions, too, whether it is in a delay slot
and whether the address of its instruction counts from `state.CODE_BASE`."""
