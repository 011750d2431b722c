"""Tier 0's handlers: what stages an instruction as one, and its branch target for the decoder."""

from __future__ import annotations

import re
from contextlib import contextmanager

from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.staging.builder import StateBuilder
from pemu.engine.staging.function import PARAMETER_NAMES, based
from pemu.engine.staging.insn import PatternError, bind
from pemu.engine.staging.values import Value
from pemu.engine.tier0 import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pemu.engine.layout.state import Register
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.flow import Otherwise
    from pemu.engine.staging.insn import BitField, Insn

HANDED_ON = PARAMETER_NAMES[4:]
"""What a handler was given and regions hand to each other."""

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


class Tier0Builder(StateBuilder):
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

    @property
    def pc(self) -> Value:
        slot = self.raw_load(self.offset("%op", c.SLOT), 8).zext(64)
        block = self.offset("%op", -(slot << 4))
        place = self.raw_load(self.offset("%op", c.PLACE), 8)
        start = based(self, self.arch, self.raw_load(self.offset(block, c.BLOCK_PC), 64))
        index = (place & 0x7F).zext(64)
        return (start + index * self.arch.insn_bytes).trunc(self.arch.xlen)

    def guest_pointer(self, address: Value, size: int) -> str:
        self.do(f"store ptr %op, ptr {self.field(s.CURRENT_OP)}, align 8")
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
        self.hand_over(f"@{target}", "%op", "poison", *HANDED_ON)

    def trap(self, code: int, when: Value | None = None, argument: Value | int = 0) -> None:
        if when is None:
            self._raise(code, argument)
        else:
            with self.if_(when, unlikely=True):
                self._raise(code, argument)

    def _raise(self, code: int, argument: Value | int) -> None:
        self.tell(code, argument)
        self._stop("pemu_raise")

    def syscall(self) -> None:
        self.ending = runtime.STOP
        self._leave("pemu_system_call")
        self.place(self.label("dead"))

    def end_block(self) -> None:
        self.ending = runtime.STOP_NEXT

    def flush_code(self, address: Value) -> None:
        if self.arch.system is not None:
            function = self.runtime_function("pemu_flush_line")
            text = f"call preserve_mostcc i1 {function}(ptr %state, i64 {address.zext(64).ir})"
            with self.if_(self.name(self.op(text), 1), unlikely=True):
                self._stop("pemu_flush")
            return
        self.ending = runtime.STOP
        self.raw_store(self.field(s.EXIT_ADDRESS), address.zext(64), align=8)
        self._stop("pemu_flush")

    def _stop(self, target: str) -> None:
        """End the block here, in a runtime function; `ending` is right only outside conditions."""
        if not self._depth:
            self.ending = runtime.STOP
        self._leave(target)
        self.place(self.label("dead"))

    # Whole processors.

    def blame(self) -> None:
        function = self.runtime_function("pemu_blame")
        self.do(f"call preserve_mostcc void {function}(ptr %op, ptr %state)")

    def resume_at(self, target: Value) -> None:
        self.raw_store(self.field(s.PC), target.zext(64), align=8)
        self._call_runtime("pemu_update_mode")
        self._stop("pemu_dispatch")

    def update_mode(self) -> None:
        self._call_runtime("pemu_update_mode")
        self.end_block()

    def exit(self, number: int, argument: Value | int = 0) -> None:
        self.tell(number, argument)
        self._stop("pemu_exit")

    def finish(self) -> str:
        """Return the handler's body."""
        op = self.next_op or self.offset("%op", c.OP)
        target = self.op(f"load ptr, ptr {op}, align 8")
        self.hand_over(target, op, self.carry)
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


def stage_target(builder: TargetBuilder, insn: Insn) -> tuple[list[str], str] | None:
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
