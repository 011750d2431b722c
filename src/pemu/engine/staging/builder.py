"""What the meaning of an instruction may say: the `cpu` that is handed to each declared function.

`InsnBuilder` holds what both tiers share; `tier0` and `region` derive from it and decide where
registers live, how faults stay precise and how control leaves an instruction.
"""

from __future__ import annotations

from contextlib import contextmanager

from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.staging import softmmu
from pemu.engine.staging.values import Emitter, StagingError, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from pemu.engine.layout.state import Field, Register
    from pemu.engine.staging.architecture import Architecture


class Variable:
    """A mutable value inside one instruction's meaning (for loops and both arms of a condition)."""

    __slots__ = ("_emitter", "_pointer", "width")

    def __init__(self, emitter: Emitter, width: int, pointer: str) -> None:
        self._emitter = emitter
        self._pointer = pointer
        self.width = width

    @property
    def value(self) -> Value:
        """The present value."""
        return self._emitter.raw_load(self._pointer, self.width)

    @value.setter
    def value(self, value: Value | int) -> None:
        if isinstance(value, int):
            value = self._emitter.const(value, self.width)
        if value.width != self.width:
            raise StagingError(f"variable of {self.width} bits given {value.width}")
        self._emitter.raw_store(self._pointer, value)


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


class Otherwise:
    """The handle that `cpu.if_` yields; `otherwise()` opens the other arm."""

    __slots__ = ("_builder", "_else", "_end")

    def __init__(self, builder: Emitter, other: str, end: str) -> None:
        self._builder = builder
        self._else = other
        self._end = end

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """Emit what happens where the condition does not hold. Directly after the `if_` block."""
        lines = self._builder.lines
        if lines[-1] != f"{self._end}:":
            raise StagingError("otherwise() must directly follow its if_ block")
        del lines[-2:]  # the empty arm's jump and the common end; the else label stays
        yield
        self._builder.do(f"br label %{self._end}")
        self._builder.place(self._end)


class Code(Emitter):
    """An emitter with variables, conditions and loops that the running code decides."""

    __slots__ = ("entry_lines",)

    def __init__(self) -> None:
        super().__init__()
        self.entry_lines: list[str] = []

    def var(self, width: int, initial: Value | int = 0) -> Variable:
        """Return a new variable of `width` bits."""
        self._temporaries += 1
        pointer = f"%v{self._temporaries}"
        self.entry_lines.append(f"  {pointer} = alloca i{width}")
        variable = Variable(self, width, pointer)
        variable.value = initial if isinstance(initial, Value) else self.const(initial, width)
        return variable

    def go_on(self, label: str) -> None:
        """Start a basic block that is entered only from what has just been emitted."""
        self.place(label)

    def if_(self, condition: Value, *, unlikely: bool = False) -> AbstractContextManager[Otherwise]:
        """Emit the `with` block's code so that it runs only where `condition` (one bit) is 1.

        `with cpu.if_(c) as arm: ...` may be followed directly by `with arm.otherwise(): ...`.
        """
        return self._if(condition, unlikely)

    @contextmanager
    def _if(self, condition: Value, unlikely: bool) -> Iterator[Otherwise]:
        then, other, end = self.label("then"), self.label("else"), self.label("end")
        weights = ", !prof !0" if unlikely else ""
        self.do(f"br i1 {condition.ir}, label %{then}, label %{other}{weights}")
        self.place(then)
        yield Otherwise(self, other, end)
        self.do(f"br label %{end}")
        self.place(other)
        self.do(f"br label %{end}")
        self.place(end)

    @contextmanager
    def while_(self, condition: Callable[[], Value]) -> Iterator[None]:
        """Loop: `condition()` is emitted at the top, the `with` block's code is the body."""
        head, body, end = self.label("head"), self.label("body"), self.label("done")
        self.do(f"br label %{head}")
        self.place(head)
        self.do(f"br i1 {condition().ir}, label %{body}, label %{end}")
        self.place(body)
        yield
        self.do(f"br label %{head}")
        self.place(end)


class InsnBuilder(Code):
    """The `cpu` of staged semantics.

    Registers appear as attributes by their declared names: files as `cpu.gpr[i]`, single registers
    as `cpu.hi` (read and assign).
    """

    __slots__ = ("arch", "features", "helpers")

    def __init__(self, arch: Architecture, features: frozenset[str]) -> None:
        super().__init__()
        self.arch = arch
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

    def field(self, field: Field) -> str:
        """Pointer operand of one of the engine's fields in the state."""
        return self.offset("%state", field.offset)

    def guest_pointer(self, address: Value, size: int) -> str:
        """Return the host pointer operand for a guest-virtual address, before an access.

        Whatever keeps a fault of the access precise has been emitted when this returns.
        """
        raise NotImplementedError

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
        raise NotImplementedError

    # Whole processors (`Architecture.system`).

    @property
    def in_delay_slot(self) -> Value:
        """One bit, for `System.enter_exception`: what happens, happens in the delay slot."""
        raise NotImplementedError

    def runtime_function(self, name: str) -> str:
        """Return the operand to call a runtime function by (`context.SYSTEM_FUNCTION_NAMES`)."""
        context = self.op(f"load ptr, ptr {self.field(s.CONTEXT)}, align 8")
        at = self.offset(context, c.FUNCTIONS + 8 * c.SYSTEM_FUNCTION_NAMES.index(name))
        return self.op(f"load ptr, ptr {at}, align 8")

    def before_access(self) -> None:
        """Emit what must be stored before an access, as it may raise an exception."""

    def blame(self) -> None:
        """Store which instruction is at work, for what may raise an exception or leave."""
        raise NotImplementedError

    def resume_at(self, target: Value) -> None:
        """Go on at `target`, in the translation mode that the registers then ask for.

        There is no delay slot; the block ends.
        """
        raise NotImplementedError

    def slow_access(
        self,
        what: str,
        address: Value,
        size: int,
        more: str = "",
        beyond: Value | None = None,
    ) -> str:
        """Text of the call that prepares an access which the soft TLB does not serve.

        It yields what to add to the address (64 bits) for a host address.

        `what`: "load", "store", "pointer"; `more`: operands behind address (64 bits) and size.
        """
        self.blame()
        function = self.runtime_function(f"pemu_slow_{what}")
        arguments = f"ptr %state, i64 {address.ir}, i64 {self.access(size, beyond)}{more}"
        return f"call preserve_mostcc i64 {function}({arguments})"

    def access(self, flags: int, beyond: Value | None) -> str:
        """The operand that tells a slow access its size, and how far `beyond` exceptions are."""
        if beyond is None:
            return str(flags)
        return ((beyond.zext(64) << softmmu.BEYOND_SHIFT) | flags).ir

    def update_mode(self) -> None:
        """Registers that decide about mode or interrupts have been written; the block ends."""
        raise NotImplementedError

    def exit(self, number: int, argument: Value | int = 0) -> None:
        """Leave native code after this instruction, with reason SYSTEM, for what Python does.

        `number` and `argument` become the cpu's `exit_code` and `exit_addr`. The block ends.
        """
        raise NotImplementedError

    def _call_runtime(self, name: str, arguments: str = "") -> None:
        self.do(f"call preserve_mostcc void {self.runtime_function(name)}(ptr %state{arguments})")

    def flush_tlb(self) -> None:
        """Forget all translated addresses; they are translated again when next used."""
        self._call_runtime("pemu_flush_tlb")

    def flush_page(self, address: Value) -> None:
        """Forget what the 4 KiB page at a guest-virtual address was translated to."""
        self._call_runtime("pemu_flush_page", f", i64 {address.zext(64).ir}")

    def set_context(self, number: Value) -> None:
        """Use the soft TLB of address space `number` (below 1024); others keep their entries."""
        self._call_runtime("pemu_set_context", f", i64 {number.zext(64).ir}")

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

    def swap(self, value: Value) -> Value:
        """Turn a value between the guest's byte order and the host's."""
        return value.bswap() if self.arch.big_endian else value

    def load(self, address: Value, size: int, beyond: Value | None = None) -> Value:
        """Load `size` bytes (1, 2, 4, 8) from a guest-virtual address, in guest byte order.

        beyond: how much further (0 to 7) the address is that a whole processor's exceptions tell.
        """
        if self.arch.system is not None:
            return softmmu.load(self, address, size, beyond)
        pointer = self.guest_pointer(address, size)
        return self.swap(self.raw_load(pointer, size * 8, volatile=True))

    def store(self, address: Value, value: Value, beyond: Value | None = None) -> None:
        """Store `value` (8, 16, 32 or 64 bits) at a guest-virtual address, guest byte order.

        beyond: as `load` has it.
        """
        if self.arch.system is not None:
            softmmu.store(self, address, value, beyond)
            return
        value = self.swap(value)
        pointer = self.guest_pointer(address, value.width // 8)
        self.raw_store(pointer, value, volatile=True)

    def compare_exchange(self, address: Value, expected: Value, new: Value) -> Value:
        """Atomically store `new` where memory equals `expected`; return one bit, 1 if stored.

        The address must be aligned to the operands' size. Sequentially consistent.
        """
        expected, new = self.swap(expected), self.swap(new)
        size = new.width // 8
        if self.arch.system is not None:
            pointer = softmmu.pointer(self, address, size)
        else:
            pointer = self.guest_pointer(address, size)
        kind = f"i{new.width}"
        pair = self.op(
            f"cmpxchg volatile ptr {pointer}, {kind} {expected.ir}, {kind} {new.ir} "
            f"seq_cst seq_cst, align {new.width // 8}"
        )
        return self.name(self.op(f"extractvalue {{ {kind}, i1 }} {pair}, 1"), 1)

    def invoke(self, procedure: Procedure, *arguments: Value) -> Value:
        """Call a procedure; the value means nothing if it yields none."""
        return procedure.result_of(self, self.helper(procedure, *arguments))

    def fence(self) -> None:
        """Order all earlier accesses before all later ones."""
        self.do("fence seq_cst")

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


class Helper:
    """A function written in the same staged style, compiled once, called from emitted code.

    `parameters`: LLVM types of the arguments after the state pointer; `result`: LLVM type. `body`
    receives an `Emitter` and the argument operands (`%a0`, ...) and must emit the `ret`. It may
    touch registers declared `memory=True` through `%state` and their offsets, no others.
    """

    __slots__ = ("body", "convention", "name", "parameters", "result")

    def __init__(
        self,
        name: str,
        parameters: tuple[str, ...],
        result: str,
        body: Callable[..., None],
        convention: str = "preserve_mostcc",
    ) -> None:
        self.name = name
        self.parameters = parameters
        self.result = result
        self.body = body
        self.convention = convention


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
