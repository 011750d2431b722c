"""A machine that runs in a process of its own, and its first serial port, as a user has them."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT, need
from tests.patience import LONG


class Console:
    """The process that `words` start, and what comes from it; what it shows is without CRs."""

    def __init__(self, words: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.seen = ""
        self.log = ""
        """All that has come."""

    def expect(self, text: str) -> str:
        """Wait for `text`; returns what came before it, and forgets both."""
        assert self.process.stdout is not None
        end = time.monotonic() + LONG
        while text not in self.seen:
            wait = max(0, end - time.monotonic())
            ready = select.select([self.process.stdout], [], [], wait)[0]
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert data, f"{text!r} does not come; there is: {self.seen[-2000:]}"
            self._take(data)
        before, _, self.seen = self.seen.partition(text)
        return before

    def _take(self, data: bytes) -> None:
        text = data.decode(errors="replace").replace("\r", "")
        self.seen += text
        self.log += text

    def type(self, line: str) -> None:
        """Type a line, and Enter."""
        self.send(line.encode() + b"\n")

    def send(self, keys: bytes) -> None:
        """Type keys."""
        assert self.process.stdin is not None
        self.process.stdin.write(keys)
        self.process.stdin.flush()

    def run(self, line: str, prompt: str) -> str:
        """What a command of the guest's shell prints."""
        self.type(line)
        self.expect(line + "\n")
        return self.expect(prompt)

    def end(self) -> tuple[int, str]:
        """The exit status, and the rest of the output."""
        assert self.process.stdout is not None
        self._take(self.process.stdout.read())
        return self.process.wait(LONG), self.seen


def pemu_command(target: str) -> list[str]:
    """The words that start `pemu-system-<target>` from this source tree."""
    places = [str(ROOT / "src"), *(place for place in sys.path if "-packages" in place)]
    code = f"import sys; sys.path[:0]={places!r}; from pemu.cli.system import entry; "
    return [sys.executable, "-I", "-S", "-c", f"{code}entry({target!r})"]


def qemu_command(target: str) -> list[str]:
    """The words that start QEMU's program; skips the test where it is not installed.

    It goes without the cards that Pemu's boards have not yet, whose firmware is in other packages.
    """
    return [need(f"qemu-system-{target}", "qemu-system-mips"), "-vga", "none", "-net", "none"]


@contextmanager
def machine(command: list[str], *words: str | Path) -> Iterator[Console]:
    """A machine that is ended at the end of the block, if it has not ended itself."""
    console = Console([*command, *map(str, words)])
    try:
        yield console
    finally:
        console.process.kill()
        console.process.wait()
        for pipe in (console.process.stdin, console.process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
