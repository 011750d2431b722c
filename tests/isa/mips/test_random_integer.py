"""Random integer programs on Pemu and on unicorn: all registers and memory come out the same.

Each test prints its seed when it fails; PEMU_TEST_SEED=n runs others. Single instructions are left
to hypothesis, which looks for the simplest operands that differ.
"""

from __future__ import annotations

import random
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pemu.engine.staging.architecture import Architecture
from pemu.engine.staging.insn import Insn
from pemu.isa.mips.cpu import architecture
from tests.conftest import SEED
from tests.isa.mips.machines import PemuMachine, State, Trap, UnicornMachine
from tests.isa.mips.streams import (
    COUNTER,
    TRAPPING,
    Generator,
    assemble,
    integer_instructions,
    listing,
    random_fields,
    random_state,
    random_value,
    reduce,
)

LONG = 48 << 16
"""Rounds of a loop that runs long enough to be compiled."""

MODELS = [
    pytest.param("24Kf", True, "o32", "MIPS32_24KF", id="24Kf-big"),
    pytest.param("24Kf", False, "o32", "MIPS32_24KF", id="24Kf-little"),
    pytest.param("4Kc", True, "o32", "MIPS32_4KC", id="4Kc-big"),
    pytest.param("MIPS64R2-generic", True, "n64", "MIPS64_MIPS64R2_GENERIC", id="64R2-big"),
    pytest.param("MIPS64R2-generic", False, "n64", "MIPS64_MIPS64R2_GENERIC", id="64R2-little"),
    pytest.param("R4000", True, "n64", "MIPS64_R4000", id="R4000-big"),
    pytest.param("VR5432", False, "n64", "MIPS64_VR5432", id="VR5432-little"),
]


class Pair:
    """A Pemu and a unicorn machine of the same model."""

    def __init__(self, arch: Architecture, jit: str, unicorn_model: str) -> None:
        self.arch = arch
        self.pemu = PemuMachine(arch, jit)
        self.unicorn = UnicornMachine(arch, unicorn_model)

    def differences(self, words: list[int], state: State) -> list[str]:
        return self.pemu.run(words, state).differences(self.unicorn.run(words, state))

    def check(self, words: list[int], state: State, seed: int) -> None:
        if not self.differences(words, state):
            return
        words = reduce(words, lambda tried: bool(self.differences(tried, state)))
        found = "\n  ".join(self.differences(words, state))
        pytest.fail(f"seed {seed}:\n{listing(self.arch, words)}\n  {found}")


@pytest.fixture
def pair(model: str, big_endian: bool, abi: str, unicorn_model: str, jit: str) -> Pair:
    return make_pair(model, big_endian, abi, unicorn_model, jit)


@lru_cache
def make_pair(model: str, big_endian: bool, abi: str, unicorn_model: str, jit: str) -> Pair:
    return Pair(architecture(model, big_endian, abi), jit, unicorn_model)


def run_programs(pair: Pair, count: int) -> None:
    for seed in range(SEED, SEED + count):
        chance = random.Random(seed)
        words_only = chance.random() < 0.5
        generator = Generator(pair.arch, chance, words_only)
        state = random_state(chance, pair.arch.xlen, words_only)
        pair.check(generator.program(chance.randrange(20, 200), rounds=3), state, seed)


@pytest.mark.parametrize(("model", "big_endian", "abi", "unicorn_model"), MODELS)
def test_programs_end_in_the_same_state(pair: Pair) -> None:
    run_programs(pair, 12)


@pytest.mark.parametrize(("model", "big_endian", "abi", "unicorn_model"), MODELS)
def test_loops_that_are_compiled_meanwhile_end_in_the_same_state(pair: Pair, jit: str) -> None:
    if jit != "auto":
        pytest.skip("only auto changes tiers")
    for seed in range(SEED, SEED + 2):
        chance = random.Random(seed)
        words_only = chance.random() < 0.5
        generator = Generator(pair.arch, chance, words_only)
        state = random_state(chance, pair.arch.xlen, words_only)
        words = generator.program(chance.randrange(20, 100), rounds=1)
        words[0] = assemble(generator.insns["lui"], rt=COUNTER, imm=LONG >> 16)
        pair.check(words, state, seed)


@lru_cache
def instructions(arch: Architecture, words_only: bool) -> dict[str, Insn]:
    """The instructions that neither branch nor access memory."""
    straight = Generator(arch, random.Random(0), words_only).straight
    return {
        insn.name: insn for insn in straight if "base" not in {field.name for field in insn.fields}
    }


@settings(max_examples=60)
@given(data=st.data(), chance=st.randoms(use_true_random=False), words_only=st.booleans())
@pytest.mark.parametrize(("model", "big_endian", "abi", "unicorn_model"), MODELS)
def test_instruction_gives_the_same_result(
    data: st.DataObject,
    chance: random.Random,
    words_only: bool,
    model: str,
    big_endian: bool,
    abi: str,
    unicorn_model: str,
    jit: str,
) -> None:
    # Compiling each example would take long; the programs above run in tier 1.
    pair = make_pair(model, big_endian, abi, unicorn_model, "tier0" if jit == "tier1" else jit)
    xlen = pair.arch.xlen
    choice = instructions(pair.arch, words_only)
    insn = choice[data.draw(st.sampled_from(sorted(choice)), "instruction")]
    borders = st.sampled_from([0, 1, -1, 1 << 31, (1 << 31) - 1, 1 << (xlen - 1)])
    values = borders | st.integers(-(1 << (xlen - 1)), (1 << (xlen - 1)) - 1)

    def value(name: str) -> int:
        drawn = data.draw(values, name)
        if words_only:
            drawn = (drawn & 0xFFFFFFFF ^ 1 << 31) - (1 << 31)
        return drawn & ((1 << xlen) - 1)

    fields = random_fields(chance, insn)
    used = {number for name, number in fields.items() if name in ("rs", "rt", "rd")}
    gpr = [value(f"${number}") if number and number in used else 0 for number in range(32)]
    state = State(gpr, value("hi"), value("lo"))
    words = [assemble(insn, **fields)]
    assert not pair.differences(words, state), listing(pair.arch, words)


def ending(machine: PemuMachine | UnicornMachine, words: list[int], state: State) -> State:
    """Run a program to its end or to an exception, whose code takes the place of $0."""
    try:
        return machine.run(words, state)
    except Trap as trap:
        ended = machine.state_now()
        ended.gpr[0] = trap.code
        return ended


def run_programs_with_traps(pair: Pair, count: int) -> None:
    for seed in range(SEED, SEED + count):
        chance = random.Random(seed)
        words_only = chance.random() < 0.5
        generator = Generator(pair.arch, chance, words_only, traps=True)
        state = random_state(chance, pair.arch.xlen, words_only)
        words = generator.program(chance.randrange(20, 200), rounds=3)

        def differences(words: list[int], state: State = state) -> list[str]:
            ours, theirs = (ending(m, words, state) for m in (pair.pemu, pair.unicorn))
            return ours.differences(theirs)

        if differences(words):
            words = reduce(words, lambda tried: bool(differences(tried)))
            found = "\n  ".join(differences(words))
            pytest.fail(f"seed {seed}:\n{listing(pair.arch, words)}\n  {found}")


@pytest.mark.parametrize(("model", "big_endian", "abi", "unicorn_model"), MODELS)
def test_programs_with_traps_end_in_the_same_state(pair: Pair, jit: str) -> None:
    run_programs_with_traps(pair, 4 if jit == "tier1" else 30)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "big_endian", "abi", "unicorn_model"), MODELS)
def test_many_programs_end_in_the_same_state(pair: Pair, jit: str) -> None:
    before = pair.unicorn.instructions
    run_programs(pair, 100 if jit == "tier1" else 5000)
    run_programs_with_traps(pair, 100 if jit == "tier1" else 5000)
    print(f"{pair.unicorn.instructions - before} instructions")


def outcome(machine: PemuMachine | UnicornMachine, word: int, state: State) -> State | int:
    """Run one instruction; return the end state or the exception's code."""
    try:
        return machine.run([word], state)
    except Trap as trap:
        assert not machine.state_now().differences(state), "registers written before a trap"
        return trap.code


def provoke(
    chance: random.Random, insn: Insn, fields: dict[str, int], state: State, xlen: int
) -> None:
    """Choose operands that make traps likely: equal ones, and sums near the limits."""
    number = fields["rs"]
    if insn.name.startswith("t"):
        value = random_value(chance, 15)
        fields["imm" if "imm" in fields else "rt"] = value if "imm" in fields else number
    else:
        width = xlen if insn.name.startswith("d") else 32
        limit = (1 << (width - 1)) + chance.randrange(-3, 3)
        value = limit if limit < 1 << (width - 1) else limit | -1 << width
    if number:
        state.gpr[number] = value & ((1 << xlen) - 1)


@pytest.mark.parametrize(("model", "big_endian", "abi", "unicorn_model"), MODELS)
def test_instructions_that_may_trap_do_so_alike(pair: Pair, jit: str) -> None:
    chance = random.Random(SEED)
    insns = integer_instructions(pair.arch)
    for insn in (insns[name] for name in TRAPPING if name in insns):
        trapped = 0
        for _ in range(10 if jit == "tier1" else 60):
            words_only = insn.name in ("add", "addi", "sub")
            state = random_state(chance, pair.arch.xlen, words_only)
            fields = random_fields(chance, insn)
            for name in ("lsb", "msb", "msbd"):
                if name in fields and chance.random() < 0.5:
                    fields[name] = chance.getrandbits(5)
            if chance.random() < 0.5:
                provoke(chance, insn, fields, state, pair.arch.xlen)
            word = assemble(insn, **fields)
            ours, theirs = (outcome(m, word, state) for m in (pair.pemu, pair.unicorn))
            what = f"seed {SEED}: {listing(pair.arch, [word])}"
            if isinstance(ours, State) and isinstance(theirs, State):
                assert not ours.differences(theirs), what
            else:
                assert ours == theirs, what
                trapped += 1
        if insn.name not in ("dext", "dextm", "dinsm", "dextu") and jit != "tier1":
            assert trapped, f"{insn.name} never trapped"
