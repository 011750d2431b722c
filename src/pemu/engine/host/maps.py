"""What the host's kernel tells of the process's mappings: proc(5), /proc/pid/maps."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_proc: int | None = None
"""A descriptor of /proc, if that may be out of reach."""


def hold(reserve: Callable[[int], int]) -> None:
    """Get hold of /proc, which a change of the root directory puts out of reach.

    `reserve`: moves a descriptor out of the guest's way.
    """
    global _proc
    if _proc is None:
        try:
            _proc = reserve(os.open("/proc", os.O_PATH | os.O_DIRECTORY))
        except OSError:
            pass  # it is out of reach already


class HostMapping:
    """Host addresses [start, end), and the file behind them, if there is one."""

    __slots__ = ("end", "file", "ino", "offset", "shared", "start")

    def __init__(self, line: str) -> None:
        """`line`: one of the kernel's."""
        words = line.rstrip("\n").split(" ", 5)
        start, end = words[0].split("-")
        self.start, self.end = int(start, 16), int(end, 16)
        self.shared = words[1][3] == "s"
        self.offset = int(words[2], 16)
        major, minor = words[3].split(":")
        self.ino = int(words[4])
        path = words[5].strip(" ")
        self.file = (os.makedev(int(major, 16), int(minor, 16)), self.ino, path)
        """Device, inode and path; 0, 0 and empty for anonymous memory."""


def mappings(start: int, end: int) -> Iterator[HostMapping]:
    """The process's mappings between two host addresses; none where /proc is missing."""
    try:
        descriptor = os.open("/proc/self/maps" if _proc is None else "self/maps", 0, dir_fd=_proc)
    except OSError:
        return
    with open(descriptor, encoding="utf-8", errors="surrogateescape") as file:
        lines = file.readlines()
    for line in lines:
        found = HostMapping(line)
        if found.start >= end:
            break
        if found.end > start:
            found.offset += max(start - found.start, 0)
            found.start, found.end = max(found.start, start), min(found.end, end)
            yield found
