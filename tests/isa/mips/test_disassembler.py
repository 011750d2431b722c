"""The disassembler against GNU objdump: the same text for every instruction of real programs."""

from __future__ import annotations

import random
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from pemu.engine.staging.architecture import Architecture
from pemu.isa.mips.cpu import architecture
from pemu.isa.mips.disassembler import disassemble
from scripts.debian_sysroot import ARCHITECTURES, default_directory
from tests.conftest import need

OBJDUMP = "mips-linux-gnu-objdump"
LINE = re.compile(r"^\s*([0-9a-f]+):\t([0-9a-f]{8}) \t(.*?)\s*$")
SYMBOL = re.compile(r"(0x)?([0-9a-f]+) <.*>$")


def objdump(*words: str | Path) -> Iterator[tuple[int, int, str]]:
    """Yield (address, word, text) of each line, with addresses written without symbols."""
    done = subprocess.Popen(
        [need(OBJDUMP, "binutils-mips-linux-gnu"), *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.stdout is not None
    for line in done.stdout:
        if found := LINE.match(line):
            text = found[3].partition(" # ")[0]
            yield int(found[1], 16), int(found[2], 16), SYMBOL.sub(r"0x\2", text)
    assert done.wait() == 0


def assert_same_text(arch: Architecture, lines: Iterator[tuple[int, int, str]]) -> None:
    seen = 0
    differences: Counter[tuple[str, str, str]] = Counter()
    text = lru_cache(1 << 16)(lambda word: disassemble(arch, word, 0))
    for address, word, expected in lines:
        seen += 1
        # Only branches and jumps depend on the address.
        ours = disassemble(arch, word, address) if "\t0x" in expected or ",0x" in expected else ""
        ours = ours or text(word)
        if ours != expected:
            differences[f"{word:08x}", expected, ours] += 1
    assert seen > 100
    assert not differences, f"{len(differences)} of {seen}: {differences.most_common(20)}"


GUESTS = (
    ("mips", "24Kf", True, "o32"),
    ("mipsel", "24Kf", False, "o32"),
    ("mips64", "MIPS64R2-generic", True, "n64"),
)


@pytest.mark.parametrize("program", ["exc-static", "fptest-static", "hello-dynamic"])
@pytest.mark.parametrize(("target", "model", "big_endian", "abi"), GUESTS)
def test_guest_programs_read_as_in_objdump(
    guests: Path, target: str, model: str, big_endian: bool, abi: str, program: str
) -> None:
    path = guests / "user" / target / program
    if not path.exists():
        pytest.skip(f"no {path.name} for {target}")
    assert_same_text(architecture(model, big_endian, abi), objdump("-d", path))


@pytest.mark.parametrize(
    ("triple", "model", "big_endian", "abi"),
    [
        ("mips-linux-gnu", "24Kf", True, "o32"),
        ("mipsel-linux-gnu", "24Kf", False, "o32"),
        ("mips64-linux-gnuabi64", "MIPS64R2-generic", True, "n64"),
        ("mips64el-linux-gnuabi64", "MIPS64R2-generic", False, "n64"),
    ],
)
@pytest.mark.parametrize(
    "library", ["ld.so.1", *(pytest.param(f"lib{n}.so.6", marks=pytest.mark.slow) for n in "cm")]
)
def test_libraries_read_as_in_objdump(
    triple: str, model: str, big_endian: bool, abi: str, library: str
) -> None:
    places = [Path(f"/usr/{triple}/{folder}/{library}") for folder in ("lib", "lib64")]
    path = next((place for place in places if place.exists()), None)
    if path is None:
        pytest.skip(f"{places[0]} is not installed (package libc6-*-cross)")
    assert_same_text(architecture(model, big_endian, abi), objdump("-d", path))


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [
        *("usr/lib/{triple}/libc.so.6", "usr/lib/{triple}/libcrypto.so.3"),
        *("usr/lib/{triple}/libstdc++.so.6", "usr/lib/gcc/{triple}/12/cc1"),
        *("usr/bin/python3", "usr/bin/perl", "usr/bin/git"),
    ],
)
@pytest.mark.parametrize(
    ("name", "model", "abi"), [("mipsel", "24Kf", "o32"), ("mips64el", "5KEf", "n64")]
)
def test_debian_programs_read_as_in_objdump(name: str, model: str, abi: str, program: str) -> None:
    path = default_directory(name) / program.format(triple=ARCHITECTURES[name])
    if not path.exists():
        pytest.skip(f"{path} is not there (scripts/debian_sysroot.py {name} makes it)")
    assert_same_text(architecture(model, False, abi), objdump("-d", path))


# What objdump writes in ways of its own, for words that no program has.
PECULIAR = re.compile(r"^\.word|\.ob\b| or |^(c0|d?m[ft]c0|mfp[cs]|mtp[cs]|bc0[ft]|c[ft]c1)\b")


@pytest.mark.parametrize(
    ("options", "model", "abi"),
    [
        (("-m", "mips:isa32r2"), "24Kf", "o32"),
        (("-m", "mips:isa64r2", "-M", "gpr-names=64"), "MIPS64R2-generic", "n64"),
        (("-m", "mips:isa32"), "4Kc", "o32"),
        (("-m", "mips:4000", "-M", "gpr-names=64"), "R4000", "n64"),
        (("-m", "mips:5400", "-M", "gpr-names=64"), "VR5432", "n64"),
    ],
)
def test_every_declared_pattern_reads_as_in_objdump(
    tmp_path: Path, options: tuple[str, ...], model: str, abi: str
) -> None:
    arch = architecture(model, True, abi)
    chance = random.Random(1)
    words = []
    insns = arch.source().select(arch.features)
    for insn in sorted(insns, key=lambda insn: insn.name):  # whatever was imported first
        if insn.mnemonic == ".word":
            continue  # has no name, and other processors' instructions may stand there
        for _ in range(20):
            word = chance.getrandbits(32)
            for field in insn.fields:
                if chance.random() < 0.3:
                    word &= ~(((1 << field.width) - 1) << field.low)
            fields = sum(((1 << f.width) - 1) << f.low for f in insn.fields)
            words.append((word & fields) | insn.match)
    binary = tmp_path / "words"
    binary.write_bytes(b"".join(word.to_bytes(4, "big") for word in words))
    lines = objdump("-b", "binary", "-EB", "-D", *options, binary)
    assert_same_text(arch, (line for line in lines if not PECULIAR.search(line[2])))


def test_symbols_annotate_targets() -> None:
    arch = architecture("24Kf", True, "o32")
    assert disassemble(arch, 0x10000003, 0x400000, lambda _: "main+0x10") == (
        "b\t400010 <main+0x10>"
    )
    assert disassemble(arch, 0x0C100000, 0x400000, lambda _: None) == "jal\t0x400000"


def test_word_without_instruction_reads_as_data() -> None:
    arch = architecture("24Kf", True, "o32")
    assert disassemble(arch, 0xFFFFFFFF, 0) == ".word\t0xffffffff"
