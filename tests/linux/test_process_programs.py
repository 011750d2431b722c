"""Programs about signals, processes, threads and memory print what they print natively.

Each of tests/programs/process is compiled for this machine and for the guest.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Run, need
from tests.linux.test_call_programs import COMPILERS, compile_program

PROGRAMS = Path(__file__).resolve().parent.parent / "programs" / "process"


@pytest.mark.parametrize("target", COMPILERS)
@pytest.mark.parametrize("name", sorted(path.stem for path in PROGRAMS.glob("*.c")))
def test_program_prints_what_it_prints_natively(
    name: str, target: str, pemu: Run, tmp_path: Path
) -> None:
    source = PROGRAMS / f"{name}.c"
    compile_program(need("gcc"), source, tmp_path / "native")
    compile_program(COMPILERS[target], source, tmp_path / "guest", "-static")
    native = subprocess.run(
        [tmp_path / "native"], capture_output=True, text=True, timeout=300, check=True
    )
    guest = pemu(target, tmp_path / "guest", timeout=600)
    assert guest.stdout.splitlines() == native.stdout.splitlines()
    assert guest.stderr == native.stderr
    assert guest.returncode == 0
