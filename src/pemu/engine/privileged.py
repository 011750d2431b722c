"""Native functions of whole processors: address translation, exceptions, accesses to devices.

What the architecture gives (`architecture.System`) is staged here once. The rest serves the soft
TLB (`softmmu`) and finds blocks by guest-virtual and host address.

A function that enters an exception does not return to generated code: it goes on at
`pemu_unwind`, which takes the host's stack back to where native code was entered.
"""

from __future__ import annotations

from pemu.engine import context as c
from pemu.engine import runtime, softmmu
from pemu.engine import state as s
from pemu.engine.architecture import (
    ACCESS_FETCH,
    ACCESS_LOAD,
    ACCESS_STORE,
    PAGE_ASK,
    PAGE_EXECUTE,
    PAGE_FAULT,
    PAGE_FAULT_SHIFT,
    PAGE_READ,
    PAGE_WRITE,
)
from pemu.engine.builder import StateBuilder, with_registers
from pemu.engine.exits import EXIT_INTERRUPT, EXIT_SYSTEM, EXIT_TRACK, EXIT_WATCH
from pemu.engine.pages import CODE, VOLATILE
from pemu.engine.runtime import Function, handler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.architecture import Architecture, System
    from pemu.engine.builder import Helper
    from pemu.engine.values import Value

_RAM, _WRITABLE, _HOLDS_CODE, _DEVICE = 1, 2, 4, 16
"""What `pemu_fill` yields beside a page's host address: memory; writable without further ado;
with translated code. For a device's page: beside its guest-physical address. Else PAGE_FAULT and
the exception's code, as `System.translate` does."""

_NO_TAG = -1

FAULTED = 1
"""From `pemu_translate`: an exception has been entered."""


class SystemBuilder(StateBuilder):
    """Stages a function over the state structure."""

    __slots__ = ()

    @property
    def pc(self) -> Value:
        return self.raw_load(self.field(s.PC), 64, align=8).trunc(self.arch.xlen)

    @property
    def in_delay_slot(self) -> Value:
        return self.raw_load(self.field(s.IN_SLOT), 32, align=4).ne(0)

    def resume_at(self, target: Value) -> None:
        self.raw_store(self.field(s.PC), target.zext(64), align=8)
        self.update_mode()

    def update_mode(self) -> None:
        self._call_runtime("pemu_update_mode")

    def definition(self, header: str) -> str:
        """The function's definition as IR text."""
        body = "\n".join([*self.entry_lines, "  br label %start", "start:", *self.lines])
        return f"define {header} {{\nentry:\n{body}\n}}\n"


def system_builder(arch: Architecture) -> SystemBuilder:
    """Return a builder with the architecture's registers."""
    cpu = with_registers(SystemBuilder, arch)(arch, arch.features)
    assert isinstance(cpu, SystemBuilder)
    return cpu


class Staged:
    """The functions' texts, with what they declare and which helpers they call."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.declarations: set[str] = set()
        self.helpers: dict[str, Helper] = {}

    def add(self, function: Function) -> None:
        """Take a function in."""
        self.texts.append(function.text)
        self.declarations |= function.declarations

    def stage(self, arch: Architecture, header: str, body: Callable[[SystemBuilder], None]) -> None:
        """Stage a function of the architecture."""
        cpu = system_builder(arch)
        body(cpu)
        self.texts.append(cpu.definition(header))
        self.declarations |= cpu.declarations
        self.helpers.update(cpu.helpers)


def functions(arch: Architecture, system: System) -> Staged:
    """Return all of an architecture's."""
    staged = Staged()
    _architecture(staged, arch, system)
    for function in (
        _set_table(),
        _watched(),
        _fill(),
        _raise_from_access(),
        _device_access(system),
        _slow_load(arch, system),
        _slow_store(arch, system),
        _slow_pointer(system),
        _flush_tlb(),
        _flush_page(),
        _set_context(),
        _protect(),
        _flush_line(),
        _clock(arch),
        _probe_fetch(),
        _lookup(arch, system),
        _blame(),
        *_handlers(arch),
    ):
        staged.add(function)
    staged.declarations |= {
        "declare hidden void @pemu_unwind(ptr) noreturn",
        "declare void @llvm.x86.sse.stmxcsr(ptr)",
        "declare void @llvm.x86.sse.ldmxcsr(ptr)",
        "declare void @llvm.memset.inline.p0.i64(ptr, i8, i64, i1)",
    }
    return staged


def _architecture(staged: Staged, arch: Architecture, system: System) -> None:
    def translate(cpu: SystemBuilder) -> None:
        address = cpu.name("%address", 64).trunc(arch.xlen)
        result = system.translate(cpu, address, cpu.name("%access", 32), cpu.name("%mmu", 32))
        cpu.do(f"ret i64 {result.ir}")

    def enter_exception(cpu: SystemBuilder) -> None:
        system.enter_exception(cpu, cpu.name("%code", 32), cpu.name("%argument", 64))
        cpu.do("ret void")

    def take_interrupt(cpu: SystemBuilder) -> None:
        cpu.do(f"ret i1 {system.take_interrupt(cpu).ir}")

    def current_mode(cpu: SystemBuilder) -> None:
        cpu.do(f"ret i32 {system.current_mode(cpu).ir}")

    def fixed(cpu: SystemBuilder) -> None:
        address = cpu.name("%address", 64).trunc(arch.xlen)
        cpu.do(f"ret i1 {system.fixed(cpu, address).ir}")

    how = "nounwind noinline"
    parameters = "ptr %state, i64 %address, i32 %access, i32 %mmu"
    staged.stage(arch, f"hidden i64 @pemu_translate_address({parameters}) {how}", translate)
    parameters = "ptr %state, i32 %code, i64 %argument"
    staged.stage(arch, f"hidden void @pemu_enter_exception({parameters}) {how}", enter_exception)
    staged.stage(arch, f"hidden i1 @pemu_take_interrupt(ptr %state) {how}", take_interrupt)
    staged.stage(arch, f"internal i32 @pemu_current_mode(ptr %state) {how}", current_mode)
    staged.stage(arch, f"internal i1 @pemu_fixed(ptr %state, i64 %address) {how}", fixed)


# Translation modes and tables.


def _set_table() -> Function:
    """`pemu_update_mode(state)`: see which mode the registers ask for; look for interrupts soon."""
    f = Function("hidden preserve_mostcc void @pemu_update_mode(ptr %state) nounwind noinline")
    mode = f.name(f.op("call i32 @pemu_current_mode(ptr %state)"), 32)
    f.put(s.MODE_TAG, mode.zext(64) << c.MODE_SHIFT)
    f.put(s.MEMORY_BASE, _table(f, mode.lshr(c.MMU_SHIFT).zext(64)))
    f.put(s.IRQ_FLAG, 1)
    f.do("ret void")
    return f


def _table(f: Function, mmu_mode: Value) -> Value:
    """Host address of the present context's table for one way to translate."""
    context = f.get(s.TLB_CONTEXT).zext(64) * softmmu.CONTEXT_BYTES
    return f.get(s.TLB_TABLES) + context + mmu_mode * softmmu.TABLE_BYTES


def _mmu_mode(f: Function) -> Value:
    return f.get(s.MODE_TAG).lshr(c.MODE_SHIFT + c.MMU_SHIFT)


def _set_context() -> Function:
    """`pemu_set_context(state, number)`: use the tables of one of the guest's address spaces."""
    f = Function(
        "hidden preserve_mostcc void @pemu_set_context(ptr %state, i64 %number) nounwind noinline"
    )
    number = f.name("%number", 64) & (softmmu.NUMBERS - 1)
    known = f.pointer(f.get(s.TLB_TABLES) + softmmu.CONTEXT_BYTES * softmmu.CONTEXTS)
    numbers = f.offset(known, softmmu.NUMBERS)
    context = f.var(32, f.raw_load(f.offset(known, number), 8).zext(32))
    with f.if_(context.value.eq(0), unlikely=True):
        fresh = f.get(s.TLB_NEXT)
        f.put(s.TLB_NEXT, (fresh + 1) & (softmmu.CONTEXTS - 1))
        holder = f.offset(numbers, fresh.zext(64) << 1)
        before = f.raw_load(holder, 16).zext(64)
        f.raw_store(f.offset(known, before), f.const(0, 8))
        f.raw_store(holder, number.trunc(16))
        context.value = fresh + 1
        f.raw_store(f.offset(known, number), context.value.trunc(8))
        start = f.get(s.TLB_TABLES) + fresh.zext(64) * softmmu.CONTEXT_BYTES
        for mode in range(softmmu.MMU_MODES):
            _empty(f, fresh.zext(64) * softmmu.MMU_MODES + mode, start + mode * softmmu.TABLE_BYTES)
    f.put(s.TLB_CONTEXT, context.value - 1)
    f.put(s.MEMORY_BASE, _table(f, _mmu_mode(f)))
    f.do("ret void")
    return f


def _used_at(f: Function, table: Value) -> str:
    """Pointer operand of the byte that tells whether a table (by its number) has entries."""
    return f.offset(f.pointer(f.get(s.TLB_TABLES) + softmmu.USED_AT), table)


def _empty(f: Function, number: Value, start: Value) -> None:
    """Emit: throw the entries of a table away."""
    used = _used_at(f, number)
    with f.if_(f.raw_load(used, 8).ne(0)):
        f.raw_store(used, f.const(0, 8))
        table = f.pointer(start)
        size = softmmu.TABLE_BYTES
        f.do(f"call void @llvm.memset.inline.p0.i64(ptr {table}, i8 -1, i64 {size}, i1 0)")


def _each_table(f: Function, body: Callable[[Value, Value], None]) -> None:
    """Emit `body(number, host address)` for every table."""
    number = f.var(64, 0)
    at = f.var(64, f.get(s.TLB_TABLES))
    with f.while_(lambda: number.value.ult(softmmu.MMU_MODES * softmmu.CONTEXTS)):
        body(number.value, at.value)
        number.value = number.value + 1
        at.value = at.value + softmmu.TABLE_BYTES


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

    def drop(number: Value, start: Value) -> None:
        entry = f.pointer(start + offset)
        for tag in (softmmu.READ_TAG, softmmu.WRITE_TAG, softmmu.FETCH_TAG):
            f.set_at(entry, tag, f.const(_NO_TAG, 64))

    _each_table(f, drop)
    f.do("ret void")
    return f


def _protect() -> Function:
    """`pemu_protect(state, host)`: notice writes to a page of memory from now on."""
    f = Function("hidden void @pemu_protect(ptr %state, i64 %host) nounwind noinline")
    host = f.name("%host", 64)

    def protect(number: Value, start: Value) -> None:
        with f.if_(f.raw_load(_used_at(f, number), 8).ne(0)):
            at = f.var(64, start)
            with f.while_(lambda: at.value.ult(start + softmmu.TABLE_BYTES)):
                entry = f.pointer(at.value)
                tag = f.at(entry, softmmu.WRITE_TAG)
                with f.if_((tag + f.at(entry, softmmu.ADDEND)).eq(host)):
                    f.set_at(entry, softmmu.WRITE_TAG, f.const(_NO_TAG, 64))
                at.value = at.value + (1 << softmmu.ENTRY_SHIFT)

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
            host = f.at(ctx, c.RAM_BASE) + (place & -softmmu.PAGE)
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


def _is_watched(f: Function, first: Value, size: Value | int, kinds: int) -> Value:
    """Emit: one bit, whether an access of `kinds` to a range is watched."""
    arguments = f"ptr %state, i64 {first.ir}, i64 {(first + size - 1).ir}, i64 {kinds}"
    return f.name(f.op(f"call i1 @pemu_watched({arguments})"), 1)


def _fill() -> Function:
    """`pemu_fill(state, address, access)`: translate an address and make its entry."""
    f = Function("internal i64 @pemu_fill(ptr %state, i64 %address, i32 %access) nounwind noinline")
    address = f.name("%address", 64)
    mmu_mode = _mmu_mode(f)
    arguments = f"ptr %state, i64 %address, i32 %access, i32 {mmu_mode.trunc(32).ir}"
    found = f.name(f.op(f"call i64 @pemu_translate_address({arguments})"), 64)
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
        f.do(f"ret i64 {((found & -softmmu.PAGE) | _DEVICE).ir}")
        f.place(f.label("dead"))
    host = backing.value & -softmmu.PAGE
    flags = f.pointer(f.at(ctx, c.PAGE_FLAGS))
    flag = f.raw_load(f.offset(flags, (host - f.at(ctx, c.RAM_BASE)).lshr(12)), 8)
    holds_code = (flag & (CODE | VOLATILE)).eq(CODE)
    writable = (found & PAGE_WRITE).ne(0) & (backing.value & softmmu.MAP_WRITABLE).ne(0)
    page = address & -softmmu.PAGE
    entry = f.offset(f.pointer(f.get(s.MEMORY_BASE)), softmmu.entry_offset(address))
    nothing = f.const(_NO_TAG, 64)
    kept = (found & PAGE_ASK).eq(0) & ~_is_watched(f, page, softmmu.PAGE, -1)
    for at, allowed in (
        (softmmu.READ_TAG, (found & PAGE_READ).ne(0) & kept),
        (softmmu.WRITE_TAG, writable & ~holds_code & kept),
        (softmmu.FETCH_TAG, (found & PAGE_EXECUTE).ne(0)),
    ):
        f.set_at(entry, at, allowed.select(page, nothing))
    f.set_at(entry, softmmu.ADDEND, host - page)
    context = f.get(s.TLB_CONTEXT).zext(64) * softmmu.MMU_MODES
    f.raw_store(_used_at(f, context + mmu_mode), f.const(1, 8))
    marks = writable.select(f.const(_WRITABLE, 64), 0) | holds_code.select(
        f.const(_HOLDS_CODE, 64), 0
    )
    f.do(f"ret i64 {(host | marks | _RAM).ir}")
    return f


# Accesses that the soft TLB does not serve.


def _raise_from_access() -> Function:
    """`pemu_raise_from_access(state, code, argument)`: enter an exception and go on there."""
    f = Function(
        "internal void @pemu_raise_from_access(ptr %state, i32 %code, i64 %argument) "
        "nounwind noinline noreturn"
    )
    f.do("call void @pemu_enter_exception(ptr %state, i32 %code, i64 %argument)")
    f.do("call void @pemu_unwind(ptr %state)")
    f.do("unreachable")
    return f


def _raise(f: Function, condition: Value, code: Value | int, argument: Value) -> None:
    """Emit: raise an exception where `condition` holds."""
    operand = code.ir if not isinstance(code, int) else str(code)
    with f.if_(condition, unlikely=True):
        arguments = f"ptr %state, i32 {operand}, i64 {argument.ir}"
        f.do(f"call void @pemu_raise_from_access({arguments})")
        f.do("unreachable")
        f.place(f.label("dead"))


def _device_access(system: System) -> Function:
    """`pemu_device_access(state, physical, what, value, address)`: have Python make an access."""
    f = Function(
        "internal i64 @pemu_device_access(ptr %state, i64 %physical, i64 %what, i64 %value, "
        "i64 %address) nounwind noinline"
    )
    function = f.pointer(f.at(f.context(), c.DEVICE_ACCESS))
    for intrinsic, field in (("stmxcsr", s.GUEST_MXCSR), ("ldmxcsr", s.HOST_MXCSR)):
        f.do(f"call void @llvm.x86.sse.{intrinsic}(ptr {f.state_field(field)})")
    arguments = "ptr %state, i64 %physical, i64 %what, i64 %value"
    result = f.name(f.op(f"call i64 {function}({arguments})"), 64)
    f.do(f"call void @llvm.x86.sse.ldmxcsr(ptr {f.state_field(s.GUEST_MXCSR)})")
    failed = f.get(s.BUS_ERROR).ne(0)
    f.put(s.BUS_ERROR, 0)
    _raise(f, failed, system.bus_error[0], f.name("%address", 64))
    f.do(f"ret i64 {result.ir}")
    return f


def _access(name: str, result: str, more: str = "") -> Function:
    return Function(
        f"hidden preserve_mostcc {result} @{name}(ptr %state, i64 %address, i64 %size{more}) "
        "nounwind noinline"
    )


def _filled(f: Function, system: System, access: int) -> Value:
    """Emit the tests of an access and its entry; yields what `pemu_fill` says."""
    address = f.name("%address", 64)
    misaligned = (address & (f.name("%size", 64) - 1)).ne(0)
    _raise(f, misaligned, system.misaligned[access], address)
    found = f.name(f.op(f"call i64 @pemu_fill(ptr %state, i64 {address.ir}, i32 {access})"), 64)
    _raise(f, (found & PAGE_FAULT).ne(0), found.lshr(PAGE_FAULT_SHIFT).trunc(32), address)
    with f.if_(f.at(f.context(), c.WATCHING).ne(0), unlikely=True):
        with f.if_(_is_watched(f, address, f.name("%size", 64), 1 << access)):
            f.put(s.EXIT_CODE, access)
            f.put(s.EXIT_ADDRESS, address)
            _leave_before_access(f, EXIT_WATCH)
    return found


def _leave_before_access(f: Function, reason: int) -> None:
    """Emit: leave for Python; the access is made when its instruction is run again."""
    f.put(s.EXIT_REASON, reason)
    f.do("call void @pemu_fault_landing(ptr %state)")
    f.do("unreachable")
    f.place(f.label("dead"))


def _host(f: Function, found: Value) -> str:
    inside = f.name("%address", 64) & (softmmu.PAGE - 1)
    return f.pointer((found & -softmmu.PAGE) | inside)


def _device(f: Function, found: Value, what: Value, value: str) -> Value:
    """Emit a device's access; yields its result."""
    physical = (found & -softmmu.PAGE) | (f.name("%address", 64) & (softmmu.PAGE - 1))
    arguments = f"ptr %state, i64 {physical.ir}, i64 {what.ir}, i64 {value}, i64 %address"
    return f.name(f.op(f"call i64 @pemu_device_access({arguments})"), 64)


def _by_size(f: Function, body: Callable[[int], None]) -> None:
    """Emit `body(bits)` for the size that the access has."""
    size = f.name("%size", 64)
    for count in (1, 2, 4, 8):
        with f.if_(size.eq(count)):
            body(8 * count)


def _slow_load(arch: Architecture, system: System) -> Function:
    """`pemu_slow_load(state, address, size)`: the value, in the host's byte order."""
    f = _access("pemu_slow_load", "i64")
    found = _filled(f, system, ACCESS_LOAD)
    with f.if_((found & _DEVICE).ne(0)):
        f.do(f"ret i64 {_device(f, found, f.name('%size', 64), '0').ir}")
        f.place(f.label("dead"))
    host = _host(f, found)
    result = f.var(64, 0)

    def read(bits: int) -> None:
        value = f.raw_load(host, bits, volatile=True)
        result.value = (value.bswap() if arch.big_endian else value).zext(64)

    _by_size(f, read)
    f.do(f"ret i64 {result.value.ir}")
    return f


def _notice_change(f: Function, found: Value) -> None:
    """Emit: leave for Python where a page with translated code is to change."""
    with f.if_((found & _HOLDS_CODE).ne(0), unlikely=True):
        page = (found & -softmmu.PAGE) - f.at(f.context(), c.RAM_BASE)
        f.put(s.EXIT_ADDRESS, page)
        _leave_before_access(f, EXIT_TRACK)


def _slow_store(arch: Architecture, system: System) -> Function:
    """`pemu_slow_store(state, address, size, value)`, the value in the host's byte order."""
    f = _access("pemu_slow_store", "void", ", i64 %value")
    found = _filled(f, system, ACCESS_STORE)
    with f.if_((found & (_DEVICE | _WRITABLE)).ne(_WRITABLE)):
        physical = f.var(64, found)
        with f.if_((found & _RAM).ne(0)):
            # Read-only memory: the device behind it may want to know.
            mode = _mmu_mode(f).trunc(32).ir
            again = f"ptr %state, i64 %address, i32 {ACCESS_STORE}, i32 {mode}"
            physical.value = f.name(f.op(f"call i64 @pemu_translate_address({again})"), 64)
        _device(f, physical.value, f.name("%size", 64) | softmmu.DEVICE_WRITE, "%value")
        f.do("ret void")
        f.place(f.label("dead"))
    _notice_change(f, found)
    host = _host(f, found)

    def write(bits: int) -> None:
        value = f.name("%value", 64).trunc(bits)
        f.raw_store(host, value.bswap() if arch.big_endian else value, volatile=True)

    _by_size(f, write)
    f.do("ret void")
    return f


def _slow_pointer(system: System) -> Function:
    """`pemu_slow_pointer(state, address, size)`: host address of memory that may be written.

    There is no atomic access to a device: it is a bus error.
    """
    f = _access("pemu_slow_pointer", "ptr")
    found = _filled(f, system, ACCESS_STORE)
    atomic = (found & (_DEVICE | _WRITABLE)).eq(_WRITABLE)
    _raise(f, ~atomic, system.bus_error[0], f.name("%address", 64))
    _notice_change(f, found)
    f.do(f"ret ptr {_host(f, found)}")
    return f


def _flush_line() -> Function:
    """`pemu_flush_line(state, address)`: 1 if the guest's cache instruction must drop code.

    Changes of code are noticed by themselves, except on pages where they are too frequent; of
    those only what has been translated since the last time is dropped.
    """
    f = Function(
        "hidden preserve_mostcc i1 @pemu_flush_line(ptr %state, i64 %address) nounwind noinline"
    )
    arguments = f"ptr %state, i64 %address, i32 {ACCESS_LOAD}"
    found = f.name(f.op(f"call i64 @pemu_fill({arguments})"), 64)
    with f.if_((found & _RAM).eq(0)):
        f.do("ret i1 false")
        f.place(f.label("dead"))
    ctx = f.context()
    inside = f.name("%address", 64) & (softmmu.PAGE - 1)
    place = (found & -softmmu.PAGE) - f.at(ctx, c.RAM_BASE) + inside
    f.put(s.EXIT_ADDRESS, place)
    flag = f.raw_load(f.offset(f.pointer(f.at(ctx, c.PAGE_FLAGS)), place.lshr(12)), 8)
    noticed_here = (flag & (CODE | VOLATILE)).eq(CODE | VOLATILE)
    f.do(f"ret i1 {noticed_here.ir}")
    return f


def _clock(arch: Architecture) -> Function:
    """`pemu_clock(state)`: virtual time in ns."""
    f = Function("hidden preserve_mostcc i64 @pemu_clock(ptr %state) nounwind noinline")
    if arch.counts:
        run = f.get(s.BUDGET_END) - f.get(s.BUDGET)
        now = run << f.get(s.COUNT_SHIFT).zext(64)
        f.do(f"ret i64 {(now + f.at(f.context(), c.CLOCK_OFFSET)).ir}")
        return f
    f.entry_lines.append("  %time = alloca [2 x i64], align 8")
    ctx = f.context()
    function = f.pointer(f.at(ctx, c.CLOCK))
    f.op(f"call i32 {function}(i32 1, ptr %time)")
    now = f.at("%time", 0) * 1_000_000_000 + f.at("%time", 8)
    f.do(f"ret i64 {(now + f.at(ctx, c.CLOCK_OFFSET)).ir}")
    return f


# Finding blocks.


def _probe_fetch() -> Function:
    """`pemu_probe_fetch(state, pc)`: what `pemu_fill` says of the page where code is fetched."""
    f = Function("internal i64 @pemu_probe_fetch(ptr %state, i64 %pc) nounwind")
    pc = f.name("%pc", 64)
    entry = f.offset(f.pointer(f.get(s.MEMORY_BASE)), softmmu.entry_offset(pc))
    with f.if_(f.at(entry, softmmu.FETCH_TAG).eq(pc & -softmmu.PAGE)):
        page = (pc & -softmmu.PAGE) + f.at(entry, softmmu.ADDEND)
        f.do(f"ret i64 {(page | _RAM).ir}")
        f.place(f.label("dead"))
    arguments = f"ptr %state, i64 %pc, i32 {ACCESS_FETCH}"
    f.do(f"ret i64 {f.op(f'call i64 @pemu_fill({arguments})')}")
    return f


def _lookup(arch: Architecture, system: System) -> Function:
    """`pemu_lookup(state)`: the block to run at the state's pc; 0 to leave native code.

    Exceptions on the way are entered, and their vector's block is found instead.
    """
    f = Function("hidden i64 @pemu_lookup(ptr %state) nounwind noinline")
    f.do("br label %again")
    f.place("again")
    pc = f.get(s.PC)

    def enter(code: str, slot: int = 0) -> None:
        f.put(s.IN_SLOT, slot)
        f.do(f"call void @pemu_enter_exception(ptr %state, i32 {code}, i64 {pc.ir})")
        # A guest whose exception vector cannot be fetched must not keep the host from stopping it.
        with f.if_(f.raw_load(f.state_field(s.EXIT_FLAG), 8, volatile=True).ne(0)):
            f.put(s.EXIT_REASON, EXIT_INTERRUPT)
            f.do("ret i64 0")
            f.place(f.label("dead"))
        f.do("br label %again")
        f.place(f.label("dead"))

    with f.if_((pc & (arch.insn_bytes - 1)).ne(0), unlikely=True):
        enter(str(system.misaligned[ACCESS_LOAD]))
    found = f.name(f.op(f"call i64 @pemu_probe_fetch(ptr %state, i64 {pc.ir})"), 64)
    with f.if_((found & PAGE_FAULT).ne(0), unlikely=True):
        enter(found.lshr(PAGE_FAULT_SHIFT).trunc(32).ir)
    with f.if_((found & _RAM).eq(0), unlikely=True):
        enter(str(system.bus_error[1]))
    ctx = f.context()
    host = (found & -softmmu.PAGE) | (pc & (softmmu.PAGE - 1))
    place = host - f.at(ctx, c.RAM_BASE)
    tag = runtime.tag_of(f, pc)
    block = runtime.find_at(f, ctx, tag, pc, place)
    with f.if_(block.ne(0)):
        f.do(f"ret i64 {block.ir}")
        f.place(f.label("dead"))
    made = f.name(f.op(f"call i64 @pemu_translate(ptr %state, i64 {place.ir})"), 64)
    with f.if_(made.eq(FAULTED), unlikely=True):
        f.do("br label %again")
        f.place(f.label("dead"))
    f.do(f"ret i64 {made.ir}")
    return f


def _blame() -> Function:
    """`pemu_blame(op, state)`: store which instruction a tier 0 op belongs to."""
    f = Function("hidden preserve_mostcc void @pemu_blame(ptr %op, ptr %state) nounwind noinline")
    _store_place(f)
    f.do("ret void")
    return f


def _store_place(f: Function) -> None:
    """Emit: store where the present op's instruction is: address, and whether in a delay slot."""
    place = f.store_op_pc()
    f.put(s.IN_SLOT, place.lshr(7).zext(32))


def _handlers(arch: Architecture) -> list[Function]:
    """The handlers that whole processors have instead of, or beside, those of `runtime`."""
    raised = handler("pemu_raise", "hidden ")
    _store_place(raised)
    raised.tail("@pemu_raise_here")
    here = handler("pemu_raise_here", "hidden ")
    code, argument = here.get(s.EXIT_CODE).trunc(32), here.get(s.EXIT_ADDRESS)
    here.do(f"call void @pemu_enter_exception(ptr %state, i32 {code.ir}, i64 {argument.ir})")
    here.tail("@pemu_dispatch")
    poll = handler("pemu_poll", "hidden ")
    with poll.if_(poll.raw_load(poll.state_field(s.EXIT_FLAG), 8, volatile=True).ne(0)):
        poll.leave(EXIT_INTERRUPT)
        poll.place(poll.label("dead"))
    poll.put(s.IRQ_FLAG, 0)
    poll.do("fence seq_cst")
    poll.op("call i1 @pemu_take_interrupt(ptr %state)")
    poll.tail("@pemu_dispatch")
    out = handler("pemu_exit", "hidden ")
    out.store_op_pc()
    out.put(s.PC, out.get(s.PC) + arch.insn_bytes)
    out.leave(EXIT_SYSTEM)
    return [raised, here, poll, out, _enter_crossing(arch)]


def _enter_crossing(arch: Architecture) -> Function:
    """`pemu_enter_crossing`: first op of a block whose delay slot is on the page after.

    That page may be mapped elsewhere by now: then the block is of no use any more.
    """
    f = handler("pemu_enter_crossing", "hidden ")
    block = f.offset("%op", -c.HEADER)
    size = f.at(block, c.GUEST_BYTES, 32).zext(64)
    slot = f.at(block, c.BLOCK_PC) + size - arch.insn_bytes
    found = f.name(f.op(f"call i64 @pemu_probe_fetch(ptr %state, i64 {slot.ir})"), 64)
    host = f.at(f.context(), c.RAM_BASE) + f.at(block, c.SECOND_AT)
    same = (found & (-softmmu.PAGE | _RAM | PAGE_FAULT)).eq((host & -softmmu.PAGE) | _RAM)
    with f.if_(same):
        f.tail("@pemu_enter_block")
        f.place(f.label("dead"))
    f.put(s.PC, f.at(block, c.BLOCK_PC))
    f.set_at(block, c.TAG, f.const(-1, 64))
    f.set_at(block, c.STATUS, f.at(block, c.STATUS, 32) | c.STALE)
    f.do(f"store ptr @pemu_stale_block, ptr {f.offset(block, c.HEADER)}, align 8")
    f.tail("@pemu_dispatch")
    return f
