"""Linux on the Malta board, from the boot loader to its shell, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.machine.console import Console, machine, pemu_command

PROMPT = "guest# "

GUESTS = [
    pytest.param("mips", "mips-malta", [], "mips", id="32 bits"),
    pytest.param("mips64", "mips64-malta", ["-cpu", "MIPS64R2-generic"], "mips64", id="64 bits"),
]

pytestmark = pytest.mark.slow


class Boot:
    """Starts machines, which `ends` ends."""

    def __init__(self, guests: Path, ends: ExitStack) -> None:
        self.guests = guests
        self.ends = ends

    def __call__(self, target: str, kernel: str, append: str, *words: str) -> Console:
        image = self.guests / kernel / "vmlinux"
        disk = self.guests / "initramfs-mips.cpio.gz"
        for path in (image, disk):
            if not path.is_file():
                pytest.skip(f"{path} is not there")
        running = machine(
            pemu_command(target),
            *("-M", "malta", "-m", "128", "-nographic"),
            *("-kernel", str(image), "-initrd", str(disk)),
            *("-append", f"console=ttyS0 guest.nodhcp {append}", *words),
        )
        return self.ends.enter_context(running)


@pytest.fixture
def boot(guests: Path) -> Iterator[Boot]:
    with ExitStack() as ends:
        yield Boot(guests, ends)


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
    assert console.run("echo $((6 * 7))", PROMPT) == "42\n"
    interrupts = console.run("cat /proc/interrupts", PROMPT)
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
