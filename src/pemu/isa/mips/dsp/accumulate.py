"""DSP: products added to or subtracted from an accumulator (encoding table DPA.W.PH).

The 64-bit forms accumulate 128 bits. Also here: the classic multiplications and moves of HI and LO
with a choice of accumulator.
"""

from __future__ import annotations

from pemu.isa.mips.dsp.lanes import SIGNED, UNSIGNED, Lanes
from pemu.isa.mips.dsp.unit import (
    accumulator,
    accumulator_flag,
    declare,
    operand,
    saturate,
    set_accumulator,
)
from pemu.isa.mips.multiply import signed_product, unsigned_product
from pemu.isa.mips.table import MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.values import Value
    from pemu.isa.mips.dsp.unit import Meaning
    from pemu.isa.mips.state import Cpu

    Part = Callable[[Lanes], Lanes]
    Products = Callable[[Cpu, Value, Value, Value], list[Value]]
    """Of an accumulator's flag number and two operands: products from the right lane on."""

    Combination = Callable[[Value, list[Value]], Value]
    """Of an accumulator and products: the accumulator's new value."""

    Limit = Callable[[Cpu, Value, Value], Value]
    """Of an accumulator's new value, exact in twice its width, and the number of its flag: the
    value that is kept."""


def whole(lanes: Lanes) -> Lanes:
    """All lanes."""
    return lanes


def only(index: int) -> Part:
    """One lane, counted from the left."""
    return lambda lanes: lanes.pick([lanes.count - 1 - index])


def integers(width: int, signed: bool, part: Part = whole, *, cross: bool = False) -> Products:
    """Exact products of some lanes; `cross`: with the other operand's neighbouring lane."""

    def run(cpu: Cpu, flag: Value, a: Value, b: Value) -> list[Value]:
        first, second = part(Lanes.split(a, width)), part(Lanes.split(b, width))
        second = second.swapped() if cross else second
        product = first.widen(signed, 64) * second.widen(signed, 64)
        return [product.lane(index) for index in range(product.count)]

    return run


def fractions(width: int, part: Part = whole, *, cross: bool = False) -> Products:
    """Products of fractions, of twice their width; that of -1 by -1 saturates."""

    def run(cpu: Cpu, flag: Value, a: Value, b: Value) -> list[Value]:
        first, second = part(Lanes.split(a, width)), part(Lanes.split(b, width))
        second = second.swapped() if cross else second
        pairs = ((first.lane(index), second.lane(index)) for index in range(first.count))
        exact = ((left.sext(4 * width) * right.sext(4 * width)) << 1 for left, right in pairs)
        return [saturate(cpu, product, 2 * width, flag) for product in exact]

    return run


def added(total: Value, products: list[Value]) -> Value:
    """Add all products."""
    for product in products:
        total = total + product.sext(total.width)
    return total


def subtracted(total: Value, products: list[Value]) -> Value:
    """Subtract all products."""
    for product in products:
        total = total - product.sext(total.width)
    return total


def alternating(total: Value, products: list[Value]) -> Value:
    """Add the products of left lanes, subtract those of right ones."""
    return added(subtracted(total, products[0::2]), products[1::2])


def limited(width: int) -> Limit:
    """Limit what the accumulator would hold to `width` bits."""
    return lambda cpu, exact, flag: saturate(cpu, exact.trunc(exact.width // 2), width, flag)


def limited_by_sign(width: int) -> Limit:
    """Limit a sum to `width` bits, told from its lowest `width` + 1 bits."""
    return lambda cpu, exact, flag: saturate(cpu, exact.trunc(width + 1), width, flag)


def unlimited(cpu: Cpu, exact: Value, flag: Value) -> Value:
    """Keep all bits of the accumulator."""
    return exact


def _accumulate(products: Products, combine: Combination, limit: Limit) -> Callable[[int], Meaning]:
    def sized(size: int) -> Meaning:
        def meaning(cpu: Cpu, rs: Value, rt: Value, ac: Value) -> None:
            flag = accumulator_flag(ac)
            terms = products(cpu, flag, operand(cpu, rs, size), operand(cpu, rt, size))
            exact = combine(accumulator(cpu, ac, size).sext(4 * size), terms)
            set_accumulator(cpu, ac, limit(cpu, exact, flag).sext(4 * size).trunc(2 * size))

        return meaning

    return sized


LEFT, RIGHT = Lanes.left, Lanes.right

for _op, _mnemonics, _needs, _products, _combine, _limit in (
    ("00000", "dpa.w.ph dpa.w.qh", "dspr2", integers(16, SIGNED), added, unlimited),
    ("00001", "dps.w.ph dps.w.qh", "dspr2", integers(16, SIGNED), subtracted, unlimited),
    ("00010", "mulsa.w.ph -", "dspr2", integers(16, SIGNED), alternating, unlimited),
    ("00011", "dpau.h.qbl dpau.h.obl", "dsp", integers(8, UNSIGNED, LEFT), added, unlimited),
    ("00100", "dpaq_s.w.ph dpaq_s.w.qh", "dsp", fractions(16), added, unlimited),
    ("00101", "dpsq_s.w.ph dpsq_s.w.qh", "dsp", fractions(16), subtracted, unlimited),
    ("00110", "mulsaq_s.w.ph mulsaq_s.w.qh", "dsp", fractions(16), alternating, unlimited),
    ("00111", "dpau.h.qbr dpau.h.obr", "dsp", integers(8, UNSIGNED, RIGHT), added, unlimited),
    ("01000", "dpax.w.ph -", "dspr2", integers(16, SIGNED, cross=True), added, unlimited),
    ("01001", "dpsx.w.ph -", "dspr2", integers(16, SIGNED, cross=True), subtracted, unlimited),
    ("01011", "dpsu.h.qbl dpsu.h.obl", "dsp", integers(8, UNSIGNED, LEFT), subtracted, unlimited),
    ("01100", "dpaq_sa.l.w dpaq_sa.l.pw", "dsp", fractions(32), added, limited_by_sign(64)),
    ("01101", "dpsq_sa.l.w dpsq_sa.l.pw", "dsp", fractions(32), subtracted, limited_by_sign(64)),
    ("01110", "- mulsaq_s.l.pw", "dsp", fractions(32), alternating, unlimited),
    ("01111", "dpsu.h.qbr dpsu.h.obr", "dsp", integers(8, UNSIGNED, RIGHT), subtracted, unlimited),
    (
        "10000",
        "maq_sa.w.phl maq_sa.w.qhll",
        "dsp",
        fractions(16, only(0)),
        added,
        limited_by_sign(32),
    ),
    ("10001", "- maq_sa.w.qhlr", "dsp", fractions(16, only(1)), added, limited_by_sign(32)),
    ("10010", "maq_sa.w.phr -", "dsp", fractions(16, only(1)), added, limited_by_sign(32)),
    ("10010", "- maq_sa.w.qhrl", "dsp", fractions(16, only(2)), added, limited_by_sign(32)),
    ("10011", "- maq_sa.w.qhrr", "dsp", fractions(16, only(3)), added, limited_by_sign(32)),
    ("10100", "maq_s.w.phl maq_s.w.qhll", "dsp", fractions(16, only(0)), added, unlimited),
    ("10101", "- maq_s.w.qhlr", "dsp", fractions(16, only(1)), added, unlimited),
    ("10110", "maq_s.w.phr -", "dsp", fractions(16, only(1)), added, unlimited),
    ("10110", "- maq_s.w.qhrl", "dsp", fractions(16, only(2)), added, unlimited),
    ("10111", "- maq_s.w.qhrr", "dsp", fractions(16, only(3)), added, unlimited),
    ("11000", "dpaqx_s.w.ph -", "dspr2", fractions(16, cross=True), added, unlimited),
    ("11001", "dpsqx_s.w.ph -", "dspr2", fractions(16, cross=True), subtracted, unlimited),
    ("11010", "dpaqx_sa.w.ph -", "dspr2", fractions(16, cross=True), added, limited(32)),
    ("11011", "dpsqx_sa.w.ph -", "dspr2", fractions(16, cross=True), subtracted, limited(32)),
    ("11100", "- maq_s.l.pwl", "dsp", fractions(32, only(0)), added, unlimited),
    ("11110", "- maq_s.l.pwr", "dsp", fractions(32, only(1)), added, unlimited),
):
    declare(
        *("110000 110100", _op, _mnemonics, _needs),
        *("rs:5 rt:5 000 ac:2", "{ac}, {rs}, {rt}"),
        _accumulate(_products, _combine, _limit),
    )


# Multiplications of whole registers.


def signed_doubleword_product(cpu: Cpu, rs: Value, rt: Value) -> Value:
    """Return the 128-bit product of two registers, signed."""
    return cpu.gpr[rs].sext(128) * cpu.gpr[rt].sext(128)


def unsigned_doubleword_product(cpu: Cpu, rs: Value, rt: Value) -> Value:
    """Return the 128-bit product of two registers, unsigned."""
    return cpu.gpr[rs].zext(128) * cpu.gpr[rt].zext(128)


def _multiply(
    name: str,
    pattern: str,
    needs: str,
    product: Callable[[Cpu, Value, Value], Value],
    combine: Combination,
) -> None:
    def meaning(cpu: Cpu, rs: Value, rt: Value, ac: Value) -> None:
        term = product(cpu, rs, rt)
        set_accumulator(cpu, ac, combine(accumulator(cpu, ac, term.width // 2), [term]))

    MIPS.insn(pattern, f"{name} {{ac}}, {{rs}}, {{rt}}", name=f"dsp_{name}", needs=needs)(meaning)


for _name, _op, _product, _combine in (
    ("dmadd", "11001", signed_doubleword_product, added),
    ("dmsub", "11011", signed_doubleword_product, subtracted),
    ("dmaddu", "11101", unsigned_doubleword_product, added),
    ("dmsubu", "11111", unsigned_doubleword_product, subtracted),
):
    _multiply(*(_name, f"011111 rs:5 rt:5 000 ac:2 {_op} 110100", "dsp dsp64"), _product, _combine)


# The classic instructions with another accumulator than the first; with that they are themselves.


def _with_accumulator(ac: int, bits: str) -> None:
    def declare_product(
        name: str,
        ends: tuple[str, str],
        product: Callable[[Cpu, Value, Value], Value],
        combine: Combination | None,
    ) -> None:
        def meaning(cpu: Cpu, rs: Value, rt: Value) -> None:
            total = product(cpu, rs, rt)
            if combine is not None:
                total = combine(accumulator(cpu, ac, 32), [total])
            set_accumulator(cpu, ac, total)

        pattern = f"{ends[0]} rs:5 rt:5 000 {bits} 00000 {ends[1]}"
        MIPS.insn(pattern, f"{name} $ac{ac}, {{rs}}, {{rt}}", name=f"{name}_ac{ac}", needs="dsp")(
            meaning
        )

    declare_product("mult", ("000000", "011000"), signed_product, None)
    declare_product("multu", ("000000", "011001"), unsigned_product, None)
    declare_product("madd", ("011100", "000000"), signed_product, added)
    declare_product("maddu", ("011100", "000001"), unsigned_product, added)
    declare_product("msub", ("011100", "000100"), signed_product, subtracted)
    declare_product("msubu", ("011100", "000101"), unsigned_product, subtracted)

    @_move("mfhi", f"000000 000 {bits} 00000 rd:5 00000 010000", f"{{rd}}, $ac{ac}", ac)
    def mfhi(cpu: Cpu, rd: Value) -> None:
        cpu.gpr[rd] = cpu.hi[ac]

    @_move("mflo", f"000000 000 {bits} 00000 rd:5 00000 010010", f"{{rd}}, $ac{ac}", ac)
    def mflo(cpu: Cpu, rd: Value) -> None:
        cpu.gpr[rd] = cpu.lo[ac]

    @_move("mthi", f"000000 rs:5 00000 000 {bits} 00000 010001", f"{{rs}}, $ac{ac}", ac)
    def mthi(cpu: Cpu, rs: Value) -> None:
        cpu.hi[ac] = cpu.gpr[rs]

    @_move("mtlo", f"000000 rs:5 00000 000 {bits} 00000 010011", f"{{rs}}, $ac{ac}", ac)
    def mtlo(cpu: Cpu, rs: Value) -> None:
        cpu.lo[ac] = cpu.gpr[rs]


def _move(mnemonic: str, pattern: str, operands: str, ac: int) -> Callable[[Meaning], Meaning]:
    return MIPS.insn(pattern, f"{mnemonic} {operands}", name=f"{mnemonic}_ac{ac}", needs="dsp")


for _ac in (1, 2, 3):
    _with_accumulator(_ac, f"{_ac:02b}")
