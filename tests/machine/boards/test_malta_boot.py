"""Linux on the Malta board, from the boot loader to its shell, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.machine.console import Console, machine, pemu_command

PROMPT = "guest# "

DEMO = ROOT / "demo"
DISK = DEMO / "initramfs-mips.cpio.gz"

pytestmark = pytest.mark.slow

Boot = Callable[..., Console]


@pytest.fixture
def boot() -> Iterator[Boot]:
    """Starts the demo's machine, or another target's with another kernel."""
    with ExitStack() as ends:

        def start(
            append: str, *words: str, target: str = "mips", kernel: Path = DEMO / "vmlinux-mips.gz"
        ) -> Console:
            board = ("-M", "malta", "-m", "128", "-nographic", "-kernel", kernel, "-initrd", DISK)
            line = f"console=ttyS0 guest.nodhcp {append}"
            command = pemu_command(target)
            return ends.enter_context(machine(command, *board, "-append", line, *words))

        yield start


def ran(console: Console, machine: str) -> None:
    """The guest has run uname -m, without complaints, and powered off."""
    status, output = console.end()
    assert f"guest: cmd begin\n{machine}\nguest: cmd end 0\n" in output
    assert status == 0
    for bad in ("Oops", "BUG", "WARNING", "Call Trace", "nobody cared"):
        assert bad not in output


def test_one_command_and_power_off(boot: Boot) -> None:
    ran(boot("guest.cmd=uname%20-m"), "mips")


def test_one_command_on_64_bits(boot: Boot, guests: Path) -> None:
    kernel = guests / "mips64-malta" / "vmlinux"
    if not kernel.is_file():
        pytest.skip(f"{kernel} is not there")
    words = ("guest.cmd=uname%20-m", "-cpu", "MIPS64R2-generic")
    ran(boot(*words, target="mips64", kernel=kernel), "mips64")


def test_shell_reboot_and_power_off(boot: Boot) -> None:
    console = boot("quiet")
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
    console = boot("quiet guest.reboot guest.cmd=true", "-no-reboot")
    assert console.end()[0] == 0


def test_counted_instructions_make_runs_equal(boot: Boot) -> None:
    words = ("-icount", "shift=7", "-rtc", "base=2026-01-01")
    command = "guest.cmd=cat%20/proc/interrupts%20/proc/uptime"
    runs = [boot(command, *words).end() for _ in range(2)]
    assert runs[0] == runs[1]
    assert "guest: cmd end 0" in runs[0][1]
