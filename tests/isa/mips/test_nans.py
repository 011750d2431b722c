"""Operations on NaNs, compared with qemu-user (unicorn passes NaNs on that QEMU replaces)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run, need

SOURCE = ROOT / "tests" / "programs" / "isa" / "nans.c"


@pytest.mark.parametrize(
    ("target", "triple", "model", "flags"),
    [
        ("mips", "mips-linux-gnu", "24Kf", ("-march=mips32r2",)),
        ("mipsel", "mipsel-linux-gnu", "24Kf", ("-march=mips32r2",)),
        (
            *("mips64", "mips64-linux-gnuabi64", "MIPS64R2-generic"),
            ("-march=mips64r2", "-DPAIRS"),
        ),
    ],
)
def test_nans_become_what_they_become_under_qemu(
    pemu: Run,
    qemu: Run,
    tmp_path: Path,
    target: str,
    triple: str,
    model: str,
    flags: tuple[str, ...],
    jit: str,
) -> None:
    program = tmp_path / "nans"
    compiler = need(f"{triple}-gcc", f"gcc-{triple}")
    words = [compiler, "-O1", "-w", "-static", *flags, "-o", str(program), str(SOURCE)]
    subprocess.run(words, check=True)
    # Compiling the one large function at once takes minutes.
    mode = "auto" if jit == "tier1" else jit
    ours = pemu(target, "-jit", f"mode={mode}", "-cpu", model, program, timeout=300)
    theirs = qemu(target, "-cpu", model, program)
    assert theirs.stdout.count("\n") > 2000
    assert ours.stdout == theirs.stdout
