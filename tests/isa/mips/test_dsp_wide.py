"""DSP instructions on 64-bit registers where unicorn (QEMU) is no oracle, against plain integers.

The 64-bit forms were never made in silicon that QEMU's authors could compare with, and some of its
results contradict the manual's own descriptions of the same operation on 32 bits. `WRONG_IN_QEMU`
says how; what is right is computed here from Python's integers.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pemu.engine.staging.insn import Insn
from pemu.isa.mips.cpu import architecture
from tests.conftest import SEED
from tests.isa.mips.dsp import (
    ACCUMULATORS,
    CONTROL,
    DspPemu,
    dsp_instructions,
    random_state,
    random_word,
    sign_extend,
)
from tests.isa.mips.machines import State

MASK = (1 << 64) - 1


class Operands:
    """What an instruction reads, as integers."""

    def __init__(self, insn: Insn, word: int, state: State) -> None:
        fields = {field.name: field.of(word) for field in insn.fields}
        self.fields = fields
        self.control = int.from_bytes(state.data[CONTROL : CONTROL + 4], "big")
        self.rs = state.gpr[fields.get("rs", 0)]
        self.rt = state.gpr[fields.get("rt", 0)]
        self.amount = fields.get("amount", fields.get("sa", self.rs))
        at = ACCUMULATORS + 16 * fields.get("ac", 0)
        self.acc = int.from_bytes(state.data[at : at + 16], "big")


Result = tuple[int | None, int | None, int]
"""A general register, an accumulator (128 bits), DSPControl."""

Reference = Callable[[Operands], Result]


def signed(value: int, width: int) -> int:
    """Read the low `width` bits as a signed number."""
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


def lanes(value: int, width: int, is_signed: bool, size: int = 64) -> list[int]:
    """Cut into numbers, the least significant first."""
    parts = [(value >> low) & ((1 << width) - 1) for low in range(0, size, width)]
    return [signed(part, width) for part in parts] if is_signed else parts


def join(parts: list[int], width: int) -> int:
    """Put numbers together again, modulo their width."""
    return sum((part & ((1 << width) - 1)) << (index * width) for index, part in enumerate(parts))


def byte_sums(sign: int, saturating: bool) -> Reference:
    def reference(o: Operands) -> Result:
        pairs = zip(lanes(o.rs, 8, False), lanes(o.rt, 8, False), strict=True)
        exact = [a + sign * b for a, b in pairs]
        over = any(not 0 <= value <= 255 for value in exact)
        parts = [min(max(value, 0), 255) for value in exact] if saturating else exact
        return join(parts, 8), None, o.control | over << 20

    return reference


def byte_half_differences(rounding: int) -> Reference:
    def reference(o: Operands) -> Result:
        pairs = zip(lanes(o.rs, 8, False, 32), lanes(o.rt, 8, False, 32), strict=True)
        parts = [(a - b + rounding) >> 1 for a, b in pairs]
        return sign_extend(join(parts, 8), 32, 64), None, o.control

    return reference


def accumulate(sign: int, product: Callable[[int, int], int]) -> Reference:
    def reference(o: Operands) -> Result:
        return None, (o.acc + sign * product(o.rs, o.rt)) % (1 << 128), o.control

    return reference


def halfword_products(a: int, b: int) -> int:
    pairs = zip(lanes(a, 16, True), lanes(b, 16, True), strict=True)
    return sum(x * y for x, y in pairs)


def signed_product(a: int, b: int) -> int:
    return signed(a, 64) * signed(b, 64)


def alternating_fractions(o: Operands) -> Result:
    total, over = o.acc, False
    for index, (a, b) in enumerate(zip(lanes(o.rs, 16, True), lanes(o.rt, 16, True), strict=True)):
        product = a * b * 2
        if product == 1 << 31:
            product, over = product - 1, True
        total += product if index % 2 else -product
    return None, total % (1 << 128), o.control | over << (16 + o.fields["ac"])


def circular_index(o: Operands) -> Result:
    index = o.rs & 0xFFFFFFFF
    result = index - (o.rt & 0xFF) if index else o.rt >> 8 & 0xFFFF
    return sign_extend(result, 32, 64), None, o.control


def prepend_more(o: Operands) -> Result:
    return ((o.rs << 64 | o.rt) >> (32 + o.amount)) & MASK, None, o.control


def shifted_halfwords(rounding: bool) -> Reference:
    def reference(o: Operands) -> Result:
        half = (1 << o.amount) >> 1 if rounding else 0
        words = lanes(o.rs, 32, True) + lanes(o.rt, 32, True)
        return join([(word + half) >> o.amount for word in words], 16), None, o.control

    return reference


def shifted_words(o: Operands) -> Result:
    words = [word << (o.amount & 31) for word in lanes(o.rt, 32, True)]
    over = any(signed(word, 32) != word for word in words)
    return join(words, 32), None, o.control | over << 22


def extract(width: int, rounding: bool = False, saturating: bool = False) -> Reference:
    def reference(o: Operands) -> Result:
        amount = o.amount & 63
        exact = signed(o.acc, 128)
        results = exact >> amount, (exact + ((1 << amount) >> 1)) >> amount
        over = any(signed(result, width) != result for result in results)
        result = results[rounding]
        if saturating:
            result = min(max(result, -1 << (width - 1)), (1 << (width - 1)) - 1)
        return sign_extend(result, width, 64), None, o.control | over << 23

    return reference


def extract_halfword(o: Operands) -> Result:
    exact = signed(o.acc, 128) >> (o.amount & 63)
    result = min(max(exact, -0x8000), 0x7FFF)
    return result & MASK, None, o.control | (result != exact) << 23


def extract_field(advance: bool) -> Reference:
    def reference(o: Operands) -> Result:
        start, size = o.control & 0x7F, o.amount & 63
        if size > start:
            return 0, None, o.control | 1 << 14
        control = o.control & ~(1 << 14)
        if advance:
            control = (control & ~0x7F) | ((start - size - 1) & 0x7F)
        return (o.acc >> (start - size)) & ((2 << size) - 1), None, control

    return reference


def shift(o: Operands) -> Result:
    amount = signed(o.amount, 7)
    acc = o.acc >> amount if amount >= 0 else o.acc << -amount
    return None, acc % (1 << 128), o.control


WRONG_IN_QEMU: dict[str, Reference] = {
    # Loses every other byte.
    "dsp_addu_ob": byte_sums(1, False),
    "dsp_subu_ob": byte_sums(-1, False),
    "dsp_addu_s_ob": byte_sums(1, True),
    "dsp_subu_s_ob": byte_sums(-1, True),
    # Do not sign-extend their 32-bit result.
    "dsp_subuh_qb": byte_half_differences(0),
    "dsp_subuh_r_qb": byte_half_differences(1),
    "dsp_modsub": circular_index,
    # Multiplies halfwords as unsigned numbers.
    "dsp_dpa_w_qh": accumulate(1, halfword_products),
    "dsp_dps_w_qh": accumulate(-1, halfword_products),
    # Adds up the products modulo 2**32.
    "dsp_mulsaq_s_w_qh": alternating_fractions,
    # Multiplies words instead of doublewords.
    "dsp_dmadd": accumulate(1, signed_product),
    "dsp_dmsub": accumulate(-1, signed_product),
    "dsp_dmaddu": accumulate(1, lambda a, b: a * b),
    "dsp_dmsubu": accumulate(-1, lambda a, b: a * b),
    # Shifts zeros in.
    "dsp_prependd": prepend_more,
    # Writes nothing.
    "dsp_precr_sra_qh_pw": shifted_halfwords(False),
    "dsp_precr_sra_r_qh_pw": shifted_halfwords(True),
    # Does not see an overflow into the sign.
    "dsp_shll_pw": shifted_words,
    "dsp_shllv_pw": shifted_words,
    # Mix sign bits into the middle of the result, or never set the overflow flag.
    "dsp_dextr_w": extract(32),
    "dsp_dextrv_w": extract(32),
    "dsp_dextr_r_w": extract(32, rounding=True),
    "dsp_dextrv_r_w": extract(32, rounding=True),
    "dsp_dextr_rs_w": extract(32, rounding=True, saturating=True),
    "dsp_dextrv_rs_w": extract(32, rounding=True, saturating=True),
    "dsp_dextr_l": extract(64),
    "dsp_dextrv_l": extract(64),
    "dsp_dextr_r_l": extract(64, rounding=True),
    "dsp_dextrv_r_l": extract(64, rounding=True),
    "dsp_dextr_rs_l": extract(64, rounding=True, saturating=True),
    "dsp_dextrv_rs_l": extract(64, rounding=True, saturating=True),
    # Compares the lower half of the shifted accumulator as a signed number.
    "dsp_dextr_s_h": extract_halfword,
    # Likewise; and shifts by the number of the register instead of its contents.
    "dsp_dextrv_s_h": extract_halfword,
    # Takes bits of HI where the field ends in LO.
    "dsp_dextp": extract_field(advance=False),
    "dsp_dextpv": extract_field(advance=False),
    "dsp_dextpdp": extract_field(advance=True),
    "dsp_dextpdpv": extract_field(advance=True),
    # Do nothing where the amount is -64.
    "dsp_dshilo": shift,
    "dsp_dshilov": shift,
}


@pytest.mark.parametrize("name", WRONG_IN_QEMU)
def test_results_are_those_of_plain_integers(name: str, machine: DspPemu) -> None:
    chance = random.Random(SEED)
    insn = dsp_instructions(machine.arch)[name]
    for _ in range(12):
        word = random_word(chance, insn)
        for _ in range(8):
            state = random_state(chance, machine.arch, [insn])
            before = Operands(insn, word, state)
            after = Operands(insn, word, ended := machine.run([word], state))
            register, accumulator, control = WRONG_IN_QEMU[name](before)
            fields = before.fields
            found = ended.gpr[fields.get("rd", fields.get("rt", 0))] if register is not None else 0
            assert (found, after.acc, after.control) == (
                register or 0,
                before.acc if accumulator is None else accumulator,
                control,
            ), f"seed {SEED}: {insn.assembly} {fields} of {vars(before)}"


@pytest.fixture(scope="module")
def machine(jit: str) -> DspPemu:
    return DspPemu(architecture("mips64dspr2", True, "n64"), jit)
