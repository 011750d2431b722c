"""The hash table of blocks (`context.BLOCK_TABLE`), as native code reads it."""

from __future__ import annotations

from pemu.engine.layout import context as c
from pemu.engine.layout import state as s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.function import Function
    from pemu.engine.staging.values import Emitter, Value


def block_slot(e: Emitter, tag: Value, mask: Value | int, *, machine: bool) -> Value:
    """Offset in the table of blocks of the list that has those with a tag.

    A machine's code lies all over its memory.
    """
    folded = tag ^ tag.lshr(c.MACHINE_FOLD) if machine else tag
    return (folded.lshr(2) & mask) << 3


def list_at(f: Function, ctx: str, tag: Value, *, machine: bool) -> str:
    """Pointer operand of the head of the list that has the blocks with a tag."""
    slot = block_slot(f, tag, f.at(ctx, c.BLOCK_MASK), machine=machine)
    return f.offset(f.pointer(f.at(ctx, c.BLOCK_TABLE)), slot)


def find(f: Function, ctx: str, tag: Value, place: Value | None = None, *, machine: bool) -> Value:
    """Emit a search for the block with `tag`; yields its address or 0.

    place: where its code lies (CODE_AT), if that counts.
    """
    head = list_at(f, ctx, tag, machine=machine)
    found = f.var(64, f.raw_load(head, 64, align=8))
    searching = f.var(1, 1)
    with f.while_(lambda: found.value.ne(0) & searching.value):
        block = f.pointer(found.value)
        same = f.at(block, c.TAG).eq(tag)
        if place is not None:
            same = same & f.at(block, c.CODE_AT).eq(place)
        with f.if_(same) as arm:
            searching.value = 0
        with arm.otherwise():
            found.value = f.at(block, c.NEXT)
    return found.value


def tag_of(f: Function, pc: Value) -> Value:
    """The tag of what is at `pc` in the present translation mode."""
    return pc ^ f.get(s.MODE_TAG)
