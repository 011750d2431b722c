"""Programs that make system calls of one kind print under Pemu what they print natively.

Each is compiled for this machine and for the guest; the host's own kernel answers both.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Run, need

PROGRAMS = Path(__file__).resolve().parent.parent / "programs" / "linux"
COMPILERS = {
    "mips": "mips-linux-gnu-gcc",
    "mipsel": "mipsel-linux-gnu-gcc",
    "mips64": "mips64-linux-gnuabi64-gcc",
    "mips64el": "mips64el-linux-gnuabi64-gcc",
}
PROGRAM_NAMES = "sockets events ipc state repeated signalcalls badpointers execute".split()


def compile_program(compiler: str, source: Path, output: Path, *options: str) -> None:
    # Static programs cannot look hosts up by name, of which the linker warns.
    command = [need(compiler), "-O1", "-w", *options, "-o", str(output), str(source)]
    subprocess.run([*command, "-lpthread", "-lrt"], check=True, capture_output=True)


@pytest.mark.parametrize("target", COMPILERS)
@pytest.mark.parametrize("name", PROGRAM_NAMES)
def test_program_prints_what_it_prints_natively(
    name: str, target: str, pemu: Run, tmp_path: Path
) -> None:
    source = PROGRAMS / f"{name}.c"
    compile_program("gcc", source, tmp_path / "native")
    compile_program(COMPILERS[target], source, tmp_path / "guest", "-static")
    native = subprocess.run(
        [tmp_path / "native"], capture_output=True, text=True, timeout=300, check=True
    )
    guest = pemu(target, tmp_path / "guest", timeout=600)
    assert guest.stderr == ""
    assert guest.stdout.splitlines() == native.stdout.splitlines()
    assert guest.returncode == 0
