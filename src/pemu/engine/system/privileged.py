"""Native functions of whole processors: exceptions, interrupts, and where code is found.

What the architecture gives (`architecture.System`) is staged here once; blocks are found by
guest-virtual and host address. `softtlb` and `slowaccess` have what accesses need.

A function that enters an exception does not return to generated code: it goes on at
`pemu_unwind`, which takes the host's stack back to where native code was entered.
"""

from __future__ import annotations

from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.layout.exits import EXIT_INTERRUPT, EXIT_SYSTEM
from pemu.engine.layout.pages import PAGE
from pemu.engine.staging import softmmu
from pemu.engine.staging.architecture import (
    ACCESS_LOAD,
    PAGE_FAULT,
    PAGE_FAULT_SHIFT,
)
from pemu.engine.staging.blocktable import find, list_at, tag_of
from pemu.engine.staging.builder import StateBuilder, with_registers
from pemu.engine.staging.function import Function, handler
from pemu.engine.system import slowaccess, softtlb
from pemu.engine.system.softtlb import RAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.architecture import Architecture, System
    from pemu.engine.staging.helper import Helper
    from pemu.engine.staging.values import Value

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
        *softtlb.functions(arch, system),
        _enter_exception(),
        *slowaccess.functions(arch, system),
        _clock(arch),
        _lookup(arch, system),
        _blame(arch),
        *_handlers(arch),
    ):
        staged.add(function)
    staged.declarations |= {
        "declare hidden void @pemu_unwind(ptr) noreturn",
        "declare void @llvm.x86.sse.stmxcsr(ptr)",
        "declare void @llvm.x86.sse.ldmxcsr(ptr)",
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

    def may_interrupt(cpu: SystemBuilder) -> None:
        cpu.do(f"ret i1 {system.may_interrupt(cpu).ir}")

    def fixed(cpu: SystemBuilder) -> None:
        address = cpu.name("%address", 64).trunc(arch.xlen)
        cpu.do(f"ret i1 {system.fixed(cpu, address).ir}")

    how = "nounwind noinline"
    parameters = "ptr %state, i64 %address, i32 %access, i32 %mmu"
    staged.stage(arch, f"hidden i64 @pemu_translate_address({parameters}) {how}", translate)
    parameters = "ptr %state, i32 %code, i64 %argument"
    staged.stage(arch, f"internal void @pemu_begin_exception({parameters}) {how}", enter_exception)
    staged.stage(arch, f"hidden i1 @pemu_take_interrupt(ptr %state) {how}", take_interrupt)
    staged.stage(arch, f"internal i32 @pemu_current_mode(ptr %state) {how}", current_mode)
    staged.stage(arch, f"internal i1 @pemu_may_interrupt(ptr %state) {how}", may_interrupt)
    staged.stage(arch, f"internal i1 @pemu_fixed(ptr %state, i64 %address) {how}", fixed)


def _enter_exception() -> Function:
    """`pemu_enter_exception(state, code, argument)`: enter one, and tell who wants to know."""
    f = Function(
        "hidden void @pemu_enter_exception(ptr %state, i32 %code, i64 %argument) nounwind noinline"
    )
    code = f.name("%code", 32).zext(64)
    softtlb.report(f, c.ON_EXCEPTION, code, f.const(0, 64))
    f.do("call void @pemu_begin_exception(ptr %state, i32 %code, i64 %argument)")
    softtlb.report(f, c.ON_EXCEPTION, code, f.const(1, 64))
    f.do("ret void")
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
    ctx = f.context()
    fixed = f.name(f.op(f"call i1 @pemu_fixed(ptr %state, i64 {pc.ir})"), 1)
    with f.if_(fixed):
        known = find(f, ctx, tag_of(f, pc), machine=True)
        with f.if_(known.ne(0)):
            _arrive_first(f, ctx, known, pc)
    found = f.name(f.op(f"call i64 @pemu_probe_fetch(ptr %state, i64 {pc.ir})"), 64)
    with f.if_((found & PAGE_FAULT).ne(0), unlikely=True):
        enter(found.lshr(PAGE_FAULT_SHIFT).trunc(32).ir)
    with f.if_((found & RAM).eq(0), unlikely=True):
        enter(str(system.bus_error[1]))
    host = (found & -PAGE) | (pc & (PAGE - 1))
    place = host - f.at(ctx, c.RAM_BASE)
    with f.if_(~fixed):
        known = find(f, ctx, tag_of(f, place | c.PLACE_TAG), place, machine=True)
        with f.if_(known.ne(0)):
            _arrive_first(f, ctx, known, pc)
    made = f.name(f.op(f"call i64 @pemu_translate(ptr %state, i64 {place.ir})"), 64)
    with f.if_(made.eq(FAULTED), unlikely=True):
        f.do("br label %again")
        f.place(f.label("dead"))
    with f.if_(made.eq(0), unlikely=True):
        f.do("ret i64 0")
        f.place(f.label("dead"))
    softmmu.arrive(f, f.pointer(made), pc)
    f.do(f"ret i64 {made.ir}")
    return f


def _arrive_first(f: Function, ctx: str, block: Value, pc: Value) -> None:
    """Emit: yield a block that was found, from now on as the first of its list."""
    pointer = f.pointer(block)
    head = list_at(f, ctx, f.at(pointer, c.TAG), machine=True)
    with f.if_(f.raw_load(head, 64, align=8).ne(block), unlikely=True):
        f.do(f"call void @pemu_promote(ptr {ctx}, ptr {pointer})")
    softmmu.arrive(f, pointer, pc)
    f.do(f"ret i64 {block.ir}")
    f.place(f.label("dead"))


def _blame(arch: Architecture) -> Function:
    """`pemu_blame(op, state)`: store which instruction a tier 0 op belongs to."""
    f = Function("hidden preserve_mostcc void @pemu_blame(ptr %op, ptr %state) nounwind noinline")
    _store_place(f, arch)
    f.do("ret void")
    return f


def _store_place(f: Function, arch: Architecture) -> None:
    """Emit: store where the present op's instruction is: address, and whether in a delay slot."""
    place = f.store_op_pc(arch)
    f.put(s.IN_SLOT, place.lshr(7).zext(32))


def _handlers(arch: Architecture) -> list[Function]:
    """The handlers that whole processors have instead of, or beside, those of `runtime`."""
    raised = handler("pemu_raise", "hidden ")
    _store_place(raised, arch)
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
    out.store_op_pc(arch)
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
    slot = f.block_pc(arch, block) + size - arch.insn_bytes
    found = f.name(f.op(f"call i64 @pemu_probe_fetch(ptr %state, i64 {slot.ir})"), 64)
    host = f.at(f.context(), c.RAM_BASE) + f.at(block, c.SECOND_AT)
    same = (found & (-PAGE | RAM | PAGE_FAULT)).eq((host & -PAGE) | RAM)
    with f.if_(same):
        f.tail("@pemu_enter_block")
        f.place(f.label("dead"))
    f.put(s.PC, f.block_pc(arch, block))
    f.set_at(block, c.TAG, f.const(-1, 64))
    f.set_at(block, c.STATUS, f.at(block, c.STATUS, 32) | c.STALE)
    f.do(f"store ptr @pemu_stale_block, ptr {f.offset(block, c.HEADER)}, align 8")
    f.tail("@pemu_dispatch")
    return f
