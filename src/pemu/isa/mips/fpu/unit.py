"""The MIPS FPU: registers in both modes, NaNs, exceptions. The instructions are its neighbours.

Rounding mode and the sticky inexact, underflow, overflow and division-by-zero flags live in the
host's MXCSR (see `engine.fp`); the invalid flag and what programs wrote themselves in `fp_flags`.
Cause holds the exceptions of the last operation only. To keep operations cheap they just note what
they are and their operands (`fp_op`, `fp_a`, ...); who reads Cause has them computed again.

NaNs have the legacy coding: a set top mantissa bit means signalling. A result that is a NaN is the
default NaN: the manual lets a quiet operand pass on "when possible", which QEMU 7.2 never does.

Two things are rare and have translation modes of their own ("fpexact"): with an exception enabled
Cause is computed before each operation, and with FS set a tiny result becomes a zero of its sign.
As in QEMU such a flush raises no flag (the manual asks for none), and operands are not flushed.
Source: MIPS Architecture For Programmers, volume I-A, chapter 6.
"""

from __future__ import annotations

from pemu.engine.layout import state as s
from pemu.engine.staging import fp
from pemu.engine.staging.helper import Helper
from pemu.isa.mips.exceptions import FLOATING_POINT, RESERVED_INSTRUCTION
from pemu.isa.mips.table import MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from pemu.engine.staging.flow import Variable
    from pemu.engine.staging.function import Function
    from pemu.engine.staging.insn import Meaning
    from pemu.engine.staging.values import Emitter, Value
    from pemu.isa.mips.state import Cpu

    Nans: TypeAlias = "Direct | Again"

FLAG_I, FLAG_U, FLAG_O, FLAG_Z, FLAG_V = 1, 2, 4, 8, 16

KINDS = {"s": "float", "d": "double"}
WIDTHS = {"s": 32, "d": 64}
DEFAULT_NAN = {"s": 0x7FBFFFFF, "d": 0x7FF7FFFFFFFFFFFF}
_QUIET_BIT = {"s": 22, "d": 51}
_EXPONENT = {"s": 0x7F800000, "d": 0x7FF0000000000000}
LARGEST = {32: 0x7FFFFFFF, 64: 0x7FFFFFFFFFFFFFFF}
"""Result of a conversion to an integer that is invalid."""

FLUSH_BIT = 24
"""FS in FCSR: tiny results become zero."""


def insn(
    pattern: str, assembly: str, *, name: str = "", needs: str = "", overrides: str = ""
) -> Callable[[Meaning], Meaning]:
    """Declare an instruction of the floating-point unit."""
    return MIPS.insn(pattern, assembly, name=name, needs=f"fpu {needs}", overrides=overrides)


# Registers


def _check_double(cpu: Cpu, register: Value) -> None:
    if "fr1" not in cpu.features:
        cpu.trap(RESERVED_INSTRUCTION, register.trunc(1))


def check(cpu: Cpu, kind: str, *registers: Value) -> None:
    """Raise a reserved instruction for odd registers where doubles take pairs.

    The manual has no defined result for them. In ldc1, sdc1, dmfc1, dmtc1 and the conditional moves
    they mean the even register below, as in QEMU.
    """
    if kind == "d":
        for register in registers:
            _check_double(cpu, register)


def read(cpu: Cpu, register: Value, kind: str) -> str:
    """Read an FPU register as LLVM type "float", "double", "i32" or "i64"."""
    if kind in ("double", "i64") or "fr1" in cpu.features:
        return cpu.fpr.read(register, kind)
    return cpu.fpr.read(register & 30, kind, (register & 1).zext(64) << 2)


def write(cpu: Cpu, register: Value, kind: str, operand: str) -> None:
    """Write an FPU register as LLVM type "float", "double", "i32" or "i64"."""
    if kind in ("double", "i64") or "fr1" in cpu.features:
        cpu.fpr.write(register, kind, operand)
    else:
        cpu.fpr.write(register & 30, kind, operand, (register & 1).zext(64) << 2)


def pair(cpu: Cpu, register: Value) -> Value:
    """The 64-bit register that an FPU register is part of."""
    return register if "fr1" in cpu.features else register & 30


# NaNs


def _is_nan(value: Value, fmt: str) -> Value:
    magnitude = value & ((1 << (value.width - 1)) - 1)
    return magnitude.ugt(_EXPONENT[fmt])


def is_signalling(value: Value, fmt: str) -> Value:
    """One for a signalling NaN in the legacy coding."""
    return _is_nan(value, fmt) & value.bit(_QUIET_BIT[fmt])


def _offset(emitter: Emitter, name: str) -> str:
    """Pointer to a hidden FPU register from within a helper."""
    return emitter.offset("%state", _OFFSETS[name])


def _layout_offsets() -> dict[str, int]:
    from pemu.isa.mips.state import layout

    found = {}
    for xlen, abi in ((32, "o32"), (64, "n64")):
        for register in layout(xlen, abi).registers:
            found[f"{register.name}.{xlen}"] = register.offset
    return found


class _Offsets(dict[str, int]):
    """Offsets of registers by "name.xlen", filled in on first use."""

    def __missing__(self, key: str) -> int:
        self.update(_layout_offsets())
        return self[key]


_OFFSETS = _Offsets()


def raise_invalid(f: Function, xlen: int) -> None:
    """Note that an operation was invalid where the host's FPU does not."""
    flags = _offset(f, f"fp_flags.{xlen}")
    f.raw_store(flags, f.raw_load(flags, 8) | FLAG_V)


def clear_invalid(f: Function) -> None:
    """Have the host's FPU forget that an operation was invalid or took a denormal."""
    f.entry_lines.append("  %mx = alloca i32, align 4")
    fp.write_mxcsr(f, "%mx", fp.read_mxcsr(f, "%mx") & ~(fp.INVALID | fp.DENORMAL))


def _invalid(f: Emitter, fmt: str, operands: list[Value]) -> Value:
    """One if an operation with a NaN result was invalid: an operand signals, or none is a NaN."""
    any_nan = f.const(0, 1)
    signalling = f.const(0, 1)
    for operand in operands:
        any_nan = any_nan | _is_nan(operand, fmt)
        signalling = signalling | is_signalling(operand, fmt)
    return signalling | ~any_nan


def _nan_helper(fmt: str, count: int, xlen: int) -> Helper:
    kind = KINDS[fmt]

    def body(f: Function, *arguments: str) -> None:
        clear_invalid(f)
        operands = [fp.bits(f, kind, argument) for argument in arguments]
        with f.if_(_invalid(f, fmt, operands)):
            raise_invalid(f, xlen)
        f.do("ret void")

    return Helper(f"fp_nan_{fmt}{count}_{xlen}", (kind,) * count, "void", body)


_NAN_HELPERS = {
    (fmt, count, xlen): _nan_helper(fmt, count, xlen)
    for fmt in KINDS
    for count in (1, 2)
    for xlen in (32, 64)
}


# One operation of the host.


class HostOperation:
    """A host operation from format `source` (each operand) to format `target`."""

    __slots__ = ("_emit", "_name", "flushing", "source", "target")

    def __init__(
        self, name: str, source: str, target: str, operands: int, emit: Callable[..., str]
    ) -> None:
        self._emit = emit
        self.source = source
        self.target = target
        self.flushing = Helper(
            f"fp_flush_{name}_{source}_{target}",
            (KINDS[source],) * operands,
            KINDS[target],
            self._flushing_body,
        )

    def emit(self, e: Emitter, *operands: str) -> str:
        """Emit the operation as it is and return its result's operand."""
        return self._emit(e, *operands)

    def _flushing_body(self, f: Function, *operands: str) -> None:
        f.entry_lines.append("  %mx = alloca i32, align 4")
        result = self.flushed(f, *operands)
        f.do(f"ret {KINDS[self.target]} {fp.from_bits(f, KINDS[self.target], result)}")

    def flushed(self, f: Function, *operands: str) -> Value:
        """Emit the operation with FS set and return the result's bits; scratch is %mx.

        A result is tiny if, rounded towards zero, it is denormal, or an inexact zero.
        """
        kind, width = KINDS[self.target], WIDTHS[self.target]
        before = fp.read_mxcsr(f, "%mx")
        fp.write_mxcsr(f, "%mx", before & ~fp.EXCEPTIONS | fp.ZERO << fp.ROUNDING_SHIFT)
        truncated = fp.bits(f, kind, self.emit(f, *operands))
        inexact = (fp.read_mxcsr(f, "%mx") & fp.INEXACT).ne(0)
        fp.write_mxcsr(f, "%mx", before)
        sign = 1 << (width - 1)
        magnitude = truncated & (sign - 1)
        least = _EXPONENT[self.target] & -_EXPONENT[self.target]
        tiny = magnitude.ult(least) & (magnitude.ne(0) | inexact)
        result = f.var(width, truncated & sign)
        with f.if_(~tiny):
            result.value = fp.bits(f, kind, self.emit(f, *operands))
        return result.value


def _arithmetic(name: str, fmt: str, operands: int) -> HostOperation:
    def emit(e: Emitter, *given: str) -> str:
        return fp.operation(e, name, KINDS[fmt], *given)

    return HostOperation(name, fmt, fmt, operands, emit)


ARITHMETIC = {
    (name, fmt): _arithmetic(name, fmt, 1 if name == "sqrt" else 2)
    for name in ("fadd", "fsub", "fmul", "fdiv", "sqrt")
    for fmt in KINDS
}
"""Host operations by name and format."""


def arithmetic(nans: Nans, name: str, fmt: str, *operands: str) -> str:
    """Do one step of arithmetic and settle a NaN result."""
    operation = ARITHMETIC[name, fmt]
    return nans.settle(operation, nans.step(operation, *operands), *operands)


# The table of operations: computed for real, and again for Cause.


class Operation:
    """An operation with exceptions: number, operand formats, and how to do it on the host."""

    __slots__ = ("compute", "number", "operands", "result")

    def __init__(
        self,
        number: int,
        operands: str,
        result: str,
        compute: Callable[[Emitter, list[str], Nans], str],
    ) -> None:
        self.number = number
        self.operands = operands
        self.result = result
        self.compute = compute


class Direct:
    """While the guest runs: NaNs are settled out of line."""

    def __init__(self, cpu: Cpu) -> None:
        self.cpu = cpu

    def step(self, operation: HostOperation, *operands: str) -> str:
        """Emit a host operation, its result flushed to zero if FS is set."""
        cpu = self.cpu
        if "fpexact" not in cpu.features:
            return operation.emit(cpu, *operands)
        kind = KINDS[operation.target]
        final = cpu.var(WIDTHS[operation.target])
        with cpu.if_(cpu.fcsr.bit(FLUSH_BIT)) as arm:
            final.value = fp.bits(cpu, kind, cpu.helper(operation.flushing, *operands))
        with arm.otherwise():
            final.value = fp.bits(cpu, kind, operation.emit(cpu, *operands))
        return fp.from_bits(cpu, kind, final.value)

    def settle(self, operation: HostOperation, result: str, *operands: str) -> str:
        """Return the guest's result of one step: a NaN becomes the default one."""
        cpu = self.cpu
        fmt = operation.target
        kind, width = KINDS[fmt], WIDTHS[fmt]
        final = cpu.var(width)
        final.value = fp.bits(cpu, kind, result)
        with cpu.if_(fp.unordered(cpu, kind, result, result), unlikely=True):
            cpu.helper(_NAN_HELPERS[operation.source, len(operands), cpu.arch.xlen], *operands)
            final.value = cpu.const(DEFAULT_NAN[fmt], width)
        return fp.from_bits(cpu, kind, final.value)

    def inexact(self, condition: Value) -> None:
        """The operation is inexact, unknown to the host, if `condition` holds."""
        if condition.known is None:
            self.cpu.fp_flags = self.cpu.fp_flags | condition.zext(8)


class Again:
    """When Cause is wanted: the same, and whether something was invalid counts."""

    def __init__(self, f: Function, flush: Value, found: Variable, inexact: Variable) -> None:
        self._f = f
        self._flush = flush
        self._found = found
        self._inexact = inexact

    def step(self, operation: HostOperation, *operands: str) -> str:
        """Emit a host operation, its result flushed to zero if FS is set."""
        f = self._f
        kind = KINDS[operation.target]
        final = f.var(WIDTHS[operation.target])
        with f.if_(self._flush) as arm:
            final.value = operation.flushed(f, *operands)
        with arm.otherwise():
            final.value = fp.bits(f, kind, operation.emit(f, *operands))
        return fp.from_bits(f, kind, final.value)

    def settle(self, operation: HostOperation, result: str, *operands: str) -> str:
        """Return the guest's result of one step, and note an invalid operation."""
        f = self._f
        fmt, source = operation.target, operation.source
        kind = KINDS[fmt]
        nan = fp.unordered(f, kind, result, result)
        bits = [fp.bits(f, KINDS[source], operand) for operand in operands]
        self.invalid(nan & _invalid(f, source, bits))
        default = f.const(DEFAULT_NAN[fmt], WIDTHS[fmt])
        return fp.from_bits(f, kind, nan.select(default, fp.bits(f, kind, result)))

    def invalid(self, condition: Value) -> None:
        """The operation is invalid if `condition` holds."""
        self._found.value = self._found.value | condition

    def inexact(self, condition: Value) -> None:
        """The result is inexact where `condition` holds."""
        self._inexact.value = self._inexact.value | condition.zext(32)

    def invalid_by_host(self, condition: Value) -> None:
        """The operation is invalid if `condition` holds and the host found it invalid."""
        f = self._f
        with f.if_(condition):
            self.invalid((fp.read_mxcsr(f, "%mx") & fp.INVALID).ne(0))


OPERATIONS: dict[str, Operation] = {}


def define(
    name: str,
    operands: str,
    result: str,
    compute: Callable[[Emitter, list[str], Nans], str],
) -> Operation:
    """Enter an operation into the table. `operands`, `result`: formats, as "dd" and "d"."""
    operation = Operation(len(OPERATIONS) + 1, operands, result, compute)
    OPERATIONS[name] = operation
    return operation


LLVM_TYPE = {"s": "float", "d": "double", "w": "i32", "l": "i64", "p": "i64"}
"""Types by format; "p" is a pair of singles."""


def note(cpu: Cpu, number: int, operands: list[tuple[str, str]]) -> None:
    """Note an operation for Cause: its number and (LLVM type, operand) of what it works on."""
    cpu.fp_op = cpu.const(number, 32)
    for register, (kind, operand) in zip(("fp_a", "fp_b", "fp_c"), operands, strict=False):
        at = cpu.offset("%state", _OFFSETS[f"{register}.{cpu.arch.xlen}"])
        cpu.do(f"store {kind} {operand}, ptr {at}, align 8")


def perform(cpu: Cpu, operation: Operation, operands: list[str]) -> str:
    """Do an operation: note it, raise what is enabled, return the result's operand."""
    kinds = [LLVM_TYPE[fmt] for fmt in operation.operands]
    note(cpu, operation.number, list(zip(kinds, operands, strict=True)))
    if "fpexact" in cpu.features:
        raise_enabled(cpu)
    return operation.compute(cpu, operands, Direct(cpu))


def raise_enabled(cpu: Cpu) -> None:
    """Raise a floating-point exception if the noted operation has one that is enabled."""
    cause = cpu.name(cpu.helper(cause_helper(cpu.arch.xlen)), 32)
    enabled = (cpu.fcsr.lshr(7) & 0x1F) & cause
    with cpu.if_(enabled.ne(0), unlikely=True):
        cpu.fp_cause = cause.trunc(8)
        cpu.fp_op = 0
    cpu.trap(FLOATING_POINT, enabled.ne(0))


_cause_helpers: dict[int, Helper] = {}


def cause_helper(xlen: int) -> Helper:
    """The helper that computes Cause (bits V Z O U I, 32 bits) of the noted operation."""
    if xlen not in _cause_helpers:
        _cause_helpers[xlen] = Helper(f"fp_cause_{xlen}", (), "i32", lambda f: _cause_body(f, xlen))
    return _cause_helpers[xlen]


def _cause_body(f: Function, xlen: int) -> None:
    f.entry_lines.append("  %mx = alloca i32, align 4")
    number = f.raw_load(_offset(f, f"fp_op.{xlen}"), 32)
    cause = f.var(32, f.raw_load(_offset(f, f"fp_cause.{xlen}"), 8).zext(32))
    with f.if_(number.ne(0)):
        before = fp.read_mxcsr(f, "%mx")
        fp.write_mxcsr(f, "%mx", before & ~fp.EXCEPTIONS)
        invalid = f.var(1, 0)
        inexact = f.var(32, 0)
        flush = f.raw_load(_offset(f, f"fcsr.{xlen}"), 32).bit(FLUSH_BIT)
        done = f.label("done")
        cases = {operation.number: f.label("operation") for operation in OPERATIONS.values()}
        listed = " ".join(f"i32 {value}, label %{label}" for value, label in cases.items())
        f.do(f"switch i32 {number.ir}, label %{done} [ {listed} ]")
        for operation in OPERATIONS.values():
            f.place(cases[operation.number])
            operands = []
            for name, fmt in zip(("fp_a", "fp_b", "fp_c"), operation.operands, strict=False):
                kind = LLVM_TYPE[fmt]
                at = _offset(f, f"{name}.{xlen}")
                operands.append(f.op(f"load {kind}, ptr {at}, align 8"))
            operation.compute(f, operands, Again(f, flush, invalid, inexact))
            f.do(f"br label %{done}")
        f.place(done)
        after = fp.read_mxcsr(f, "%mx")
        fp.write_mxcsr(f, "%mx", before)
        cause.value = guest_flags(after) | inexact.value | (invalid.value.zext(32) << 4)
    f.do(f"ret i32 {cause.value.ir}")


def guest_flags(mxcsr: Value) -> Value:
    """MXCSR's sticky exceptions as the guest's I U O Z bits (32 bits)."""
    return (mxcsr.lshr(5) & 1) | (mxcsr.lshr(3) & 2) | (mxcsr.lshr(1) & 4) | ((mxcsr << 1) & 8)


def mxcsr_scratch(cpu: Cpu) -> str:
    """A place in the state for MXCSR: the field the engine keeps it in."""
    return cpu.offset("%state", s.GUEST_MXCSR.offset)
