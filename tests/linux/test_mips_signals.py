"""What only MIPS programs see of signals: the processor in a handler's context, o32's old calls."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Run, need
from tests.linux.cross import COMPILERS

PROGRAMS = Path(__file__).resolve().parent.parent / "programs" / "mips"

PAIRED = "f20 0000000012345678 000000003ff80000"
WHOLE = "f20 3ff8000012345678"


@pytest.mark.parametrize(
    ("target", "options", "paired"),
    [
        ("mips", ["-mfp32"], True),
        ("mips", ["-mfpxx"], False),
        ("mipsel", ["-mfp32"], True),
        ("mipsel", ["-mfp64", "-mips32r2"], False),
        ("mips64", [], False),
        ("mips64el", [], False),
    ],
)
def test_handler_sees_and_changes_the_processor(
    target: str, options: list[str], paired: bool, pemu: Run, tmp_path: Path
) -> None:
    """With FR=0 a context holds the halves of a double apart, as registers of 32 bits."""
    source = PROGRAMS / "context.c"
    program = tmp_path / "context"
    words = [need(COMPILERS[target][0]), "-O1", "-w", "-static", f"-DPAIRED={int(paired)}"]
    subprocess.run([*words, *options, "-o", str(program), str(source)], check=True)
    lines = pemu(target, program).stdout.splitlines()
    assert lines[0] == "hi 11 lo 22 s0 66"
    assert lines[1].startswith(PAIRED if paired else WHOLE)
    assert lines[2] == "fcsr 00000000 zero 0"
    assert lines[3] == "after: hi 33 lo 44 zero 0 csr 3 s0 55 f20 400c00009abcdef0"


OLD_EXPECTED = """\
sigaction: 0
before: 0 1
called 1, masked 1
sigprocmask: 0
sigpending: 0
pending 1, called 1
sigsuspend: -1 Interrupted system call
called 2
sgetmask 1
ssetmask 1
signal 1
called 3, once 1
bad signal: -1 Invalid argument
uncatchable: -1 Invalid argument
bad address: -1 Bad address
bad how: -1 Invalid argument
"""


@pytest.mark.parametrize("target", ["mips", "mipsel"])
def test_calls_older_than_real_time_signals(target: str, pemu: Run, tmp_path: Path) -> None:
    source = PROGRAMS / "oldcalls.c"
    program = tmp_path / "old"
    words = [need(COMPILERS[target][0]), "-O1", "-w", "-static"]
    subprocess.run([*words, "-o", str(program), str(source)], check=True)
    done = pemu(target, program)
    assert [line.rstrip() for line in done.stdout.splitlines()] == OLD_EXPECTED.splitlines()
