"""What Pemu has not: refused as a kernel without it refuses, and told under -d unimp."""

from __future__ import annotations

import errno
import re
import subprocess
from pathlib import Path

import pytest

from pemu.linux.mips.errno import TO_GUEST
from tests.conftest import Run, need
from tests.linux.cross import COMPILERS

SOURCE = Path(__file__).resolve().parent.parent / "programs" / "mips" / "refused.c"
FIRST_NUMBER = {"mips": 4000, "mips64el": 5000}
ENOSYS, EINVAL = TO_GUEST[errno.ENOSYS], errno.EINVAL


@pytest.fixture(params=["mips", "mips64el"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    target = request.param
    output = tmp_path / "refused"
    words = [need(COMPILERS[target][0]), "-O1", "-static", "-w"]
    unknown = f"-DNUMBER={FIRST_NUMBER[target] + 900}"
    subprocess.run([*words, unknown, "-o", str(output), str(SOURCE)], check=True)
    return target, output


def test_call_that_is_not_there_is_refused_without_a_word(
    program: tuple[str, Path], pemu: Run
) -> None:
    done = pemu(*program)
    results = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    for name in ("ptrace", "seccomp", "io_uring", "unknown"):
        assert results[name] == f"-1 {ENOSYS}", name
    for name in ("name space", "silent child"):
        assert results[name] == f"-1 {EINVAL}", name
    assert results["child"] == "1 7"
    assert done.stderr == ""


def test_log_names_the_call_its_number_and_its_place(program: tuple[str, Path], pemu: Run) -> None:
    target, path = program
    done = pemu(target, "-d", "unimp", path)
    found = re.findall(
        r"^Unsupported system call: (\w+) \(number (\d+)\) at pc (0x\w+)$", done.stderr, re.M
    )
    calls = {name: (int(number), int(pc, 16)) for name, number, pc in found}
    assert {"ptrace", "seccomp", "io_uring_setup", "bpf", "unknown"} <= calls.keys()
    place = re.search(r"^bpf: \d+ at (0x\w+)$", done.stdout, re.M)
    assert place is not None
    assert calls["bpf"][1] == int(place.group(1), 16)
    assert calls["unknown"][0] == FIRST_NUMBER[target] + 900
    assert re.search(r"^Unsupported clone flags 0x100000\w+ at pc 0x\w+$", done.stderr, re.M)
