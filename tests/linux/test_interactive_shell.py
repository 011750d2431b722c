"""Shells with job control at a terminal: ^Z, ^C, fg, bg and jobs do what they do natively."""

from __future__ import annotations

import lzma
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, command, need
from tests.linux.terminal import Terminal
from tests.patience import settled, until

PROMPT = "[ready] "
CONTROL_C, CONTROL_Z = "\x03", "\x1a"


@pytest.fixture(params=["native", "busybox", "bash"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    """A shell that waits at its prompt: this machine's bash to check the test itself, or guests."""
    environ = {"PATH": "/usr/bin:/bin", "TERM": "dumb", "PS1": PROMPT, "HOME": str(tmp_path)}
    environ["PEMU_JIT"] = os.environ["PEMU_JIT"]
    if request.param == "native":
        words = [need("bash"), "--norc", "--noprofile", "-i"]
    elif request.param == "busybox":
        binary = tmp_path / "busybox"
        binary.write_bytes(lzma.decompress((ROOT / "demo" / "busybox-mips.xz").read_bytes()))
        binary.chmod(0o755)
        words = [*command("mips"), str(binary), "sh", "-i"]
    else:
        sysroot = Path(os.environ.get("PEMU_SYSROOTS", "/nonexistent")) / "mipsel"
        if not (sysroot / "bin" / "bash").exists():
            pytest.skip("no Debian sysroot with bash below $PEMU_SYSROOTS")
        program = str(sysroot / "bin" / "bash")
        words = [*command("mipsel"), "-L", str(sysroot), program, "--norc", "--noprofile", "-i"]
    terminal = Terminal(words, environ)
    terminal.until(PROMPT)
    yield terminal
    terminal.close()


def ask(shell: Terminal, line: str) -> str:
    """What the shell says to a command, up to its next prompt."""
    shell.type(line + "\n")
    shell.until(line)
    return shell.until(PROMPT)


def start(shell: Terminal, line: str) -> None:
    """Have the shell run a command in the foreground that repeats its input, until it does."""
    shell.type(line + "\n")
    shell.until(line)
    shell.until_foreground_leaves(shell.pid)
    shell.type("marco\n")
    shell.until("marco\r\nmarco")


def test_suspended_job_is_listed_and_goes_on_in_the_foreground(shell: Terminal) -> None:
    start(shell, "cat")
    shell.type(CONTROL_Z)
    assert re.search(r"\[1\]\+ +Stopped +cat", shell.until(PROMPT))
    assert re.search(r"\[1\]\+ +Stopped +cat", ask(shell, "jobs"))
    start(shell, "fg")


def test_interrupt_ends_the_foreground_job_alone(shell: Terminal) -> None:
    start(shell, "cat | cat")
    shell.type(CONTROL_C)
    shell.until(PROMPT)
    assert "status 130" in ask(shell, "echo status $?")


def test_interrupt_at_the_prompt_drops_the_line(shell: Terminal) -> None:
    shell.type("echo half")
    shell.until("echo half")
    # Between two keys readline, also natively, only notes the signal.
    until(lambda: settled(shell.pid), "the end of its work")
    shell.type(CONTROL_C)
    shell.until(PROMPT)
    assert "whole" in ask(shell, "echo whole")


def test_background_job_runs_until_it_reads_the_terminal(shell: Terminal) -> None:
    start(shell, "cat")
    shell.type(CONTROL_Z)
    shell.until(PROMPT)
    ask(shell, "bg")
    until(lambda: "Stopped" in ask(shell, "jobs"), "the stop of the job")
    assert "Running" in ask(shell, "sleep 100 & jobs")
    ask(shell, "kill %2; wait %2 2>/dev/null; true")
    assert "Running" not in ask(shell, "jobs")


def test_shell_leaves_with_its_status(shell: Terminal) -> None:
    shell.type("exit 5\n")
    assert shell.status() == 5
