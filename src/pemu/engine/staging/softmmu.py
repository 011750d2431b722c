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

`layout.tlb_table` lays the tables out; `pemu.engine.system` has the native functions.
"""

from __future__ import annotations

from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.layout.pages import PAGE
from pemu.engine.layout.tlb_table import ADDEND, ENTRIES, ENTRY_SHIFT, FETCH_TAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.values import Emitter, Value


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
