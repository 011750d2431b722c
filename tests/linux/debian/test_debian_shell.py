"""Shell scripts of many processes print what the same shell prints natively."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.linux.debian.sysroot import Debian, Done, outcome

SCRIPTS = Path(__file__).resolve().parents[2] / "programs" / "scripts"


def comparable(done: Done) -> tuple[int, list[str], list[str]]:
    """Status and lines of output; the process numbers that shells report are replaced."""
    status, output, errors = outcome(done)
    errors = re.sub(r"(line \d+:) +\d+ ", r"\1 PID ", errors)
    return status, output.splitlines(), errors.splitlines()


@pytest.mark.parametrize("name", sorted(path.name for path in SCRIPTS.glob("*.bash")))
def test_bash_script_prints_what_it_prints_natively(name: str, debian: Debian) -> None:
    expected = comparable(debian.native("bash", SCRIPTS / name))
    debian.fresh()
    assert comparable(debian.pemu("bash", SCRIPTS / name)) == expected


@pytest.mark.parametrize("shell", ["dash", "busybox sh", "bash --posix"])
@pytest.mark.parametrize("name", sorted(path.name for path in SCRIPTS.glob("*.sh")))
def test_script_prints_what_it_prints_natively(name: str, shell: str, debian: Debian) -> None:
    program, *words = shell.split()
    expected = comparable(debian.native("dash", SCRIPTS / name))
    debian.fresh()
    assert comparable(debian.pemu(program, *words, SCRIPTS / name)) == expected
