"""Linux says the same of each processor model as under QEMU, in its boot messages and in /proc."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.machine.console import machine, pemu_command, qemu_command

pytestmark = pytest.mark.slow

DEMO = ROOT / "demo"
MODELS = ("24Kf", "24Kc", "4KEc", "34Kf", "74Kf", "M14Kc")
WIDE_MODELS = ("MIPS64R2-generic", "5KEc", "5KEf")

ABOUT_THE_CPU = re.compile(r"CPU|FPU|cache|MIPS|Checking for|TLB|NR_IRQS|VP[EI]|DSP", re.IGNORECASE)
MEASURED = re.compile(r"BogoMIPS|MHz|clocksource|sched_clock|hardware watchpoint|Memory:|Freeing")
"""Lines that tell of the host's speed; watch registers work here and do not in QEMU."""


def _said(command: list[str], model: str, kernel: Path) -> list[str]:
    """The lines about the processor: of the boot, and all of /proc/cpuinfo."""
    board = ("-M", "malta", "-cpu", model, "-m", "128", "-nographic", "-no-reboot")
    words = ("-kernel", str(kernel), "-initrd", str(DEMO / "initramfs-mips.cpio.gz"), "-append")
    line = "console=ttyS0 guest.nodhcp guest.cmd=cat%20/proc/cpuinfo"
    with machine(command, *board, *words, line) as console:
        status, output = console.end()
    assert status == 0
    boot, _, info = output.partition("guest: cmd begin\n")
    boot = re.sub(r"^\[ *[0-9.]+\] ", "", boot, flags=re.MULTILINE)
    lines = [one for one in boot.splitlines() if ABOUT_THE_CPU.search(one)]
    lines += info.partition("guest: cmd end")[0].splitlines()
    return [one for one in lines if not MEASURED.search(one)]


@pytest.mark.parametrize("model", MODELS)
def test_model_is_what_it_is_under_qemu(model: str, tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(gzip.decompress((DEMO / "vmlinux-mips.gz").read_bytes()))
    expected = _said(qemu_command("mips"), model, kernel)
    assert _said(pemu_command("mips"), model, kernel) == expected


@pytest.mark.parametrize("model", WIDE_MODELS)
def test_model_of_64_bits_is_what_it_is_under_qemu(model: str, guests: Path) -> None:
    kernel = guests / "mips64-malta" / "vmlinux"
    if not kernel.is_file():
        pytest.skip(f"{kernel} is not there")
    expected = _said(qemu_command("mips64"), model, kernel)
    assert _said(pemu_command("mips64"), model, kernel) == expected
