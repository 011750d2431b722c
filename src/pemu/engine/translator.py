"""The native translator: from guest code to the ops of a tier 0 block."""

from __future__ import annotations

from pemu.engine import context as c
from pemu.engine import runtime
from pemu.engine import state as s
from pemu.engine.exits import (
    EXIT_FAULT,
    EXIT_FULL,
    EXIT_NEW_BLOCK,
    EXIT_TRACK,
    FAULT_FETCH,
    FAULT_MISALIGNED,
)
from pemu.engine.memory import CODE, READ, TRACK, VOLATILE, WRITE
from pemu.engine.runtime import Function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.architecture import Architecture
    from pemu.engine.values import Value


def translator(arch: Architecture) -> Function:
    """`pemu_translate(state, mem)`: translate the block at the state's pc; its address or 0.

    With 0 an exit reason has been stored. The block is put together in a buffer on the stack; only
    then is the lock taken, as reading guest code may fault and never come back here.
    """
    f = Function("internal i64 @pemu_translate(ptr %state, ptr %mem) nounwind noinline")
    unit = arch.insn_bytes * 8
    buffer_bytes = c.HEADER + c.OP * (2 * c.MAX_BLOCK_INSNS + 4) + c.END_BYTES
    f.entry_lines.append(f"  %buf = alloca [{buffer_bytes} x i8], align 16")
    f.entry_lines.append("  %target = alloca i64, align 8")
    ctx = f.context()
    start = f.get(s.PC)
    mode_tag = f.get(s.MODE_TAG)
    f.put(s.CURRENT_OP, runtime.FETCHING)

    def out(reason: int) -> None:
        f.put(s.EXIT_REASON, reason)
        f.do("ret i64 0")
        f.place(f.label("dead"))

    def bad_fetch(code: int) -> None:
        f.put(s.EXIT_ADDRESS, start)
        f.put(s.EXIT_CODE, code)
        out(EXIT_FAULT)

    with f.if_((start & (arch.insn_bytes - 1)).ne(0), unlikely=True):
        bad_fetch(FAULT_FETCH | FAULT_MISALIGNED)
    reachable = 32 if arch.address_bits == 32 else arch.address_bits
    with f.if_(start.lshr(reachable).ne(0), unlikely=True):
        bad_fetch(FAULT_FETCH)

    flags = f.pointer(f.at(ctx, c.PAGE_FLAGS))

    def check_page(address: Value) -> None:
        at = f.offset(flags, address.lshr(12))
        page = f.raw_load(at, 8, volatile=True)
        deciding = page & (WRITE | TRACK | VOLATILE)
        with f.if_(deciding.eq(WRITE), unlikely=True):
            f.put(s.EXIT_ADDRESS, address & ~4095)
            out(EXIT_TRACK)
        f.do(f"%unused{f.label('x')} = atomicrmw or ptr {at}, i8 {CODE} monotonic")

    check_page(start)

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

    def decode(address: Value) -> Value:
        word = f.raw_load(f.offset("%mem", address), unit, volatile=True, align=4)
        if arch.big_endian:
            word = word.bswap()
        result = f.var(32, 0)
        mode = mode_tag.lshr(c.MODE_SHIFT)
        for number in range(len(arch.modes)):
            with f.if_(mode.eq(number)):
                kind = f.op(
                    f"call i32 @pemu_decode_{number}(i{unit} {word.ir}, ptr {op_at()}, "
                    f"ptr %target, i64 {address.ir})"
                )
                result.value = f.name(kind, 32)
        return result.value

    put_handler("pemu_enter_block")
    finish_op(f.const(0, 32))

    hooked_here = f.var(1, (f.at(ctx, c.OPTIONS) & c.OPTION_HOOK_BLOCKS).ne(0))
    hook_count = f.at(ctx, c.HOOK_COUNT)
    hooks = f.pointer(f.at(ctx, c.HOOKS))
    steps = f.get(s.STEP).ne(0)
    max_insns = steps.select(f.const(1, 32), f.at(ctx, c.MAX_INSNS).trunc(32))

    def end_one_way(name: str, address: Value) -> None:
        put_handler(name)
        op = op_at()
        finish_op(count.value)
        f.set_at(op, c.CHAIN_TAKEN, f.const(0, 64))
        f.set_at(op, c.PC_TAKEN, address)
        at.value = at.value + (c.END_BYTES - c.OP)
        last.value = 1

    with f.while_(lambda: ~last.value):
        with f.if_(hook_count.ne(0), unlikely=True):
            index = f.var(64, 0)
            with f.while_(lambda: index.value.ult(hook_count)):
                hooked = f.raw_load(f.offset(hooks, index.value << 3), 64)
                hooked_here.value = hooked_here.value | hooked.eq(pc.value)
                index.value = index.value + 1
        with f.if_(hooked_here.value, unlikely=True):
            put_handler("pemu_hook")
            finish_op(count.value)
            hooked_here.value = 0
        ending.value = decode(pc.value)
        finish_op(count.value)
        pc.value = pc.value + arch.insn_bytes
        count.value = count.value + 1
        branches = ending.value.uge(runtime.BRANCH) & ending.value.ule(runtime.JUMP_REGISTER)
        with f.if_(branches) as arm:
            readable = f.var(1, 1)
            if arch.delay_slots:
                with f.if_((pc.value & 4095).eq(0), unlikely=True):
                    flags_at = f.offset(flags, pc.value.lshr(12))
                    page = f.raw_load(flags_at, 8, volatile=True)
                    # A block must not fault half-way: leave the branch to a block of its own.
                    bad = (page & READ).eq(0) & count.value.ugt(1)
                    with f.if_(bad) as short:
                        readable.value = 0
                        at.value = at.value - c.OP
                        pc.value = pc.value - arch.insn_bytes
                        count.value = count.value - 1
                        end_one_way("pemu_end_jump", pc.value)
                    with short.otherwise():
                        check_page(pc.value)
            with f.if_(readable.value):
                if arch.delay_slots:
                    kept = f.raw_load("%target", 64, align=8)
                    slot_ending = decode(pc.value)
                    f.raw_store("%target", kept, align=8)
                    register_next = ending.value.eq(runtime.JUMP_REGISTER) & slot_ending.eq(
                        runtime.STOP_NEXT
                    )
                    fine = slot_ending.eq(runtime.PLAIN) | slot_ending.eq(runtime.STOP)
                    with f.if_(~(fine | register_next), unlikely=True):
                        put_handler("pemu_reserved")
                    finish_op((count.value - 1) | 0x80)
                    pc.value = pc.value + arch.insn_bytes
                    count.value = count.value + 1
                target = f.raw_load("%target", 64, align=8)
                for kind, name in (
                    (runtime.BRANCH, "pemu_end_branch"),
                    (runtime.LIKELY, "pemu_end_branch"),
                    (runtime.JUMP, "pemu_end_jump"),
                    (runtime.JUMP_REGISTER, "pemu_end_register"),
                ):
                    with f.if_(ending.value.eq(kind)):
                        put_handler(name)
                op = op_at()
                finish_op(count.value)
                for offset, value in (
                    (c.CHAIN_TAKEN, f.const(0, 64)),
                    (c.CHAIN_NEXT, f.const(0, 64)),
                    (c.PC_TAKEN, target),
                    (c.PC_NEXT, pc.value),
                ):
                    f.set_at(op, offset, value)
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
        (c.TAG, start ^ mode_tag),
        (c.BLOCK_PC, start),
        (c.COUNTER, f.at(ctx, c.HOT_THRESHOLD).trunc(32)),
        (c.GUEST_BYTES, (pc.value - start).trunc(32)),
        (c.STATUS, steps.select(f.const(c.VALID | c.SINGLE, 32), c.VALID)),
        (c.BYTES, size.trunc(32)),
    ):
        f.set_at("%buf", offset, value)
    f.do(f"store ptr @pemu_tier0, ptr {f.offset('%buf', c.FAST_ENTRY)}, align 8")

    with f.if_(~steps):
        f.do(f"call void @pemu_warm(ptr {ctx}, ptr %mem, ptr %buf)")
    f.do(f"call void @pemu_lock(ptr {ctx})")
    f.do(f"call void @pemu_confirm(ptr {ctx}, ptr %buf)")
    tag = start ^ mode_tag
    again = runtime.find(f, ctx, tag)
    with f.if_(again.ne(0), unlikely=True):
        f.do(f"call void @pemu_unlock(ptr {ctx})")
        f.do(f"ret i64 {again.ir}")
        f.place(f.label("dead"))
    block = f.at(ctx, c.ARENA_NEXT)
    with f.if_((block + size).ugt(f.at(ctx, c.ARENA_END)), unlikely=True):
        f.do(f"call void @pemu_unlock(ptr {ctx})")
        out(EXIT_FULL)
    f.set_at(ctx, c.ARENA_NEXT, block + size)
    table = f.pointer(f.at(ctx, c.BLOCK_TABLE))
    head = f.offset(table, (tag.lshr(2) & f.at(ctx, c.BLOCK_MASK)) << 3)
    f.set_at("%buf", c.NEXT, f.raw_load(head, 64, align=8))
    destination = f.pointer(block)
    copied = f.var(64, 0)
    with f.while_(lambda: copied.value.ult(size)):
        piece = f.raw_load(f.offset("%buf", copied.value), 64, volatile=True, align=8)
        f.raw_store(f.offset(destination, copied.value), piece, align=8)
        copied.value = copied.value + 8
    f.do(f"store atomic i64 {block.ir}, ptr {head} release, align 8")
    f.set_at(ctx, c.BLOCK_COUNT, f.at(ctx, c.BLOCK_COUNT) + 1)
    f.do(f"call void @pemu_unlock(ptr {ctx})")
    f.put(s.CURRENT_OP, 0)
    report = f.at(ctx, c.OPTIONS) & c.OPTION_REPORT_BLOCKS
    with f.if_(report.ne(0), unlikely=True):
        f.put(s.EXIT_BLOCK, block)
        out(EXIT_NEW_BLOCK)
    f.do(f"ret i64 {block.ir}")
    return f
