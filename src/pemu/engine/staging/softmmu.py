"""The soft TLB: how guest-virtual addresses reach memory where a guest has its own page tables.

A table maps pages of 4 KiB to host addresses, for one way to translate (kernel, user, ...) in one
address space of the guest. What a guest's kernel sees is mostly the same in all address spaces: its
tables are common to them, and lose what is not when the address space changes. Generated code looks
an address up in the table that the memory base points at; the tag it compares with tells page,
permission and alignment at once. What is not found goes to a native function, which asks the
architecture (`System.translate`), fills in an entry, has a device make the access, or enters the
guest's exception.

Where the guest's addresses have 32 bits, two *maps* lie behind each table: the addends of all
pages, one for loads and one for stores, 0 where the table has no entry that allows the access.
Looking there takes no comparison of tags. The index is the address, turned right so that the
number of the page comes first and then the bits that must be 0 for alignment: what they lead to
is always 0.

`pemu.engine.system.privileged` has the native functions.
"""

from __future__ import annotations

from pemu.engine.layout import context as c
from pemu.engine.layout import state as s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.values import Emitter, Value

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

SIZE_MASK, BEYOND_SHIFT, IN_SLOT, FLOATS = 0x0F, 4, 0x100, 0x200
WHAT_MASK = 0xFF
"""What a compiled region says of an access that the soft TLB does not serve: its bytes; whether it
is in a delay slot; whether the address of its instruction counts from `state.CODE_BASE`."""

PAGE = 4096


def entry_offset(wide: Value) -> Value:
    """Offset in a table of the entry for an address of 64 bits."""
    return wide.lshr(12 - ENTRY_SHIFT) & (ENTRIES - 1 << ENTRY_SHIFT)


def _at(e: Emitter, pointer: str, offset: int, width: int = 64) -> Value:
    return e.raw_load(e.offset(pointer, offset), width)


def fetched_from(e: Emitter, address: Value) -> tuple[Value, Value]:
    """Whether the soft TLB knows (one bit) the place (CODE_AT) of code at an address, and that."""
    entry = e.offset("%mem", entry_offset(address))
    mapped = _at(e, entry, FETCH_TAG).eq(address & -PAGE)
    context = e.op(f"load ptr, ptr {e.offset('%state', s.CONTEXT.offset)}, align 8")
    return mapped, address + _at(e, entry, ADDEND) - _at(e, context, c.RAM_BASE)


def arrives(e: Emitter, block: str, address: Value) -> Value:
    """One bit: an address (64 bits) leads to a block, as far as the soft TLB knows."""
    floating = (_at(e, block, c.STATUS, 32) & c.FLOATING).ne(0)
    mapped, place = fetched_from(e, address)
    there = mapped & place.eq(_at(e, block, c.CODE_AT))
    return floating.select(there, _at(e, block, c.BLOCK_PC).eq(address))


def arrive(e: Emitter, block: str, address: Value) -> None:
    """Emit: a block is about to run at an address that leads to it."""
    base = address - _at(e, block, c.BLOCK_PC)
    e.raw_store(e.offset("%state", s.CODE_BASE.offset), base, align=8)


def has_maps(arch: Architecture) -> bool:
    """Whether the tables of an architecture have maps behind them."""
    return arch.xlen == 32


def mapped(e: Emitter, table: str, map_at: int, page: Value) -> str:
    """Pointer operand of what a map (READ_MAP, WRITE_MAP) has for a page (its number, 64 bits)."""
    return e.op(f"getelementptr i64, ptr {e.offset(table, map_at)}, i64 {page.ir}")
