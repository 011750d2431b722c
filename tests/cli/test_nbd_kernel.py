"""The tests of /dev/nbd0 and its kin, on a kernel that has them: User-Mode Linux, a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

LONG = 1200.0  # seconds after which something has gone wrong
MEMORY = 768  # MiB


@pytest.mark.slow
def test_devices_on_user_mode_linux() -> None:
    linux = shutil.which("linux.uml")
    if linux is None:
        pytest.skip("linux.uml is missing (Debian package user-mode-linux)")
    if not os.access("/dev/shm", os.W_OK) or shutil.disk_usage("/dev/shm").free < MEMORY << 20:
        pytest.skip(f"/dev/shm has no {MEMORY} MiB, where User-Mode Linux has its memory")
    kernel = [linux, f"mem={MEMORY}M", "rootfstype=hostfs", "rootflags=/", "ro", "quiet"]
    kernel += ["con=null", "con0=null,fd:1", f"init={sys.executable}"]
    options = ["-q", "--color=no", "-n0", "-pno:cacheprovider", f"-c{ROOT / 'pyproject.toml'}"]
    first = [str(ROOT / "tests/cli/uml_init.py"), sys.executable, "-mpytest", *options]
    first.append(str(ROOT / "tests/cli/test_nbd_device.py"))
    done = subprocess.run(
        [*kernel, "--", *first, "--"],  # words that follow, which the kernel adds, are dropped
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=LONG,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert "status 0" in lines, done.stdout
    assert not [line for line in lines if "skipped" in line], done.stdout
