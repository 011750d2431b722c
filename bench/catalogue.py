"""The benchmark programs that are built from sources in `programs/`."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Failed

PROGRAMS = Path(__file__).resolve().parent / "programs"

COMPILERS = {
    "mips": "mips-linux-gnu-gcc",
    "mipsel": "mipsel-linux-gnu-gcc",
    "mips64": "mips64-linux-gnuabi64-gcc",
    "mips64el": "mips64el-linux-gnuabi64-gcc",
}


@dataclass(frozen=True)
class Program:
    """A program; `group`: what its figures are summed up with."""

    name: str
    group: str


CATALOGUE = (
    Program("integer", "integer"),
    Program("memory", "integer"),
    Program("interpreter", "integer"),
    Program("strings", "integer"),
    Program("wide", "integer"),
    Program("calls", "calls"),
    Program("double", "double"),
    Program("single", "single"),
    Program("syscalls", "syscalls"),
    Program("hello", "start"),
)

GOALS = {
    # group: greatest ratio to QEMU's time with an empty and with a filled code cache
    "integer": (0.6, 0.5),
    "calls": (None, 0.4),
    "double": (None, 0.1),
    "syscalls": (None, 2.0),
    "real": (None, 0.9),
}


def build(name: str, target: str, directory: Path) -> Path:
    """Compile a program for `target` and return its path; raises Failed with the reason."""
    source, output = PROGRAMS / f"{name}.c", directory / f"{name}-{target}"
    sources = (source, *PROGRAMS.glob("*.h"))
    if output.exists() and output.stat().st_mtime > max(s.stat().st_mtime for s in sources):
        return output
    directory.mkdir(parents=True, exist_ok=True)
    command = [
        COMPILERS[target],
        "-O2",
        "-static",
        "-pthread",
        str(source),
        "-o",
        str(output),
        "-lm",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise Failed(f"{command[0]} is not installed") from None
    if done.returncode:
        raise Failed(f"{source.name} for {target}: {done.stderr.strip()[-300:]}")
    return output
