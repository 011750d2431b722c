"""The sysroots, which scripts/debian_sysroot.py makes where it can."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.debian_sysroot import ARCHITECTURES, default_directory
from tests.conftest import ROOT
from tests.linux.debian.sysroot import Debian


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here are slow."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", params=ARCHITECTURES)
def sysroot(request: pytest.FixtureRequest) -> Path:
    """The directory of each architecture in turn; made when it is not there yet."""
    root = default_directory(request.param)
    root.parent.mkdir(parents=True, exist_ok=True)
    with open(root.with_name(f"{root.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be making it
        if not root.exists():
            script = ROOT / "scripts" / "debian_sysroot.py"
            made = subprocess.run(
                [sys.executable, script, request.param], capture_output=True, text=True
            )
            if made.returncode:
                reason = [*made.stderr.splitlines(), *made.stdout.splitlines()][-1]
                pytest.skip(f"no sysroot for {request.param}: {reason}")
    return root


@pytest.fixture
def debian(sysroot: Path, tmp_path: Path) -> Debian:
    """Programs of each architecture, run in an empty directory."""
    work = tmp_path / "work"
    work.mkdir()
    return Debian(sysroot.name, sysroot, work)
