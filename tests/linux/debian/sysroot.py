"""Programs of Debian for the tests: where they are, and how they are run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import command, need

ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8", "TZ": "UTC"}
"""What programs find in their environment, under Pemu, QEMU and natively; and HOME."""

LIMIT = 900
"""Seconds: a program that takes longer hangs."""

Done = subprocess.CompletedProcess[bytes]


class Debian:
    """A sysroot. `target`: as in `pemu-<target>`; `work`: the directory that programs run in."""

    def __init__(self, target: str, root: Path, work: Path) -> None:
        self.target = target
        self.root = root
        self.work = work
        self.environment = {**ENVIRONMENT, "HOME": str(work)}

    def path(self, name: str | Path) -> str:
        """The host's path of a program; skips the test where the sysroot has none.

        `name`: of a command in it, or an absolute path.
        """
        if isinstance(name, Path):
            return str(name)
        for folder in ("usr/bin", "usr/sbin"):
            path = self.root / folder / name
            if path.exists():
                return str(path)
        pytest.skip(f"no {name} in {self.root}: remove it to have it made anew")

    @property
    def command(self) -> list[str]:
        """The words that start Pemu."""
        return command(self.target)

    def pemu(self, name: str | Path, *words: str | Path, **how: object) -> Done:
        """Run a program of the sysroot under Pemu."""
        start = [*self.command, "-L", str(self.root), self.path(name)]
        environment = {**self.environment, "PEMU_JIT": os.environ["PEMU_JIT"]}
        return self._run([*start, *map(str, words)], environment, how)

    def qemu(self, name: str | Path, *words: str | Path, **how: object) -> Done:
        """Run it under QEMU, which can run no further programs from there."""
        emulator = need(f"qemu-{self.target}", "qemu-user")
        start = [emulator, "-L", str(self.root), self.path(name)]
        return self._run([*start, *map(str, words)], self.environment, how)

    def native(self, name: str, *words: str | Path, **how: object) -> Done:
        """Run the same program of this machine; skips the test where there is none."""
        return self._run([need(name), *map(str, words)], self.environment, how)

    def fresh(self) -> None:
        """Empty the directory that programs run in."""
        shutil.rmtree(self.work)
        self.work.mkdir()

    def _run(self, words: list[str], environment: dict[str, str], how: dict[str, object]) -> Done:
        settings: dict[str, object] = {
            "capture_output": True,
            "cwd": self.work,
            "env": environment,
            "timeout": LIMIT,
            **how,
        }
        if "input" not in settings:
            settings.setdefault("stdin", subprocess.DEVNULL)
        done: Done = subprocess.run(words, **settings)  # type: ignore[call-overload]
        return done


def outcome(done: Done) -> tuple[int, str, str]:
    """Exit status, standard output and standard error as they are compared."""
    output, errors = (
        text.decode("utf-8", "backslashreplace") for text in (done.stdout, done.stderr)
    )
    return done.returncode, output, errors


def good(done: Done) -> str:
    """The output of a program that must have ended well and without complaints."""
    assert outcome(done)[::2] == (0, "")
    return done.stdout.decode()
