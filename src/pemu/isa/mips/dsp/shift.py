"""DSP: shifts of all lanes by one amount (encoding table SHLL.QB).

Each exists with the amount in the instruction and in the low bits of a register.
"""

from __future__ import annotations

from pemu.isa.mips.dsp.lanes import SIGNED, UNSIGNED, Lanes
from pemu.isa.mips.dsp.unit import OVERFLOW_SHIFT, declare, operand, set_register, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.values import Value
    from pemu.isa.mips.dsp.unit import Meaning
    from pemu.isa.mips.state import Cpu

    Shift = Callable[[Cpu, Lanes, Value], Value]


def left_unsigned(cpu: Cpu, exact: Lanes, amount: Value) -> Value:
    """Shift left; set the flag where a one is lost."""
    return settle(cpu, exact << amount, UNSIGNED, False, OVERFLOW_SHIFT)


def left_signed(cpu: Cpu, exact: Lanes, amount: Value) -> Value:
    """Shift left; set the flag where bits that differ from the sign are lost."""
    return settle(cpu, exact << amount, SIGNED, False, OVERFLOW_SHIFT)


def left_saturating(cpu: Cpu, exact: Lanes, amount: Value) -> Value:
    """Shift left, saturating."""
    return settle(cpu, exact << amount, SIGNED, True, OVERFLOW_SHIFT)


def right(cpu: Cpu, exact: Lanes, amount: Value) -> Value:
    """Shift right."""
    return exact.ashr(amount).narrow().join()


def right_rounding(cpu: Cpu, exact: Lanes, amount: Value) -> Value:
    """Shift right, rounding."""
    return ((exact << 1).ashr(amount) + 1).ashr(1).narrow().join()


def _shift(
    cpu: Cpu, rt: Value, rd: Value, amount: Value, how: tuple[int, int, bool, Shift]
) -> None:
    size, width, signed, shift = how
    exact = Lanes.split(operand(cpu, rt, size), width).widen(signed)
    set_register(cpu, rd, shift(cpu, exact, amount.zext(2 * width)))


def _immediate(width: int, signed: bool, shift: Shift) -> Callable[[int], Meaning]:
    def sized(size: int) -> Meaning:
        def meaning(cpu: Cpu, sa: Value, rt: Value, rd: Value) -> None:
            _shift(cpu, rt, rd, sa, (size, width, signed, shift))

        return meaning

    return sized


def _variable(width: int, signed: bool, shift: Shift) -> Callable[[int], Meaning]:
    amount_bits = width.bit_length() - 1

    def sized(size: int) -> Meaning:
        def meaning(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
            _shift(cpu, rt, rd, operand(cpu, rs, amount_bits), (size, width, signed, shift))

        return meaning

    return sized


def _with_v(mnemonics: str) -> str:
    return " ".join(m if m == "-" else f"{m[:4]}v{m[4:]}" for m in mnemonics.split())


FUNCTIONS = "010011 010111"
AMOUNT = {8: "00 sa:3", 16: "0 sa:4", 32: "sa:5"}

for _op, _variable_op, _mnemonics, _needs, _width, _signed, _operation in (
    ("00000", "00010", "shll.qb shll.ob", "dsp", 8, UNSIGNED, left_unsigned),
    ("00001", "00011", "shrl.qb shrl.ob", "dsp", 8, UNSIGNED, right),
    ("00100", "00110", "shra.qb shra.ob", "dspr2", 8, SIGNED, right),
    ("00101", "00111", "shra_r.qb shra_r.ob", "dspr2", 8, SIGNED, right_rounding),
    ("01000", "01010", "shll.ph shll.qh", "dsp", 16, SIGNED, left_signed),
    ("01001", "01011", "shra.ph shra.qh", "dsp", 16, SIGNED, right),
    ("01100", "01110", "shll_s.ph shll_s.qh", "dsp", 16, SIGNED, left_saturating),
    ("01101", "01111", "shra_r.ph shra_r.qh", "dsp", 16, SIGNED, right_rounding),
    ("10000", "10010", "- shll.pw", "dsp", 32, SIGNED, left_signed),
    ("10001", "10011", "- shra.pw", "dsp", 32, SIGNED, right),
    ("10100", "10110", "shll_s.w shll_s.pw", "dsp", 32, SIGNED, left_saturating),
    ("10101", "10111", "shra_r.w shra_r.pw", "dsp", 32, SIGNED, right_rounding),
    ("11001", "11011", "shrl.ph shrl.qh", "dspr2", 16, UNSIGNED, right),
):
    declare(
        *(FUNCTIONS, _op, _mnemonics, _needs),
        *(f"{AMOUNT[_width]} rt:5 rd:5", "{rd}, {rt}, {sa:x}"),
        _immediate(_width, _signed, _operation),
    )
    declare(
        *(FUNCTIONS, _variable_op, _with_v(_mnemonics), _needs),
        *("rs:5 rt:5 rd:5", "{rd}, {rt}, {rs}"),
        _variable(_width, _signed, _operation),
    )
