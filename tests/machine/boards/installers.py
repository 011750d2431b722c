"""Debian's installer for the Malta board; scripts/debian_installer.py fetches it where it can."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from scripts.debian_installer import default_directory
from tests.conftest import ROOT
from tests.machine.console import Console, machine, pemu_command, qemu_command

PROMPT = "~ # "

PROCESSORS = {"mipsel": "24Kf", "mips64el": "5KEf"}
"""The installer of mips64el wants a processor of Release 2."""


def installer(architecture: str) -> Path:
    """The directory of kernel and RAM disk; skips the test where they cannot be had."""
    place = default_directory(architecture)
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place.with_name(f"{place.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be fetching it
        if not place.exists():
            script = ROOT / "scripts" / "debian_installer.py"
            words = [sys.executable, str(script), architecture]
            made = subprocess.run(words, capture_output=True, text=True)
            if made.returncode:
                reason = [*made.stderr.splitlines(), *made.stdout.splitlines()][-1]
                pytest.skip(f"no installer for {architecture}: {reason}")
    return place


def boot(
    architecture: str, append: str, *words: str, reference: bool = False
) -> AbstractContextManager[Console]:
    """The machine with the installer, on Pemu or the reference emulator."""
    place = installer(architecture)
    command = qemu_command(architecture) if reference else pemu_command(architecture)
    board = ("-M", "malta", "-cpu", PROCESSORS[architecture], "-m", "512", "-nographic")
    software = ("-kernel", place / "vmlinuz", "-initrd", place / "initrd.gz")
    line = ("-append", f"console=ttyS0 {append}")
    return machine(command, *board, *software, *line, *words)
