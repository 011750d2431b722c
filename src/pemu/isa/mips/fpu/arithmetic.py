"""Arithmetic on singles and doubles."""

from __future__ import annotations

from pemu.engine.staging import fp
from pemu.isa.mips.fpu import unit as fpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.values import Emitter, Value
    from pemu.isa.mips.fpu.unit import Nans
    from pemu.isa.mips.state import Cpu

FORMATS = {"s": "10000", "d": "10001"}
_ONE = {"s": 0x3F800000, "d": 0x3FF0000000000000}
_TWO = {"s": 0x40000000, "d": 0x4000000000000000}


def number(e: Emitter, fmt: str, value: int) -> str:
    """The constant one or two."""
    bits = {1: _ONE, 2: _TWO}[value][fmt]
    return fp.from_bits(e, fpu.KINDS[fmt], e.const(bits, fpu.WIDTHS[fmt]))


def negated(e: Emitter, fmt: str, operand: str) -> str:
    """The operand with the other sign, also of a NaN."""
    width = fpu.WIDTHS[fmt]
    value = fp.bits(e, fpu.KINDS[fmt], operand) ^ (1 << (width - 1))
    return fp.from_bits(e, fpu.KINDS[fmt], value)


def reciprocal(e: Emitter, nans: Nans, fmt: str, operand: str) -> str:
    """One divided by the operand."""
    return fpu.arithmetic(nans, "fdiv", fmt, number(e, fmt, 1), operand)


def _declare_two(name: str, host: str, function: str, fmt: str) -> None:
    def compute(e: Emitter, o: list[str], nans: Nans) -> str:
        return fpu.arithmetic(nans, host, fmt, o[0], o[1])

    operation = fpu.define(f"{name}.{fmt}", fmt * 2, fmt, compute)

    def meaning(cpu: Cpu, ft: Value, fs: Value, fd: Value) -> None:
        fpu.check(cpu, fmt, ft, fs, fd)
        kind = fpu.KINDS[fmt]
        a, b = fpu.read(cpu, fs, kind), fpu.read(cpu, ft, kind)
        fpu.write(cpu, fd, kind, fpu.perform(cpu, operation, [a, b]))

    fpu.insn(
        f"010001 {FORMATS[fmt]} ft:5 fs:5 fd:5 {function}",
        f"{name}.{fmt} {{fd}}, {{fs}}, {{ft}}",
        name=f"{name}_{fmt}",
    )(meaning)


def _declare_one(name: str, function: str, fmt: str, needs: str) -> None:
    def compute(e: Emitter, o: list[str], nans: Nans) -> str:
        if name == "recip":
            return reciprocal(e, nans, fmt, o[0])
        root = fpu.arithmetic(nans, "sqrt", fmt, o[0])
        if name == "sqrt":
            return root
        return reciprocal(e, nans, fmt, root)

    operation = fpu.define(f"{name}.{fmt}", fmt, fmt, compute)

    def meaning(cpu: Cpu, fs: Value, fd: Value) -> None:
        fpu.check(cpu, fmt, fs, fd)
        kind = fpu.KINDS[fmt]
        result = fpu.perform(cpu, operation, [fpu.read(cpu, fs, kind)])
        fpu.write(cpu, fd, kind, result)

    fpu.insn(
        f"010001 {FORMATS[fmt]} 00000 fs:5 fd:5 {function}",
        f"{name}.{fmt} {{fd}}, {{fs}}",
        name=f"{name}_{fmt}",
        needs=needs,
    )(meaning)


def multiply_add(
    e: Emitter, nans: Nans, fmt: str, add: str, negate: bool, operands: list[str]
) -> str:
    """Multiply the first two operands and add or subtract the third, rounded after each step."""
    product = fpu.arithmetic(nans, "fmul", fmt, operands[0], operands[1])
    total = fpu.arithmetic(nans, add, fmt, product, operands[2])
    return negated(e, fmt, total) if negate else total


MULTIPLY_ADD = {
    "madd": ("fadd", False, "100"),
    "msub": ("fsub", False, "101"),
    "nmadd": ("fadd", True, "110"),
    "nmsub": ("fsub", True, "111"),
}
"""For each instruction: the second step, whether the result is negated, its function code."""


def _declare_multiply_add(name: str, code: str, fmt: str) -> None:
    add, negate, function = MULTIPLY_ADD[name]

    def compute(e: Emitter, o: list[str], nans: Nans) -> str:
        return multiply_add(e, nans, fmt, add, negate, o)

    operation = fpu.define(f"{name}.{fmt}", fmt * 3, fmt, compute)

    def meaning(cpu: Cpu, fr: Value, ft: Value, fs: Value, fd: Value) -> None:
        fpu.check(cpu, fmt, fr, ft, fs, fd)
        kind = fpu.KINDS[fmt]
        operands = [fpu.read(cpu, register, kind) for register in (fs, ft, fr)]
        fpu.write(cpu, fd, kind, fpu.perform(cpu, operation, operands))

    fpu.insn(
        f"010011 fr:5 ft:5 fs:5 fd:5 {function} {code}",
        f"{name}.{fmt} {{fd}}, {{fr}}, {{fs}}, {{ft}}",
        name=f"{name}_{fmt}",
        needs="mips4_32r2",
    )(meaning)


def _declare_sign(name: str, function: str, fmt: str) -> None:
    """abs, neg, mov: on the bits, without exceptions; Cause stays as it is, as in QEMU."""

    def meaning(cpu: Cpu, fs: Value, fd: Value) -> None:
        fpu.check(cpu, fmt, fs, fd)
        kind, width = fpu.KINDS[fmt], fpu.WIDTHS[fmt]
        operand = fpu.read(cpu, fs, kind)
        sign = 1 << (width - 1)
        if name != "mov":
            value = fp.bits(cpu, kind, operand)
            value = value ^ sign if name == "neg" else value & (sign - 1)
            operand = fp.from_bits(cpu, kind, value)
        fpu.write(cpu, fd, kind, operand)

    fpu.insn(
        f"010001 {FORMATS[fmt]} 00000 fs:5 fd:5 {function}",
        f"{name}.{fmt} {{fd}}, {{fs}}",
        name=f"{name}_{fmt}",
    )(meaning)


def _declare_move_if(fmt: str) -> None:
    """Moves on a condition: of a general register or of a condition code."""

    def by_register(wanted: int, name: str, function: str) -> None:
        def meaning(cpu: Cpu, rt: Value, fs: Value, fd: Value) -> None:
            condition = cpu.gpr[rt].eq(0)
            _move(cpu, condition if wanted else ~condition, fs, fd)

        fpu.insn(
            f"010001 {FORMATS[fmt]} rt:5 fs:5 fd:5 {function}",
            f"{name}.{fmt} {{fd}}, {{fs}}, {{rt}}",
            name=f"{name}_{fmt}",
            needs="mips4_32",
        )(meaning)

    def by_code(wanted: int) -> None:
        def meaning(cpu: Cpu, cc: Value, fs: Value, fd: Value) -> None:
            _move(cpu, cpu.fcc[cc].trunc(1).eq(wanted), fs, fd)

        name = "movt" if wanted else "movf"
        fpu.insn(
            f"010001 {FORMATS[fmt]} cc:3 0{wanted} fs:5 fd:5 010001",
            f"{name}.{fmt} {{fd}}, {{fs}}, {{cc}}",
            name=f"{name}_{fmt}",
            needs="mips4_32",
        )(meaning)

    def _move(cpu: Cpu, condition: Value, fs: Value, fd: Value) -> None:
        kind = fpu.KINDS[fmt]
        if fmt == "d":
            fs, fd = fpu.pair(cpu, fs), fpu.pair(cpu, fd)
        new, old = fpu.read(cpu, fs, kind), fpu.read(cpu, fd, kind)
        chosen = cpu.op(f"select i1 {condition.ir}, {kind} {new}, {kind} {old}")
        fpu.write(cpu, fd, kind, chosen)

    by_register(1, "movz", "010010")
    by_register(0, "movn", "010011")
    by_code(0)
    by_code(1)


for _fmt in FORMATS:
    _declare_two("add", "fadd", "000000", _fmt)
    _declare_two("sub", "fsub", "000001", _fmt)
    _declare_two("mul", "fmul", "000010", _fmt)
    _declare_two("div", "fdiv", "000011", _fmt)
    _declare_one("sqrt", "000100", _fmt, "mips2")
    _declare_one("recip", "010101", _fmt, "mips4_32r2")
    _declare_one("rsqrt", "010110", _fmt, "mips4_32r2")
    _declare_sign("abs", "000101", _fmt)
    _declare_sign("mov", "000110", _fmt)
    _declare_sign("neg", "000111", _fmt)
    _code = {"s": "000", "d": "001"}[_fmt]
    for _name in MULTIPLY_ADD:
        _declare_multiply_add(_name, _code, _fmt)
    _declare_move_if(_fmt)
