"""No system call with whatever arguments makes Pemu fail, or work without end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SEED, Run
from tests.linux.test_call_programs import COMPILERS, PROGRAMS, compile_program


def run(pemu: Run, target: str, directory: Path, children: int, calls: int) -> None:
    program = directory / "hostile"
    compile_program(COMPILERS[target], PROGRAMS / "hostile.c", program, "-static")
    words = (program, str(SEED), str(children), str(calls))
    result = pemu(target, *words, timeout=1000, cwd=directory, input="")
    assert "internal error" not in result.stderr, f"seed {SEED}\n{result.stdout}{result.stderr}"
    assert result.returncode == 0, f"seed {SEED}\n{result.stdout}"


@pytest.mark.parametrize("target", COMPILERS)
def test_random_calls_do_no_harm(target: str, pemu: Run, tmp_path: Path) -> None:
    run(pemu, target, tmp_path, 6, 60)


@pytest.mark.slow
@pytest.mark.parametrize("target", COMPILERS)
def test_many_random_calls_do_no_harm(target: str, pemu: Run, tmp_path: Path) -> None:
    run(pemu, target, tmp_path, 100, 150)
