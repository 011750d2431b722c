"""Whole guest programs whose output under a real kernel is known (tests/programs/guests)."""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Run, need
from tests.patience import LONG

SOURCES = Path(__file__).resolve().parent.parent / "programs" / "guests"
FLAGS = ["-O2", "-ffp-contract=off", "-pthread", "-Wl,-z,noexecstack", "-static", "-s", "-w"]
COMPILERS = {
    "mips": ("mips-linux-gnu", "gcc-mips-linux-gnu"),
    "mipsel": ("mipsel-linux-gnu", "gcc-mipsel-linux-gnu"),
    "mips64": ("mips64-linux-gnuabi64", "gcc-mips64-linux-gnuabi64"),
    "mips64el": ("mips64el-linux-gnuabi64", "gcc-mips64el-linux-gnuabi64"),
}
PROGRAMS = ("threads", "mapfault", "exc", "jit", "traps", "fptest", "faultplace")
CASES = [
    *((target, program) for target in ("mips", "mipsel") for program in PROGRAMS),
    ("mips64", "threads"),
    ("mips64el", "threads"),
    ("mips64", "faultplace64"),
    ("mips64el", "faultplace64"),
]


def build(target: str, program: str, folder: Path) -> Path:
    prefix, package = COMPILERS[target]
    source = next(SOURCES.glob(f"{program}.c*"))
    compiler = need(f"{prefix}-{'g++' if source.suffix == '.cc' else 'gcc'}", package)
    binary = folder / program
    subprocess.run([compiler, *FLAGS, "-o", str(binary), str(source), "-lm"], check=True)
    return binary


LITTLE_ENDIAN = {
    "lw, unaligned                none value 02030405": (
        "lw, unaligned                none value 08010203"
    ),
    "sw, unaligned                none bytes 01 a1 a2 a3 a4 06": (
        "sw, unaligned                none bytes 04 a4 a3 a2 a1 07"
    ),
}
"""Lines of `traps` in which the byte order shows."""


def expected(target: str, program: str) -> str:
    packed = SOURCES / f"{program}.expected.xz"
    if packed.exists():
        return lzma.decompress(packed.read_bytes()).decode()
    text = (SOURCES / f"{program}.expected").read_text()
    if target == "mipsel":
        for big, little in LITTLE_ENDIAN.items():
            text = text.replace(big, little)
    return text


@pytest.mark.parametrize("mode", ["tier0", "auto"])
@pytest.mark.parametrize(("target", "program"), CASES)
def test_program_prints_what_it_prints_under_a_kernel(
    pemu: Run, tmp_path: Path, target: str, program: str, mode: str
) -> None:
    binary = build(target, program, tmp_path)
    done = pemu(target, "-jit", f"mode={mode}", binary, timeout=LONG)
    assert done.stdout == expected(target, program)
    assert done.returncode == 0
