"""Linux on the Malta board, from the boot loader to its shell, and how it ends."""

from __future__ import annotations

import gzip
import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.machine.console import Console, machine, pemu_command, qemu_command
from tests.machine.kernel_log import complaints

PROMPT = "guest# "

DEMO = ROOT / "demo"
DISK = DEMO / "initramfs-mips.cpio.gz"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("linux_boots")]

Boot = Callable[..., Console]


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Boot]:
    """Starts the demo's machine, or another target's with another kernel.

    With `reference`, on QEMU, without the cards that Pemu's board has not yet, and with the kernel
    unpacked: QEMU 7.2 takes no packed one here.
    """
    with ExitStack() as ends:

        def start(
            append: str,
            *words: str | Path,
            target: str = "mips",
            kernel: Path = DEMO / "vmlinux-mips.gz",
            reference: bool = False,
        ) -> Console:
            command = qemu_command(target) if reference else pemu_command(target)
            if reference and kernel.suffix == ".gz":
                packed, kernel = kernel, tmp_path / "vmlinux"
                kernel.write_bytes(gzip.decompress(packed.read_bytes()))
            board = ("-M", "malta", "-m", "128", "-nographic")
            software = ("-kernel", kernel, "-initrd", DISK)
            line = ("-append", f"console=ttyS0 guest.nodhcp {append}")
            return ends.enter_context(machine(command, *board, *software, *line, *words))

        yield start


def ran(console: Console) -> str:
    """What the guest's command has printed, before the guest powered off."""
    status, output = console.end()
    assert (status, "guest: cmd end 0\n" in output) == (0, True), output[-2000:]
    return output.partition("guest: cmd begin\n")[2].partition("guest: cmd end 0\n")[0]


def test_one_command_and_power_off(boot: Boot) -> None:
    assert ran(boot("guest.cmd=uname%20-m")) == "mips\n"


@pytest.mark.parametrize("target", ["mips", "mips64"])
def test_kernel_complains_of_nothing_new(
    boot: Boot, target: str, request: pytest.FixtureRequest
) -> None:
    how: dict[str, Any] = {}
    words = []
    if target == "mips64":
        kernel = request.getfixturevalue("guests") / "mips64-malta" / "vmlinux"
        if not kernel.is_file():
            pytest.skip(f"{kernel} is not there")
        how = {"target": target, "kernel": kernel}
        words = ["-cpu", "MIPS64R2-generic"]
    logs = [
        ran(boot("quiet guest.cmd=dmesg%20-r", *words, reference=reference, **how))
        for reference in (False, True)
    ]
    assert complaints(logs[0]) <= complaints(logs[1])


def test_floppy(boot: Boot, tmp_path: Path) -> None:
    """It is read and written, by DMA."""
    image = tmp_path / "floppy"
    content = random.Random(1).randbytes(1440 << 10)
    image.write_bytes(content)
    write = "yes|dd%20of=/dev/fd0%20bs=1k%20seek=50%20count=70%20iflag=fullblock"
    command = f"guest.cmd=md5sum%20/dev/fd0;{write};sync;dmesg%20-r|grep%20fd0"
    output = ran(boot(f"quiet {command}", "-fda", image))
    assert output.splitlines()[0].split() == [hashlib.md5(content).hexdigest(), "/dev/fd0"]
    assert "error" not in output
    changed = b"y\n" * (35 << 10)
    written = image.read_bytes()
    assert written[50 << 10 : 120 << 10] == changed
    assert written[: 50 << 10] + written[120 << 10 :] == content[: 50 << 10] + content[120 << 10 :]


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
