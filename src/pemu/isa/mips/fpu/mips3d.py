"""The MIPS-3D extension: reductions, steps of reciprocals, comparisons of magnitudes, branches.

recip1 and rsqrt1 may be estimates; as in QEMU they are as exact as recip and rsqrt.
Source: MIPS Architecture For Programmers, volume IV-c (MIPS-3D, revision 2.61).
"""

from __future__ import annotations

from pemu.engine.staging import fp
from pemu.isa.mips.fpu import unit as fpu
from pemu.isa.mips.fpu.arithmetic import FORMATS, negated, number, reciprocal
from pemu.isa.mips.fpu.compare import CONDITIONS, compare
from pemu.isa.mips.fpu.convert import from_integer, to_integer
from pemu.isa.mips.fpu.paired import compare_halves, declare, define, halves, set_codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.values import Emitter, Value
    from pemu.isa.mips.fpu.unit import Nans, Operation
    from pemu.isa.mips.state import Cpu

    Half = Callable[[Emitter, list[str], Nans], str]

_NEEDS = "mips3d fr1"
_ALL_FORMATS = {**FORMATS, "ps": "10110"}


def _operation(name: str, fmt: str, operands: int, half: Half) -> Operation:
    """Enter an operation for a format into the table; on pairs it is done for each half."""
    if fmt == "ps":
        return define(name, operands, half)
    return fpu.define(f"{name}.{fmt}", fmt * operands, fmt, half)


def _format_of_half(fmt: str) -> str:
    return "s" if fmt == "ps" else fmt


def _declare_step(name: str, function: str, fmt: str, operands: int, half: Half) -> None:
    """An instruction that does an operation on fs, or on fs and ft."""
    second = "ft:5" if operands == 2 else "00000"
    pattern = f"010001 {_ALL_FORMATS[fmt]} {second} fs:5 fd:5 {function}"
    declare(_operation(name, fmt, operands, half), f"{name}.{fmt}", pattern, _NEEDS)


def _declare_reciprocals(fmt: str) -> None:
    """First estimates, and the corrections of the iterations that follow."""
    f = _format_of_half(fmt)

    def recip1(e: Emitter, o: list[str], nans: Nans) -> str:
        return reciprocal(e, nans, f, o[0])

    def rsqrt1(e: Emitter, o: list[str], nans: Nans) -> str:
        return reciprocal(e, nans, f, fpu.arithmetic(nans, "sqrt", f, o[0]))

    def excess(e: Emitter, o: list[str], nans: Nans) -> str:
        """The product less one."""
        product = fpu.arithmetic(nans, "fmul", f, o[0], o[1])
        return fpu.arithmetic(nans, "fsub", f, product, number(e, f, 1))

    def recip2(e: Emitter, o: list[str], nans: Nans) -> str:
        return negated(e, f, excess(e, o, nans))

    def rsqrt2(e: Emitter, o: list[str], nans: Nans) -> str:
        half = fpu.arithmetic(nans, "fdiv", f, excess(e, o, nans), number(e, f, 2))
        return negated(e, f, half)

    _declare_step("recip1", "011101", fmt, 1, recip1)
    _declare_step("rsqrt1", "011110", fmt, 1, rsqrt1)
    _declare_step("recip2", "011100", fmt, 2, recip2)
    _declare_step("rsqrt2", "011111", fmt, 2, rsqrt2)


def _declare_reduction(name: str, host: str, function: str) -> None:
    """The halves of fs with each other, above those of ft."""

    def compute(e: Emitter, o: list[str], nans: Nans) -> str:
        high, low = (
            fp.bits(e, "float", fpu.arithmetic(nans, host, "s", *halves(e, operand)))
            for operand in o
        )
        return high.concat(low).ir

    operation = fpu.define(f"{name}.ps", "pp", "p", compute)
    declare(operation, f"{name}.ps", f"010001 10110 ft:5 fs:5 fd:5 {function}", _NEEDS)


def _declare_conversion(name: str, pattern: str, half: Half) -> None:
    declare(fpu.define(name, "p", "p", half), name, f"010001 {pattern}", _NEEDS)


def _to_words(e: Emitter, o: list[str], nans: Nans) -> str:
    lower, upper = (to_integer(e, nans, "cvt", "s", 32, half) for half in halves(e, o[0]))
    return upper.concat(lower).ir


def _from_words(e: Emitter, o: list[str], nans: Nans) -> str:
    value = e.name(o[0], 64)
    upper, lower = (
        fp.bits(e, "float", from_integer(e, "w", "s", value.bits(at, 32).ir)) for at in (32, 0)
    )
    return upper.concat(lower).ir


def _magnitude(e: Emitter, fmt: str, operand: str) -> str:
    value = fp.bits(e, fpu.KINDS[fmt], operand) & ((1 << (fpu.WIDTHS[fmt] - 1)) - 1)
    return fp.from_bits(e, fpu.KINDS[fmt], value)


def _declare_compare(fmt: str, number: int) -> None:
    """c.cond on magnitudes; on pairs with two condition codes."""
    name = CONDITIONS[number]
    f = _format_of_half(fmt)

    def one(e: Emitter, nans: Nans, a: str, b: str) -> Value:
        return compare(e, nans, f, number, _magnitude(e, f, a), _magnitude(e, f, b))

    def compute(e: Emitter, o: list[str], nans: Nans) -> str:
        if fmt != "ps":
            return one(e, nans, o[0], o[1]).ir
        return compare_halves(e, o, lambda a, b: one(e, nans, a, b))

    letter = "p" if fmt == "ps" else fmt
    operation = fpu.define(f"cabs.{name}.{fmt}", letter * 2, "", compute)
    kind = fpu.LLVM_TYPE[letter]

    def meaning(cpu: Cpu, ft: Value, fs: Value, cc: Value) -> None:
        fpu.check(cpu, fmt, ft, fs)
        result = fpu.perform(cpu, operation, [fpu.read(cpu, fs, kind), fpu.read(cpu, ft, kind)])
        if fmt == "ps":
            set_codes(cpu, cc, result)
        else:
            cpu.fcc[cc] = cpu.name(result, 1).zext(8)

    fpu.insn(
        f"010001 {_ALL_FORMATS[fmt]} ft:5 fs:5 cc:3 01 11 {number:04b}",
        f"cabs.{name}.{fmt} {{cc:cc}}, {{fs}}, {{ft}}",
        name=f"cabs_{name}_{fmt}",
        needs=_NEEDS if fmt == "ps" else "mips3d",
    )(meaning)


def _declare_branch(codes: int, wanted: int) -> None:
    """Branch if any of 2 or 4 adjacent condition codes is as wanted."""

    def meaning(cpu: Cpu, cc: Value, offset: Value) -> None:
        condition = cpu.const(0, 1)
        for index in range(codes):
            condition = condition | cpu.fcc[(cc & -codes) + index].trunc(1).eq(wanted)
        target = cpu.pc + cpu.arch.insn_bytes + (offset.sext(cpu.arch.xlen) << 2)
        cpu.branch(condition, target)

    name = f"bc1any{codes}{'ft'[wanted]}"
    fpu.insn(
        f"010001 {'01001' if codes == 2 else '01010'} cc:3 0{wanted} offset:16",
        f"{name} {{cc:cc}}, {{offset:branch}}",
        name=name,
        needs="mips3d",
    )(meaning)


_declare_reduction("addr", "fadd", "011000")
_declare_reduction("mulr", "fmul", "011010")
_declare_conversion("cvt.pw.ps", "10110 00000 fs:5 fd:5 100100", _to_words)
_declare_conversion("cvt.ps.pw", "10100 00000 fs:5 fd:5 100110", _from_words)
for _fmt in _ALL_FORMATS:
    _declare_reciprocals(_fmt)
    for _number in range(16):
        _declare_compare(_fmt, _number)
for _codes in (2, 4):
    for _wanted in (0, 1):
        _declare_branch(_codes, _wanted)
