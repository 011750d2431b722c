"""What a command does about signals, as the kernel tells it."""

from __future__ import annotations

from pathlib import Path


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal; AssertionError when it has ended."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        assert name != "State" or "Z" not in value
        if name == "SigCgt":
            return bool(int(value, 16) >> (number - 1) & 1)
    raise AssertionError("no line about signals")
