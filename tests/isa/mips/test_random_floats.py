"""Random floating-point programs on Pemu and on unicorn: results, flags, causes, traps.

Each test prints its seed when it fails; PEMU_TEST_SEED=n runs others. Single instructions are left
to hypothesis, which looks for the simplest operands that differ.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pemu.isa.mips.cpu import architecture
from tests.conftest import SEED
from tests.isa.mips.floats import (
    CAUSE,
    CONTROL,
    SPECIAL_SLOTS,
    TAIL,
    FloatGenerator,
    FloatPemu,
    FloatState,
    FloatUnicorn,
    float_instructions,
    frame,
    outcome,
)
from tests.isa.mips.machines import State
from tests.isa.mips.streams import assemble, listing, reduce

MODELS = [  # not 5KEf, whose FCSR is read-only in QEMU
    pytest.param("24Kf", True, "o32", False, "MIPS32_24KF", id="24Kf-big-FR0"),
    pytest.param("24Kf", False, "o32", False, "MIPS32_24KF", id="24Kf-little-FR0"),
    pytest.param("24Kf", False, "o32", True, "MIPS32_24KF", id="24Kf-little-FR1"),
    pytest.param("R4000", True, "n64", True, "MIPS64_R4000", id="R4000-big"),
    pytest.param("VR5432", False, "n64", True, "MIPS64_VR5432", id="VR5432-little"),
    pytest.param("20Kc", True, "n64", True, "MIPS64_20KC", id="20Kc-big"),
    *(
        pytest.param(
            *("MIPS64R2-generic", big_endian, "n64", fr1, "MIPS64_MIPS64R2_GENERIC"),
            id=f"64R2-{'big' if big_endian else 'little'}-FR{int(fr1)}",
        )
        for big_endian, fr1 in ((True, True), (False, True), (True, False))
    ),
]


class Pair:
    """A Pemu and a unicorn machine of the same model."""

    def __init__(
        self, model: str, big_endian: bool, abi: str, fr1: bool, unicorn_model: str, jit: str
    ) -> None:
        self.arch = architecture(model, big_endian, abi)
        self.fr1 = fr1
        features = self.arch.features | ({"fr1"} if fr1 else set())
        self.arithmetic = {
            name: insn
            for name, insn in float_instructions(self.arch, features).items()
            if {field.name for field in insn.fields} <= {"fd", "fs", "ft", "fr", "cc"}
        }
        self.pemu = FloatPemu(self.arch, jit, fr1)
        self.unicorn = FloatUnicorn(self.arch, unicorn_model, fr1)

    def differences(self, words: list[int], state: State) -> list[str]:
        code, ours = outcome(self.pemu, words, state)
        their_code, theirs = outcome(self.unicorn, words, state)
        found = ours.differences(theirs)
        if code != their_code:
            found.insert(0, f"exception {code}, unicorn {their_code}")
        return found

    def only_nans_differ(self, words: list[int], place: int, state: State) -> bool:
        code, ours = outcome(self.pemu, words, state)
        their_code, theirs = outcome(self.unicorn, words, state)
        assert isinstance(ours, FloatState)
        return code == their_code and ours.only_nans_differ(theirs, words[place])

    def first_difference(self, words: list[int], state: State) -> tuple[int, list[int]]:
        """Return the place of the first word whose effects differ, and the program up to it."""

        def program(length: int) -> list[int]:
            rest = len(words) - TAIL - length
            return [*words[:length], *[0] * rest, *words[-TAIL:]]

        places = range(len(words) - TAIL)
        place = bisect_left(
            places, True, key=lambda at: bool(self.differences(program(at + 1), state))
        )
        return place, program(place + 1)

    def check(self, seed: int) -> int:
        """Run a program; return how many instructions it took."""
        chance = random.Random(seed)
        generator = FloatGenerator(self.arch, chance, self.fr1, enables=chance.random() < 0.3)
        state = generator.state()
        words = generator.program(chance.randrange(10, 150))
        before = self.unicorn.instructions
        found = self.differences(words, state)
        count = self.unicorn.instructions - before
        while found:
            place, until = self.first_difference(words, state)
            if not self.only_nans_differ(until, place, state):
                self.fail(seed, until, state)
            words[place] = 0
            found = self.differences(words, state)
        return count

    def fail(self, seed: int, words: list[int], state: State) -> None:
        words = reduce(words, lambda tried: bool(self.differences(tried, state)))
        found = "\n  ".join(self.differences(words, state))
        controls = " ".join(f"{state.gpr[number]:#x}" for number in CONTROL)
        pytest.fail(f"seed {seed}, s4 to s7: {controls}\n{listing(self.arch, words)}\n  {found}")


@lru_cache
def make_pair(
    model: str, big_endian: bool, abi: str, fr1: bool, unicorn_model: str, jit: str
) -> Pair:
    return Pair(model, big_endian, abi, fr1, unicorn_model, jit)


@pytest.fixture
def pair(model: str, big_endian: bool, abi: str, fr1: bool, unicorn_model: str, jit: str) -> Pair:
    return make_pair(model, big_endian, abi, fr1, unicorn_model, jit)


@settings(max_examples=60)
@given(data=st.data())
@pytest.mark.parametrize(("model", "big_endian", "abi", "fr1", "unicorn_model"), MODELS)
def test_instruction_gives_the_same_result(
    data: st.DataObject,
    model: str,
    big_endian: bool,
    abi: str,
    fr1: bool,
    unicorn_model: str,
    jit: str,
) -> None:
    # Compiling each example would take a second; the programs below run in tier 1.
    mode = "tier0" if jit == "tier1" else jit
    pair = make_pair(model, big_endian, abi, fr1, unicorn_model, mode)
    insns = pair.arithmetic
    insn = insns[data.draw(st.sampled_from(sorted(insns)), "instruction")]
    operands = st.sampled_from(SPECIAL_SLOTS) | st.integers(0, (1 << 64) - 1)
    registers = {field.name: 2 * at for at, field in enumerate(insn.fields, 1)}
    registers |= {"cc": data.draw(st.integers(0, 7), "cc") & ~1} if "cc" in registers else {}
    control = data.draw(st.integers(0, 0x0103FFFF), "FCSR") & ~CAUSE
    fpr = [data.draw(operands, f"$f{n}") if n in registers.values() else 0 for n in range(32)]
    state = FloatState(State([control if n == CONTROL[0] else 0 for n in range(32)]), fpr, 0)
    words = frame(pair.arch, [assemble(insn, **registers)])
    found = pair.differences(words, state)
    assert not found or pair.only_nans_differ(words, 1, state), listing(pair.arch, words)


@pytest.mark.parametrize(("model", "big_endian", "abi", "fr1", "unicorn_model"), MODELS)
def test_programs_end_in_the_same_state(pair: Pair, jit: str) -> None:
    for seed in range(SEED, SEED + (5 if jit == "tier1" else 100)):
        pair.check(seed)


@pytest.mark.parametrize(("model", "big_endian", "abi", "fr1", "unicorn_model"), MODELS)
def test_loops_that_are_compiled_meanwhile_end_as_in_tier_0(pair: Pair, jit: str) -> None:
    if jit != "auto":
        pytest.skip("only auto changes tiers")
    tier0 = FloatPemu(pair.arch, "tier0", pair.fr1)
    for seed in range(SEED, SEED + 2):
        chance = random.Random(seed)
        generator = FloatGenerator(pair.arch, chance, pair.fr1, enables=False)
        state = generator.state()
        words = generator.loop(chance.randrange(10, 60), 8 << 16)
        (code, slow), (other, fast) = (outcome(m, words, state) for m in (tier0, pair.pemu))
        found = fast.differences(slow)
        what = f"seed {seed}:\n{listing(pair.arch, words)}\n{found}"
        assert (code, found) == (other, []), what


@pytest.mark.slow
@pytest.mark.parametrize(("model", "big_endian", "abi", "fr1", "unicorn_model"), MODELS)
def test_many_programs_end_in_the_same_state(pair: Pair, jit: str) -> None:
    seeds = range(SEED, SEED + (200 if jit == "tier1" else 10_000))
    print(f"{sum(map(pair.check, seeds))} instructions")
