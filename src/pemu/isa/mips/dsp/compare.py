"""DSP: comparison, choice and precision reduction (encoding table CMPU.EQ.QB).

Comparisons leave one bit a lane in the field ccond of DSPControl, which `pick` chooses by.
"""

from __future__ import annotations

from pemu.isa.mips.dsp.lanes import SIGNED, UNSIGNED, Lanes
from pemu.isa.mips.dsp.unit import (
    CCOND,
    OVERFLOW_SHIFT,
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

    Comparison = Callable[[Value, Value], Value]


def equal(width: int) -> Comparison:
    """One bit a lane: equal."""
    return lambda a, b: Lanes.split(a, width).eq(Lanes.split(b, width)).join()


def less(width: int, signed: bool) -> Comparison:
    """One bit a lane: less."""
    return lambda a, b: Lanes.split(a, width).less(Lanes.split(b, width), signed).join()


def less_or_equal(width: int, signed: bool) -> Comparison:
    """One bit a lane: less or equal."""
    return lambda a, b: Lanes.split(a, width).less_or_equal(Lanes.split(b, width), signed).join()


def to_register(comparison: Comparison) -> Operation:
    """Compare into a general register."""

    def run(cpu: Cpu, a: Value, b: Value) -> Value:
        return comparison(a, b).zext(32)

    return run


def to_both(comparison: Comparison) -> Operation:
    """Compare into a general register and DSPControl."""

    def run(cpu: Cpu, a: Value, b: Value) -> Value:
        found = comparison(a, b)
        set_control(cpu, CCOND, found)
        return found.zext(32)

    return run


def _to_control(comparison: Comparison) -> Callable[[int], Meaning]:
    def sized(size: int) -> Meaning:
        def meaning(cpu: Cpu, rs: Value, rt: Value) -> None:
            found = comparison(operand(cpu, rs, size), operand(cpu, rt, size))
            set_control(cpu, CCOND, found)

        return meaning

    return sized


def pick(width: int) -> Operation:
    """Take each lane from the first operand where its condition bit is set, else the second."""

    def run(cpu: Cpu, a: Value, b: Value) -> Value:
        first, second = Lanes.split(a, width), Lanes.split(b, width)
        conditions = Lanes.split(cpu.dspctl.bits(CCOND, first.count), 1)
        return conditions.select(first, second).join()

    return run


def pack(a: Value, b: Value, width: int, part: Callable[[Lanes], Lanes]) -> Value:
    """Return some lanes of `a` above the same lanes of `b`."""
    return part(Lanes.split(a, width)).over(part(Lanes.split(b, width))).join()


def halves(width: int, part: Callable[[Lanes], Lanes]) -> Operation:
    """Reduce lanes of twice `width` bits to their upper (odd) or lower (even) halves."""
    return lambda cpu, a, b: pack(a, b, width, part)


def right_over_left(cpu: Cpu, a: Value, b: Value) -> Value:
    """Join the first operand's right half and the second's left half."""
    half = a.width // 2
    return a.trunc(half).concat(b.bits(half, half))


def rounded_fractions(cpu: Cpu, a: Value, b: Value) -> Value:
    """Reduce Q31 fractions to Q15, rounding and saturating."""
    exact = Lanes.split(a, 32).over(Lanes.split(b, 32)).widen(SIGNED)
    return settle(cpu, (exact + (1 << 15)).ashr(16).narrow(), SIGNED, True, OVERFLOW_SHIFT)


def unsigned_bytes(cpu: Cpu, a: Value, b: Value) -> Value:
    """Reduce Q15 fractions to unsigned bytes, 0 for negative ones."""
    lanes = Lanes.split(a, 16).over(Lanes.split(b, 16))
    # As unsigned numbers the negative ones are the greatest.
    set_overflow(cpu, OVERFLOW_SHIFT, lanes.greater(0xFF << 7, UNSIGNED).any())
    return lanes.ashr(7).clamp(UNSIGNED).join()


def _shifted_halves(rounding: int) -> Callable[[int], Meaning]:
    def sized(size: int) -> Meaning:
        def meaning(cpu: Cpu, rs: Value, rt: Value, sa: Value) -> None:
            amount = sa.zext(64)
            first, second = (
                (Lanes.split(operand(cpu, register, size), 32).widen(SIGNED) << 1).ashr(amount)
                for register in (rt, rs)
            )
            both = ((first.over(second) + rounding).ashr(1)).narrow(16)
            set_register(cpu, rt, both.join())

        return meaning

    return sized


COMPARE = "010001 010101"

for _op, _mnemonics, _needs, _comparison in (
    ("00000", "cmpu.eq.qb cmpu.eq.ob", "dsp", equal(8)),
    ("00001", "cmpu.lt.qb cmpu.lt.ob", "dsp", less(8, UNSIGNED)),
    ("00010", "cmpu.le.qb cmpu.le.ob", "dsp", less_or_equal(8, UNSIGNED)),
    ("01000", "cmp.eq.ph cmp.eq.qh", "dsp", equal(16)),
    ("01001", "cmp.lt.ph cmp.lt.qh", "dsp", less(16, SIGNED)),
    ("01010", "cmp.le.ph cmp.le.qh", "dsp", less_or_equal(16, SIGNED)),
    ("10000", "- cmp.eq.pw", "dsp", equal(32)),
    ("10001", "- cmp.lt.pw", "dsp", less(32, SIGNED)),
    ("10010", "- cmp.le.pw", "dsp", less_or_equal(32, SIGNED)),
):
    declare(
        *(COMPARE, _op, _mnemonics, _needs, "rs:5 rt:5 00000", "{rs}, {rt}"),
        _to_control(_comparison),
    )

declare_rd_rs_rt(
    COMPARE,
    (
        ("00011", "pick.qb pick.ob", "dsp", pick(8)),
        ("00100", "cmpgu.eq.qb cmpgu.eq.ob", "dsp", to_register(equal(8))),
        ("00101", "cmpgu.lt.qb cmpgu.lt.ob", "dsp", to_register(less(8, UNSIGNED))),
        ("00110", "cmpgu.le.qb cmpgu.le.ob", "dsp", to_register(less_or_equal(8, UNSIGNED))),
        ("01011", "pick.ph pick.qh", "dsp", pick(16)),
        ("01100", "precrq.qb.ph precrq.ob.qh", "dsp", halves(8, Lanes.odd)),
        ("01101", "precr.qb.ph precr.ob.qh", "dspr2", halves(8, Lanes.even)),
        ("01110", "packrl.ph packrl.pw", "dsp", right_over_left),
        ("01111", "precrqu_s.qb.ph precrqu_s.ob.qh", "dsp", unsigned_bytes),
        ("10011", "- pick.pw", "dsp", pick(32)),
        ("10100", "precrq.ph.w precrq.qh.pw", "dsp", halves(16, Lanes.odd)),
        ("10101", "precrq_rs.ph.w precrq_rs.qh.pw", "dsp", rounded_fractions),
        ("11000", "cmpgdu.eq.qb cmpgdu.eq.ob", "dspr2", to_both(equal(8))),
        ("11001", "cmpgdu.lt.qb cmpgdu.lt.ob", "dspr2", to_both(less(8, UNSIGNED))),
        ("11010", "cmpgdu.le.qb cmpgdu.le.ob", "dspr2", to_both(less_or_equal(8, UNSIGNED))),
        ("11100", "- precrq.pw.l", "dsp", halves(32, Lanes.odd)),
    ),
)

for _op, _mnemonics, _rounding in (
    ("11110", "precr_sra.ph.w precr_sra.qh.pw", 0),
    ("11111", "precr_sra_r.ph.w precr_sra_r.qh.pw", 1),
):
    declare(
        *(COMPARE, _op, _mnemonics, "dspr2", "rs:5 rt:5 sa:5", "{rt}, {rs}, {sa:x}"),
        _shifted_halves(_rounding),
    )
