"""Multiplication and division, and the HI and LO registers.

A 64-bit product of 32-bit operands stands in two registers of any width, each half sign-extended.
Division by zero and the quotient that does not fit are UNPREDICTABLE in the manual; here the
divisor becomes 1, as in QEMU, so LO is the dividend and HI is 0.
"""

from __future__ import annotations

from pemu.isa.mips.state import set_word, word
from pemu.isa.mips.table import MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.values import Value
    from pemu.isa.mips.state import Cpu


def accumulator(cpu: Cpu, index: Value | int = 0) -> Value:
    """Return the 64 bits of HI:LO (of an accumulator of the DSP extension)."""
    return cpu.hi[index].trunc(32).concat(cpu.lo[index].trunc(32))


def set_accumulator(cpu: Cpu, value: Value, index: Value | int = 0) -> None:
    """Write 64 bits to HI:LO (to an accumulator of the DSP extension)."""
    cpu.hi[index] = value.bits(32, 32).sext(cpu.arch.xlen)
    cpu.lo[index] = value.trunc(32).sext(cpu.arch.xlen)


def signed_product(cpu: Cpu, rs: Value, rt: Value) -> Value:
    """Return the 64-bit product of two registers' low words, signed."""
    return word(cpu, rs).sext(64) * word(cpu, rt).sext(64)


def unsigned_product(cpu: Cpu, rs: Value, rt: Value) -> Value:
    """Return the 64-bit product of two registers' low words, unsigned."""
    return word(cpu, rs).zext(64) * word(cpu, rt).zext(64)


def set_division(cpu: Cpu, dividend: Value, divisor: Value, is_signed: bool) -> None:
    """Write quotient and remainder of a division to LO and HI, sign-extended."""
    xlen = cpu.arch.xlen
    bad = divisor.eq(0)
    if is_signed:
        bad = bad | (dividend.eq(1 << (dividend.width - 1)) & divisor.eq(-1))
    divisor = bad.select(cpu.const(1, divisor.width), divisor)
    if is_signed:
        quotient, remainder = dividend.sdiv(divisor), dividend.srem(divisor)
    else:
        quotient, remainder = dividend.udiv(divisor), dividend.urem(divisor)
    cpu.lo[0] = quotient.sext(xlen)
    cpu.hi[0] = remainder.sext(xlen)


@MIPS.insn("000000 rs:5 rt:5 0000000000 011000", "mult {rs}, {rt}")
def mult(cpu: Cpu, rs: Value, rt: Value) -> None:
    set_accumulator(cpu, signed_product(cpu, rs, rt))


@MIPS.insn("000000 rs:5 rt:5 0000000000 011001", "multu {rs}, {rt}")
def multu(cpu: Cpu, rs: Value, rt: Value) -> None:
    set_accumulator(cpu, unsigned_product(cpu, rs, rt))


@MIPS.insn("000000 rs:5 rt:5 0000000000 011010", "div zero, {rs}, {rt}")
def div(cpu: Cpu, rs: Value, rt: Value) -> None:
    set_division(cpu, word(cpu, rs), word(cpu, rt), is_signed=True)


@MIPS.insn("000000 rs:5 rt:5 0000000000 011011", "divu zero, {rs}, {rt}")
def divu(cpu: Cpu, rs: Value, rt: Value) -> None:
    set_division(cpu, word(cpu, rs), word(cpu, rt), is_signed=False)


@MIPS.insn("000000 rs:5 rt:5 0000000000 011100", "dmult {rs}, {rt}", needs="mips3")
def dmult(cpu: Cpu, rs: Value, rt: Value) -> None:
    product = cpu.gpr[rs].sext(128) * cpu.gpr[rt].sext(128)
    cpu.hi[0] = product.bits(64, 64)
    cpu.lo[0] = product.trunc(64)


@MIPS.insn("000000 rs:5 rt:5 0000000000 011101", "dmultu {rs}, {rt}", needs="mips3")
def dmultu(cpu: Cpu, rs: Value, rt: Value) -> None:
    product = cpu.gpr[rs].zext(128) * cpu.gpr[rt].zext(128)
    cpu.hi[0] = product.bits(64, 64)
    cpu.lo[0] = product.trunc(64)


@MIPS.insn("000000 rs:5 rt:5 0000000000 011110", "ddiv zero, {rs}, {rt}", needs="mips3")
def ddiv(cpu: Cpu, rs: Value, rt: Value) -> None:
    set_division(cpu, cpu.gpr[rs], cpu.gpr[rt], is_signed=True)


@MIPS.insn("000000 rs:5 rt:5 0000000000 011111", "ddivu zero, {rs}, {rt}", needs="mips3")
def ddivu(cpu: Cpu, rs: Value, rt: Value) -> None:
    set_division(cpu, cpu.gpr[rs], cpu.gpr[rt], is_signed=False)


@MIPS.insn("000000 0000000000 rd:5 00000 010000", "mfhi {rd}")
def mfhi(cpu: Cpu, rd: Value) -> None:
    cpu.gpr[rd] = cpu.hi[0]


@MIPS.insn("000000 0000000000 rd:5 00000 010010", "mflo {rd}")
def mflo(cpu: Cpu, rd: Value) -> None:
    cpu.gpr[rd] = cpu.lo[0]


@MIPS.insn("000000 rs:5 000000000000000 010001", "mthi {rs}")
def mthi(cpu: Cpu, rs: Value) -> None:
    cpu.hi[0] = cpu.gpr[rs]


@MIPS.insn("000000 rs:5 000000000000000 010011", "mtlo {rs}")
def mtlo(cpu: Cpu, rs: Value) -> None:
    cpu.lo[0] = cpu.gpr[rs]


@MIPS.insn("011100 rs:5 rt:5 rd:5 00000 000010", "mul {rd}, {rs}, {rt}", needs="mips32")
def mul(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    set_word(cpu, rd, word(cpu, rs) * word(cpu, rt))


@MIPS.insn("011100 rs:5 rt:5 0000000000 000000", "madd {rs}, {rt}", needs="mips32")
def madd(cpu: Cpu, rs: Value, rt: Value) -> None:
    set_accumulator(cpu, accumulator(cpu) + signed_product(cpu, rs, rt))


@MIPS.insn("011100 rs:5 rt:5 0000000000 000001", "maddu {rs}, {rt}", needs="mips32")
def maddu(cpu: Cpu, rs: Value, rt: Value) -> None:
    set_accumulator(cpu, accumulator(cpu) + unsigned_product(cpu, rs, rt))


@MIPS.insn("011100 rs:5 rt:5 0000000000 000100", "msub {rs}, {rt}", needs="mips32")
def msub(cpu: Cpu, rs: Value, rt: Value) -> None:
    set_accumulator(cpu, accumulator(cpu) - signed_product(cpu, rs, rt))


@MIPS.insn("011100 rs:5 rt:5 0000000000 000101", "msubu {rs}, {rt}", needs="mips32")
def msubu(cpu: Cpu, rs: Value, rt: Value) -> None:
    set_accumulator(cpu, accumulator(cpu) - unsigned_product(cpu, rs, rt))


# NEC VR5400 and VR5500: products with a destination register (VR5432 user's manual, chapter 4).
# All write HI:LO; the "hi" forms hand on its upper word, the others its lower one.


def _vr5400(
    name: str,
    pattern: str,
    product: Callable[[Cpu, Value, Value], Value],
    combine: Callable[[Cpu, Value], Value],
    high: bool,
) -> None:
    def meaning(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
        result = combine(cpu, product(cpu, rs, rt))
        set_accumulator(cpu, result)
        set_word(cpu, rd, result.bits(32, 32) if high else result.trunc(32))

    assembly = f"{name} {{rd}}, {{rs}}, {{rt}}"
    MIPS.insn(pattern, assembly, name=f"{name}_vr5400", needs="vr5400")(meaning)


def _plain(cpu: Cpu, product: Value) -> Value:
    return product


def _negated(cpu: Cpu, product: Value) -> Value:
    return -product


def _added(cpu: Cpu, product: Value) -> Value:
    return accumulator(cpu) + product


def _subtracted(cpu: Cpu, product: Value) -> Value:
    return accumulator(cpu) - product


for _name, _operation, _combine, _high in (
    ("mul", "00001", _plain, False),
    ("muls", "00011", _negated, False),
    ("macc", "00101", _added, False),
    ("msac", "00111", _subtracted, False),
    ("mulhi", "01001", _plain, True),
    ("mulshi", "01011", _negated, True),
    ("macchi", "01101", _added, True),
    ("msachi", "01111", _subtracted, True),
):
    _fields = f"000000 rs:5 rt:5 rd:5 {_operation}"
    _vr5400(_name, f"{_fields} 011000", signed_product, _combine, _high)
    _vr5400(f"{_name}u", f"{_fields} 011001", unsigned_product, _combine, _high)
