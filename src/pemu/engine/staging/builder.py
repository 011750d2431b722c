"""What the meaning of an instruction may say: the `cpu` that is handed to each declared function.

`InsnBuilder` holds what both tiers share; `tier0.handlers` and `tier1.region` derive from it and
decide where registers live, how faults stay precise and how control leaves an instruction.
"""

from __future__ import annotations

from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.staging.access import AccessBuilder
from pemu.engine.staging.helper import Helper
from pemu.engine.staging.values import StagingError, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.layout.state import Register
    from pemu.engine.staging.architecture import Architecture


class RegisterFile:
    """Indexed access to a declared register file: `cpu.gpr[rd] = cpu.gpr[rs] + 1`."""

    __slots__ = ("_builder", "register")

    def __init__(self, builder: InsnBuilder, register: Register) -> None:
        self._builder = builder
        self.register = register

    def __getitem__(self, index: Value | int) -> Value:
        kind = f"i{self.register.stride * 8}"
        symbol = self._builder.read_register(self.register, index, 0, kind)
        if isinstance(symbol, int):
            return self._builder.const(symbol, self.register.width)
        value = self._builder.name(symbol, self.register.stride * 8)
        return value.trunc(self.register.width)

    def __setitem__(self, index: Value | int, value: Value | int) -> None:
        if isinstance(value, int):
            value = self._builder.const(value, self.register.width)
        if value.width != self.register.width:
            raise StagingError(
                f"{self.register.name} has {self.register.width} bits, given {value.width}"
            )
        stored = value.zext(self.register.stride * 8)
        kind = f"i{stored.width}"
        self._builder.write_register(self.register, index, 0, kind, stored.ir)

    def read(self, index: Value | int, kind: str, byte: Value | int = 0) -> str:
        """Read as LLVM type `kind` (e.g. "double", "float", "i32") from byte offset `byte`.

        Returns an IR operand. In compiled regions a register that is read and written as
        "double" (or "float") throughout lives in a host floating-point register.
        """
        symbol = self._builder.read_register(self.register, index, byte, kind)
        return str(symbol)

    def write(self, index: Value | int, kind: str, operand: str, byte: Value | int = 0) -> None:
        """Write the IR operand of LLVM type `kind` at byte offset `byte` of the register.

        Bytes of the register outside stay as they are.
        """
        self._builder.write_register(self.register, index, byte, kind, operand)


class InsnBuilder(AccessBuilder):
    """The `cpu` of staged semantics.

    Registers appear as attributes by their declared names: files as `cpu.gpr[i]`, single registers
    as `cpu.hi` (read and assign).
    """

    __slots__ = ("features", "helpers")

    def __init__(self, arch: Architecture, features: frozenset[str]) -> None:
        super().__init__(arch)
        self.features = features
        self.helpers: dict[str, Helper] = {}

    # What the tiers provide.

    def read_register(
        self, register: Register, index: Value | int, byte: Value | int, kind: str
    ) -> str | int:
        """Read a register (part) as LLVM type `kind`: an IR operand, or an int if known."""
        raise NotImplementedError

    def write_register(
        self, register: Register, index: Value | int, byte: Value | int, kind: str, operand: str
    ) -> None:
        """Write a register (part) of LLVM type `kind`."""
        raise NotImplementedError

    @property
    def pc(self) -> Value:
        """Guest-virtual address of this instruction, `arch.xlen` bits."""
        raise NotImplementedError

    @property
    def state(self) -> str:
        """IR operand of the state pointer."""
        return "%state"

    def branch(self, condition: Value, target: Value, *, likely: bool = False) -> None:
        """Branch to `target` if `condition` (one bit) holds, after the delay slot if there is one.

        `likely`: the delay slot is skipped where the branch is not taken.
        """
        raise NotImplementedError

    def jump(self, target: Value) -> None:
        """Go to `target` (known or not) always, after the delay slot if there is one."""
        raise NotImplementedError

    def trap(self, code: int, when: Value | None = None, argument: Value | int = 0) -> None:
        """Raise guest exception `code` (if `when`, one bit, holds) at this instruction.

        Nothing that the instruction wrote before is undone: test first, write then. `argument`
        is handed to whoever handles it (a break code, a coprocessor number).
        """
        raise NotImplementedError

    def require(
        self, what: str, code: int, missing: Callable[[], Value], argument: int = 0
    ) -> None:
        """Raise `code` unless something can be used that stays so for the rest of the block.

        `missing` emits a test, one bit. `what` names it, so that a block tests it once.
        """
        self.trap(code, missing(), argument)

    def syscall(self) -> None:
        """System call; ends the block, execution goes on at the next instruction."""
        raise NotImplementedError

    def end_block(self) -> None:
        """End the translated block after this instruction (translation mode may have changed)."""
        raise NotImplementedError

    def flush_code(self, address: Value) -> None:
        """Drop translations of the code around a guest-virtual address; ends the block."""
        raise NotImplementedError

    def set_mode(self, mode: Value | int) -> None:
        """Go on in translation mode `mode`, an index into `arch.modes`; ends the block."""
        if self.arch.system is not None:
            self.update_mode()
            return
        if isinstance(mode, int):
            mode = self.const(mode, 32)
        self.raw_store(self.field(s.MODE_TAG), mode.zext(64) << c.MODE_SHIFT, align=8)
        self.end_block()

    # Whole processors (`Architecture.system`).

    @property
    def in_delay_slot(self) -> Value:
        """One bit, for `System.enter_exception`: what happens, happens in the delay slot."""
        raise NotImplementedError

    def resume_at(self, target: Value) -> None:
        """Go on at `target`, in the translation mode that the registers then ask for.

        There is no delay slot; the block ends.
        """
        raise NotImplementedError

    def update_mode(self) -> None:
        """Registers that decide about mode or interrupts have been written; the block ends."""
        raise NotImplementedError

    def exit(self, number: int, argument: Value | int = 0) -> None:
        """Leave native code after this instruction, with reason SYSTEM, for what Python does.

        `number` and `argument` become the cpu's `exit_code` and `exit_addr`. The block ends.
        """
        raise NotImplementedError

    def clock(self) -> Value:
        """Virtual time in ns, 64 bits."""
        function = self.runtime_function("pemu_clock")
        return self.name(self.op(f"call preserve_mostcc i64 {function}(ptr %state)"), 64)

    def instructions(self) -> Value:
        """How many instructions have been run, 64 bits, with the rest of the present block.

        Where the architecture counts all of them, or in the modes that count.
        """
        end = self.raw_load(self.field(s.BUDGET_END), 64, align=8)
        return end - self.raw_load(self.field(s.BUDGET), 64, align=8)

    # What is the same in both.

    def invoke(self, procedure: Procedure, *arguments: Value) -> Value:
        """Call a procedure; the value means nothing if it yields none."""
        return procedure.result_of(self, self.helper(procedure, *arguments))

    def helper(self, helper: Helper, *arguments: Value | str) -> str:
        """Call a function that is staged once and compiled out of line; returns its result."""
        self.helpers[helper.name] = helper
        listed = ["ptr %state"]
        for kind, argument in zip(helper.parameters, arguments, strict=True):
            listed.append(f"{kind} {argument.ir if isinstance(argument, Value) else argument}")
        text = f"call {helper.convention} {helper.result} @{helper.name}({', '.join(listed)})"
        if helper.result == "void":
            self.do(text)
            return ""
        return self.op(text)


class StateBuilder(InsnBuilder):
    """A builder for what finds all registers in the state structure."""

    __slots__ = ()

    def register_address(self, register: Register, index: Value | int, byte: Value | int) -> str:
        """Host pointer operand of (a byte of) a register in the state structure."""
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
        return self.op(f"load {kind}, ptr {self.register_address(register, index, byte)}, align 1")

    def write_register(
        self, register: Register, index: Value | int, byte: Value | int, kind: str, operand: str
    ) -> None:
        self.do(
            f"store {kind} {operand}, ptr {self.register_address(register, index, byte)}, align 1"
        )
        if register.zero >= 0 and not isinstance(index, int):
            at = self.offset("%state", register.offset + register.zero * register.stride)
            self.do(f"store i{register.stride * 8} 0, ptr {at}, align 1")


class Procedure(Helper):
    """A helper of a whole processor that uses its registers as an instruction's meaning does.

    `widths`: bits of the arguments after the `cpu`, which `meaning` receives as values; `width`:
    bits of the value that it returns, 0 for none.
    """

    __slots__ = ("_meaning", "_width", "_widths")

    def __init__(
        self, name: str, widths: tuple[int, ...], width: int, meaning: Callable[..., Value | None]
    ) -> None:
        super().__init__(
            name,
            tuple(f"i{bits}" for bits in widths),
            f"i{width}" if width else "void",
            self.stage,
        )
        self._meaning = meaning
        self._width = width
        self._widths = widths

    def stage(self, cpu: StateBuilder, operands: list[str]) -> None:
        """Emit the body."""
        values = [cpu.name(o, bits) for o, bits in zip(operands, self._widths, strict=True)]
        result = self._meaning(cpu, *values)
        cpu.do("ret void" if result is None else f"ret i{result.width} {result.ir}")

    def result_of(self, cpu: InsnBuilder, operand: str) -> Value:
        """What a call has yielded."""
        return cpu.name(operand, self._width)


def with_registers(kind: type[InsnBuilder], arch: Architecture) -> type[InsnBuilder]:
    """Return `kind` with the architecture's registers as attributes."""
    members: dict[str, object] = {"__slots__": ()}
    for register in arch.layout.registers:
        if register.name in dir(InsnBuilder):
            raise StagingError(f"register {register.name} has the name of a builder method")
        members[register.name] = _attribute(register)
    return type(kind.__name__, (kind,), members)


def _attribute(register: Register) -> property:
    def read_file(builder: InsnBuilder) -> RegisterFile:
        return RegisterFile(builder, register)

    def read(builder: InsnBuilder) -> Value:
        return RegisterFile(builder, register)[0]

    def write(builder: InsnBuilder, value: Value | int) -> None:
        RegisterFile(builder, register)[0] = value

    return property(read_file) if register.count else property(read, write)
