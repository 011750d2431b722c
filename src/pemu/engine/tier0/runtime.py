"""The native runtime: finding, translating and chaining blocks without entering Python.

Everything here is emitted once, together with the tier 0 handlers, and then comes from the code
cache.
"""

from __future__ import annotations

from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.layout.exits import (
    EXIT_BUDGET,
    EXIT_EXCEPTION,
    EXIT_FLUSH,
    EXIT_HOOK,
    EXIT_HOT,
    EXIT_INTERRUPT,
)
from pemu.engine.staging import softmmu
from pemu.engine.staging.blocktable import block_slot, find, tag_of
from pemu.engine.staging.function import Function, based, handler
from pemu.engine.staging.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.architecture import Architecture

# How an instruction ends, as the decoder reports it.
PLAIN, BRANCH, LIKELY, JUMP, JUMP_REGISTER, STOP, STOP_NEXT = range(7)
ELSEWHERE = 7
"""What the base's decoder adds to the number of the part that has to decode a word."""

FETCHING = 1
"""In CURRENT_OP: the access that faults is an instruction fetch."""


def _find_or_translate(f: Function, ctx: str) -> Value:
    """Host address of the block at the state's pc. Native code is left if there is none."""
    block = f.var(64, find(f, ctx, tag_of(f, f.get(s.PC)), machine=False))
    with f.if_(block.value.eq(0), unlikely=True):
        block.value = f.call(64, "@pemu_translate", "ptr %state, ptr %mem", "ptr, ptr")
        _leave_without(f, block.value)
    return block.value


def _leave_without(f: Function, block: Value) -> None:
    with f.if_(block.eq(0), unlikely=True):
        f.do("ret void")
        f.place(f.label("dead"))


def _look_up(f: Function) -> Value:
    """The same for a whole processor, whose soft TLB may be another one afterwards."""
    block = f.call(64, "@pemu_lookup", "ptr %state", "ptr")
    _leave_without(f, block)
    f.mem = f.pointer(f.get(s.MEMORY_BASE))
    return block


def dispatch(arch: Architecture) -> str:
    """`pemu_dispatch`: go on at the state's pc; where native code is entered."""
    f = handler("pemu_dispatch", "hidden ")
    if arch.system is not None:
        f.run_block(f.pointer(_look_up(f)))
        return f.text
    f.run_block(f.pointer(_find_or_translate(f, f.context())))
    return f.text


def tier0_entry() -> str:
    """`pemu_tier0`: what a block's fast entry is until a region takes its place."""
    f = handler("pemu_tier0", "hidden ")
    f.run_block("%op")
    return f.text


def region_entry(arch: Architecture) -> str:
    """`pemu_enter_region`: first op of a compiled block; `%op` is that op."""
    f = handler("pemu_enter_region", "hidden ")
    block = f.offset("%op", -c.HEADER)
    hot = []
    for name, index in arch.hot_registers:
        register = arch.layout.by_name[name]
        value = f.at("%state", register.offset + index * register.stride, register.width)
        hot.append(value.zext(64).ir)
    entry = f.op(f"load ptr, ptr {f.offset(block, c.FAST_ENTRY)}, align 8")
    f.hand_over(entry, block, *hot)
    return f.text


def block_entry(arch: Architecture) -> str:
    """`pemu_enter_block`: first op of a block: counts, and polls the exit flag.

    A thread that steps (STEP) runs a block of one instruction with the flag set, and leaves before
    the one after that.
    """
    f = handler("pemu_enter_block", "hidden ")
    block = f.offset("%op", -c.HEADER)
    with f.if_(f.raw_load(f.state_field(s.EXIT_FLAG), 32, volatile=True).ne(0), unlikely=True):
        single = (f.at(block, c.STATUS, 32) & c.SINGLE).ne(0)
        with f.if_(single & f.get(s.STEP).ne(0)):
            f.put(s.STEP, 0)
            f.run_op(f.offset("%op", c.OP))
            f.place(f.label("dead"))
        f.put(s.PC, f.block_pc(arch, block))
        if arch.system is not None:
            f.tail("@pemu_poll")
        else:
            f.leave(EXIT_INTERRUPT)
        f.place(f.label("dead"))
    counter = f.offset(block, c.COUNTER)
    left = f.raw_load(counter, 32, align=4) - 1
    f.raw_store(counter, left, align=4)
    with f.if_(left.eq(0), unlikely=True):
        f.put(s.EXIT_BLOCK, f.address(block))
        f.put(s.PC, f.block_pc(arch, block))
        f.leave(EXIT_HOT)
        f.place(f.label("dead"))
    if arch.counts:
        size = f.at(block, c.GUEST_BYTES, 32).zext(64)
        budget = f.get(s.BUDGET)
        with f.if_(budget.sle(0), unlikely=True):
            f.put(s.PC, f.block_pc(arch, block))
            f.leave(EXIT_BUDGET)
            f.place(f.label("dead"))
        f.put(s.BUDGET, budget - size.udiv(arch.insn_bytes))
    f.run_op(f.offset("%op", c.OP))
    return f.text


def stale_block(arch: Architecture) -> str:
    """`pemu_stale_block`: first op of a block whose guest code has changed."""
    f = handler("pemu_stale_block", "hidden ")
    f.put(s.PC, f.block_pc(arch, f.offset("%op", -c.HEADER)))
    f.tail("@pemu_dispatch")
    return f.text


def _next(f: Function, arch: Architecture) -> Value:
    """Where the present op, a block's last, goes to if it does not branch."""
    return based(f, arch, f.at("%op", c.PC_NEXT))


def _taken(f: Function, arch: Architecture) -> Value:
    """Where the present op, a block's last, branches to."""
    given = f.at("%op", c.PC_TAKEN)
    target = based(f, arch, given)
    if arch.system is None:
        return target
    low = (1 << arch.system.jump_bits) - 1
    slot = _next(f, arch) - arch.insn_bytes
    absolute = f.at("%op", c.ABSOLUTE, 8).ne(0)
    return absolute.select((slot & ~low) | (given & low), target)


def _follow(f: Function, arch: Architecture, chain: int, target: Value, near: int) -> None:
    """Emit: go to the block of a chain, or find it and chain it."""
    known = f.at("%op", chain)
    with f.if_(known.ne(0)):
        block = f.pointer(known)
        if arch.system is None:
            f.run_block(block)
            f.place(f.label("dead"))
        else:
            with f.if_(f.at("%op", near, 8).ne(0)):
                f.run_block(block)
                f.place(f.label("dead"))
            with f.if_(softmmu.arrives(f, block, target)):
                softmmu.arrive(f, block, target)
                f.run_block(block)
                f.place(f.label("dead"))
    f.put(s.PC, target)
    f.put(s.LINK_SLOT, f.address(f.offset("%op", chain)))
    f.tail("@pemu_link")


def link_miss(arch: Architecture) -> str:
    """`pemu_link`: go on at the state's pc and note the block found there in LINK_SLOT."""
    f = handler("pemu_link", "hidden ")
    ctx = f.context()
    slot = f.get(s.LINK_SLOT)
    wanted = f.get(s.PC)
    block = _look_up(f) if arch.system is not None else _find_or_translate(f, ctx)
    chains = (f.at(ctx, c.OPTIONS) & c.OPTION_NO_CHAIN).eq(0)
    if arch.system is not None:
        # Not the vector of an exception that was met on the way.
        chains = chains & f.get(s.PC).eq(wanted)
    with f.if_(chains):
        f.raw_store(f.pointer(slot), block, align=8)
    f.run_block(f.pointer(block))
    return f.text


def block_ends(arch: Architecture) -> list[str]:
    """The ops that end blocks: two ways by carry, one way, and by a register.

    Those that end in `next` look the following block up, as the translation mode may have changed.
    """
    two = handler("pemu_end_branch", "hidden ")
    with two.if_(two.name("%carry", 64).ne(0)) as arm:
        _follow(two, arch, c.CHAIN_TAKEN, _taken(two, arch), c.NEAR_TAKEN)
        two.place(two.label("dead"))
    with arm.otherwise():
        _follow(two, arch, c.CHAIN_NEXT, _next(two, arch), c.NEAR_NEXT)
        two.place(two.label("dead"))
    two.do("unreachable")
    one = handler("pemu_end_jump", "hidden ")
    _follow(one, arch, c.CHAIN_TAKEN, _taken(one, arch), c.NEAR_TAKEN)
    nowhere = handler("pemu_end_next", "hidden ")
    nowhere.put(s.PC, _taken(nowhere, arch))
    nowhere.tail("@pemu_dispatch")
    either = handler("pemu_end_branch_next", "hidden ")
    taken = either.name("%carry", 64).ne(0)
    either.put(s.PC, taken.select(_taken(either, arch), _next(either, arch)))
    either.tail("@pemu_dispatch")
    return [two.text, one.text, _register_end(arch), nowhere.text, either.text]


def _register_end(arch: Architecture) -> str:
    """`pemu_end_register`: go to the address that carry holds; the last block is tried first."""
    f = handler("pemu_end_register", "hidden ")
    target = f.name("%carry", 64)
    tag = tag_of(f, target)

    def go(block: str) -> None:
        if arch.system is not None:
            softmmu.arrive(f, block, target)
        f.run_block(block)
        f.place(f.label("dead"))

    last = f.at("%op", c.CHAIN_TAKEN)
    with f.if_(last.ne(0)):
        block = f.pointer(last)
        same = f.at(block, c.TAG).eq(tag) if arch.system is None else None
        with f.if_(softmmu.arrives(f, block, target) if same is None else same):
            go(block)
    ctx = f.context()
    table = f.pointer(f.at(ctx, c.BLOCK_TABLE))

    def try_first(tag: Value) -> None:
        machine = arch.system is not None
        slot = block_slot(f, tag, f.at(ctx, c.BLOCK_MASK), machine=machine)
        first = f.raw_load(f.offset(table, slot), 64, align=8)
        with f.if_(first.ne(0)):
            block = f.pointer(first)
            with f.if_(f.at(block, c.TAG).eq(tag)):
                f.set_at("%op", c.CHAIN_TAKEN, first)
                f.set_at("%op", c.MISSES, f.at("%op", c.MISSES) + 1)
                go(block)

    try_first(tag)
    if arch.system is not None:
        mapped, place = softmmu.fetched_from(f, target)
        with f.if_(mapped):
            try_first(tag_of(f, place | c.PLACE_TAG))
    f.put(s.PC, target)
    f.tail("@pemu_dispatch")
    return f.text


def _pass_unless_hooked(f: Function) -> None:
    """Emit: go on unless the pc is hooked; the page of a floating block has several addresses."""
    ctx = f.context()
    hooked = f.var(1, (f.at(ctx, c.OPTIONS) & c.OPTION_HOOK_BLOCKS).ne(0))
    at = f.var(64, f.at(ctx, c.HOOKS))
    end = at.value + (f.at(ctx, c.HOOK_COUNT) << 3)
    pc = f.get(s.PC)
    with f.while_(lambda: at.value.ult(end)):
        hooked.value = hooked.value | f.at(f.pointer(at.value), 0).eq(pc)
        at.value = at.value + 8
    with f.if_(~hooked.value):
        f.run_op(f.offset("%op", c.OP))
        f.place(f.label("dead"))


def exits(arch: Architecture) -> list[str]:
    """Handlers that leave native code from within a block."""
    hook = handler("pemu_hook", "hidden ")
    hook.store_op_pc(arch)
    if arch.system is not None:
        _pass_unless_hooked(hook)
    with hook.if_(hook.get(s.SKIP_HOOK).eq(~hook.get(s.PC))):
        hook.put(s.SKIP_HOOK, 0)
        hook.run_op(hook.offset("%op", c.OP))
        hook.place(hook.label("dead"))
    hook.put(s.EXIT_BLOCK, hook.address(hook.block_of_op()))
    hook.leave(EXIT_HOOK)
    counts = handler("pemu_count", "hidden ")
    size = counts.at(counts.block_of_op(), c.GUEST_BYTES, 32).zext(64)
    counts.put(s.BUDGET, counts.get(s.BUDGET) - size.udiv(arch.insn_bytes))
    counts.run_op(counts.offset("%op", c.OP))
    left = handler("pemu_leave_region", "hidden ")
    left.do("ret void")
    call = handler("pemu_system_call", "hidden ")
    call.store_op_pc(arch)
    call.put(s.PC, call.get(s.PC) + arch.insn_bytes)
    call.tail("@pemu_native_call")
    miss = handler("pemu_jump_miss", "hidden ")
    miss.put(s.PC, miss.name("%carry", 64))
    miss.tail("@pemu_dispatch")
    flush = handler("pemu_flush", "hidden ")
    flush.store_op_pc(arch)
    flush.put(s.PC, flush.get(s.PC) + arch.insn_bytes)
    flush.leave(EXIT_FLUSH)
    found = [hook, counts, left, call, miss, flush]
    if arch.system is None:
        raised = handler("pemu_raise", "hidden ")
        raised.store_op_pc(arch)
        raised.leave(EXIT_EXCEPTION)
        found.append(raised)
    return [f.text for f in found]


def forward(name: str) -> str:
    """Handler `name` in a module that has it not: goes on in the one of the context."""
    f = handler(name)
    table = f.offset(f.context(), c.FUNCTIONS + 8 * c.SYSTEM_FUNCTION_NAMES.index(name))
    f.tail(f.op(f"load ptr, ptr {table}, align 8"))
    return f.text


def lock_functions() -> str:
    """`pemu_lock(ctx)`, `pemu_unlock(ctx)`: the spin lock around block insertion."""
    return f"""
define hidden void @pemu_lock(ptr %ctx) nounwind {{
entry:
  %lock = getelementptr i8, ptr %ctx, i64 {c.LOCK}
  br label %try
try:
  %old = atomicrmw xchg ptr %lock, i32 1 acquire
  %free = icmp eq i32 %old, 0
  br i1 %free, label %done, label %wait
wait:
  call i64 asm sideeffect "movl $$24, %eax; syscall", "={{rax}},~{{rcx}},~{{r11}},~{{memory}}"()
  br label %try
done:
  ret void
}}

define hidden void @pemu_unlock(ptr %ctx) nounwind {{
  %lock = getelementptr i8, ptr %ctx, i64 {c.LOCK}
  store atomic i32 0, ptr %lock release, align 4
  ret void
}}
"""
