"""Linux on the Malta board, from the boot loader to its shell, and how it ends."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 300.0
PROMPT = "guest# "

GUESTS = [
    pytest.param("mips", "mips-malta", [], "mips", id="32 bits"),
    pytest.param("mips64", "mips64-malta", ["-cpu", "MIPS64R2-generic"], "mips64", id="64 bits"),
]

pytestmark = pytest.mark.slow


class Console:
    """A machine that runs, and its first serial port."""

    def __init__(self, target: str, *words: str) -> None:
        places = [str(ROOT / "src"), *(place for place in sys.path if "-packages" in place)]
        code = f"import sys; sys.path[:0]={places!r}; from pemu.cli.system import entry; "
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", f"{code}entry({target!r})", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.seen = ""

    def expect(self, text: str) -> str:
        """Wait for `text`; returns what came before it, and forgets both."""
        assert self.process.stdout is not None
        end = time.monotonic() + PATIENCE
        while text not in self.seen:
            ready = select.select([self.process.stdout], [], [], end - time.monotonic())[0]
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert data, f"{text!r} does not come; there is: {self.seen[-2000:]}"
            self.seen += data.decode(errors="replace").replace("\r", "")
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def run(self, line: str) -> str:
        """What a command of the shell prints."""
        self.type(line)
        self.expect(line + "\n")
        return self.expect(PROMPT)

    def end(self) -> tuple[int, str]:
        """The exit status, and the rest of the output."""
        assert self.process.stdout is not None
        rest = self.process.stdout.read().decode(errors="replace").replace("\r", "")
        return self.process.wait(PATIENCE), self.seen + rest


class Boot:
    """Starts machines, and ends those that a test leaves."""

    def __init__(self, guests: Path) -> None:
        self.guests = guests
        self.made: list[Console] = []

    def __call__(self, target: str, kernel: str, append: str, *words: str) -> Console:
        image = self.guests / kernel / "vmlinux"
        disk = self.guests / "initramfs-mips.cpio.gz"
        for path in (image, disk):
            if not path.is_file():
                pytest.skip(f"{path} is not there")
        console = Console(
            target,
            *("-M", "malta", "-m", "128", "-nographic"),
            *("-kernel", str(image), "-initrd", str(disk)),
            *("-append", f"console=ttyS0 guest.nodhcp {append}", *words),
        )
        self.made.append(console)
        return console


@pytest.fixture
def boot(guests: Path) -> Iterator[Boot]:
    made = Boot(guests)
    yield made
    for console in made.made:
        console.process.kill()
        console.process.wait()


@pytest.mark.parametrize(("target", "kernel", "words", "name"), GUESTS)
def test_one_command_and_power_off(
    boot: Boot, target: str, kernel: str, words: list[str], name: str
) -> None:
    status, output = boot(target, kernel, "guest.cmd=uname%20-m", *words).end()
    assert f"guest: cmd begin\n{name}\nguest: cmd end 0\n" in output
    assert status == 0
    for bad in ("Oops", "BUG", "WARNING", "Call Trace", "nobody cared"):
        assert bad not in output


def test_shell_reboot_and_power_off(boot: Boot) -> None:
    console = boot("mips", "mips-malta", "quiet")
    console.expect(PROMPT)
    assert console.run("echo $((6 * 7))") == "42\n"
    interrupts = console.run("cat /proc/interrupts")
    assert "XT-PIC   4  ttyS0" in interrupts
    assert "MIPS   7  timer" in interrupts
    console.type("reboot -f")
    console.expect(PROMPT)
    console.type("poweroff -f")
    status, output = console.end()
    assert status == 0
    assert "reboot: Power down" in output


def test_reboot_ends_the_machine_with_no_reboot(boot: Boot) -> None:
    console = boot("mips", "mips-malta", "quiet guest.reboot guest.cmd=true", "-no-reboot")
    assert console.end()[0] == 0


def test_counted_instructions_make_runs_equal(boot: Boot) -> None:
    words = ("-icount", "shift=7", "-rtc", "base=2026-01-01")
    command = "guest.cmd=cat%20/proc/interrupts%20/proc/uptime"
    runs = [boot("mips", "mips-malta", command, *words).end() for _ in range(2)]
    assert runs[0] == runs[1]
    assert "guest: cmd end 0" in runs[0][1]
