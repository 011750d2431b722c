"""Tier 0: one native handler for each instruction, and the native translator that strings them.

A guest block becomes an array of ops {handler, operands}; each handler does its work and
tail-calls the next op's. The handlers, the decoder and the runtime of an architecture are one
module, compiled once and kept in the code cache.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import cast

from pemu.engine import context as c
from pemu.engine import host_x86_64, native_call, runtime, warm
from pemu.engine import state as s
from pemu.engine.builder import InsnBuilder, with_registers
from pemu.engine.decoder import TreeText
from pemu.engine.insn import PatternError, bind
from pemu.engine.runtime import Function
from pemu.engine.values import StagingError, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pemu.engine.architecture import Architecture
    from pemu.engine.builder import Helper, Otherwise
    from pemu.engine.insn import BitField, Insn
    from pemu.engine.state import Register

MODE_SHIFT = 44
"""Where the translation mode stands in a block's tag, above every guest address that is used."""

OPERAND_BYTES = c.SLOT - c.OPERANDS


def operand_places(insn: Insn) -> list[tuple[BitField, int, int]]:
    """Return (field, byte offset in the op, bytes) for the fields that the meaning takes."""
    code = insn.meaning.__code__
    used = set(code.co_varnames[1 : code.co_argcount])
    places = []
    at = 0
    fields = [field for field in insn.fields if field.name in used]
    for field in sorted(fields, key=lambda field: -field.width):
        size = 1 if field.width <= 8 else 2 if field.width <= 16 else 4
        places.append((field, c.OPERANDS + at, size))
        at += size
    if at > OPERAND_BYTES:
        raise PatternError(f"{insn.name}: operands need {at} bytes, an op has {OPERAND_BYTES}")
    return places


class Tier0Builder(InsnBuilder):
    """Stages an instruction as a handler: fields come from the op, registers live in memory."""

    __slots__ = ("_depth", "carry", "ending", "next_op")

    def __init__(self, arch: Architecture, features: frozenset[str]) -> None:
        super().__init__(arch, features)
        self._depth = 0
        self.ending = runtime.PLAIN
        self.carry = "%carry"
        self.next_op = ""

    @contextmanager
    def _if(self, condition: Value, unlikely: bool) -> Iterator[Otherwise]:
        self._depth += 1
        with super()._if(condition, unlikely) as arm:
            yield arm
        self._depth -= 1

    def _address(self, register: Register, index: Value | int, byte: Value | int) -> str:
        known = register.offset
        moving: list[Value] = []
        for part, scale in ((index, register.stride), (byte, 1)):
            if isinstance(part, int):
                known += part * scale
            elif part.known is not None:
                known += part.known * scale
            else:
                moving.append(part.zext(64) * scale)
        pointer = self.offset("%state", known)
        for part in moving:
            pointer = self.offset(pointer, part)
        return pointer

    def read_register(
        self, register: Register, index: Value | int, byte: Value | int, kind: str
    ) -> str | int:
        return self.op(f"load {kind}, ptr {self._address(register, index, byte)}, align 1")

    def write_register(
        self, register: Register, index: Value | int, byte: Value | int, kind: str, operand: str
    ) -> None:
        self.do(f"store {kind} {operand}, ptr {self._address(register, index, byte)}, align 1")
        if register.zero >= 0 and not isinstance(index, int):
            at = self.offset("%state", register.offset + register.zero * register.stride)
            self.do(f"store i{register.stride * 8} 0, ptr {at}, align 1")

    def _field(self, field: s.Field) -> str:
        return self.offset("%state", field.offset)

    @property
    def pc(self) -> Value:
        slot = self.raw_load(self.offset("%op", c.SLOT), 8).zext(64)
        block = self.offset("%op", -(slot << 4))
        place = self.raw_load(self.offset("%op", c.PLACE), 8)
        start = self.raw_load(self.offset(block, c.BLOCK_PC), 64)
        index = (place & 0x7F).zext(64)
        return (start + index * self.arch.insn_bytes).trunc(self.arch.xlen)

    def guest_pointer(self, address: Value, size: int) -> str:
        self.do(f"store ptr %op, ptr {self._field(s.CURRENT_OP)}, align 8")
        return self.offset("%mem", guest_offset(self.arch, address))

    def branch(self, condition: Value, target: Value, *, likely: bool = False) -> None:
        self.ending = runtime.LIKELY if likely else runtime.BRANCH
        self.carry = condition.zext(64).ir
        if likely:
            taken = self.offset("%op", c.OP)
            skipped = self.offset("%op", 2 * c.OP)
            self.next_op = self.op(f"select i1 {condition.ir}, ptr {taken}, ptr {skipped}")

    def jump(self, target: Value) -> None:
        self.ending = runtime.JUMP_REGISTER
        self.carry = target.zext(64).ir

    def _leave(self, target: str) -> None:
        self.do(
            f"musttail call preserve_nonecc void @{target}"
            f"({runtime.PARAMETER_LIST.replace('%carry', 'poison')})"
        )
        self.do("ret void")

    def trap(self, code: int, when: Value | None = None, argument: Value | int = 0) -> None:
        if isinstance(argument, int):
            argument = self.const(argument, 64)
        if when is None:
            if not self._depth:
                self.ending = runtime.STOP
            self._raise(code, argument)
            self.place(self.label("dead"))
        else:
            with self.if_(when, unlikely=True):
                self._raise(code, argument)
                self.place(self.label("dead"))

    def _raise(self, code: int, argument: Value) -> None:
        self.do(f"store i64 {code}, ptr {self._field(s.EXIT_CODE)}, align 8")
        self.raw_store(self._field(s.EXIT_ADDRESS), argument.zext(64), align=8)
        self._leave("pemu_raise")

    def syscall(self) -> None:
        self.ending = runtime.STOP
        self._leave("pemu_system_call")
        self.place(self.label("dead"))

    def end_block(self) -> None:
        self.ending = runtime.STOP_NEXT

    def flush_code(self, address: Value) -> None:
        self.ending = runtime.STOP
        self.raw_store(self._field(s.EXIT_ADDRESS), address.zext(64), align=8)
        self._leave("pemu_flush")
        self.place(self.label("dead"))

    def set_mode(self, mode: Value | int) -> None:
        if isinstance(mode, int):
            mode = self.const(mode, 32)
        self.ending = runtime.STOP_NEXT
        self.raw_store(self._field(s.MODE_TAG), mode.zext(64) << MODE_SHIFT, align=8)

    def finish(self) -> str:
        """Return the handler's body."""
        op = self.next_op or self.offset("%op", c.OP)
        target = self.op(f"load ptr, ptr {op}, align 8")
        passed = ", ".join(["i64 poison"] * runtime.PASSED)
        self.do(
            f"musttail call preserve_nonecc void {target}(ptr {op}, ptr %state, ptr %mem, "
            f"i64 {self.carry}, {passed})"
        )
        self.do("ret void")
        return "\n".join(["entry:", *self.entry_lines, "  br label %start", "start:", *self.lines])


def guest_offset(arch: Architecture, address: Value) -> Value:
    """Return the 64-bit offset from the memory base for a guest-virtual address."""
    if arch.address_bits == 32:
        return address.trunc(32).zext(64)
    return address.zext(64) & ((1 << arch.address_bits) - 1)


class _Captured(Exception):
    """The target of a branch has been seen; the rest of the meaning does not matter."""


class TargetBuilder(Tier0Builder):
    """Stages only the computation of a branch target, from the word's fields and the pc."""

    __slots__ = ("target",)

    def __init__(self, arch: Architecture, features: frozenset[str]) -> None:
        super().__init__(arch, features)
        self.target: Value | None = None

    def read_register(
        self, register: Register, index: Value | int, byte: Value | int, kind: str
    ) -> str | int:
        return "poison"

    def write_register(
        self, register: Register, index: Value | int, byte: Value | int, kind: str, operand: str
    ) -> None:
        pass

    @property
    def pc(self) -> Value:
        return self.name("%pc", 64).trunc(self.arch.xlen)

    def trap(self, code: int, when: Value | None = None, argument: Value | int = 0) -> None:
        if when is None:
            raise _Captured

    def branch(self, condition: Value, target: Value, *, likely: bool = False) -> None:
        self.target = target
        raise _Captured

    def jump(self, target: Value) -> None:
        self.target = target
        raise _Captured

    def depends_on_registers(self) -> bool:
        """True if the captured target is not known from the instruction alone."""
        assert self.target is not None
        if self.target.known is not None:
            return False
        definitions = {line.split(" = ")[0].strip(): line for line in self.lines if " = " in line}
        seen: set[str] = set()
        pending = [str(self.target.symbol)]
        while pending:
            symbol = pending.pop()
            if symbol == "poison":
                return True
            if symbol in seen or symbol not in definitions:
                continue
            seen.add(symbol)
            pending += re.findall(r"%\w+|\bpoison\b", definitions[symbol].split(" = ", 1)[1])
        return False


def _stage_target(builder: TargetBuilder, insn: Insn) -> tuple[list[str], str] | None:
    """Stage a target: (lines, operand of 64 bits) or None if registers decide it."""
    values = {}
    for field in insn.fields:
        word = builder.name("%word", builder.arch.insn_bytes * 8)
        values[field.name] = word.bits(field.low, field.width)
    try:
        bind(insn, builder, values)
    except _Captured:
        pass
    if builder.target is None or builder.depends_on_registers():
        return None
    wide = builder.target.zext(64)
    return [*builder.entry_lines, *builder.lines], wide.ir


class _Module:
    """Collects the text of the tier 0 module."""

    def __init__(self, arch: Architecture) -> None:
        self.arch = arch
        self.functions: list[str] = []
        self.declarations: set[str] = set()
        self.helpers: dict[str, Helper] = {}
        self._handlers: dict[str, str] = {}
        self._targets: dict[str, str] = {}
        self._builder = with_registers(Tier0Builder, arch)
        self._target_builder = with_registers(TargetBuilder, arch)

    def add(self, text: str) -> None:
        self.functions.append(text)

    def add_function(self, function: Function) -> None:
        self.functions.append(function.text)
        self.declarations |= function.declarations

    def stage(self, insn: Insn, features: frozenset[str]) -> tuple[str, int, str]:
        """Return (handler name, how it ends, name of its target function or '')."""
        builder = cast(Tier0Builder, self._builder(self.arch, features))
        values = {}
        for field, at, size in operand_places(insn):
            stored = builder.raw_load(builder.offset("%op", at), size * 8, align=1)
            if field.width == size * 8:
                values[field.name] = stored
            else:
                text = f"trunc nuw i{size * 8} {stored.ir} to i{field.width}"
                values[field.name] = builder.name(builder.op(text), field.width)
        try:
            bind(insn, builder, values)
        except StagingError as error:
            raise StagingError(f"{insn.name}: {error}") from error
        target = ""
        if builder.ending in (runtime.BRANCH, runtime.LIKELY, runtime.JUMP_REGISTER):
            targets = cast(TargetBuilder, self._target_builder(self.arch, features))
            staged = _stage_target(targets, insn)
            if staged is not None:
                target = self._target_function(insn, *staged)
                if builder.ending == runtime.JUMP_REGISTER:
                    builder.ending = runtime.JUMP
                    builder.carry = "%carry"
            elif builder.ending != runtime.JUMP_REGISTER:
                raise StagingError(f"{insn.name}: target of a conditional branch in a register")
        body = builder.finish()
        self.declarations |= builder.declarations
        self.helpers.update(builder.helpers)
        name = self._handlers.get(body)
        if name is None:
            name = f"op_{insn.name}_{len(self._handlers)}"
            self._handlers[body] = name
            self.add(
                f"define internal preserve_nonecc void @{name}({runtime.PARAMETER_LIST}) "
                f"{runtime.ATTRIBUTES} {{\n{body}\n}}\n"
            )
        return name, builder.ending, target

    def _target_function(self, insn: Insn, lines: list[str], result: str) -> str:
        body = "\n".join(lines)
        name = self._targets.get(body)
        if name is None:
            name = f"target_{insn.name}"
            self._targets[body] = name
            unit = self.arch.insn_bytes * 8
            self.add(
                f"define internal i64 @{name}(i{unit} %word, i64 %pc) nounwind {{\n{body}\n"
                f"  ret i64 {result}\n}}\n"
            )
        return name

    def add_helpers(self) -> None:
        """Define the helpers that handlers (and helpers) call."""
        for text, declarations in helper_definitions(self.helpers):
            self.add(text)
            self.declarations |= declarations

    def text(self) -> str:
        return "\n".join(
            [
                host_x86_64.ASSEMBLY,
                *sorted(self.declarations),
                *self.functions,
                host_x86_64.SIGNAL_HANDLERS,
                '!0 = !{!"branch_weights", i32 1, i32 1000}',
            ]
        )


def helper_definitions(helpers: dict[str, Helper]) -> list[tuple[str, set[str]]]:
    """Return (definition, declarations) of each helper."""
    result = []
    for helper in helpers.values():
        parameters = ", ".join(
            ["ptr %state", *(f"{kind} %a{i}" for i, kind in enumerate(helper.parameters))]
        )
        function = Function(
            f"internal {helper.convention} {helper.result} @{helper.name}({parameters}) "
            "noinline nounwind strictfp cold"
        )
        helper.body(function, *(f"%a{i}" for i in range(len(helper.parameters))))
        result.append((function.text, function.declarations))
    return result


def module_text(arch: Architecture) -> str:
    """Return the IR text of an architecture's tier 0: runtime, decoder and handlers."""
    module = _Module(arch)
    for text in (
        runtime.dispatch(),
        runtime.tier0_entry(),
        runtime.region_entry(arch),
        runtime.block_entry(),
        runtime.stale_block(),
        runtime.link_miss(),
        *runtime.block_ends(),
        *runtime.exits(arch),
        *native_call.functions(arch),
        runtime.lock_functions(),
        *warm.functions(),
        _reserved(),
    ):
        module.add(text)
    table = arch.source()
    for mode, extra in enumerate(arch.modes):
        _decoder(module, mode, table.select(arch.features | extra), arch.features | extra)
    module.add_function(_translator(arch))
    module.add(_function_table())
    module.add_helpers()
    return module.text()


def _function_table() -> str:
    """`pemu_functions(ctx)`: fill in the context's table of functions."""
    f = Function("void @pemu_functions(ptr %ctx) nounwind")
    for index, name in enumerate(c.FUNCTION_NAMES):
        f.do(f"store ptr @{name}, ptr {f.offset('%ctx', c.FUNCTIONS + 8 * index)}, align 8")
    f.do("ret void")
    return f.text


RESERVED_INSTRUCTION = 10
"""Exception code for a word that is no instruction (MIPS RI; other sets map it)."""


def _reserved() -> str:
    f = runtime.handler("pemu_reserved", "hidden ")
    f.put(s.EXIT_CODE, RESERVED_INSTRUCTION)
    f.put(s.EXIT_ADDRESS, 0)
    f.tail("@pemu_raise")
    return f.text


def _decoder(module: _Module, mode: int, insns: list[Insn], features: frozenset[str]) -> None:
    """`pemu_decode_M(word, op, target, pc)`: fill in an op, return how the instruction ends."""
    unit = module.arch.insn_bytes * 8
    leaves = 0

    def leaf(insn: Insn | None) -> list[str]:
        nonlocal leaves
        leaves += 1
        if insn is None:
            return ["  store ptr @pemu_reserved, ptr %out, align 8", f"  ret i32 {runtime.STOP}"]
        name, ending, target = module.stage(insn, features)
        lines = [f"  store ptr @{name}, ptr %out, align 8"]
        for number, (field, at, size) in enumerate(operand_places(insn)):
            prefix = f"%f{leaves}_{number}"
            mask = (1 << field.width) - 1
            lines += [
                f"  {prefix}s = lshr i{unit} %word, {field.low}",
                f"  {prefix}m = and i{unit} {prefix}s, {mask}",
                f"  {prefix}p = getelementptr i8, ptr %out, i64 {at}",
            ]
            stored = f"{prefix}m"
            if size * 8 != unit:
                lines.append(f"  {prefix}t = trunc i{unit} {prefix}m to i{size * 8}")
                stored = f"{prefix}t"
            lines.append(f"  store i{size * 8} {stored}, ptr {prefix}p, align 1")
        if target:
            lines += [
                f"  %g{leaves} = call i64 @{target}(i{unit} %word, i64 %pc)",
                f"  store i64 %g{leaves}, ptr %target, align 8",
            ]
        return [*lines, f"  ret i32 {ending}"]

    tree = TreeText(unit, leaf)
    tree.build(insns)
    body = "\n".join(tree.lines)
    module.add(
        f"define internal i32 @pemu_decode_{mode}(i{unit} %word, ptr %out, ptr %target, i64 %pc) "
        f"nounwind {{\n{body}\n}}\n"
    )


FAULT_FETCH, FAULT_MISALIGNED = 4, 8
"""Bits of EXIT_CODE with reason FAULT, besides 1 (a write) and 2 (the host's SIGBUS)."""

_PAGE_READ, _PAGE_WRITE, _PAGE_CODE, _PAGE_TRACK, _PAGE_VOLATILE = 1, 2, 8, 16, 64


def _translator(arch: Architecture) -> Function:
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
        out(runtime.EXIT_FAULT)

    with f.if_((start & (arch.insn_bytes - 1)).ne(0), unlikely=True):
        bad_fetch(FAULT_FETCH | FAULT_MISALIGNED)
    reachable = 32 if arch.address_bits == 32 else arch.address_bits
    with f.if_(start.lshr(reachable).ne(0), unlikely=True):
        bad_fetch(FAULT_FETCH)

    flags = f.pointer(f.at(ctx, c.PAGE_FLAGS))

    def check_page(address: Value) -> None:
        at = f.offset(flags, address.lshr(12))
        page = f.raw_load(at, 8, volatile=True)
        deciding = page & (_PAGE_WRITE | _PAGE_TRACK | _PAGE_VOLATILE)
        with f.if_(deciding.eq(_PAGE_WRITE), unlikely=True):
            f.put(s.EXIT_ADDRESS, address & ~4095)
            out(runtime.EXIT_TRACK)
        f.do(f"%unused{f.label('x')} = atomicrmw or ptr {at}, i8 {_PAGE_CODE} monotonic")

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
        mode = mode_tag.lshr(MODE_SHIFT)
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
                    bad = (page & _PAGE_READ).eq(0) & count.value.ugt(1)
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
    again = runtime._find(f, ctx, tag)
    with f.if_(again.ne(0), unlikely=True):
        f.do(f"call void @pemu_unlock(ptr {ctx})")
        f.do(f"ret i64 {again.ir}")
        f.place(f.label("dead"))
    block = f.at(ctx, c.ARENA_NEXT)
    with f.if_((block + size).ugt(f.at(ctx, c.ARENA_END)), unlikely=True):
        f.do(f"call void @pemu_unlock(ptr {ctx})")
        out(runtime.EXIT_FULL)
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
        out(runtime.EXIT_NEW_BLOCK)
    f.do(f"ret i64 {block.ir}")
    return f


EXPORTS = (
    "pemu_enter",
    "pemu_syscall",
    "pemu_copy",
    "pemu_on_fault",
    "pemu_on_signal",
    "pemu_restorer",
    "pemu_functions",
    "pemu_enter_region",
    "pemu_stale_block",
    "pemu_enter_block",
    "pemu_tier0",
    "pemu_end_branch",
    "pemu_end_jump",
    "pemu_end_register",
    "pemu_end_next",
    "pemu_hook",
    "pemu_reserved",
    "pemu_lock",
    "pemu_unlock",
    "pemu_invalidate",
)
"""Symbols of the module that Python code uses."""


def compile_tier0(arch: Architecture) -> tuple[bytes, bytes, dict[str, int]]:
    """Compile an architecture's tier 0: (code, data, offsets of `EXPORTS`)."""
    from pemu.engine.llvm import compile_ir

    blob = compile_ir(module_text(arch))
    return blob.code, blob.data, {name: blob.symbols[name] for name in EXPORTS}
