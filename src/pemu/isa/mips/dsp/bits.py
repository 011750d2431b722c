"""DSP: insertion and joining of bit fields, indexed loads, branches on the field pos."""

from __future__ import annotations

from pemu.isa.mips.branch import branch_target
from pemu.isa.mips.dsp.unit import (
    SCOUNT,
    SCOUNT_BITS,
    declare,
    operand,
    position,
    set_register,
)
from pemu.isa.mips.table import MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.values import Value
    from pemu.isa.mips.dsp.unit import Meaning
    from pemu.isa.mips.state import Cpu


def _insert(size: int) -> Meaning:
    """Insert scount bits at pos; a field that does not fit inserts nothing."""

    def meaning(cpu: Cpu, rs: Value, rt: Value) -> None:
        low = position(cpu).trunc(5 if size == 32 else 7).zext(8)
        count = cpu.dspctl.bits(SCOUNT, SCOUNT_BITS).zext(8)
        fits = count.ne(0) & (low + count).ule(size)
        low = (low & (size - 1)).zext(size)
        ones = cpu.const(-1, size).lshr((-count & (size - 1)).zext(size)) << low
        old = operand(cpu, rt, size)
        new = (old & ~ones) | ((operand(cpu, rs, size) << low) & ones)
        set_register(cpu, rt, fits.select(new, old))

    return meaning


declare("001100 001101", "00000", "insv dinsv", "dsp", "rs:5 rt:5 00000", "{rt}, {rs}", _insert)


# A register of which some bits move out at one end, and others come in at the other.


def append(old: Value, other: Value, amount: Value) -> Value:
    """Shift left; low bits of the other register come in."""
    amount = amount.zext(old.width)
    return (old << amount) | (other & ((old.emitter.const(1, old.width) << amount) - 1))


def prepend(old: Value, other: Value, amount: Value) -> Value:
    """Shift right; low bits of the other register come in."""
    return other.concat(old).lshr(amount.zext(2 * old.width)).trunc(old.width)


def prepend_more(old: Value, other: Value, amount: Value) -> Value:
    """Shift right by 32 bits more."""
    return prepend(old, other, amount.zext(6) + 32)


def align(old: Value, other: Value, count: Value) -> Value:
    """Shift left by bytes; high bytes of the other register come in. Not for 2 and 4 bytes."""
    bits = 2 * old.width
    amount = old.emitter.const(old.width, bits) - (count.zext(bits) << 3)
    moves = count.bit(0) | count.zext(3).ugt(4)
    return moves.select(old.concat(other).lshr(amount).trunc(old.width), old)


def _join(operation: Callable[[Value, Value, Value], Value]) -> Callable[[int], Meaning]:
    def sized(size: int) -> Meaning:
        def meaning(cpu: Cpu, rs: Value, rt: Value, amount: Value) -> None:
            joined = operation(operand(cpu, rt, size), operand(cpu, rs, size), amount)
            set_register(cpu, rt, joined)

        return meaning

    return sized


for _op, _mnemonics, _amount, _operation in (
    ("00000", "append dappend", "amount:5", append),
    ("00001", "prepend prependw", "amount:5", prepend),
    ("00011", "- prependd", "amount:5", prepend_more),
    ("10000", "balign -", "000 amount:2", align),
    ("10000", "- dbalign", "00 amount:3", align),
):
    declare(
        *("110001 110101", _op, _mnemonics, "dspr2"),
        *(f"rs:5 rt:5 {_amount}", "{rt}, {rs}, {amount:x}"),
        _join(_operation),
    )


# Loads from the sum of two registers.


def _load(cpu: Cpu, base: Value, index: Value, size: int) -> Value:
    address = cpu.gpr[base] + cpu.gpr[index]
    return cpu.load(address, size)


def _indexed(op: str) -> str:
    return f"011111 base:5 index:5 rd:5 {op} 001010"


@MIPS.insn(_indexed("00110"), "lbux {rd}, {index:g}({base})", needs="dsp")
def lbux(cpu: Cpu, base: Value, index: Value, rd: Value) -> None:
    cpu.gpr[rd] = _load(cpu, base, index, 1).zext(cpu.arch.xlen)


@MIPS.insn(_indexed("00100"), "lhx {rd}, {index:g}({base})", needs="dsp")
def lhx(cpu: Cpu, base: Value, index: Value, rd: Value) -> None:
    set_register(cpu, rd, _load(cpu, base, index, 2))


@MIPS.insn(_indexed("00000"), "lwx {rd}, {index:g}({base})", needs="dsp")
def lwx(cpu: Cpu, base: Value, index: Value, rd: Value) -> None:
    set_register(cpu, rd, _load(cpu, base, index, 4))


@MIPS.insn(_indexed("01000"), "ldx {rd}, {index:g}({base})", needs="dsp dsp64")
def ldx(cpu: Cpu, base: Value, index: Value, rd: Value) -> None:
    cpu.gpr[rd] = _load(cpu, base, index, 8)


@MIPS.insn("000001 00000 11100 offset:16", "bposge32 {offset:branch}", needs="dsp")
def bposge32(cpu: Cpu, offset: Value) -> None:
    cpu.branch(position(cpu).uge(32), branch_target(cpu, offset))


@MIPS.insn("000001 00000 11101 offset:16", "bposge64 {offset:branch}", needs="dsp dsp64")
def bposge64(cpu: Cpu, offset: Value) -> None:
    cpu.branch(position(cpu).uge(64), branch_target(cpu, offset))
