"""Native functions that keep the soft TLB (`staging.softmmu`): making, filling, flushing tables."""

from __future__ import annotations

from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.layout import tlb_table
from pemu.engine.layout.pages import CODE, PAGE, VOLATILE
from pemu.engine.staging import softmmu
from pemu.engine.staging.architecture import (
    ACCESS_FETCH,
    PAGE_ASK,
    PAGE_EXECUTE,
    PAGE_FAULT,
    PAGE_READ,
    PAGE_WRITE,
)
from pemu.engine.staging.function import Function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.architecture import Architecture, System
    from pemu.engine.staging.values import Value

RAM, WRITABLE, HOLDS_CODE, DEVICE = 1, 2, 4, 16
"""What `pemu_fill` yields beside a page's host address: memory; writable without further ado;
with translated code. For a device's page: beside its guest-physical address. Else PAGE_FAULT and
the exception's code, as `System.translate` does."""

_NO_TAG = -1
_MAPS = (tlb_table.READ_TAG, tlb_table.READ_MAP), (tlb_table.WRITE_TAG, tlb_table.WRITE_MAP)


def functions(arch: Architecture, system: System) -> tuple[Function, ...]:
    """Return all of an architecture's."""
    has_maps = softmmu.has_maps(arch)
    return (
        _set_table(system),
        _watched(),
        _forget(has_maps),
        _fill(has_maps, system),
        _flush_tlb(),
        _flush_page(),
        _forget_mapped(),
        _set_context(system),
        _protect(),
        _probe_fetch(),
    )


def _set_table(system: System) -> Function:
    """`pemu_update_mode(state)`: see which mode the registers ask for.

    Have interrupts looked for soon if one may be waiting.
    """
    f = Function("hidden preserve_mostcc void @pemu_update_mode(ptr %state) nounwind noinline")
    mode = f.name(f.op("call i32 @pemu_current_mode(ptr %state)"), 32)
    f.put(s.MODE_TAG, mode.zext(64) << c.MODE_SHIFT)
    f.put(s.MEMORY_BASE, _table(f, system, mode.lshr(c.MMU_SHIFT).zext(64)))
    with f.if_(f.name(f.op("call i1 @pemu_may_interrupt(ptr %state)"), 1), unlikely=True):
        f.put(s.IRQ_FLAG, 1)
    f.do("ret void")
    return f


def _table_number(f: Function, system: System, mmu_mode: Value) -> Value:
    """Number of the present context's table for one way to translate."""
    is_common = f.const(system.common_modes, 64).lshr(mmu_mode).bit(0)
    context = is_common.select(f.const(0, 64), f.get(s.TLB_CONTEXT).zext(64))
    return context * tlb_table.MMU_MODES + mmu_mode


def _table(f: Function, system: System, mmu_mode: Value) -> Value:
    """Host address of the same table."""
    return f.get(s.TLB_TABLES) + _table_number(f, system, mmu_mode) * tlb_table.TABLE_BYTES


def mmu_mode(f: Function) -> Value:
    return f.get(s.MODE_TAG).lshr(c.MODE_SHIFT + c.MMU_SHIFT)


def _set_context(system: System) -> Function:
    """`pemu_set_context(state, number)`: use the tables of one of the guest's address spaces."""
    f = Function(
        "hidden preserve_mostcc void @pemu_set_context(ptr %state, i64 %number) nounwind noinline"
    )
    number = f.name("%number", 64) & (tlb_table.NUMBERS - 1)
    known = f.pointer(f.get(s.TLB_TABLES) + tlb_table.CONTEXT_BYTES * tlb_table.CONTEXTS)
    numbers = f.offset(known, tlb_table.NUMBERS)
    context = f.var(32, f.raw_load(f.offset(known, number), 8).zext(32))
    with f.if_(context.value.ne(f.get(s.TLB_CONTEXT) + 1)):
        for mode in range(tlb_table.MMU_MODES):
            if system.common_modes >> mode & 1:
                f.do(f"call void @pemu_forget_mapped(ptr %state, i64 {mode})")
    with f.if_(context.value.eq(0), unlikely=True):
        fresh = f.get(s.TLB_NEXT)
        f.put(s.TLB_NEXT, (fresh + 1) & (tlb_table.CONTEXTS - 1))
        holder = f.offset(numbers, fresh.zext(64) << 1)
        before = f.raw_load(holder, 16).zext(64)
        f.raw_store(f.offset(known, before), f.const(0, 8))
        f.raw_store(holder, number.trunc(16))
        context.value = fresh + 1
        f.raw_store(f.offset(known, number), context.value.trunc(8))
        start = f.get(s.TLB_TABLES) + fresh.zext(64) * tlb_table.CONTEXT_BYTES
        for mode in range(tlb_table.MMU_MODES):
            if not system.common_modes >> mode & 1:
                number = fresh.zext(64) * tlb_table.MMU_MODES + mode
                _empty(f, number, start + mode * tlb_table.TABLE_BYTES)
    f.put(s.TLB_CONTEXT, context.value - 1)
    f.put(s.MEMORY_BASE, _table(f, system, mmu_mode(f)))
    f.do("ret void")
    return f


def _used_at(f: Function, table: Value) -> str:
    """Pointer operand of the byte that tells whether a table (by its number) has entries."""
    return f.offset(f.pointer(f.get(s.TLB_TABLES) + tlb_table.USED_AT), table)


def _empty(f: Function, number: Value, start: Value) -> None:
    """Emit: throw the entries of a table away."""
    used = _used_at(f, number)
    with f.if_(f.raw_load(used, 8).ne(0)):
        f.raw_store(used, f.const(0, 8))
        _each_entry(f, start, lambda entry: _call_forget(f, f.pointer(start), entry))


def _each_entry(f: Function, start: Value, body: Callable[[str], None]) -> None:
    """Emit `body(pointer operand)` for every entry of the table at a host address."""
    at = f.var(64, start)
    with f.while_(lambda: at.value.ult(start + tlb_table.ENTRIES_BYTES)):
        body(f.pointer(at.value))
        at.value = at.value + (1 << tlb_table.ENTRY_SHIFT)


def _call_forget(f: Function, table: str, entry: str) -> None:
    f.do(f"call void @pemu_forget(ptr {table}, ptr {entry})")


def _forget(has_maps: bool) -> Function:
    """`pemu_forget(table, entry)`: make an entry empty, and what the maps have for its page."""
    f = Function("internal void @pemu_forget(ptr %table, ptr %at) nounwind")
    for tag_at, map_at in _MAPS if has_maps else ():
        tag = f.at("%at", tag_at)
        with f.if_(tag.ne(_NO_TAG)):
            at = softmmu.mapped(f, "%table", map_at, tag.lshr(12))
            f.raw_store(at, f.const(0, 64), align=8)
    for tag_at in (tlb_table.READ_TAG, tlb_table.WRITE_TAG, tlb_table.FETCH_TAG):
        f.set_at("%at", tag_at, f.const(_NO_TAG, 64))
    f.do("ret void")
    return f


def _forget_mapped() -> Function:
    """`pemu_forget_mapped(state, number)`: forget the entries of a table that are not fixed."""
    f = Function("internal void @pemu_forget_mapped(ptr %state, i64 %number) nounwind noinline")
    table = f.pointer(f.get(s.TLB_TABLES) + f.name("%number", 64) * tlb_table.TABLE_BYTES)
    first = f.var(64, 0)  # of so many entries that have a word of bits
    with f.while_(lambda: first.value.ult(tlb_table.ENTRIES)):
        word = f.offset(table, first.value.lshr(3) + tlb_table.MAPPED_AT)
        left = f.var(64, f.raw_load(word, 64, align=8))
        with f.if_(left.value.ne(0)):
            f.raw_store(word, f.const(0, 64), align=8)
            with f.while_(lambda: left.value.ne(0)):
                entry = first.value + left.value.ctz()
                _call_forget(f, table, f.offset(table, entry << tlb_table.ENTRY_SHIFT))
                left.value = left.value & (left.value - 1)
        first.value = first.value + 64
    f.do("ret void")
    return f


def _each_table(f: Function, body: Callable[[Value, Value], None]) -> None:
    """Emit `body(number, host address)` for every table."""
    number = f.var(64, 0)
    at = f.var(64, f.get(s.TLB_TABLES))
    with f.while_(lambda: number.value.ult(tlb_table.MMU_MODES * tlb_table.CONTEXTS)):
        body(number.value, at.value)
        number.value = number.value + 1
        at.value = at.value + tlb_table.TABLE_BYTES


def _flush_tlb() -> Function:
    """`pemu_flush_tlb(state)`: throw the entries of all tables away."""
    f = Function("hidden preserve_mostcc void @pemu_flush_tlb(ptr %state) nounwind noinline")
    _each_table(f, lambda number, start: _empty(f, number, start))
    f.do("ret void")
    return f


def _flush_page() -> Function:
    """`pemu_flush_page(state, address)`: throw the entries for a page away, in all tables."""
    f = Function(
        "hidden preserve_mostcc void @pemu_flush_page(ptr %state, i64 %address) nounwind noinline"
    )
    offset = softmmu.entry_offset(f.name("%address", 64))

    def forget(number: Value, start: Value) -> None:
        with f.if_(f.raw_load(_used_at(f, number), 8).ne(0)):
            _call_forget(f, f.pointer(start), f.pointer(start + offset))

    _each_table(f, forget)
    f.do("ret void")
    return f


def _protect() -> Function:
    """`pemu_protect(state, host)`: notice writes to a page of memory from now on."""
    f = Function("hidden void @pemu_protect(ptr %state, i64 %host) nounwind noinline")
    host = f.name("%host", 64)

    def protect(number: Value, start: Value) -> None:
        def forget(entry: str) -> None:
            tag = f.at(entry, tlb_table.WRITE_TAG)
            with f.if_((tag + f.at(entry, tlb_table.ADDEND)).eq(host)):
                _call_forget(f, f.pointer(start), entry)

        with f.if_(f.raw_load(_used_at(f, number), 8).ne(0)):
            _each_entry(f, start, forget)

    _each_table(f, protect)
    f.do("ret void")
    return f


def watch(f: Function, place: Value) -> None:
    """Emit: notice changes of the page of memory at a place, which holds translated code."""
    ctx = f.context()
    at = f.offset(f.pointer(f.at(ctx, c.PAGE_FLAGS)), place.lshr(12))
    page = f.raw_load(at, 8, volatile=True)
    with f.if_((page & CODE).eq(0), unlikely=True):
        f.do(f"%unused{f.label('x')} = atomicrmw or ptr {at}, i8 {CODE} monotonic")
        with f.if_((page & VOLATILE).eq(0)):
            host = f.at(ctx, c.RAM_BASE) + (place & -PAGE)
            f.do(f"call void @pemu_protect(ptr %state, i64 {host.ir})")


def _watched() -> Function:
    """`pemu_watched(state, first, last, kinds)`: whether a range has bytes that are watched."""
    f = Function(
        "internal i1 @pemu_watched(ptr %state, i64 %first, i64 %last, i64 %kinds) nounwind noinline"
    )
    ctx = f.context()
    at = f.var(64, f.at(ctx, c.WATCHES))
    end = at.value + f.at(ctx, c.WATCH_COUNT) * c.WATCH_BYTES
    with f.while_(lambda: at.value.ult(end)):
        watch = f.pointer(at.value)
        meets = f.at(watch, c.WATCH_FIRST).ule(f.name("%last", 64))
        meets &= f.name("%first", 64).ule(f.at(watch, c.WATCH_LAST))
        meets &= (f.at(watch, c.WATCH_KINDS) & f.name("%kinds", 64)).ne(0)
        with f.if_(meets):
            f.do("ret i1 true")
            f.place(f.label("dead"))
        at.value = at.value + c.WATCH_BYTES
    f.do("ret i1 false")
    return f


def call_python(f: Function, kind: str, function: str, arguments: str) -> str:
    """Emit a call of a Python function, with the host's own floating-point mode; its result."""
    for intrinsic, field in (("stmxcsr", s.GUEST_MXCSR), ("ldmxcsr", s.HOST_MXCSR)):
        f.do(f"call void @llvm.x86.sse.{intrinsic}(ptr {f.state_field(field)})")
    result = f.op(f"call {kind} {function}({arguments})")
    f.do(f"call void @llvm.x86.sse.ldmxcsr(ptr {f.state_field(s.GUEST_MXCSR)})")
    return result


def report(f: Function, listener: int, first: Value, second: Value) -> None:
    """Emit: tell a listener (a field of the context), if there is one."""
    function = f.at(f.context(), listener)
    with f.if_(function.ne(0), unlikely=True):
        call_python(f, "i64", f.pointer(function), f"i64 {first.ir}, i64 {second.ir}")


def is_watched(f: Function, first: Value, size: Value | int, kinds: int) -> Value:
    """Emit: one bit, whether an access of `kinds` to a range is watched."""
    arguments = f"ptr %state, i64 {first.ir}, i64 {(first + size - 1).ir}, i64 {kinds}"
    return f.name(f.op(f"call i1 @pemu_watched({arguments})"), 1)


def _fill(has_maps: bool, system: System) -> Function:
    """`pemu_fill(state, address, access)`: translate an address and make its entry."""
    f = Function("internal i64 @pemu_fill(ptr %state, i64 %address, i32 %access) nounwind noinline")
    address = f.name("%address", 64)
    mode = mmu_mode(f)
    arguments = f"ptr %state, i64 %address, i32 %access, i32 {mode.trunc(32).ir}"
    found = f.name(f.op(f"call i64 @pemu_translate_address({arguments})"), 64)
    report(f, c.ON_FILL, address, found)
    with f.if_((found & PAGE_FAULT).ne(0), unlikely=True):
        f.do(f"ret i64 {found.ir}")
        f.place(f.label("dead"))
    ctx = f.context()
    number = found.lshr(12)
    backing = f.var(64, 0)
    with f.if_(number.ult(f.at(ctx, c.PHYSICAL_PAGES))):
        table = f.pointer(f.at(ctx, c.PHYSICAL_MAP))
        backing.value = f.raw_load(f.offset(table, number << 3), 64, align=8)
    with f.if_(backing.value.eq(0), unlikely=True):
        f.do(f"ret i64 {((found & -PAGE) | DEVICE).ir}")
        f.place(f.label("dead"))
    host = backing.value & -PAGE
    flags = f.pointer(f.at(ctx, c.PAGE_FLAGS))
    flag = f.raw_load(f.offset(flags, (host - f.at(ctx, c.RAM_BASE)).lshr(12)), 8)
    holds_code = (flag & (CODE | VOLATILE)).eq(CODE)
    writable = (found & PAGE_WRITE).ne(0) & (backing.value & tlb_table.MAP_WRITABLE).ne(0)
    page = address & -PAGE
    kept = (found & PAGE_ASK).eq(0) & ~is_watched(f, page, PAGE, -1)
    table = f.pointer(f.get(s.MEMORY_BASE))
    entry = f.offset(table, softmmu.entry_offset(address))
    _call_forget(f, table, entry)
    nothing = f.const(_NO_TAG, 64)
    readable = (found & PAGE_READ).ne(0) & kept
    changeable = writable & ~holds_code & kept
    for at, allowed in (
        (tlb_table.READ_TAG, readable),
        (tlb_table.WRITE_TAG, changeable),
        (tlb_table.FETCH_TAG, (found & PAGE_EXECUTE).ne(0)),
    ):
        f.set_at(entry, at, allowed.select(page, nothing))
    addend = host - page
    f.set_at(entry, tlb_table.ADDEND, addend)
    if has_maps:
        for map_at, allowed in (
            (tlb_table.READ_MAP, readable),
            (tlb_table.WRITE_MAP, changeable),
        ):
            at_page = softmmu.mapped(f, table, map_at, page.lshr(12))
            f.raw_store(at_page, allowed.select(addend, 0), align=8)
    f.raw_store(_used_at(f, _table_number(f, system, mode)), f.const(1, 8))
    with f.if_(~f.name(f.op(f"call i1 @pemu_fixed(ptr %state, i64 {address.ir})"), 1)):
        number = softmmu.entry_offset(address).lshr(tlb_table.ENTRY_SHIFT)
        word = f.offset(table, (number.lshr(6) << 3) + tlb_table.MAPPED_AT)
        bit = f.const(1, 64) << (number & 63)
        f.raw_store(word, f.raw_load(word, 64, align=8) | bit, align=8)
    marks = writable.select(f.const(WRITABLE, 64), 0) | holds_code.select(
        f.const(HOLDS_CODE, 64), 0
    )
    f.do(f"ret i64 {(host | marks | RAM).ir}")
    return f


def _probe_fetch() -> Function:
    """`pemu_probe_fetch(state, pc)`: what `pemu_fill` says of the page where code is fetched."""
    f = Function("internal i64 @pemu_probe_fetch(ptr %state, i64 %pc) nounwind")
    pc = f.name("%pc", 64)
    entry = f.offset(f.pointer(f.get(s.MEMORY_BASE)), softmmu.entry_offset(pc))
    with f.if_(f.at(entry, tlb_table.FETCH_TAG).eq(pc & -PAGE)):
        page = (pc & -PAGE) + f.at(entry, tlb_table.ADDEND)
        f.do(f"ret i64 {(page | RAM).ir}")
        f.place(f.label("dead"))
    arguments = f"ptr %state, i64 %pc, i32 {ACCESS_FETCH}"
    f.do(f"ret i64 {f.op(f'call i64 @pemu_fill({arguments})')}")
    return f
