"""Pemu's and QEMU's tool for disk images, run with the same words in two folders."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT
from tests.patience import run_tool


class Answer(NamedTuple):
    """What a command has printed, its own name replaced, and its exit status."""

    status: int
    output: str
    error: str


class Pair:
    """Two folders, in which the tools do the same. tool: 'img' or 'io'."""

    def __init__(self, tool: str, folder: Path) -> None:
        if shutil.which(f"qemu-{tool}") is None:
            pytest.skip(f"qemu-{tool} is missing (Debian package qemu-utils)")
        self.tool = tool
        self.pemu = folder / "pemu"
        self.qemu = folder / "qemu"
        self.pemu.mkdir()
        self.qemu.mkdir()

    def both(self, *words: str, input: str = "", tool: str = "") -> tuple[Answer, Answer]:
        """The answers of Pemu's and of QEMU's tool. tool: another one than usual."""
        return (
            self.ours(*words, input=input, tool=tool),
            self.theirs(*words, input=input, tool=tool),
        )

    def ours(self, *words: str, input: str = "", tool: str = "") -> Answer:
        """The answer of Pemu's tool."""
        return pemu_tool(tool or self.tool, self.pemu, *words, input=input)

    def theirs(self, *words: str, input: str = "", tool: str = "") -> Answer:
        """The answer of QEMU's tool."""
        program = f"qemu-{tool or self.tool}"
        return _run([program, *words], self.qemu, input, program)

    def write(self, name: str, data: bytes) -> None:
        """Put a file into both folders."""
        for folder in (self.pemu, self.qemu):
            (folder / name).write_bytes(data)

    def read(self, name: str, length: int = -1) -> tuple[bytes, bytes]:
        """What a file has in both folders: all, or the first `length` bytes."""
        with open(self.pemu / name, "rb") as ours, open(self.qemu / name, "rb") as theirs:
            return ours.read(length), theirs.read(length)


def command(tool: str) -> list[str]:
    """The command line that runs one of Pemu's tools."""
    code = f"import sys; sys.path[:0]=[{str(ROOT / 'src')!r}]; "
    code += f"from pemu.cli.{tool} import entry; entry()"
    return [sys.executable, "-I", "-c", code]


def pemu_tool(tool: str, folder: Path, *words: str, input: str = "") -> Answer:
    """The answer of Pemu's tool in a folder."""
    return _run([*command(tool), *words], folder, input, f"pemu-{tool}")


def _run(words: list[str], folder: Path, input: str, program: str) -> Answer:
    done = run_tool(words, folder=folder, input=input.encode())
    output, error = (
        text.decode("utf-8", "replace").replace(program, "TOOL")
        for text in (done.stdout, done.stderr)
    )
    return Answer(done.returncode, output, error)


def first_line(text: str) -> str:
    """The first line without a remedy that only Pemu has."""
    return text.partition("\n")[0].partition(";")[0]
