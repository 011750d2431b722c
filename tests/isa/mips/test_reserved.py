"""Which words are reserved instructions on a processor model, compared with qemu-user.

Words are made from every pattern of the instruction table, also of those that the model lacks, and
of the places of the opcode maps where no pattern is. Both emulators run them one by one
(tests/programs/isa/words.c). Where they differ, QEMU departs from the manuals, as `qemu_runs` and
`qemu_lacks` say. Seeds: PEMU_TEST_SEED=n runs other words.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from pemu.engine.staging.insn import Insn
from pemu.isa.mips.models import MODELS, Model
from pemu.isa.mips.table import instructions
from tests.conftest import ROOT, SEED, Run, need
from tests.isa.mips.streams import assemble

FLAGS = (
    *("-O1", "-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-mno-abicalls", "-G0"),
    *("-msoft-float", "-fno-stack-protector", "-w"),
    *("-Wl,-Ttext-segment=0x400000", "-Wl,-z,noexecstack"),
)
BUILDS = {
    32: ("mips-linux-gnu-gcc", "gcc-mips-linux-gnu", ("-mips2",)),
    64: ("mips64-linux-gnuabi64-gcc", "gcc-mips64-linux-gnuabi64", ("-mips3", "-msym32")),
}
QUICK = ("24Kf", "74Kf", "R4000", "20Kc")
"""Models that are not left to the slow tests."""

WAY_OUT, DATA = 8, 9
"""Registers with a value in words.c."""

_LEAVE = ("j", "jal", "jalx", "syscall")
_END_QEMU = ("sdbbp", "fork", "yield", "dsp_extpdpv")
"""Instructions at which some QEMU model gives up, with a message or a failed assertion."""

_MIPS4_FLOATS = (
    *("movf_s", "movf_d", "movt_s", "movt_d", "movz_s", "movz_d", "movn_s", "movn_d"),
    *("recip_s", "recip_d", "rsqrt_s", "rsqrt_d"),
)


def qemu_runs(insn: Insn, model: Model) -> bool:
    """Whether QEMU has the instruction on this model although the manuals have it reserved."""
    features = model.features
    if insn.name.endswith("_vr5400"):
        return True  # mult and multu, with bits set that must be zero
    if insn.name[:4] in ("mfhi", "mflo", "mthi", "mtlo"):
        return True  # likewise, without DSP accumulators
    if insn.name == "mul":
        return True  # on MIPS III and IV
    if "fpu" not in features:
        return False
    if "mips4_32" not in features and ("_cc" in insn.name or insn.name in _MIPS4_FLOATS):
        return True
    if "mips3d" not in features and "mips3d" in insn.needs:
        return True  # not all of them; none is asked about the extension by name
    return False


def qemu_lacks(insn: Insn, model: Model) -> bool:
    """Whether QEMU's user mode lacks an instruction that the model has."""
    if model.name != "VR5432":
        return False
    # The extension of this processor, and MIPS IV's own major opcode.
    return insn.name.endswith("_vr5400") or insn.match >> 26 == 0o23


@lru_cache
def table() -> tuple[Insn, ...]:
    """The instructions of all models, but for those that disassemblers have no name for."""
    return tuple(insn for insn in instructions().insns if insn.mnemonic != ".word")


def operands(chance: random.Random, insn: Insn) -> dict[str, int]:
    """Return operands that do no harm: small offsets from the data, targets just ahead."""
    names = {field.name for field in insn.fields}
    fields: dict[str, int] = {}
    for field in insn.fields:
        if field.name == "base":
            value = DATA
        elif field.name == "index":
            value = 0
        elif field.name == "offset":
            value = 8 * chance.randrange(4) if "base" in names else chance.randrange(1, 4)
        elif field.name == "rs":
            value = WAY_OUT if insn.name.startswith(("jr", "jalr")) else chance.choice((9, 10, 11))
        elif field.name in ("rt", "rd"):
            value = chance.randrange(4, 8)
        else:
            value = chance.getrandbits(field.width)
        fields[field.name] = value
    return fields


def words_of_the_table(chance: random.Random) -> Iterator[int]:
    for insn in table():
        for _ in range(2):
            yield assemble(insn, **operands(chance, insn))


def words_of_the_maps() -> Iterator[int]:
    """One word for each place of the opcode maps.

    Where QEMU does nothing for destination $0, not even look at the model, $1 is the destination;
    else other fields are zero.
    """
    for opcode in range(64):
        yield opcode << 26
    for function in range(64):
        for opcode in (0o00, 0o23, 0o34):
            yield opcode << 26 | function
        for sub in range(32 if function not in (0o10, 0o11) else 0):  # fork, yield
            yield 0o37 << 26 | 1 << 16 | 1 << 11 | sub << 6 | function
        for fmt in range(16, 32):
            yield 0o21 << 26 | fmt << 21 | function
    for rt in range(32):
        yield 0o01 << 26 | rt << 16 | 1
    for rs in range(32):
        for opcode in (0o20, 0o21, 0o22):
            yield opcode << 26 | rs << 21


def meant(word: int) -> list[Insn]:
    """The instructions of any model that a word may be."""
    return [insn for insn in table() if word & insn.mask == insn.match]


def sample() -> list[int]:
    unsafe = (*_LEAVE, *_END_QEMU)
    chance = random.Random(SEED)
    words = dict.fromkeys((*words_of_the_table(chance), *words_of_the_maps()))
    return [word for word in words if not any(insn.name in unsafe for insn in meant(word))]


def excused(word: int, model: Model, reserved: bool) -> bool:
    """Whether QEMU is known to be wrong about a word; `reserved`: what it says of it."""
    if reserved:
        return any(qemu_lacks(insn, model) for insn in meant(word))
    if word >> 26 == 0o36:
        return True  # MDMX, which no model has: an opcode that does nothing
    # Bits that must be zero: in rt and rd, or in what is below them in rdhwr.
    zeros = (0x1F << 16, 0x1F << 11, 0x3FF << 11) if word & 0x3F != 0o73 else (0x1F << 6,)
    cleared = [word & ~bits for bits in zeros if word >> 26 == 0o37]
    return any(map(meant, cleared)) or any(qemu_runs(insn, model) for insn in meant(word))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    found = {}
    for bits, (compiler, package, flags) in BUILDS.items():
        found[bits] = tmp_path_factory.mktemp("words") / f"words{bits}"
        source = ROOT / "tests" / "programs" / "isa" / "words.c"
        words = [need(compiler, package), *FLAGS, *flags, "-o", str(found[bits]), str(source)]
        subprocess.run(words, check=True)
    return found


def letters(run: Run, model: Model, program: Path, words: list[int], *options: str) -> str:
    """What came of each word."""
    target = "mips" if model.bits == 32 else "mips64"
    given = b"".join(word.to_bytes(4) for word in words)
    done = run(
        *(target, *options, "-cpu", model.name, program),
        input=given,
        text=False,
        errors=None,
        timeout=300,
    )
    return bytes(done.stdout).decode()  # type: ignore[arg-type]


SUPPORTED = [
    pytest.param(model, marks=[] if model.name in QUICK else pytest.mark.slow, id=model.name)
    for model in MODELS
    if not model.lacks
]


@pytest.mark.parametrize("model", SUPPORTED)
def test_same_words_are_reserved_as_under_qemu(
    pemu: Run, qemu: Run, programs: dict[int, Path], model: Model, jit: str
) -> None:
    words = sample()
    # Compiling each word would take minutes; both tiers are made from the same table.
    mode = "tier0" if jit == "tier1" else jit
    ours = letters(pemu, model, programs[model.bits], words, "-jit", f"mode={mode}")
    theirs = letters(qemu, model, programs[model.bits], words)
    assert (len(ours), len(theirs)) == (len(words), len(words))
    wrong = [
        f"{word:08x} {' '.join(insn.name for insn in meant(word))}: {our}, QEMU {their}"
        for word, our, their in zip(words, ours, theirs, strict=True)
        if (our == "i") != (their == "i") and not excused(word, model, their == "i")
    ]
    assert not wrong, f"seed {SEED}: {wrong}"
