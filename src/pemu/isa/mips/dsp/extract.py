"""DSP: fields of accumulators, accumulator shifts, access to DSPControl (encoding table EXTR.W).

A bit stream is read with `extp` from an accumulator that `mthlip` refills; the field pos of
DSPControl is the number of the stream's next bit, from the most significant down.
"""

from __future__ import annotations

from pemu.isa.mips.dsp.unit import (
    CARRY,
    CCOND,
    EFI,
    OUFLAG,
    OVERFLOW_EXTRACT,
    POS,
    SCOUNT,
    SCOUNT_BITS,
    accumulator,
    condition_bits,
    declare,
    operand,
    position,
    position_bits,
    saturate,
    set_accumulator,
    set_control,
    set_overflow,
    set_register,
)
from pemu.isa.mips.table import MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.values import Value
    from pemu.isa.mips.dsp.unit import Meaning
    from pemu.isa.mips.state import Cpu

    Extraction = Callable[[Cpu, Value, Value], Value]
    """Of an accumulator's value and a shift or size: the result for a general register."""

FUNCTIONS = "111000 111100"


def fits(value: Value, width: int) -> Value:
    """One if a signed value can be narrowed to `width` bits."""
    return value.trunc(width).sext(value.width).eq(value)


def shifted(width: int, *, rounding: bool, saturating: bool) -> Extraction:
    """Shift right and narrow to `width` bits.

    The overflow flag tells of the truncated and of the rounded result, whichever is wanted.
    """

    def run(cpu: Cpu, total: Value, amount: Value) -> Value:
        amount = amount.zext(total.width)
        truncated = total.ashr(amount)
        half = (cpu.const(1, total.width) << amount).lshr(1)
        rounded = truncated + (total & half).ne(0).zext(total.width)
        set_overflow(cpu, OVERFLOW_EXTRACT, ~(fits(truncated, width) & fits(rounded, width)))
        result = rounded if rounding else truncated
        if saturating:
            return saturate(cpu, result, width, OVERFLOW_EXTRACT)
        return result.trunc(width)

    return run


def saturated_halfword(cpu: Cpu, total: Value, amount: Value) -> Value:
    """Shift right and limit to 16 bits."""
    return saturate(cpu, total.ashr(amount.zext(total.width)), 16, OVERFLOW_EXTRACT)


def field(*, advance: bool) -> Extraction:
    """Take the size + 1 bits from bit pos down; `advance`: and move pos below them.

    Where there are not so many bits, EFI is set and the result is zero. Never sign-extended.
    """

    def run(cpu: Cpu, total: Value, size: Value) -> Value:
        start = position(cpu)
        size = size.zext(start.width)
        there = size.ule(start)
        amount = ((start - size).zext(total.width)) & (total.width - 1)
        mask = (cpu.const(2, total.width) << size.zext(total.width)) - 1
        result = (total.lshr(amount) & mask).trunc(total.width // 2).zext(cpu.arch.xlen)
        set_control(cpu, EFI, ~there)
        if advance:
            set_control(cpu, POS, there.select(start - size - 1, start))
        return there.select(result, 0)

    return run


def _immediate(extraction: Extraction) -> Callable[[int], Meaning]:
    def sized(size: int) -> Meaning:
        def meaning(cpu: Cpu, amount: Value, rt: Value, ac: Value) -> None:
            set_register(cpu, rt, extraction(cpu, accumulator(cpu, ac, size), amount))

        return meaning

    return sized


def _variable(extraction: Extraction) -> Callable[[int], Meaning]:
    def sized(size: int) -> Meaning:
        def meaning(cpu: Cpu, rs: Value, rt: Value, ac: Value) -> None:
            amount = operand(cpu, rs, 5 if size == 32 else 6)
            set_register(cpu, rt, extraction(cpu, accumulator(cpu, ac, size), amount))

        return meaning

    return sized


for _op, _variable_op, _mnemonics, _extraction in (
    ("00000", "00001", "extr.w dextr.w", shifted(32, rounding=False, saturating=False)),
    ("00010", "00011", "extp dextp", field(advance=False)),
    ("00100", "00101", "extr_r.w dextr_r.w", shifted(32, rounding=True, saturating=False)),
    ("00110", "00111", "extr_rs.w dextr_rs.w", shifted(32, rounding=True, saturating=True)),
    ("01010", "01011", "extpdp dextpdp", field(advance=True)),
    ("01110", "01111", "extr_s.h dextr_s.h", saturated_halfword),
    ("10000", "10001", "- dextr.l", shifted(64, rounding=False, saturating=False)),
    ("10100", "10101", "- dextr_r.l", shifted(64, rounding=True, saturating=False)),
    ("10110", "10111", "- dextr_rs.l", shifted(64, rounding=True, saturating=True)),
):
    declare(
        *(FUNCTIONS, _op, _mnemonics, "dsp"),
        *("amount:5 rt:5 000 ac:2", "{rt}, {ac}, {amount:x}"),
        _immediate(_extraction),
    )
    _with_v = _mnemonics.replace("extr", "extrv").replace("extpdp", "extpdpv")
    _with_v = _with_v if "extpdp" in _with_v else _with_v.replace("extp", "extpv")
    declare(
        *(FUNCTIONS, _variable_op, _with_v, "dsp"),
        *("rs:5 rt:5 000 ac:2", "{rt}, {ac}, {rs}"),
        _variable(_extraction),
    )


def shift_accumulator(cpu: Cpu, ac: Value, size: int, amount: Value) -> None:
    """Shift right by a signed amount, left where it is negative; zeros come in."""
    total = accumulator(cpu, ac, size)
    amount = amount.sext(total.width)
    set_accumulator(cpu, ac, amount.slt(0).select(total << -amount, total.lshr(amount)))


def _shilo(size: int) -> Meaning:
    def meaning(cpu: Cpu, amount: Value, ac: Value) -> None:
        shift_accumulator(cpu, ac, size, amount)

    return meaning


def _shilov(size: int) -> Meaning:
    def meaning(cpu: Cpu, rs: Value, ac: Value) -> None:
        shift_accumulator(cpu, ac, size, operand(cpu, rs, size.bit_length()))

    return meaning


def _mthlip(size: int) -> Meaning:
    def meaning(cpu: Cpu, rs: Value, ac: Value) -> None:
        total = accumulator(cpu, ac, size).trunc(size).concat(operand(cpu, rs, size))
        set_accumulator(cpu, ac, total)
        start = position(cpu)
        set_control(cpu, POS, start.ugt(size).select(start, start + size))

    return meaning


declare("111000 -", "11010", "shilo -", "dsp", "amount:6 0000 000 ac:2", "{ac}, {amount:d}", _shilo)
declare("- 111100", "11010", "- dshilo", "dsp", "amount:7 000 000 ac:2", "{ac}, {amount:d}", _shilo)
declare(FUNCTIONS, "11011", "shilov dshilov", "dsp", "rs:5 00000 000 ac:2", "{ac}, {rs}", _shilov)
declare(FUNCTIONS, "11111", "mthlip dmthlip", "dsp", "rs:5 00000 000 ac:2", "{rs}, {ac}", _mthlip)


# Access to the fields of DSPControl that a mask chooses.


def control_mask(cpu: Cpu, chosen: Value) -> Value:
    """Return the bits of DSPControl that the bits of an instruction's mask stand for."""
    fields = (
        (POS, position_bits(cpu)),
        (SCOUNT, SCOUNT_BITS),
        (CARRY, 1),
        (OUFLAG, 8),
        (CCOND, condition_bits(cpu)),
        (EFI, 1),
    )
    mask = cpu.const(0, 32)
    for index, (low, width) in enumerate(fields):
        mask = mask | chosen.bit(index).select(cpu.const(((1 << width) - 1) << low, 32), 0)
    return mask


def read_control(cpu: Cpu, rd: Value, mask: Value) -> None:
    """Read the chosen fields, zeros for the others."""
    cpu.gpr[rd] = (cpu.dspctl & control_mask(cpu, mask)).zext(cpu.arch.xlen)


def write_control(cpu: Cpu, rs: Value, mask: Value) -> None:
    """Write the chosen fields."""
    bits = control_mask(cpu, mask)
    cpu.dspctl = (cpu.dspctl & ~bits) | (operand(cpu, rs, 32) & bits)


_RDDSP, _WRDSP = "10010 111000", "10011 111000"


@MIPS.insn(f"011111 mask:10 rd:5 {_RDDSP}", "rddsp {rd}, {mask:x}", needs="dsp")
def rddsp(cpu: Cpu, rd: Value, mask: Value) -> None:
    read_control(cpu, rd, mask)


@MIPS.insn(f"011111 rs:5 mask:10 {_WRDSP}", "wrdsp {rs}, {mask:x}", needs="dsp")
def wrdsp(cpu: Cpu, rs: Value, mask: Value) -> None:
    write_control(cpu, rs, mask)


# Without a mask assemblers write ones.


@MIPS.insn(f"011111 1111111111 rd:5 {_RDDSP}", "rddsp {rd}", needs="dsp", overrides="rddsp")
def rddsp_all(cpu: Cpu, rd: Value) -> None:
    read_control(cpu, rd, cpu.const(-1, 10))


@MIPS.insn(f"011111 rs:5 1111111111 {_WRDSP}", "wrdsp {rs}", needs="dsp", overrides="wrdsp")
def wrdsp_all(cpu: Cpu, rs: Value) -> None:
    write_control(cpu, rs, cpu.const(-1, 10))
