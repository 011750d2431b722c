"""Paired singles: two singles in one 64-bit register, in FPU register mode FR=1.

The lower single is in bits 31 to 0. An operation on pairs raises what its two halves raise.
Source: MIPS Architecture For Programmers, volume II-A (MIPS64, revision 5.04).
"""

from __future__ import annotations

from pemu.engine.staging import fp
from pemu.isa.mips.fpu import unit as fpu
from pemu.isa.mips.fpu.arithmetic import MULTIPLY_ADD, multiply_add
from pemu.isa.mips.fpu.compare import CONDITIONS, compare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.insn import Meaning
    from pemu.engine.staging.values import Emitter, Value
    from pemu.isa.mips.fpu.unit import Nans, Operation
    from pemu.isa.mips.state import Cpu

    Half = Callable[[Emitter, list[str], Nans], str]

_NEEDS = "ps fr1"
_SIGNS = 0x8000000080000000


def halves(e: Emitter, operand: str) -> tuple[str, str]:
    """The lower and the upper single of a pair, as "float" operands."""
    value = e.name(operand, 64)
    return fp.from_bits(e, "float", value.trunc(32)), fp.from_bits(e, "float", value.bits(32, 32))


def define(name: str, operands: int, half: Half) -> Operation:
    """Enter an operation on pairs that does `half` for the lower and for the upper singles."""

    def compute(e: Emitter, given: list[str], nans: Nans) -> str:
        lower, upper = zip(*(halves(e, operand) for operand in given), strict=True)
        low = fp.bits(e, "float", half(e, list(lower), nans))
        return fp.bits(e, "float", half(e, list(upper), nans)).concat(low).ir

    return fpu.define(f"{name}.ps", "p" * operands, "p", compute)


def declare(operation: Operation, name: str, pattern: str, needs: str) -> None:
    """An instruction that does `operation` on fs, ft and fr, as many as it takes, into fd."""
    kind = fpu.LLVM_TYPE[operation.operands[0]]

    def calculate(cpu: Cpu, fd: Value, *registers: Value) -> None:
        given = [fpu.read(cpu, register, kind) for register in registers]
        fpu.write(cpu, fd, kind, fpu.perform(cpu, operation, given))

    def one(cpu: Cpu, fs: Value, fd: Value) -> None:
        calculate(cpu, fd, fs)

    def two(cpu: Cpu, ft: Value, fs: Value, fd: Value) -> None:
        calculate(cpu, fd, fs, ft)

    def three(cpu: Cpu, fr: Value, ft: Value, fs: Value, fd: Value) -> None:
        calculate(cpu, fd, fs, ft, fr)

    meanings: tuple[tuple[str, Meaning], ...] = (
        ("{fs}", one),
        ("{fs}, {ft}", two),
        ("{fr}, {fs}, {ft}", three),
    )
    text, meaning = meanings[len(operation.operands) - 1]
    assembly = f"{name} {{fd}}, {text}"
    fpu.insn(pattern, assembly, name=name.replace(".", "_"), needs=needs)(meaning)


def _declare_two(name: str, host: str, function: str) -> None:
    def half(e: Emitter, o: list[str], nans: Nans) -> str:
        return fpu.arithmetic(nans, host, "s", o[0], o[1])

    pattern = f"010001 10110 ft:5 fs:5 fd:5 {function}"
    declare(define(name, 2, half), f"{name}.ps", pattern, _NEEDS)


def _declare_multiply_add(name: str) -> None:
    add, negate, function = MULTIPLY_ADD[name]

    def half(e: Emitter, o: list[str], nans: Nans) -> str:
        return multiply_add(e, nans, "s", add, negate, o)

    pattern = f"010011 fr:5 ft:5 fs:5 fd:5 {function} 110"
    declare(define(name, 3, half), f"{name}.ps", pattern, _NEEDS)


def _insn(name: str, fields: str, operands: str) -> Callable[[Meaning], Meaning]:
    """An instruction on pairs that does no arithmetic."""
    text = f"{name} {{fd}}, {operands}"
    return fpu.insn(f"010001 10110 {fields}", text, name=name.replace(".", "_"), needs=_NEEDS)


def _pair(cpu: Cpu, register: Value) -> Value:
    return cpu.name(fpu.read(cpu, register, "i64"), 64)


def _set_pair(cpu: Cpu, register: Value, value: Value) -> None:
    fpu.write(cpu, register, "i64", value.ir)


def _declare_sign(name: str, function: str) -> None:
    def meaning(cpu: Cpu, fs: Value, fd: Value) -> None:
        value = _pair(cpu, fs)
        if name == "neg":
            value = value ^ _SIGNS
        elif name == "abs":
            value = value & ~_SIGNS
        _set_pair(cpu, fd, value)

    _insn(f"{name}.ps", f"00000 fs:5 fd:5 {function}", "{fs}")(meaning)


def _declare_select(name: str, function: str, upper: int, lower: int) -> None:
    """plu and its like: a half of fs becomes the upper, one of ft the lower single."""

    def meaning(cpu: Cpu, ft: Value, fs: Value, fd: Value) -> None:
        high, low = _pair(cpu, fs).bits(upper, 32), _pair(cpu, ft).bits(lower, 32)
        _set_pair(cpu, fd, high.concat(low))

    _insn(f"{name}.ps", f"ft:5 fs:5 fd:5 {function}", "{fs}, {ft}")(meaning)


def _declare_move_if_code(name: str, wanted: int) -> None:
    """movf, movt: each half by a condition code of its own."""

    def meaning(cpu: Cpu, cc: Value, fs: Value, fd: Value) -> None:
        new, old = _pair(cpu, fs), _pair(cpu, fd)
        low, high = (
            cpu.fcc[code].trunc(1).eq(wanted).select(new.bits(at, 32), old.bits(at, 32))
            for code, at in ((cc, 0), (cc + 1, 32))
        )
        _set_pair(cpu, fd, high.concat(low))

    _insn(f"{name}.ps", f"cc:3 0{wanted} fs:5 fd:5 010001", "{fs}, {cc}")(meaning)


def _declare_move_if_register(name: str, zero: bool, function: str) -> None:
    def meaning(cpu: Cpu, rt: Value, fs: Value, fd: Value) -> None:
        condition = cpu.gpr[rt].eq(0) if zero else cpu.gpr[rt].ne(0)
        _set_pair(cpu, fd, condition.select(_pair(cpu, fs), _pair(cpu, fd)))

    _insn(f"{name}.ps", f"rt:5 fs:5 fd:5 {function}", "{fs}, {rt}")(meaning)


def set_codes(cpu: Cpu, cc: Value, result: str) -> None:
    """Set two condition codes to the bits 32 and 0 of a comparison's result."""
    value = cpu.name(result, 64)
    cpu.fcc[cc] = value.bits(32, 8)
    cpu.fcc[cc + 1] = value.trunc(8)


def compare_halves(e: Emitter, operands: list[str], one: Callable[[str, str], Value]) -> str:
    """Compare two pairs by `one`; the result's bits 0 and 32 are those of the halves."""
    low, high = (one(a, b) for a, b in zip(*(halves(e, o) for o in operands), strict=True))
    return high.zext(64).insert(32, low.zext(32)).ir


def _declare_compare(number: int) -> None:
    """Two condition codes: cc for the lower singles, the next one for the upper."""
    name = CONDITIONS[number]

    def compute(e: Emitter, o: list[str], nans: Nans) -> str:
        return compare_halves(e, o, lambda a, b: compare(e, nans, "s", number, a, b))

    operation = fpu.define(f"c.{name}.ps", "pp", "", compute)

    def meaning(cpu: Cpu, ft: Value, fs: Value, cc: Value) -> None:
        operands = [fpu.read(cpu, fs, "i64"), fpu.read(cpu, ft, "i64")]
        set_codes(cpu, cc, fpu.perform(cpu, operation, operands))

    def without_code(cpu: Cpu, ft: Value, fs: Value) -> None:
        meaning(cpu, ft, fs, cpu.const(0, 3))

    bits = f"{number:04b}"
    fpu.insn(
        f"010001 10110 ft:5 fs:5 cc:3 00 11 {bits}",
        f"c.{name}.ps {{cc}}, {{fs}}, {{ft}}",
        name=f"c_{name}_ps_cc",
        needs=_NEEDS,
    )(meaning)
    fpu.insn(
        f"010001 10110 ft:5 fs:5 000 00 11 {bits}",
        f"c.{name}.ps {{fs}}, {{ft}}",
        name=f"c_{name}_ps",
        needs=_NEEDS,
        overrides=f"c_{name}_ps_cc",
    )(without_code)


for _name, _host, _function in (
    ("add", "fadd", "000000"),
    ("sub", "fsub", "000001"),
    ("mul", "fmul", "000010"),
):
    _declare_two(_name, _host, _function)
for _name in MULTIPLY_ADD:
    _declare_multiply_add(_name)
for _name, _function in (("abs", "000101"), ("mov", "000110"), ("neg", "000111")):
    _declare_sign(_name, _function)
for _name, _function, _upper, _lower in (
    ("pll", "101100", 0, 0),
    ("plu", "101101", 0, 32),
    ("pul", "101110", 32, 0),
    ("puu", "101111", 32, 32),
):
    _declare_select(_name, _function, _upper, _lower)
_declare_move_if_code("movf", 0)
_declare_move_if_code("movt", 1)
_declare_move_if_register("movz", True, "010010")
_declare_move_if_register("movn", False, "010011")
for _number in range(16):
    _declare_compare(_number)


@fpu.insn("010001 10000 ft:5 fs:5 fd:5 100110", "cvt.ps.s {fd}, {fs}, {ft}", needs=_NEEDS)
def cvt_ps_s(cpu: Cpu, ft: Value, fs: Value, fd: Value) -> None:
    _set_pair(cpu, fd, _pair(cpu, fs).trunc(32).concat(_pair(cpu, ft).trunc(32)))


def _declare_half(name: str, function: str, low: int) -> None:
    """One half as a single: an operation that raises nothing, so that Cause is cleared."""

    def meaning(cpu: Cpu, fs: Value, fd: Value) -> None:
        cpu.fp_op = 0
        cpu.fp_cause = 0
        fpu.write(cpu, fd, "i32", _pair(cpu, fs).bits(low, 32).ir)

    _insn(f"cvt.s.{name}", f"00000 fs:5 fd:5 {function}", "{fs}")(meaning)


_declare_half("pl", "101000", 0)
_declare_half("pu", "100000", 32)


@fpu.insn("010011 rs:5 ft:5 fs:5 fd:5 011110", "alnv.ps {fd}, {fs}, {ft}, {rs}", needs=_NEEDS)
def alnv_ps(cpu: Cpu, rs: Value, ft: Value, fs: Value, fd: Value) -> None:
    """A pair from an address that is a multiple of 4; of no other, fd stays as it is."""
    first, second = _pair(cpu, fs), _pair(cpu, ft)
    if cpu.arch.big_endian:
        moved = first.trunc(32).concat(second.bits(32, 32))
    else:
        moved = second.trunc(32).concat(first.bits(32, 32))
    place = cpu.gpr[rs].trunc(3)
    kept = place.eq(4).select(moved, _pair(cpu, fd))
    _set_pair(cpu, fd, place.eq(0).select(first, kept))
