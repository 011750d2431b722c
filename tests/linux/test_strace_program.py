"""The log of -strace is what strace writes about the same program on the host."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Run, need
from tests.linux.test_call_programs import COMPILERS, PROGRAMS, compile_program
from tests.patience import LONG

ELSEWHERE = frozenset(
    """
    brk clone rt_sigreturn sigreturn execve exit_group set_robust_list gettid arch_prctl
    set_tid_address rseq nanosleep clock_nanosleep clock_nanosleep_time64 prlimit64 readlink
    getrandom mprotect set_thread_area ioctl
    """.split()
)
"""Calls that C libraries make of their own accord, or that differ between processors."""

O32_ONLY = {"ftruncate64": "ftruncate", "fcntl64": "fcntl"}


def lines(log: str) -> list[str]:
    """The lines about the program's own calls, without what differs between two runs."""
    result = []
    for line in log.splitlines():
        text = re.sub(r"^(\[pid +\d+\]|\d+) +", "", line)
        text = re.sub(r"\) +=", ") =", text)
        text = re.sub(r"\w+", lambda word: O32_ONLY.get(word[0], word[0]), text)
        text = re.sub(r" +<unfinished \.\.\.>|(SA_RESTORER\|)|(, sa_restorer=0x\w+)", "", text)
        text = re.sub(r"(?<=time=)\d+", "TIME", text)
        text = re.sub(r"0x[0-9a-f]+", "ADDRESS", text)
        text = re.sub(r"(rt_sig\w+\(.*), \d+\)", r"\1, SIZE)", text)
        text = re.sub(r"(?<=pid=)\d+|(?<=kill\()\d+(, \d+)?(?=,)|= \d{3,}$", "PID", text)
        name = re.match(r"(?:<\.\.\. )?(\w+)", text)
        if (name[1] if name else "") not in ELSEWHERE and not text.startswith("+++ exited"):
            result.append(text)
    start = next(i for i, text in enumerate(result) if "/dev/null" in text)
    return result[start:]


@pytest.mark.parametrize("target", COMPILERS)
def test_log_is_what_strace_writes_natively(target: str, pemu: Run, tmp_path: Path) -> None:
    source = PROGRAMS / "traced.c"
    compile_program("gcc", source, tmp_path / "native")
    compile_program(COMPILERS[target], source, tmp_path / "guest", "-static")
    log = tmp_path / "log"
    for milliseconds in ("900", "10000"):  # the latter where a machine was too busy for the former
        command = [need("strace"), "-f", "-o", str(log), str(tmp_path / "native"), milliseconds]
        subprocess.run(command, cwd=tmp_path, timeout=LONG, check=False)
        guest = pemu(target, "-strace", tmp_path / "guest", milliseconds, cwd=tmp_path)
        ours, theirs = lines(guest.stderr), lines(log.read_text())
        if ours == theirs:
            break
    assert ours == theirs
