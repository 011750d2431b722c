"""The native translator: from guest code to the ops of a tier 0 block."""

from __future__ import annotations

from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.layout.exits import (
    EXIT_FAULT,
    EXIT_FULL,
    EXIT_NEW_BLOCK,
    EXIT_PART,
    EXIT_TRACK,
    FAULT_FETCH,
    FAULT_MISALIGNED,
)
from pemu.engine.layout.pages import CODE, READ, TRACK, VOLATILE, WRITE
from pemu.engine.staging.architecture import COUNTED, PAGE_FAULT, PAGE_FAULT_SHIFT
from pemu.engine.staging.blocktable import find, list_at
from pemu.engine.staging.function import Function
from pemu.engine.staging.softmmu import MAP_RAM
from pemu.engine.system.privileged import FAULTED
from pemu.engine.system.softtlb import watch
from pemu.engine.tier0 import runtime
from pemu.engine.tier0.warm import list_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.values import Value


class _ProgramCode:
    """Guest code in a program's memory, where a guest-virtual address is all there is to know."""

    def __init__(self, f: Function, arch: Architecture, start: Value) -> None:
        self._f = f
        self._arch = arch
        self._start = start
        self._flags = f.pointer(f.at(f.context(), c.PAGE_FLAGS))

    def begin(self) -> None:
        """Emit the checks of where the block begins."""
        f, arch, start = self._f, self._arch, self._start

        def bad_fetch(code: int) -> None:
            f.put(s.EXIT_ADDRESS, start)
            f.put(s.EXIT_CODE, code)
            _out(f, EXIT_FAULT)

        with f.if_((start & (arch.insn_bytes - 1)).ne(0), unlikely=True):
            bad_fetch(FAULT_FETCH | FAULT_MISALIGNED)
        reachable = 32 if arch.address_bits == 32 else arch.address_bits
        with f.if_(start.lshr(reachable).ne(0), unlikely=True):
            bad_fetch(FAULT_FETCH)
        self._mark(start)

    def _mark(self, address: Value) -> None:
        """Note that the page at an address holds translated code; it must not be written unseen."""
        f = self._f
        at = f.offset(self._flags, address.lshr(12))
        page = f.raw_load(at, 8, volatile=True)
        deciding = page & (WRITE | TRACK | VOLATILE)
        with f.if_(deciding.eq(WRITE), unlikely=True):
            f.put(s.EXIT_ADDRESS, address & ~4095)
            _out(f, EXIT_TRACK)
        f.do(f"%unused{f.label('x')} = atomicrmw or ptr {at}, i8 {CODE} monotonic")

    def pointer(self, address: Value) -> str:
        """Host pointer operand of guest code."""
        return self._f.offset("%mem", address)

    def open_next_page(self, address: Value, count: Value) -> Value:
        """Get at a delay slot on the page after; one bit: 0 if that has to wait.

        `count`: instructions of the block. It must not fault half-way: a branch is left to a block
        of its own.
        """
        f = self._f
        fine = f.var(1, 1)
        page = f.raw_load(f.offset(self._flags, address.lshr(12)), 8, volatile=True)
        with f.if_((page & READ).eq(0) & count.ugt(1)) as bad:
            fine.value = 0
        with bad.otherwise():
            self._mark(address)
        return fine.value

    def near(self, target: Value) -> Value | None:
        """One bit: a chain to an address needs no check; None where none does."""
        return None

    def counted(self, address: Value, absolute: Value | None = None) -> Value:
        """What stands for a guest address in the block. `absolute`: it is at no fixed distance."""
        return address

    def hooked(self, pc: Value, hook: Value) -> Value:
        """One bit: there may be a hook at `pc` because there is one at `hook`."""
        return hook.eq(pc)

    def fields(self, mode_tag: Value) -> list[tuple[int, Value]]:
        """What the block's header says of where it is."""
        start = self._start
        return [
            (c.TAG, start ^ mode_tag),
            (c.BLOCK_PC, start),
            (c.CODE_AT, start),
            (c.SECOND_AT, self._f.const(0, 64)),
        ]

    def status(self) -> Value:
        """Bits for the block's STATUS."""
        return self._f.const(0, 32)


class _MachineCode(_ProgramCode):
    """Guest code in a machine's memory: found by `pemu_lookup`, which knows where it lies."""

    def __init__(self, f: Function, arch: Architecture, start: Value) -> None:
        super().__init__(f, arch, start)
        self._place = f.name("%place", 64)
        self._base = f.at(f.context(), c.RAM_BASE)
        self._second = f.var(64, 0)
        fixed = f.name(f.op(f"call i1 @pemu_fixed(ptr %state, i64 {start.ir})"), 1)
        self.floating = ~fixed
        self._origin = fixed.select(f.const(0, 64), start & ~4095)

    def begin(self) -> None:
        watch(self._f, self._place)

    def pointer(self, address: Value) -> str:
        f = self._f
        here = self._place + (address - self._start)
        crosses = self._second.value.ne(0) & ((address ^ self._start) & ~4095).ne(0)
        return f.pointer(self._base + crosses.select(self._second.value, here))

    def open_next_page(self, address: Value, count: Value) -> Value:
        f = self._f
        found = f.name(f.op(f"call i64 @pemu_probe_fetch(ptr %state, i64 {address.ir})"), 64)
        memory = (found & (PAGE_FAULT | MAP_RAM)).eq(MAP_RAM)
        with f.if_(memory) as arm:
            self._second.value = (found & ~4095) - self._base
            watch(f, self._second.value)
        with arm.otherwise(), f.if_(count.eq(1)):
            system = self._arch.system
            assert system is not None
            faults = (found & PAGE_FAULT).ne(0)
            code = faults.select(found.lshr(PAGE_FAULT_SHIFT).trunc(32), system.bus_error[1])
            f.put(s.IN_SLOT, 1)
            arguments = f"ptr %state, i32 {code.ir}, i64 {address.ir}"
            f.do(f"call void @pemu_enter_exception({arguments})")
            f.do(f"ret i64 {FAULTED}")
            f.place(f.label("dead"))
        return memory

    def near(self, target: Value) -> Value | None:
        return ((target ^ self._start) & ~4095).eq(0)

    def counted(self, address: Value, absolute: Value | None = None) -> Value:
        distance = address - self._origin
        return distance if absolute is None else absolute.select(address, distance)

    def hooked(self, pc: Value, hook: Value) -> Value:
        return hook.eq(pc) | self.floating & ((hook ^ pc) & 4095).eq(0)

    def fields(self, mode_tag: Value) -> list[tuple[int, Value]]:
        key = self.floating.select(self._place | c.PLACE_TAG, self._start)
        return [
            (c.TAG, key ^ mode_tag),
            (c.BLOCK_PC, self._start - self._origin),
            (c.BASE, self._origin),
            (c.CODE_AT, self._place),
            (c.SECOND_AT, self._second.value),
        ]

    def status(self) -> Value:
        return self.floating.select(self._f.const(c.FLOATING, 32), 0)


def _out(f: Function, reason: int) -> None:
    f.put(s.EXIT_REASON, reason)
    f.do("ret i64 0")
    f.place(f.label("dead"))


def translator(arch: Architecture) -> Function:
    """`pemu_translate(state, mem)`: translate the block at the state's pc; its address or 0.

    With 0 an exit reason has been stored. The block is put together in a buffer on the stack; only
    then is the lock taken, as reading guest code may fault and never come back here.

    For a whole processor `pemu_translate(state, place)`, where the code lies at `place` from the
    start of the machine's memory; it may yield FAULTED, too.
    """
    parameters = "ptr %state, ptr %mem" if arch.system is None else "ptr %state, i64 %place"
    f = Function(f"internal i64 @pemu_translate({parameters}) nounwind noinline")
    unit = arch.insn_bytes * 8
    buffer_bytes = c.HEADER + c.OP * (2 * c.MAX_BLOCK_INSNS + 4) + c.END_BYTES
    f.entry_lines.append(f"  %buf = alloca [{buffer_bytes} x i8], align 16")
    f.entry_lines.append("  %target = alloca i64, align 8")
    ctx = f.context()
    start = f.get(s.PC)
    mode_tag = f.get(s.MODE_TAG)
    f.put(s.CURRENT_OP, runtime.FETCHING)
    code = (_ProgramCode if arch.system is None else _MachineCode)(f, arch, start)
    code.begin()

    pc = f.var(64, start)
    count = f.var(32, 0)
    at = f.var(64, c.HEADER)
    ending = f.var(32, runtime.PLAIN)
    last = f.var(1, 0)

    def op_at() -> str:
        return f.offset("%buf", at.value)

    def finish_op(place: Value) -> None:
        f.set_at(op_at(), c.SLOT, at.value.lshr(4).trunc(8))
        f.set_at(op_at(), c.PLACE, place.trunc(8))
        at.value = at.value + c.OP

    def put_handler(name: str) -> None:
        f.do(f"store ptr @{name}, ptr {op_at()}, align 8")

    def decode(address: Value, claimed: Value | None = None) -> Value:
        word = f.raw_load(code.pointer(address), unit, volatile=True, align=4)
        if arch.big_endian:
            word = word.bswap()
        seen_at = address if claimed is None else claimed
        given = f"(i{unit} {word.ir}, ptr {op_at()}, ptr %target, i64 {seen_at.ir})"
        result = f.var(32, f.name(f.op(f"call i32 @pemu_decode{given}"), 32))
        with f.if_(result.value.uge(runtime.ELSEWHERE), unlikely=True):
            part = (result.value - runtime.ELSEWHERE).zext(64)
            mode = mode_tag.lshr(c.MODE_SHIFT) & ((1 << c.MMU_SHIFT) - 1)
            entry = part * len(arch.modes) + mode
            table = f.pointer(f.at(ctx, c.PARTS))
            decoder = f.raw_load(f.offset(table, entry << 3), 64)
            with f.if_(decoder.eq(0), unlikely=True):
                f.put(s.EXIT_CODE, entry)
                _out(f, EXIT_PART)
            result.value = f.name(f.op(f"call i32 {f.pointer(decoder)}{given}"), 32)
        return result.value

    put_handler("pemu_enter_block")
    finish_op(f.const(0, 32))
    counted = sum((COUNTED in mode) << number for number, mode in enumerate(arch.modes))
    if counted:
        mode = mode_tag.lshr(c.MODE_SHIFT) & ((1 << c.MMU_SHIFT) - 1)
        with f.if_(f.const(counted, 64).lshr(mode).bit(0), unlikely=True):
            put_handler("pemu_count")
            finish_op(f.const(0, 32))

    hooked_here = f.var(1, (f.at(ctx, c.OPTIONS) & c.OPTION_HOOK_BLOCKS).ne(0))
    hook_count = f.at(ctx, c.HOOK_COUNT)
    hooks = f.pointer(f.at(ctx, c.HOOKS))
    steps = f.get(s.STEP).ne(0)
    max_insns = steps.select(f.const(1, 32), f.at(ctx, c.MAX_INSNS).trunc(32))

    def mark_near(op: str, at_: int, target: Value) -> None:
        near = code.near(target)
        if near is not None:
            f.set_at(op, at_, near.zext(8))

    def end_one_way(name: str, address: Value) -> None:
        put_handler(name)
        op = op_at()
        finish_op(count.value)
        f.set_at(op, c.CHAIN_TAKEN, f.const(0, 64))
        f.set_at(op, c.PC_TAKEN, code.counted(address))
        f.set_at(op, c.ABSOLUTE, f.const(0, 8))
        mark_near(op, c.NEAR_TAKEN, address)
        at.value = at.value + (c.END_BYTES - c.OP)
        last.value = 1

    with f.while_(lambda: ~last.value):
        with f.if_(hook_count.ne(0), unlikely=True):
            index = f.var(64, 0)
            with f.while_(lambda: index.value.ult(hook_count)):
                hooked = f.raw_load(f.offset(hooks, index.value << 3), 64)
                hooked_here.value = hooked_here.value | code.hooked(pc.value, hooked)
                index.value = index.value + 1
        with f.if_(hooked_here.value, unlikely=True):
            put_handler("pemu_hook")
            finish_op(count.value)
            hooked_here.value = 0
        ending.value = decode(pc.value)
        absolute = f.var(1, 0)
        if isinstance(code, _MachineCode):
            with f.if_(ending.value.eq(runtime.JUMP) & code.floating, unlikely=True):
                target = f.raw_load("%target", 64, align=8)
                decode(pc.value, pc.value + 4096)
                moved = f.raw_load("%target", 64, align=8) - target
                absolute.value = moved.ne(4096)
                f.raw_store("%target", target, align=8)
        finish_op(count.value)
        pc.value = pc.value + arch.insn_bytes
        count.value = count.value + 1
        branches = ending.value.uge(runtime.BRANCH) & ending.value.ule(runtime.JUMP_REGISTER)
        with f.if_(branches) as arm:
            readable = f.var(1, 1)
            changes = f.var(1, 0)  # the delay slot may change the translation mode
            if arch.delay_slots:
                with f.if_((pc.value & 4095).eq(0), unlikely=True):
                    readable.value = code.open_next_page(pc.value, count.value)
                    with f.if_(~readable.value):
                        at.value = at.value - c.OP
                        pc.value = pc.value - arch.insn_bytes
                        count.value = count.value - 1
                        end_one_way("pemu_end_jump", pc.value)
            with f.if_(readable.value):
                if arch.delay_slots:
                    kept = f.raw_load("%target", 64, align=8)
                    slot_ending = decode(pc.value)
                    f.raw_store("%target", kept, align=8)
                    changes.value = slot_ending.eq(runtime.STOP_NEXT)
                    fine = slot_ending.eq(runtime.PLAIN) | slot_ending.eq(runtime.STOP)
                    with f.if_(~(fine | changes.value), unlikely=True):
                        put_handler("pemu_reserved")
                    finish_op((count.value - 1) | 0x80)
                    pc.value = pc.value + arch.insn_bytes
                    count.value = count.value + 1
                target = f.raw_load("%target", 64, align=8)
                for kind, name, after_change in (
                    (runtime.BRANCH, "pemu_end_branch", "pemu_end_branch_next"),
                    (runtime.LIKELY, "pemu_end_branch", "pemu_end_branch_next"),
                    (runtime.JUMP, "pemu_end_jump", "pemu_end_next"),
                    (runtime.JUMP_REGISTER, "pemu_end_register", "pemu_jump_miss"),
                ):
                    with f.if_(ending.value.eq(kind)):
                        put_handler(name)
                        with f.if_(changes.value, unlikely=True):
                            put_handler(after_change)
                op = op_at()
                finish_op(count.value)
                for offset, value in (
                    (c.CHAIN_TAKEN, f.const(0, 64)),
                    (c.CHAIN_NEXT, f.const(0, 64)),
                    (c.PC_TAKEN, code.counted(target, absolute.value)),
                    (c.PC_NEXT, code.counted(pc.value)),
                    (c.ABSOLUTE, absolute.value.zext(8)),
                ):
                    f.set_at(op, offset, value)
                mark_near(op, c.NEAR_TAKEN, target)
                with f.if_(absolute.value, unlikely=True):
                    f.set_at(op, c.NEAR_TAKEN, f.const(0, 8))
                mark_near(op, c.NEAR_NEXT, pc.value)
                at.value = at.value + (c.END_BYTES - c.OP)
                last.value = 1
        with arm.otherwise():
            with f.if_(ending.value.eq(runtime.STOP)):
                last.value = 1
            with f.if_(ending.value.eq(runtime.STOP_NEXT)):
                end_one_way("pemu_end_next", pc.value)
            with f.if_(ending.value.eq(runtime.PLAIN)):
                full = count.value.uge(max_insns) | (pc.value & 4095).eq(0)
                with f.if_(full):
                    end_one_way("pemu_end_jump", pc.value)

    size = at.value
    for offset, value in (
        (c.COUNTER, f.at(ctx, c.HOT_THRESHOLD).trunc(32)),
        (c.GUEST_BYTES, (pc.value - start).trunc(32)),
        (c.STATUS, steps.select(f.const(c.VALID | c.SINGLE, 32), c.VALID) | code.status()),
        (c.BYTES, size.trunc(32)),
        *code.fields(mode_tag),
    ):
        f.set_at("%buf", offset, value)
    f.do(f"store ptr @pemu_tier0, ptr {f.offset('%buf', c.FAST_ENTRY)}, align 8")

    base = "%mem" if arch.system is None else f.pointer(f.at(ctx, c.RAM_BASE))
    with f.if_(~steps & f.at("%buf", c.SECOND_AT).eq(0)):
        f.do(f"call void @pemu_warm(ptr {ctx}, ptr {base}, ptr %buf, ptr %state)")
    if arch.system is not None:
        with f.if_(f.at("%buf", c.SECOND_AT).ne(0), unlikely=True):
            f.do(f"store ptr @pemu_enter_crossing, ptr {f.offset('%buf', c.HEADER)}, align 8")
    f.do(f"call void @pemu_lock(ptr {ctx})")
    tag = f.at("%buf", c.TAG)
    f.do(f"call void @pemu_confirm(ptr {ctx}, ptr %buf)")
    machine = arch.system is not None
    again = find(f, ctx, tag, f.name("%place", 64) if machine else None, machine=machine)
    with f.if_(again.ne(0), unlikely=True):
        f.do(f"call void @pemu_unlock(ptr {ctx})")
        f.do(f"ret i64 {again.ir}")
        f.place(f.label("dead"))
    block = f.at(ctx, c.ARENA_NEXT)
    with f.if_((block + size).ugt(f.at(ctx, c.ARENA_END)), unlikely=True):
        f.do(f"call void @pemu_unlock(ptr {ctx})")
        _out(f, EXIT_FULL)
    f.set_at(ctx, c.ARENA_NEXT, block + size)
    head = list_at(f, ctx, tag, machine=machine)
    f.set_at("%buf", c.NEXT, f.raw_load(head, 64, align=8))
    listed = list_of(f, ctx, "%buf")
    f.set_at("%buf", c.PAGE_NEXT, f.raw_load(listed, 64, align=8))
    destination = f.pointer(block)
    copied = f.var(64, 0)
    with f.while_(lambda: copied.value.ult(size)):
        piece = f.raw_load(f.offset("%buf", copied.value), 64, volatile=True, align=8)
        f.raw_store(f.offset(destination, copied.value), piece, align=8)
        copied.value = copied.value + 8
    f.do(f"store atomic i64 {block.ir}, ptr {head} release, align 8")
    f.raw_store(listed, block, align=8)
    f.set_at(ctx, c.BLOCK_COUNT, f.at(ctx, c.BLOCK_COUNT) + 1)
    f.do(f"call void @pemu_unlock(ptr {ctx})")
    f.put(s.CURRENT_OP, 0)
    report = f.at(ctx, c.OPTIONS) & c.OPTION_REPORT_BLOCKS
    with f.if_(report.ne(0), unlikely=True):
        f.put(s.EXIT_BLOCK, block)
        _out(f, EXIT_NEW_BLOCK)
    f.do(f"ret i64 {block.ir}")
    return f
