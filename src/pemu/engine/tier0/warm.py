"""Native code that drops translations, and that puts regions of the code cache to use.

A block that has just been translated is looked up among the stored regions (`code.regionstore`). If
one begins with it, and the guest code is what that was compiled from, the region takes the block's
place at once. A floating block's region is looked up by what its code is; only if it was compiled
for one address, by that.
"""

from __future__ import annotations

from pemu.engine.code import regionstore as r
from pemu.engine.layout import context as c
from pemu.engine.layout.pages import CODE, PAGE, READ, TRACK, VOLATILE, WRITE
from pemu.engine.staging.blocktable import list_at
from pemu.engine.staging.function import Function
from pemu.engine.system.softtlb import watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.flow import Variable
    from pemu.engine.staging.values import Value

_UNCHECKED, _GOOD, _BAD = 0, 1, 2
"""States of a module. It is checked when the first of its regions is wanted, while none of its
data has changed yet."""

_ADLER = 65521


def functions(arch: Architecture) -> list[str]:
    """Return the functions' texts."""
    promoted = [_promote()] if arch.system is not None else []
    changed = [*_invalidate(arch), *promoted]
    return [_warm(arch), _same_code(arch), _good_module(), _confirm(arch), *changed]


def _shift(f: Function, arch: Architecture, block: str, region: str) -> Value:
    """From a guest-virtual address of a block's region to the place of the code (CODE_AT)."""
    start = f.at(block, c.BLOCK_PC)
    if arch.system is not None:
        floats = (f.at(region, r.RECORD_FLAGS, 32) & r.FLOATS).ne(0)
        start += floats.select(f.const(r.FLOATING_PAGE, 64), f.at(block, c.BASE))
    return f.at(block, c.CODE_AT) - start


def _hash(tag: Value) -> Value:
    return (tag ^ tag.lshr(r.HASH_SHIFTS[0]) ^ tag.lshr(r.HASH_SHIFTS[1])).lshr(2)


def _warm(arch: Architecture) -> str:
    """`pemu_warm(ctx, base, block, state)`: let a stored region take the place of a new block.

    `base`: what places of code count from. `block` is not in use yet. Guest memory is read, which
    may fault.
    """
    f = Function(
        "internal void @pemu_warm(ptr %ctx, ptr %base, ptr %block, ptr %state) nounwind noinline"
    )
    # Another thread may end their use at any time.
    table_at = f.at("%ctx", c.WARM_TABLE)
    with f.if_(table_at.eq(0)):
        f.do("ret void")
        f.place(f.label("dead"))
    tag = f.at("%block", c.TAG)
    if arch.system is None:
        _search(f, arch, tag)
        f.do("ret void")
        return f.text
    mode = tag & -(1 << c.MODE_SHIFT)
    start = f.at("%block", c.BLOCK_PC)
    with f.if_((f.at("%block", c.STATUS, 32) & c.FLOATING).eq(0)) as arm:
        _search(f, arch, tag)
    with arm.otherwise():
        first = f.raw_load(f.offset("%base", f.at("%block", c.CODE_AT)), arch.insn_bytes * 8)
        code = first.zext(64) << r.FIRST_SHIFT | start | r.CODE_TAG
        _search(f, arch, code ^ mode)
        with f.if_((f.at("%block", c.STATUS, 32) & c.WARM).eq(0)):
            _search(f, arch, (start + f.at("%block", c.BASE)) ^ mode)
    f.do("ret void")
    return f.text


def _search(f: Function, arch: Architecture, tag: Value) -> None:
    """Emit: look for a region by the tag of an entry."""
    table = f.pointer(f.at("%ctx", c.WARM_TABLE))
    image = f.pointer(f.at("%ctx", c.WARM_IMAGE))
    mask = f.at("%ctx", c.WARM_MASK)
    slot = f.var(64, _hash(tag) & mask)
    searching = f.var(1, f.address(table).ne(0))
    with f.while_(lambda: searching.value):
        entry = f.offset(table, slot.value * r.ENTRY_BYTES)
        slot.value = (slot.value + 1) & mask
        record = f.at(entry, r.ENTRY_RECORD, 32).zext(64)
        with f.if_(record.eq(0)) as arm:
            searching.value = 0
        with arm.otherwise(), f.if_(f.at(entry, r.ENTRY_TAG).eq(tag)):
            _try(f, arch, entry, f.offset(image, record), image, searching)


def _try(
    f: Function, arch: Architecture, entry: str, region: str, image: str, searching: Variable
) -> None:
    """Emit: put the region of a table's entry in the block's place, if its code is the same."""
    module = f.at(region, r.RECORD_MODULE, 32).zext(64) * r.MODULE_BYTES
    description = f.offset(f.pointer(f.at("%ctx", c.WARM_MODULES)), module)
    code = f.pointer(f.at("%ctx", c.WARM_CODE))
    shift = _shift(f, arch, "%block", region).ir
    arguments = f"ptr %ctx, ptr %base, ptr {image}, ptr {region}, i64 {shift}, ptr %state"
    same = f.call(1, "@pemu_same_code", arguments, "ptr, ptr, ptr, ptr, i64, ptr")
    with f.if_(same):
        good = f.call(1, "@pemu_good_module", f"ptr {description}, ptr {code}", "ptr, ptr")
        with f.if_(good):
            searching.value = 0
            number = f.at(entry, r.ENTRY_NUMBER, 32).zext(64)
            start = f.at(region, r.RECORD_CODE, 32).zext(64)
            f.set_at("%block", c.ENTRY, number)
            f.set_at("%block", c.FAST_ENTRY, f.address(f.offset(code, start)))
            f.set_at("%block", c.REGION, f.address(region))
            status = f.at("%block", c.STATUS, 32) | (c.COMPILED | c.WARM)
            spreads = (f.at(region, r.RECORD_FLAGS, 32) & r.SPREADS).ne(0)
            spread = spreads.select(f.const(c.SPREAD, 32), 0)
            f.set_at("%block", c.STATUS, status | spread)
            f.do(f"store ptr @pemu_enter_region, ptr {f.offset('%block', c.HEADER)}, align 8")
            f.set_at("%ctx", c.WARM_COUNT, f.at("%ctx", c.WARM_COUNT) + 1)


def _good_module() -> str:
    """`pemu_good_module(module, code)`: whether a stored module is as it was written."""
    f = Function("internal i1 @pemu_good_module(ptr %module, ptr %code) nounwind noinline")
    state = f.at("%module", r.MODULE_STATE, 32)
    with f.if_(state.ne(_UNCHECKED)):
        f.do(f"ret i1 {state.eq(_GOOD).ir}")
        f.place(f.label("dead"))
    start = f.offset("%code", f.at("%module", r.MODULE_START, 32).zext(64))
    size = f.at("%module", r.MODULE_CODE, 32) + f.at("%module", r.MODULE_DATA, 32)
    low, high, at = f.var(64, 1), f.var(64, 0), f.var(64, 0)
    # Adler-32 (RFC 1950); 64 bits hold the sums of 100 MB before they are reduced.
    with f.while_(lambda: at.value.ult(size.zext(64))):
        low.value = low.value + f.raw_load(f.offset(start, at.value), 8).zext(64)
        high.value = high.value + low.value
        at.value = at.value + 1
    total = high.value.urem(_ADLER) << 16 | low.value.urem(_ADLER)
    good = total.eq(f.at("%module", r.MODULE_SUM))
    state = good.select(f.const(_GOOD, 32), f.const(_BAD, 32))
    f.set_at("%module", r.MODULE_STATE, state)
    f.do(f"ret i1 {good.ir}")
    return f.text


def _confirm(arch: Architecture) -> str:
    """`pemu_confirm(ctx, block)`: take a stored region back if it has become unusable meanwhile.

    `block` is about to be put in use, the lock is held. Since the region was chosen all code may
    have been thrown away, or the guest may have begun to change the region's.
    """
    f = Function("internal void @pemu_confirm(ptr %ctx, ptr %block) nounwind noinline")
    with f.if_((f.at("%block", c.STATUS, 32) & c.WARM).eq(0)):
        f.do("ret void")
        f.place(f.label("dead"))
    flags = f.pointer(f.at("%ctx", c.PAGE_FLAGS))
    region = f.pointer(f.at("%block", c.REGION))
    good = f.var(1, f.at("%ctx", c.WARM_TABLE).ne(0))
    index = f.var(64, 0)
    with f.while_(lambda: good.value & index.value.ult(f.at(region, r.RECORD_COUNT, 32).zext(64))):
        here = f.offset(region, index.value * r.RANGE_BYTES + r.RECORD_BYTES)
        start = f.at(here, r.RANGE_PC) + _shift(f, arch, "%block", region)
        last = (start + f.at(here, r.RANGE_SIZE, 32).zext(64) - 1).lshr(12)
        page = f.var(64, start.lshr(12))
        with f.while_(lambda: page.value.ule(last)):
            flag = f.raw_load(f.offset(flags, page.value), 8, volatile=True)
            good.value = good.value & (flag & CODE).ne(0)
            page.value = page.value + 1
        index.value = index.value + 1
    with f.if_(~good.value, unlikely=True):
        _take_back(f, "%block")
    f.do("ret void")
    return f.text


def _same_code(arch: Architecture) -> str:
    """`pemu_same_code(ctx, base, image, region, shift, state)`: whether the code is still there.

    The code's pages are marked as holding code before they are looked at.
    """
    f = Function(
        "internal i1 @pemu_same_code(ptr %ctx, ptr %base, ptr %image, ptr %region, i64 %shift, "
        "ptr %state) nounwind noinline"
    )
    flags = f.pointer(f.at("%ctx", c.PAGE_FLAGS))
    limit = f.at("%ctx", c.MEMORY_LIMIT)
    shift = f.name("%shift", 64)

    def no(condition: Value) -> None:
        with f.if_(condition, unlikely=True):
            f.do("ret i1 false")
            f.place(f.label("dead"))

    index = f.var(64, 0)
    count = f.at("%region", r.RECORD_COUNT, 32).zext(64)
    with f.while_(lambda: index.value.ult(count)):
        here = f.offset("%region", index.value * r.RANGE_BYTES + r.RECORD_BYTES)
        start = f.at(here, r.RANGE_PC) + shift
        size = f.at(here, r.RANGE_SIZE, 32).zext(64)
        no(start.uge(limit) | (start + size).ugt(limit))
        page = f.var(64, start.lshr(12))
        with f.while_(lambda: page.value.ule((start + size - 1).lshr(12))):
            at = f.offset(flags, page.value)
            flag = f.raw_load(at, 8, volatile=True)
            if arch.system is None:
                no((flag & READ).eq(0) | (flag & (WRITE | TRACK | VOLATILE)).ne(0))
                f.do(f"%unused{f.label('x')} = atomicrmw or ptr {at}, i8 {CODE} monotonic")
            else:
                no((flag & VOLATILE).ne(0))
                watch(f, page.value << 12)
            page.value = page.value + 1
        copy = f.offset("%image", f.at(here, r.RANGE_COPY, 32).zext(64))
        done = f.var(64, 0)
        with f.while_(lambda: done.value.ult(size)):
            guest = f.raw_load(f.offset("%base", start + done.value), 16, volatile=True, align=2)
            no(guest.ne(f.raw_load(f.offset(copy, done.value), 16, align=2)))
            done.value = done.value + 2
        index.value = index.value + 1
    f.do("ret i1 true")
    return f.text


def _take_back(f: Function, block: str) -> None:
    """Emit: make a block tier 0's again, in whose place a stored region is."""
    status = f.at(block, c.STATUS, 32)
    f.set_at(block, c.STATUS, status & ~(c.WARM | c.COMPILED))
    f.set_at(block, c.COUNTER, f.at("%ctx", c.HOT_THRESHOLD).trunc(32))
    f.do(f"store ptr @pemu_tier0, ptr {f.offset(block, c.FAST_ENTRY)}, align 8")
    f.do(f"store atomic ptr @pemu_enter_block, ptr {f.offset(block, c.HEADER)} release, align 8")


def _retire(
    f: Function, arch: Architecture, block: str, first: Value, end: Value, taken_back: Variable
) -> None:
    """Emit: if a stored region in a block's place holds code of a guest range, take it back."""
    status = f.at(block, c.STATUS, 32)
    with f.if_((status & (c.WARM | c.STALE)).eq(c.WARM), unlikely=True):
        region = f.pointer(f.at(block, c.REGION))
        count = f.at(region, r.RECORD_COUNT, 32).zext(64)
        index = f.var(64, 0)
        with f.while_(lambda: index.value.ult(count)):
            here = f.offset(region, index.value * r.RANGE_BYTES + r.RECORD_BYTES)
            start = f.at(here, r.RANGE_PC) + _shift(f, arch, block, region)
            size = f.at(here, r.RANGE_SIZE, 32).zext(64)
            index.value = index.value + 1
            with f.if_(start.ult(end) & (start + size).ugt(first)):
                index.value = count
                _take_back(f, block)
                taken_back.value = taken_back.value + 1


def list_of(f: Function, ctx: str, block: str) -> str:
    """Pointer operand of the head of the list that a block is in, for being dropped."""
    place = f.at(block, c.CODE_AT)
    last = place + f.at(block, c.GUEST_BYTES, 32).zext(64) - 1
    inside = (place ^ last).ult(PAGE) & f.at(block, c.SECOND_AT).eq(0)
    inside = inside & (f.at(block, c.STATUS, 32) & c.SPREAD).eq(0)
    scattered = f.address(f.offset(ctx, c.SCATTERED))
    return f.pointer(inside.select(_list_of_page(f, ctx, place.lshr(12)), scattered))


def _list_of_page(f: Function, ctx: str, page: Value) -> Value:
    return f.at(ctx, c.PAGE_TABLE) + ((page & (c.PAGE_TABLE_ENTRIES - 1)) << 3)


def _invalidate(arch: Architecture) -> list[str]:
    """`pemu_invalidate(ctx, start, end)`: drop blocks of a range of places (CODE_AT).

    A dropped block leaves the hash table, and its first op sends whoever still goes there back to
    `pemu_dispatch`. Stored regions with code of the range are taken back; the result is how many.
    """
    f = Function("hidden i64 @pemu_invalidate(ptr %ctx, i64 %from, i64 %to) nounwind")
    f.do("call void @pemu_lock(ptr %ctx)")
    first, end = f.name("%from", 64), f.name("%to", 64)
    taken_back = f.var(64, 0)

    def drop_of(head: Value) -> None:
        arguments = f"ptr %ctx, ptr {f.pointer(head)}, i64 %from, i64 %to"
        dropped = f.name(f.op(f"call i64 @pemu_drop({arguments})"), 64)
        taken_back.value = taken_back.value + dropped

    drop_of(f.address(f.offset("%ctx", c.SCATTERED)))
    page = f.var(64, first.lshr(12))
    with f.if_(first.ult(end)):
        # So many pages have all the lists.
        last = (end - 1).lshr(12).umin(page.value + (c.PAGE_TABLE_ENTRIES - 1))
        with f.while_(lambda: page.value.ule(last)):
            drop_of(_list_of_page(f, "%ctx", page.value))
            page.value = page.value + 1
    f.do("call void @pemu_unlock(ptr %ctx)")
    f.do(f"ret i64 {taken_back.value.ir}")
    return [f.text, _drop(arch)]


def _drop(arch: Architecture) -> str:
    """`pemu_drop(ctx, head, start, end)`: what `pemu_invalidate` does with a list of blocks."""
    f = Function(
        "internal i64 @pemu_drop(ptr %ctx, ptr %head, i64 %from, i64 %to) nounwind noinline"
    )
    first, end = f.name("%from", 64), f.name("%to", 64)
    taken_back = f.var(64, 0)
    link = f.var(64, f.address("%head"))
    at = f.var(64, f.raw_load("%head", 64, align=8))
    with f.while_(lambda: at.value.ne(0)):
        block = f.pointer(at.value)
        start = f.at(block, c.CODE_AT)
        bytes_ = f.at(block, c.GUEST_BYTES, 32).zext(64)
        status = f.at(block, c.STATUS, 32)
        second = f.at(block, c.SECOND_AT)
        overlap = start.ult(end) & (start + bytes_).ugt(first)
        overlap = overlap | second.ne(0) & second.ult(end) & second.uge(first)
        with f.if_(overlap & (status & c.STALE).eq(0)):
            f.set_at(block, c.STATUS, status | c.STALE)
            taken_back.value = taken_back.value + (status & c.WARM).ne(0).zext(64)
            f.do(
                f"store atomic ptr @pemu_stale_block, ptr {f.offset(block, c.HEADER)} release, "
                "align 8"
            )
            f.do(f"store ptr @pemu_tier0, ptr {f.offset(block, c.FAST_ENTRY)}, align 8")
            machine = arch.system is not None
            head = list_at(f, "%ctx", f.at(block, c.TAG), machine=machine)
            _unhash(f, head, at.value)
        _retire(f, arch, block, first, end, taken_back)
        following = f.at(block, c.PAGE_NEXT)
        with f.if_((f.at(block, c.STATUS, 32) & c.STALE).ne(0)) as gone:
            f.raw_store(f.pointer(link.value), following, align=8)
        with gone.otherwise():
            link.value = f.address(f.offset(block, c.PAGE_NEXT))
        at.value = following
    f.do(f"ret i64 {taken_back.value.ir}")
    return f.text


def _promote() -> str:
    """`pemu_promote(ctx, block)`: make a machine's block the first of its list.

    There is where compiled code looks for it.
    """
    f = Function("hidden void @pemu_promote(ptr %ctx, ptr %block) nounwind noinline")
    f.do("call void @pemu_lock(ptr %ctx)")
    with f.if_((f.at("%block", c.STATUS, 32) & c.STALE).eq(0)):
        address = f.address("%block")
        head = list_at(f, "%ctx", f.at("%block", c.TAG), machine=True)
        _unhash(f, head, address)
        f.set_at("%block", c.NEXT, f.raw_load(head, 64, align=8))
        f.do(f"store atomic i64 {address.ir}, ptr {head} release, align 8")
    f.do("call void @pemu_unlock(ptr %ctx)")
    f.do("ret void")
    return f.text


def _unhash(f: Function, head: str, address: Value) -> None:
    """Emit: take a block out of its list in the hash table."""
    block = f.pointer(address)
    link = f.var(64, f.address(head))
    looking = f.var(1, 1)
    with f.while_(lambda: looking.value):
        here = f.raw_load(f.pointer(link.value), 64, align=8)
        with f.if_(here.eq(address)) as found:
            f.raw_store(f.pointer(link.value), f.at(block, c.NEXT), align=8)
            looking.value = 0
        with found.otherwise():
            with f.if_(here.eq(0)) as missing:
                looking.value = 0
            with missing.otherwise():
                link.value = f.address(f.offset(f.pointer(here), c.NEXT))
