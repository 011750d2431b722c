"""Lets processes and single threads of a test run stand for a while, as a busy host may.

    python -m tests.pauses PID [LONGEST]

stops, until the process PID has ended, processes that descend from it (by SIGSTOP) and threads of
theirs (by ptrace), picked at random, each for at most LONGEST seconds (3). Everything must pass all
the same. Threads that are traced already, as by strace or gdb, are left alone, and jobs of
interactive shells are not stopped as a whole, which the shells would notice.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

LONGEST = 3.0
OFTEN = 0.3
"""Most pauses are shorter than that: what is stopped for long does little that could go wrong."""

LEAVES = 0.8
"""How often it is not one of the test run's own processes, which are few and the first."""

_DETACH, _SEIZE, _INTERRUPT = 17, 0x4206, 0x4207
_ALL_THREADS = 0x40000000
"""Linux's `__WALL`, for which Python has no name."""

_libc = ctypes.CDLL(None, use_errno=True)


def _ptrace(request: int, thread: int, data: int = 0) -> bool:
    return not _libc.ptrace(
        ctypes.c_long(request), ctypes.c_long(thread), None, ctypes.c_void_p(data)
    )


def _descendants(root: int) -> list[int]:
    """The processes below `root`, those nearest to it first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(entry.name))
    found = [root]
    for process in found:
        found += children.get(process, ())
    return [process for process in found[1:] if process != os.getpid()]


def _pause_process(process: int, seconds: float) -> None:
    os.kill(process, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(process, signal.SIGCONT)


def _pause_thread(thread: int, seconds: float) -> None:
    if not _ptrace(_SEIZE, thread):
        return  # it has ended, or somebody traces it
    _ptrace(_INTERRUPT, thread)
    status = os.waitpid(thread, _ALL_THREADS)[1]
    if not os.WIFSTOPPED(status):
        return
    time.sleep(seconds)
    event = status >> 16
    if not _ptrace(_DETACH, thread, 0 if event else os.WSTOPSIG(status)):
        os.waitpid(thread, _ALL_THREADS)  # it was killed meanwhile


def main(root: int, longest: float = LONGEST) -> None:
    while os.path.exists(f"/proc/{root}"):
        processes = _descendants(root)
        if processes[2:] and random.random() < LEAVES:
            processes = processes[2:]
        seconds = random.uniform(0.05, OFTEN if random.random() < 0.5 else longest)
        with suppress(OSError, IndexError):  # there is none, or it has just ended
            process = random.choice(processes)
            if random.random() < 0.5 and os.getsid(process) == os.getsid(root):
                _pause_process(process, seconds)
            else:
                _pause_thread(int(random.choice(os.listdir(f"/proc/{process}/task"))), seconds)
        time.sleep(random.uniform(0, 0.15))


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(float, sys.argv[2:]))
