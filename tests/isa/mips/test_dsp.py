"""The DSP extension against unicorn: registers, accumulators and DSPControl come out the same.

Each failure prints its seed; PEMU_TEST_SEED=n runs others.
"""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pemu.engine.staging.architecture import Architecture
from pemu.engine.staging.insn import Insn
from pemu.isa.mips.cpu import architecture
from pemu.isa.mips.exceptions import RESERVED_INSTRUCTION
from tests.conftest import SEED
from tests.isa.mips.dsp import (
    FREE,
    SCRATCH,
    Pair,
    dsp_instructions,
    random_state,
    random_word,
    straight,
)
from tests.isa.mips.machines import DATA, PemuMachine, State, Trap
from tests.isa.mips.streams import assemble, listing
from tests.isa.mips.test_disassembler import assert_same_text, objdump
from tests.isa.mips.test_dsp_wide import WRONG_IN_QEMU

MODELS = [
    pytest.param("24KEc", True, "o32", "MIPS32_24KEC", id="24KEc-big"),
    pytest.param("74Kf", True, "o32", "MIPS32_74KF", id="74Kf-big"),
    pytest.param("74Kf", False, "o32", "MIPS32_74KF", id="74Kf-little"),
    pytest.param("mips64dspr2", True, "n64", "MIPS64_MIPS64DSPR2", id="64dspr2-big"),
    pytest.param("mips64dspr2", False, "n64", "MIPS64_MIPS64DSPR2", id="64dspr2-little"),
]


@lru_cache
def make_pair(model: str, big_endian: bool, abi: str, unicorn_model: str, jit: str) -> Pair:
    return Pair(architecture(model, big_endian, abi), jit, unicorn_model)


@pytest.fixture
def pair(model: str, big_endian: bool, abi: str, unicorn_model: str, jit: str) -> Pair:
    return make_pair(model, big_endian, abi, unicorn_model, jit)


def checked(arch: Architecture) -> list[Insn]:
    """The instructions that QEMU gets right."""
    wrong = WRONG_IN_QEMU if arch.xlen == 64 else ()
    return [insn for insn in straight(arch) if insn.name not in wrong]


@settings(max_examples=60)
@given(data=st.data(), chance=st.randoms(use_true_random=False))
@pytest.mark.parametrize(("model", "big_endian", "abi", "unicorn_model"), MODELS)
def test_instruction_with_drawn_operands_gives_the_same_result(
    data: st.DataObject,
    chance: random.Random,
    model: str,
    big_endian: bool,
    abi: str,
    unicorn_model: str,
    jit: str,
) -> None:
    # Compiling each example would take long; the programs below run in tier 1.
    pair = make_pair(model, big_endian, abi, unicorn_model, "tier0" if jit == "tier1" else jit)
    names = {insn.name: insn for insn in checked(pair.arch)}
    insn = names[data.draw(st.sampled_from(sorted(names)), "instruction")]
    word = random_word(chance, insn)
    used = [word >> low & 31 for low in (11, 16, 21) if word >> low & 31 in FREE]
    state = random_state(chance, pair.arch, [insn], used)
    assert not pair.differences([word], state), listing(pair.arch, [word])


@pytest.mark.parametrize(
    ("words", "states"), [(2, 6), pytest.param(20, 10, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("model", "big_endian", "abi", "unicorn_model"), MODELS)
def test_each_instruction_gives_the_same_result(pair: Pair, words: int, states: int) -> None:
    """Each runs with so many operand fields, each from so many states."""
    chance = random.Random(SEED)
    for insn in checked(pair.arch):
        for _ in range(words):
            pair.check(
                [random_word(chance, insn)],
                [random_state(chance, pair.arch, [insn]) for _ in range(states)],
                f"{insn.name}, seed {SEED}",
            )


def run_programs(pair: Pair, count: int, states: int) -> None:
    """Run random sequences of the instructions whose results QEMU gets right from any state."""
    # insv wants a field that fits. Two are functions without effects to QEMU, which forgets their
    # flags where the result is overwritten. Of 64-bit accumulators the 32-bit forms want words.
    insns = [
        insn
        for insn in checked(pair.arch)
        if insn.name not in ("dsp_insv", "dsp_dinsv", "dsp_precrqu_s_ob_qh", "dsp_precrq_rs_qh_pw")
        and not (pair.arch.xlen == 64 and "ac" in insn.assembly)
    ]
    for seed in range(SEED, SEED + count):
        chance = random.Random(seed)
        words = [random_word(chance, chance.choice(insns)) for _ in range(chance.randrange(5, 60))]
        first = [random_state(chance, pair.arch, []) for _ in range(states)]
        pair.check(words, first, f"seed {seed}")


@pytest.mark.parametrize(("model", "big_endian", "abi", "unicorn_model"), MODELS)
def test_programs_end_in_the_same_state(pair: Pair) -> None:
    run_programs(pair, 10, 5)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "big_endian", "abi", "unicorn_model"), MODELS)
def test_many_programs_end_in_the_same_state(pair: Pair, jit: str) -> None:
    before = pair.unicorn.instructions
    run_programs(pair, 100 if jit == "tier1" else 2000, 20)
    print(f"{pair.unicorn.instructions - before} instructions")


@pytest.mark.parametrize(
    ("model", "abi", "name", "taken_from"),
    [
        ("74Kf", "o32", "bposge32", 32),
        ("mips64dspr2", "n64", "bposge32", 32),
        ("mips64dspr2", "n64", "bposge64", 64),
    ],
)
def test_branch_looks_at_pos(model: str, abi: str, name: str, taken_from: int, jit: str) -> None:
    machine = PemuMachine(architecture(model, True, abi), jit)
    insns = {insn.name: insn for insn in machine.arch.source().select(machine.arch.features)}
    words = [
        assemble(insns["wrdsp"], rs=SCRATCH, mask=1),
        assemble(insns[name], offset=2),
        assemble(insns["addiu"], rs=0, rt=1, imm=1),  # delay slot
        assemble(insns["addiu"], rs=0, rt=2, imm=1),  # skipped by the branch
    ]
    for pos in (0, 1, 31, 32, 33, 63, 64, 127):
        if pos < 64 or machine.arch.xlen == 64:
            gpr = [0] * 32
            gpr[SCRATCH] = pos
            ended = machine.run(words, State(gpr))
            assert (ended.gpr[1], ended.gpr[2]) == (1, int(pos < taken_from)), pos


@pytest.mark.parametrize(
    ("model", "abi", "missing"),
    [
        ("24Kf", "o32", "dsp"),
        ("24KEc", "o32", "dspr2"),
        ("74Kf", "o32", "dsp64"),
        ("MIPS64R2-generic", "n64", "dsp"),
    ],
)
def test_instruction_that_the_model_lacks_is_reserved(
    model: str, abi: str, missing: str, jit: str
) -> None:
    machine = PemuMachine(architecture(model, True, abi), jit)
    chance = random.Random(SEED)
    lacking = [
        insn
        for insn in dsp_instructions(architecture("mips64dspr2", True, "n64")).values()
        if missing in insn.needs
    ]
    assert lacking
    for insn in lacking:
        # Where they are the base architecture's, with an operand that it ignores or calls reserved.
        if insn.name.partition("_")[0] in ("mult", "multu", "bposge32", "bposge64"):
            continue
        gpr = [DATA] * 32
        with pytest.raises(Trap) as trap:
            machine.run([random_word(chance, insn)], State(gpr))
        assert trap.value.code == RESERVED_INSTRUCTION, insn.name


@pytest.mark.parametrize(
    ("options", "model", "abi"),
    [
        (("-m", "mips:isa32r2", "-M", "dsp"), "74Kf", "o32"),
        (("-m", "mips:isa64r2", "-M", "dsp,gpr-names=64"), "mips64dspr2", "n64"),
    ],
)
def test_patterns_read_as_in_objdump(
    tmp_path: Path, options: tuple[str, ...], model: str, abi: str
) -> None:
    arch = architecture(model, True, abi)
    chance = random.Random(SEED)
    words = [
        random_word(chance, insn) for insn in dsp_instructions(arch).values() for _ in range(8)
    ]
    binary = tmp_path / "words"
    binary.write_bytes(b"".join(word.to_bytes(4, "big") for word in words))
    lines = objdump("-b", "binary", "-EB", "-D", *options, binary)
    # binutils has no names for the 64-bit forms of revision 2 and for masks with unused bits.
    assert_same_text(arch, (line for line in lines if not line[2].startswith(".word")))
