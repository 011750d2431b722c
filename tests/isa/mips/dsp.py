"""DSP instructions with random operands, on Pemu and on unicorn.

A state's data page holds DSPControl and the accumulators, before and after. Unicorn gives no access
to these registers, so there the program loads them first and stores them last.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterator, Sequence
from functools import lru_cache
from typing import Literal

import pytest

from pemu.engine.staging.architecture import Architecture
from pemu.engine.staging.insn import Insn
from tests.isa.mips.machines import (
    DATA,
    DATA_BYTES,
    PemuMachine,
    State,
    UnicornMachine,
    const,
)
from tests.isa.mips.streams import assemble, listing, random_value, reduce

BASE, INDEX, SCRATCH = 28, 27, 26
FREE = [number for number in range(1, 32) if number not in (BASE, INDEX, SCRATCH)]
"""Registers of random operands. Not $0: with that as destination QEMU leaves the flags alone."""

CONTROL, ACCUMULATORS = 0, 8
"""Offsets in the data page: DSPControl; HI and LO of each accumulator."""

_DATA = random.Random(0).randbytes(DATA_BYTES)

POS, SCOUNT, OUFLAG = 0x7F, 0x3F << 7, 0xFF << 16
CONTROL_BITS = {32: 0x0FFF7FBF, 64: 0xFFFF7FFF}
"""Bits of DSPControl that exist, by the width of registers."""


@lru_cache
def dsp_instructions(arch: Architecture) -> dict[str, Insn]:
    """Return the instructions of the DSP modules by name."""
    return {
        insn.name: insn
        for insn in arch.source().select(arch.features)
        if insn.meaning.__module__.startswith("pemu.isa.mips.dsp.")
    }


def byte_order(arch: Architecture) -> Literal["big", "little"]:
    return "big" if arch.big_endian else "little"


class DspUnicorn(UnicornMachine):
    """Unicorn with the instructions under test in a frame that loads and stores these registers.

    QEMU's mthi, mtlo, mfhi, mflo sign-extend 32 bits of a 64-bit accumulator other than the first
    (the manual: all 64 are moved), so 64-bit accumulators are loaded and stored in other ways.
    """

    def __init__(self, arch: Architecture, model: str) -> None:
        super().__init__(arch, model)
        status = self.uc.reg_read(const.UC_MIPS_REG_CP0_STATUS)
        self.uc.reg_write(const.UC_MIPS_REG_CP0_STATUS, status | 1 << 24)  # MX: DSP enabled
        insns = {insn.name: insn for insn in arch.source().select(arch.features)}
        wide = arch.xlen == 64
        size = arch.xlen // 8

        def word(name: str, **fields: int) -> int:
            return assemble(insns[name], **fields)

        def at(name: str, offset: int) -> int:
            return word(name, base=BASE, rt=SCRATCH, offset=offset)

        self.before: list[int] = []
        self.after = [word("rddsp_all", rd=SCRATCH), at("sw", CONTROL)]
        for ac in range(4):
            high = ACCUMULATORS + 2 * ac * size
            low = high + size
            if wide:
                move = word("dsp_dmthlip", rs=SCRATCH, ac=ac)
                self.before += [at("ld", high), move, at("ld", low), move]
                get = word("dsp_dextr_l", rt=SCRATCH, ac=ac, amount=0)
                down = [word("dsp_dshilo", ac=ac, amount=amount) for amount in (63, 1)]
                self.after += [get, at("sd", low), *down, get, at("sd", high)]
            else:
                suffix = f"_ac{ac}" if ac else ""
                for name, offset in (("hi", high), ("lo", low)):
                    self.before += [at("lw", offset), word(f"mt{name}{suffix}", rs=SCRATCH)]
                    self.after += [word(f"mf{name}{suffix}", rd=SCRATCH), at("sw", offset)]
        clear = word("addu", rs=0, rt=0, rd=SCRATCH)
        self.before += [at("lw", CONTROL), word("wrdsp_all", rs=SCRATCH), clear]
        self.after.append(clear)

    def run(self, words: Sequence[int], state: State) -> State:
        ended = super().run([*self.before, *words, *self.after], state)
        self.instructions -= len(self.before) + len(self.after)
        ended.hi = ended.lo = 0
        return ended


class DspPemu(PemuMachine):
    """Pemu with these registers set and read from outside."""

    def _places(self) -> Iterator[tuple[int, int, memoryview]]:
        size = self.arch.xlen // 8
        for ac in range(4):
            for half, file in enumerate((self.cpu.hi, self.cpu.lo)):
                yield ACCUMULATORS + (2 * ac + half) * size, ac, file

    def run(self, words: Sequence[int], state: State) -> State:
        order, size = byte_order(self.arch), self.arch.xlen // 8
        self.cpu.dspctl = int.from_bytes(state.data[CONTROL : CONTROL + 4], order)
        first = State(state.gpr, 0, 0, state.data)
        for offset, ac, file in self._places():
            file[ac] = int.from_bytes(state.data[offset : offset + size], order)
        # These two are set by the machine itself.
        first.hi, first.lo = self.cpu.hi[0], self.cpu.lo[0]
        ended = super().run(words, first)
        data = bytearray(ended.data)
        data[CONTROL : CONTROL + 4] = self.cpu.dspctl.to_bytes(4, order)
        for offset, ac, file in self._places():
            data[offset : offset + size] = file[ac].to_bytes(size, order)
        return State(ended.gpr, data=bytes(data))


class Pair:
    """A Pemu and a unicorn machine of the same model."""

    def __init__(self, arch: Architecture, jit: str, unicorn_model: str) -> None:
        self.arch = arch
        self.pemu = DspPemu(arch, jit)
        self.unicorn = DspUnicorn(arch, unicorn_model)

    def differences(self, words: Sequence[int], state: State) -> list[str]:
        return self.pemu.run(words, state).differences(self.unicorn.run(words, state))

    def check(self, words: list[int], states: Sequence[State], what: str) -> None:
        for state in states:
            if self.differences(words, state):
                break
        else:
            return
        # `reduce` leaves the first word and the last three alone.
        words = reduce([0, *words, 0, 0, 0], lambda tried: bool(self.differences(tried, state)))
        found = "\n  ".join(self.differences(words, state))
        data = state.data[: ACCUMULATORS + self.arch.xlen].hex(" ", self.arch.xlen // 8)
        pytest.fail(f"{what}:\n{listing(self.arch, words)}\n  {found}\nfrom {data}")


def interesting(chance: random.Random, width: int) -> int:
    """Return a number whose bytes, halves and words are often extremes of their width."""
    if chance.random() < 0.3:
        return random_value(chance, width)
    lane = chance.choice([lane for lane in (8, 16, 32, 64) if lane <= width])
    extremes = (0, 1, -1, 1 << (lane - 1), (1 << (lane - 1)) - 1, (1 << (lane - 1)) + 1)
    value = 0
    for _ in range(width // lane):
        part = chance.choice((*extremes, chance.getrandbits(lane)))
        value = (value << lane) | (part & ((1 << lane) - 1))
    return value


def sign_extend(value: int, width: int, to: int) -> int:
    """Return the low `width` bits of `value`, sign-extended to `to` bits."""
    value &= (1 << width) - 1
    return value | ((1 << to) - (1 << width) if value >> (width - 1) else 0)


_WORD_OPERANDS = ("mt", "mult", "madd", "msub", "dsp_insv", "dsp_shilo")
_FRACTION_RANGE = {
    **dict.fromkeys(("dsp_maq_sa_w_phl", "dsp_maq_sa_w_phr"), 32),
    **dict.fromkeys(("dsp_dpaqx_sa_w_ph", "dsp_dpsqx_sa_w_ph"), 32),
    **dict.fromkeys(("dsp_dpaq_sa_l_pw", "dsp_dpsq_sa_l_pw"), 64),
}
"""Instructions that saturate an accumulator to so many bits, and want it in that range."""


def random_state(
    chance: random.Random,
    arch: Architecture,
    insns: Sequence[Insn],
    registers: Container[int] = FREE,
) -> State:
    """Return registers, accumulators and a DSPControl that the manual defines results for.

    `insns`: those that are run, where they ask for more than any do; `registers` that are not 0.
    For `insv` the fields pos and scount are such that there is a field to insert. With 64-bit
    registers some 32-bit forms want sign-extended words, and accumulators that are two of them.
    """
    order = byte_order(arch)
    size = arch.xlen // 8
    gpr = [interesting(chance, arch.xlen) if n in registers else 0 for n in range(32)]
    narrow = arch.xlen == 64 and any("dsp64" not in insn.needs for insn in insns)
    if narrow and any(insn.name.startswith(_WORD_OPERANDS) for insn in insns):
        gpr = [sign_extend(value, 32, 64) for value in gpr]
    gpr[BASE], gpr[INDEX], gpr[SCRATCH] = DATA, chance.randrange(DATA_BYTES // 8) * 8, 0
    data = bytearray(_DATA)
    control = chance.getrandbits(32) & CONTROL_BITS[arch.xlen]
    if chance.random() < 0.5:
        control &= ~OUFLAG
    if narrow:
        control &= ~(1 << 6)  # pos counts the bits of a 64-bit accumulator
    if any(insn.name in ("dsp_insv", "dsp_dinsv") for insn in insns):
        count = chance.randrange(1, 33)
        control = (control & ~(POS | SCOUNT)) | chance.randrange(0, 33 - count) | count << 7
    data[CONTROL : CONTROL + 4] = control.to_bytes(4, order)
    for ac in range(4):
        high, low = (interesting(chance, arch.xlen) for _ in range(2))
        if narrow:
            high, low = sign_extend(high, 32, 64), sign_extend(low, 32, 64)
        if arch.xlen == 64:
            for bits in filter(None, (_FRACTION_RANGE.get(insn.name) for insn in insns)):
                low = sign_extend(low, bits, 64)
                high = sign_extend(low >> 63, 1, 64)
        if chance.random() < 0.3:
            high = sign_extend(low >> (arch.xlen - 1), 1, arch.xlen)
        offset = ACCUMULATORS + 2 * ac * size
        data[offset : offset + size] = high.to_bytes(size, order)
        data[offset + size : offset + 2 * size] = low.to_bytes(size, order)
    return State(gpr, data=bytes(data))


def random_word(chance: random.Random, insn: Insn) -> int:
    """Return an instruction with operands that the manual defines a result for."""
    fields: dict[str, int] = {}
    for field in insn.fields:
        if field.width == 5 and field.name in ("rs", "rt", "rd"):
            fields[field.name] = chance.choice(FREE)
        else:
            fields[field.name] = chance.getrandbits(field.width)
    if "base" in fields:
        fields["base"], fields["index"] = BASE, INDEX
    return assemble(insn, **fields)


_BRANCHES = ("bposge32", "bposge64")


def straight(arch: Architecture) -> list[Insn]:
    return [insn for name, insn in dsp_instructions(arch).items() if name not in _BRANCHES]
