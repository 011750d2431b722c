"""DSP: sums, differences, averages and products (encoding tables ADDU.QB and ADDUH.QB).

The lanes of both operands are widened, so that the result is exact, and then narrowed again with
or without saturation. A product of fractions (Q15, Q31) has the binary point one bit higher.
"""

from __future__ import annotations

from operator import add, sub

from pemu.isa.mips.dsp.lanes import SIGNED, UNSIGNED, Lanes
from pemu.isa.mips.dsp.unit import (
    CARRY,
    OVERFLOW_ADD,
    OVERFLOW_MULTIPLY,
    declare,
    declare_rd_rs_rt,
    operand,
    set_control,
    set_overflow,
    set_register,
    settle,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.values import Value
    from pemu.isa.mips.dsp.unit import Meaning, Operation
    from pemu.isa.mips.state import Cpu

    LaneOperation = Callable[[Lanes, Lanes], Lanes]

WRAP, SATURATE = False, True
TRUNCATE, ROUND = 0, 1


def sums(width: int, operation: LaneOperation, signed: bool, saturating: bool) -> Operation:
    """Add or subtract lanes."""

    def run(cpu: Cpu, a: Value, b: Value) -> Value:
        left, right = (Lanes.split(value, width).widen(signed) for value in (a, b))
        return settle(cpu, operation(left, right), signed, saturating, OVERFLOW_ADD)

    return run


def halves(width: int, operation: LaneOperation, signed: bool, rounding: int) -> Operation:
    """Add or subtract lanes and halve the result: it always fits."""

    def run(cpu: Cpu, a: Value, b: Value) -> Value:
        left, right = (Lanes.split(value, width).widen(signed) for value in (a, b))
        return (operation(left, right) + rounding).ashr(1).narrow().join()

    return run


def products(saturating: bool) -> Operation:
    """Multiply halfwords as integers, keep the lower halves."""

    def run(cpu: Cpu, a: Value, b: Value) -> Value:
        exact = Lanes.split(a, 16).widen(SIGNED) * Lanes.split(b, 16).widen(SIGNED)
        return settle(cpu, exact, SIGNED, saturating, OVERFLOW_MULTIPLY)

    return run


def fractions(width: int, rounding: int) -> Operation:
    """Multiply fractions, keep the upper halves of the products."""

    def run(cpu: Cpu, a: Value, b: Value) -> Value:
        exact = Lanes.split(a, width).widen(SIGNED) * Lanes.split(b, width).widen(SIGNED)
        scaled = (exact + (rounding << (width - 2))).ashr(width - 1)
        return settle(cpu, scaled, SIGNED, SATURATE, OVERFLOW_MULTIPLY)

    return run


def expanding_fractions(part: Callable[[Lanes], Lanes]) -> Operation:
    """Multiply some of the Q15 fractions to Q31 products."""

    def run(cpu: Cpu, a: Value, b: Value) -> Value:
        left, right = (part(Lanes.split(value, 16)).widen(SIGNED, 64) for value in (a, b))
        return settle(cpu, (left * right) << 1, SIGNED, SATURATE, OVERFLOW_MULTIPLY)

    return run


def bytes_by_halfwords(part: Callable[[Lanes], Lanes]) -> Operation:
    """Multiply some of the first operand's bytes by the second's halfwords, all unsigned."""

    def run(cpu: Cpu, a: Value, b: Value) -> Value:
        exact = part(Lanes.split(a, 8)).widen(UNSIGNED, 32) * Lanes.split(b, 16).widen(UNSIGNED)
        return settle(cpu, exact, UNSIGNED, SATURATE, OVERFLOW_MULTIPLY)

    return run


def add_set_carry(cpu: Cpu, a: Value, b: Value) -> Value:
    """Add words; the carry goes to DSPControl."""
    total = a + b
    set_control(cpu, CARRY, total.ult(a))
    return total


def add_with_carry(cpu: Cpu, a: Value, b: Value) -> Value:
    """Add words and the carry in DSPControl."""
    exact = a.sext(64) + b.sext(64) + cpu.dspctl.bit(CARRY).zext(64)
    total = exact.trunc(32)
    set_overflow(cpu, OVERFLOW_ADD, exact.ne(total.sext(64)))
    return total


def circular_index(cpu: Cpu, index: Value, control: Value) -> Value:
    """Step an index down by bits 7..0 of `control`; from 0 go to the last, bits 23..8."""
    last, step = control.bits(8, 16).zext(32), control.trunc(8).zext(32)
    return index.eq(0).select(last, index - step)


declare_rd_rs_rt(
    "010000 010100",
    (
        ("00000", "addu.qb addu.ob", "dsp", sums(8, add, UNSIGNED, WRAP)),
        ("00001", "subu.qb subu.ob", "dsp", sums(8, sub, UNSIGNED, WRAP)),
        ("00100", "addu_s.qb addu_s.ob", "dsp", sums(8, add, UNSIGNED, SATURATE)),
        ("00101", "subu_s.qb subu_s.ob", "dsp", sums(8, sub, UNSIGNED, SATURATE)),
        ("00110", "muleu_s.ph.qbl muleu_s.qh.obl", "dsp", bytes_by_halfwords(Lanes.left)),
        ("00111", "muleu_s.ph.qbr muleu_s.qh.obr", "dsp", bytes_by_halfwords(Lanes.right)),
        ("01000", "addu.ph addu.qh", "dspr2", sums(16, add, UNSIGNED, WRAP)),
        ("01001", "subu.ph subu.qh", "dspr2", sums(16, sub, UNSIGNED, WRAP)),
        ("01010", "addq.ph addq.qh", "dsp", sums(16, add, SIGNED, WRAP)),
        ("01011", "subq.ph subq.qh", "dsp", sums(16, sub, SIGNED, WRAP)),
        ("01100", "addu_s.ph addu_s.qh", "dspr2", sums(16, add, UNSIGNED, SATURATE)),
        ("01101", "subu_s.ph subu_s.qh", "dspr2", sums(16, sub, UNSIGNED, SATURATE)),
        ("01110", "addq_s.ph addq_s.qh", "dsp", sums(16, add, SIGNED, SATURATE)),
        ("01111", "subq_s.ph subq_s.qh", "dsp", sums(16, sub, SIGNED, SATURATE)),
        ("10000", "addsc -", "dsp", add_set_carry),
        ("10001", "addwc -", "dsp", add_with_carry),
        ("10010", "modsub -", "dsp", circular_index),
        ("10010", "- addq.pw", "dsp", sums(32, add, SIGNED, WRAP)),
        ("10011", "- subq.pw", "dsp", sums(32, sub, SIGNED, WRAP)),
        ("10110", "addq_s.w addq_s.pw", "dsp", sums(32, add, SIGNED, SATURATE)),
        ("10111", "subq_s.w subq_s.pw", "dsp", sums(32, sub, SIGNED, SATURATE)),
        ("11000", "- adduh.ob", "dspr2", halves(8, add, UNSIGNED, TRUNCATE)),
        ("11001", "- subuh.ob", "dspr2", halves(8, sub, UNSIGNED, TRUNCATE)),
        ("11010", "- adduh_r.ob", "dspr2", halves(8, add, UNSIGNED, ROUND)),
        ("11011", "- subuh_r.ob", "dspr2", halves(8, sub, UNSIGNED, ROUND)),
        ("11100", "muleq_s.w.phl muleq_s.pw.qhl", "dsp", expanding_fractions(Lanes.left)),
        ("11101", "muleq_s.w.phr muleq_s.pw.qhr", "dsp", expanding_fractions(Lanes.right)),
        ("11110", "mulq_s.ph -", "dspr2", fractions(16, TRUNCATE)),
        ("11111", "mulq_rs.ph mulq_rs.qh", "dsp", fractions(16, ROUND)),
    ),
)

declare_rd_rs_rt(
    "011000 -",
    (
        ("00000", "adduh.qb -", "dspr2", halves(8, add, UNSIGNED, TRUNCATE)),
        ("00001", "subuh.qb -", "dspr2", halves(8, sub, UNSIGNED, TRUNCATE)),
        ("00010", "adduh_r.qb -", "dspr2", halves(8, add, UNSIGNED, ROUND)),
        ("00011", "subuh_r.qb -", "dspr2", halves(8, sub, UNSIGNED, ROUND)),
        ("01000", "addqh.ph -", "dspr2", halves(16, add, SIGNED, TRUNCATE)),
        ("01001", "subqh.ph -", "dspr2", halves(16, sub, SIGNED, TRUNCATE)),
        ("01010", "addqh_r.ph -", "dspr2", halves(16, add, SIGNED, ROUND)),
        ("01011", "subqh_r.ph -", "dspr2", halves(16, sub, SIGNED, ROUND)),
        ("01100", "mul.ph -", "dspr2", products(WRAP)),
        ("01110", "mul_s.ph -", "dspr2", products(SATURATE)),
        ("10000", "addqh.w -", "dspr2", halves(32, add, SIGNED, TRUNCATE)),
        ("10001", "subqh.w -", "dspr2", halves(32, sub, SIGNED, TRUNCATE)),
        ("10010", "addqh_r.w -", "dspr2", halves(32, add, SIGNED, ROUND)),
        ("10011", "subqh_r.w -", "dspr2", halves(32, sub, SIGNED, ROUND)),
        ("10110", "mulq_s.w -", "dspr2", fractions(32, TRUNCATE)),
        ("10111", "mulq_rs.w -", "dspr2", fractions(32, ROUND)),
    ),
)


def _sum_of_bytes(size: int) -> Meaning:
    def meaning(cpu: Cpu, rs: Value, rd: Value) -> None:
        lanes = Lanes.split(operand(cpu, rs, size), 8)
        total = cpu.const(0, size)
        for index in range(lanes.count):
            total = total + lanes.lane(index).zext(size)
        set_register(cpu, rd, total)

    return meaning


declare(
    *("010000 010100", "10100", "raddu.w.qb raddu.l.ob", "dsp", "rs:5 00000 rd:5", "{rd}, {rs}"),
    _sum_of_bytes,
)
