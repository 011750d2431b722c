"""A program that uses files in every way sees under Pemu what it sees when built for the host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.linux.cross import COMPILERS
from tests.patience import LONG

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests/programs/files.c"


def build(target: str, folder: Path) -> Path:
    compiler, options = COMPILERS[target]
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    program = folder / f"files-{target}"
    command = [compiler, *options, "-w", "-O1", "-static", "-o", str(program), str(SOURCE)]
    subprocess.run(command, check=True)
    return program


def run(command: list[str], folder: Path) -> str:
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*command, str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONG,
        check=False,
        env=environment,
    )
    return done.stdout + f"status {done.returncode}\n"


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the program prints when the host's kernel runs it."""
    folder = tmp_path_factory.mktemp("host")
    return run([str(build("host", folder))], folder / "work")


@pytest.mark.parametrize("target", ["mips", "mipsel", "mips64", "mips64el"])
def test_files_look_as_on_the_host(target: str, expected: str, tmp_path: Path) -> None:
    program = build(target, tmp_path)
    command = [sys.executable, str(ROOT / f"scripts/pemu-{target}"), str(program)]
    assert run(command, tmp_path / "work").splitlines() == expected.splitlines()
