"""How long tests wait, and for what: a slow machine that is busy must not make one fail."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

LONG = 300.0
"""Seconds after which something has gone wrong."""

_ACCEPTS = 0x10000
"""The kernel's flag (`__SO_ACCEPTCON`) of a socket that listens."""


def until(condition: Callable[[], object], what: str = "it") -> None:
    """Wait until `condition` holds; fails saying that `what` does not come."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, f"{what} does not come"
        time.sleep(0.005)


def listens(path: str | Path) -> bool:
    """Whether somebody takes connections at a Unix socket's path, which is there a little before.

    Nobody is connected to for this: servers count their clients.
    """
    for line in Path("/proc/net/unix").read_text(errors="replace").splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if fields[-1] == str(path) and int(fields[3], 16) & _ACCEPTS:
            return True
    return False


def run_tool(
    words: Sequence[str | Path], *, folder: Path | None = None, input: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a tool to its end, in a folder.

    Again where it is QEMU's and cannot time its key derivation, as on a busy host; skips the test
    if it never can.
    """
    for _ in range(20):
        done = subprocess.run(words, cwd=folder, input=input, capture_output=True, timeout=LONG)
        if b"Unable to get accurate CPU usage" not in done.stderr:
            return done
    pytest.skip("qemu-img cannot time its key derivation while the machine is this busy")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has, nor is given by the kernel when any will do."""
    while True:
        number = random.randrange(20000, 30000)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", number))
            return number


def settled(pid: int) -> bool:
    """Whether a process waits for something, and has not run for a while."""

    def seen() -> list[str]:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return [line for line in lines if line.startswith(("State", "voluntary", "nonvoluntary"))]

    before = seen()
    time.sleep(0.3)
    return "S (sleeping)" in before[0] and seen() == before
