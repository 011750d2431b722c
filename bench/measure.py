"""Running a guest program under both emulators and taking the time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = Path(__file__).resolve().parent / "launch.py"


class Failed(Exception):
    """A program could not be built, did not run, or its outputs differ; says which and why."""


@dataclass
class Sample:
    """One run: wall-clock and processor seconds, peak resident KiB, what it wrote."""

    wall: float
    cpu: float
    peak: int
    output: bytes


@dataclass
class Samples:
    """Runs of one program in one way."""

    runs: list[Sample] = field(default_factory=list)

    def seconds(self, clock: str) -> float:
        """The median; `clock`: "wall" or "cpu"."""
        return median(run.cpu if clock == "cpu" else run.wall for run in self.runs)

    @property
    def peak(self) -> float:
        """Median of the peak memory, in MiB."""
        return median(run.peak for run in self.runs) / 1024


def pemu_command(name: str, module: str = "user", arguments: str = "") -> list[str]:
    """The words that start `pemu-<name>`: the installed one beside this Python, or the tree's.

    module, arguments: the module of pemu.cli that is its own, and what its `entry` is given; by
    default it is a user command, which is given its target's name.
    """
    installed = Path(sys.executable).parent / f"pemu-{name}"
    if installed.exists():
        return [str(installed)]
    if module == "user":
        arguments = repr(name)
    places = [str(ROOT / "src"), *(place for place in sys.path if "-packages" in place)]
    code = f"import sys; sys.path[:0]={places!r}; from pemu.cli.{module} import entry; "
    return [sys.executable, "-I", "-S", "-c", f"{code}entry({arguments})"]


def qemu_command(name: str, package: str = "qemu-user") -> list[str]:
    """The words that start `qemu-<name>`; raises Failed where it is not installed."""
    path = shutil.which(f"qemu-{name}")
    if path is None:
        raise Failed(f"qemu-{name} is not installed (package {package})")
    return [path]


def environment(cache: Path | None = None) -> dict[str, str]:
    """The environment of a run: nobody's options, and the code cache in `cache`."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("QEMU_", "PEMU_"))
    }
    if cache is not None:
        kept["PEMU_JIT"] = f"cache-dir={cache}"
    return kept


def once(
    command: list[str], cache: Path | None = None, cwd: Path | None = None, limit: float = 600
) -> Sample:
    """Run a command with its output captured; raises Failed if it fails or takes too long."""
    with tempfile.TemporaryDirectory(prefix="pemu-bench-") as directory:
        result = Path(directory) / "result"
        words = [sys.executable, "-I", "-S", str(LAUNCH), str(result), *command]
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=environment(cache),
                cwd=cwd,
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"{command[0]}: no end within {limit:.0f} s") from None
        if not result.exists():
            raise Failed(f"{command[0]}: {done.stderr.decode(errors='replace').strip()}")
        wall, cpu, peak, status = result.read_text().split()
        if int(status):
            complaint = done.stderr.decode(errors="replace").strip()[-300:]
            raise Failed(f"{Path(command[0]).name} ended with status {status}: {complaint}")
        return Sample(float(wall), float(cpu), int(peak), done.stdout)


@dataclass
class Comparison:
    """What was measured of one program; `cold` and `warm` are Pemu's runs, by its code cache."""

    qemu: Samples = field(default_factory=Samples)
    cold: Samples = field(default_factory=Samples)
    warm: Samples = field(default_factory=Samples)


def contents(directory: Path) -> dict[str, int]:
    """Names and sizes of the files in a directory."""
    return {file.name: file.stat().st_size for file in directory.iterdir()}


def compare(
    target: str,
    options: list[str],
    program: list[str],
    *,
    repeat: int,
    cold: bool,
    settle: int = 0,
    cwd: Path | None = None,
    same_output: bool = True,
) -> Comparison:
    """Time `program` in turn under QEMU, under Pemu with an empty cache, and with a filled one.

    `options`: what both emulators are given before the program. With `cold` false only one run has
    an empty cache, to fill it. `settle`: further runs, at most, until the cache does not grow any
    more; none of them is counted. Raises Failed where outputs differ (if `same_output`).
    """
    result = Comparison()
    qemu, pemu = qemu_command(target), pemu_command(target)
    with tempfile.TemporaryDirectory(prefix="pemu-bench-cache-") as directory:
        for number in range(repeat):
            result.qemu.runs.append(once([*qemu, *options, *program], None, cwd))
            if cold or number == 0:
                cache = Path(directory) / str(number)
                cache.mkdir()
                result.cold.runs.append(once([*pemu, *options, *program], cache, cwd))
                for _ in range(settle):
                    before = contents(cache)
                    once([*pemu, *options, *program], cache, cwd)
                    if contents(cache) == before:
                        break
            result.warm.runs.append(once([*pemu, *options, *program], cache, cwd))
    if same_output:
        expected = result.qemu.runs[0].output
        for run in (*result.cold.runs, *result.warm.runs):
            if run.output != expected:
                raise Failed(f"output differs: {run.output[:80]!r}, under QEMU {expected[:80]!r}")
    return result
