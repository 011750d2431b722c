"""The native translator: from guest code to the ops of a tier 0 block."""

from __future__ import annotations

from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.layout.exits import (
    EXIT_FULL,
    EXIT_NEW_BLOCK,
    EXIT_PART,
)
from pemu.engine.staging.architecture import COUNTED
from pemu.engine.staging.blocktable import find, list_at
from pemu.engine.staging.function import Function
from pemu.engine.tier0 import runtime
from pemu.engine.tier0.guestcode import MachineCode, ProgramCode, give_up
from pemu.engine.tier0.warm import list_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.flow import Variable
    from pemu.engine.staging.values import Value


def translator(arch: Architecture) -> Function:
    """`pemu_translate(state, mem)`: translate the block at the state's pc; its address or 0.

    With 0 an exit reason has been stored. The block is put together in a buffer on the stack; only
    then is the lock taken, as reading guest code may fault and never come back here.

    For a whole processor `pemu_translate(state, place)`, where the code lies at `place` from the
    start of the machine's memory; it may yield FAULTED, too.
    """
    return _Translator(arch).emit()


_BUFFER_BYTES = c.HEADER + c.OP * (2 * c.MAX_BLOCK_INSNS + 4) + c.END_BYTES

_BRANCH_ENDS = (
    (runtime.BRANCH, "pemu_end_branch", "pemu_end_branch_next"),
    (runtime.LIKELY, "pemu_end_branch", "pemu_end_branch_next"),
    (runtime.JUMP, "pemu_end_jump", "pemu_end_next"),
    (runtime.JUMP_REGISTER, "pemu_end_register", "pemu_jump_miss"),
)
"""By how a block ends: the handler of its last op, and that for a delay slot which may change the
translation mode."""


class _Translator:
    """Emits `pemu_translate`.

    What it knows while it runs: the address of the next instruction, how many there have been,
    where in the buffer the next op goes, how the present instruction ends, and whether the block
    is complete.
    """

    def __init__(self, arch: Architecture) -> None:
        self._arch = arch
        parameters = "ptr %state, ptr %mem" if arch.system is None else "ptr %state, i64 %place"
        f = Function(f"internal i64 @pemu_translate({parameters}) nounwind noinline")
        f.entry_lines.append(f"  %buf = alloca [{_BUFFER_BYTES} x i8], align 16")
        f.entry_lines.append("  %target = alloca i64, align 8")
        self._f = f
        self._ctx = f.context()
        self._start = f.get(s.PC)
        self._mode_tag = f.get(s.MODE_TAG)
        f.put(s.CURRENT_OP, runtime.FETCHING)
        kind = ProgramCode if arch.system is None else MachineCode
        self._code = kind(f, arch, self._start)
        self._code.begin()
        self._pc = f.var(64, self._start)
        self._count = f.var(32, 0)
        self._at = f.var(64, c.HEADER)
        self._ending = f.var(32, runtime.PLAIN)
        self._last = f.var(1, 0)

    def emit(self) -> Function:
        """Emit the function."""
        f = self._f
        self._put_block_entry()
        hooks = _Hooks(f, self._ctx, self._code)
        steps = f.get(s.STEP).ne(0)
        max_insns = steps.select(f.const(1, 32), f.at(self._ctx, c.MAX_INSNS).trunc(32))
        with f.while_(lambda: ~self._last.value):
            with f.if_(hooks.wanted(self._pc), unlikely=True):
                self._put_handler("pemu_hook")
                self._finish_op(self._count.value)
                hooks.done()
            self._put_insn(max_insns)
        size = self._at.value
        self._fill_header(size, steps)
        self._use_stored_region(steps)
        self._hand_over(self._insert(size))
        return f

    # Ops.

    def _op_at(self) -> str:
        return self._f.offset("%buf", self._at.value)

    def _put_handler(self, name: str) -> None:
        self._f.do(f"store ptr @{name}, ptr {self._op_at()}, align 8")

    def _finish_op(self, place: Value) -> None:
        f = self._f
        f.set_at(self._op_at(), c.SLOT, self._at.value.lshr(4).trunc(8))
        f.set_at(self._op_at(), c.PLACE, place.trunc(8))
        self._at.value = self._at.value + c.OP

    def _put_op(self, handler: str, place: Value) -> None:
        self._put_handler(handler)
        self._finish_op(place)

    def _mode(self) -> Value:
        return self._mode_tag.lshr(c.MODE_SHIFT) & ((1 << c.MMU_SHIFT) - 1)

    def _decode(self, address: Value, claimed: Value | None = None) -> Value:
        """Decode the instruction at an address, as if it was at `claimed`; how it ends."""
        f, arch = self._f, self._arch
        unit = arch.insn_bytes * 8
        word = f.raw_load(self._code.pointer(address), unit, volatile=True, align=4)
        if arch.big_endian:
            word = word.bswap()
        seen_at = address if claimed is None else claimed
        given = f"(i{unit} {word.ir}, ptr {self._op_at()}, ptr %target, i64 {seen_at.ir})"
        result = f.var(32, f.name(f.op(f"call i32 @pemu_decode{given}"), 32))
        with f.if_(result.value.uge(runtime.ELSEWHERE), unlikely=True):
            decoder = self._part_decoder((result.value - runtime.ELSEWHERE).zext(64))
            result.value = f.name(f.op(f"call i32 {f.pointer(decoder)}{given}"), 32)
        return result.value

    def _part_decoder(self, part: Value) -> Value:
        """Host address of the decoder of a part. Native code is left if it is not loaded."""
        f = self._f
        mode = self._mode()
        entry = part * len(self._arch.modes) + mode
        table = f.pointer(f.at(self._ctx, c.PARTS))
        decoder = f.raw_load(f.offset(table, entry << 3), 64)
        with f.if_(decoder.eq(0), unlikely=True):
            f.put(s.EXIT_CODE, entry)
            give_up(f, EXIT_PART)
        return decoder

    # The parts of a block.

    def _put_block_entry(self) -> None:
        f = self._f
        self._put_op("pemu_enter_block", f.const(0, 32))
        counted = sum((COUNTED in mode) << number for number, mode in enumerate(self._arch.modes))
        if counted:
            mode = self._mode()
            with f.if_(f.const(counted, 64).lshr(mode).bit(0), unlikely=True):
                self._put_op("pemu_count", f.const(0, 32))

    def _put_insn(self, max_insns: Value) -> None:
        """Translate the next instruction, a branch with its delay slot."""
        f = self._f
        self._ending.value = self._decode(self._pc.value)
        absolute = self._note_absolute()
        self._finish_op(self._count.value)
        self._pass_insn()
        ending = self._ending
        branches = ending.value.uge(runtime.BRANCH) & ending.value.ule(runtime.JUMP_REGISTER)
        with f.if_(branches) as arm:
            self._end_with_branch(absolute)
        with arm.otherwise():
            with f.if_(ending.value.eq(runtime.STOP)):
                self._last.value = 1
            with f.if_(ending.value.eq(runtime.STOP_NEXT)):
                self._end_one_way("pemu_end_next")
            with f.if_(ending.value.eq(runtime.PLAIN)):
                full = self._count.value.uge(max_insns) | (self._pc.value & 4095).eq(0)
                with f.if_(full):
                    self._end_one_way("pemu_end_jump")

    def _pass_insn(self) -> None:
        self._pc.value = self._pc.value + self._arch.insn_bytes
        self._count.value = self._count.value + 1

    def _note_absolute(self) -> Variable:
        """One bit: a jump in floating code leads to what is at no fixed distance.

        That is seen by decoding it once more, as if it was on the next page.
        """
        f, code = self._f, self._code
        absolute = f.var(1, 0)
        if isinstance(code, MachineCode):
            with f.if_(self._ending.value.eq(runtime.JUMP) & code.floating, unlikely=True):
                target = f.raw_load("%target", 64, align=8)
                self._decode(self._pc.value, self._pc.value + 4096)
                moved = f.raw_load("%target", 64, align=8) - target
                absolute.value = moved.ne(4096)
                f.raw_store("%target", target, align=8)
        return absolute

    def _end_with_branch(self, absolute: Variable) -> None:
        f = self._f
        readable = f.var(1, 1)
        changes = f.var(1, 0)  # the delay slot may change the translation mode
        if self._arch.delay_slots:
            self._reach_delay_slot(readable)
        with f.if_(readable.value):
            if self._arch.delay_slots:
                self._put_delay_slot(changes)
            self._put_branch_end(changes, absolute)

    def _reach_delay_slot(self, readable: Variable) -> None:
        """Where it is on the next page, which cannot be read now: end before the branch."""
        f, arch = self._f, self._arch
        with f.if_((self._pc.value & 4095).eq(0), unlikely=True):
            readable.value = self._code.open_next_page(self._pc.value, self._count.value)
            with f.if_(~readable.value):
                self._at.value = self._at.value - c.OP
                self._pc.value = self._pc.value - arch.insn_bytes
                self._count.value = self._count.value - 1
                self._end_one_way("pemu_end_jump")

    def _put_delay_slot(self, changes: Variable) -> None:
        f = self._f
        kept = f.raw_load("%target", 64, align=8)
        ending = self._decode(self._pc.value)
        f.raw_store("%target", kept, align=8)
        changes.value = ending.eq(runtime.STOP_NEXT)
        fine = ending.eq(runtime.PLAIN) | ending.eq(runtime.STOP)
        with f.if_(~(fine | changes.value), unlikely=True):
            self._put_handler("pemu_reserved")
        self._finish_op((self._count.value - 1) | 0x80)
        self._pass_insn()

    def _put_branch_end(self, changes: Variable, absolute: Variable) -> None:
        f, code = self._f, self._code
        target = f.raw_load("%target", 64, align=8)
        for kind, name, after_change in _BRANCH_ENDS:
            with f.if_(self._ending.value.eq(kind)):
                self._put_handler(name)
                with f.if_(changes.value, unlikely=True):
                    self._put_handler(after_change)
        op = self._op_at()
        self._finish_op(self._count.value)
        for offset, value in (
            (c.CHAIN_TAKEN, f.const(0, 64)),
            (c.CHAIN_NEXT, f.const(0, 64)),
            (c.PC_TAKEN, code.counted(target, absolute.value)),
            (c.PC_NEXT, code.counted(self._pc.value)),
            (c.ABSOLUTE, absolute.value.zext(8)),
        ):
            f.set_at(op, offset, value)
        self._mark_near(op, c.NEAR_TAKEN, target)
        with f.if_(absolute.value, unlikely=True):
            f.set_at(op, c.NEAR_TAKEN, f.const(0, 8))
        self._mark_near(op, c.NEAR_NEXT, self._pc.value)
        self._complete()

    def _end_one_way(self, name: str) -> None:
        """End the block before the instruction that would be the next."""
        f, address = self._f, self._pc.value
        self._put_handler(name)
        op = self._op_at()
        self._finish_op(self._count.value)
        f.set_at(op, c.CHAIN_TAKEN, f.const(0, 64))
        f.set_at(op, c.PC_TAKEN, self._code.counted(address))
        f.set_at(op, c.ABSOLUTE, f.const(0, 8))
        self._mark_near(op, c.NEAR_TAKEN, address)
        self._complete()

    def _mark_near(self, op: str, offset: int, target: Value) -> None:
        near = self._code.near(target)
        if near is not None:
            self._f.set_at(op, offset, near.zext(8))

    def _complete(self) -> None:
        self._at.value = self._at.value + (c.END_BYTES - c.OP)
        self._last.value = 1

    # The block as a whole.

    def _fill_header(self, size: Value, steps: Value) -> None:
        f = self._f
        single = f.const(c.VALID | c.SINGLE, 32)
        for offset, value in (
            (c.COUNTER, f.at(self._ctx, c.HOT_THRESHOLD).trunc(32)),
            (c.GUEST_BYTES, (self._pc.value - self._start).trunc(32)),
            (c.STATUS, steps.select(single, c.VALID) | self._code.status()),
            (c.BYTES, size.trunc(32)),
            *self._code.fields(self._mode_tag),
        ):
            f.set_at("%buf", offset, value)
        f.do(f"store ptr @pemu_tier0, ptr {f.offset('%buf', c.FAST_ENTRY)}, align 8")

    def _use_stored_region(self, steps: Value) -> None:
        f, ctx = self._f, self._ctx
        is_machine = self._arch.system is not None
        base = f.pointer(f.at(ctx, c.RAM_BASE)) if is_machine else "%mem"
        with f.if_(~steps & f.at("%buf", c.SECOND_AT).eq(0)):
            f.do(f"call void @pemu_warm(ptr {ctx}, ptr {base}, ptr %buf, ptr %state)")
        if is_machine:
            with f.if_(f.at("%buf", c.SECOND_AT).ne(0), unlikely=True):
                f.do(f"store ptr @pemu_enter_crossing, ptr {f.offset('%buf', c.HEADER)}, align 8")

    def _insert(self, size: Value) -> Value:
        """Copy the block to where others find it; its host address."""
        f, ctx = self._f, self._ctx
        is_machine = self._arch.system is not None
        f.do(f"call void @pemu_lock(ptr {ctx})")
        tag = f.at("%buf", c.TAG)
        f.do(f"call void @pemu_confirm(ptr {ctx}, ptr %buf)")
        self._leave_if_known(tag)
        block = self._allocate(size)
        head = list_at(f, ctx, tag, machine=is_machine)
        f.set_at("%buf", c.NEXT, f.raw_load(head, 64, align=8))
        listed = list_of(f, ctx, "%buf")
        f.set_at("%buf", c.PAGE_NEXT, f.raw_load(listed, 64, align=8))
        self._copy(f.pointer(block), size)
        f.do(f"store atomic i64 {block.ir}, ptr {head} release, align 8")
        f.raw_store(listed, block, align=8)
        f.set_at(ctx, c.BLOCK_COUNT, f.at(ctx, c.BLOCK_COUNT) + 1)
        self._unlock()
        return block

    def _unlock(self) -> None:
        self._f.do(f"call void @pemu_unlock(ptr {self._ctx})")

    def _leave_if_known(self, tag: Value) -> None:
        """Another thread may have translated the block meanwhile."""
        f = self._f
        is_machine = self._arch.system is not None
        place = f.name("%place", 64) if is_machine else None
        known = find(f, self._ctx, tag, place, machine=is_machine)
        with f.if_(known.ne(0), unlikely=True):
            self._unlock()
            f.do(f"ret i64 {known.ir}")
            f.place(f.label("dead"))

    def _allocate(self, size: Value) -> Value:
        f, ctx = self._f, self._ctx
        block = f.at(ctx, c.ARENA_NEXT)
        with f.if_((block + size).ugt(f.at(ctx, c.ARENA_END)), unlikely=True):
            self._unlock()
            give_up(f, EXIT_FULL)
        f.set_at(ctx, c.ARENA_NEXT, block + size)
        return block

    def _copy(self, destination: str, size: Value) -> None:
        f = self._f
        copied = f.var(64, 0)
        with f.while_(lambda: copied.value.ult(size)):
            piece = f.raw_load(f.offset("%buf", copied.value), 64, volatile=True, align=8)
            f.raw_store(f.offset(destination, copied.value), piece, align=8)
            copied.value = copied.value + 8

    def _hand_over(self, block: Value) -> None:
        f = self._f
        f.put(s.CURRENT_OP, 0)
        report = f.at(self._ctx, c.OPTIONS) & c.OPTION_REPORT_BLOCKS
        with f.if_(report.ne(0), unlikely=True):
            f.put(s.EXIT_BLOCK, block)
            give_up(f, EXIT_NEW_BLOCK)
        f.do(f"ret i64 {block.ir}")


class _Hooks:
    """Before which instructions of a block native code is left."""

    def __init__(self, f: Function, ctx: str, code: ProgramCode) -> None:
        self._f = f
        self._code = code
        self._here = f.var(1, (f.at(ctx, c.OPTIONS) & c.OPTION_HOOK_BLOCKS).ne(0))
        self._count = f.at(ctx, c.HOOK_COUNT)
        self._list = f.pointer(f.at(ctx, c.HOOKS))

    def wanted(self, pc: Variable) -> Value:
        """One bit: there is one at `pc`, or one of the whole block that has not been put."""
        f = self._f
        with f.if_(self._count.ne(0), unlikely=True):
            index = f.var(64, 0)
            with f.while_(lambda: index.value.ult(self._count)):
                hooked = f.raw_load(f.offset(self._list, index.value << 3), 64)
                self._here.value = self._here.value | self._code.hooked(pc.value, hooked)
                index.value = index.value + 1
        return self._here.value

    def done(self) -> None:
        """The hook has been put."""
        self._here.value = 0
