"""How far a command has come: on a terminal, as percent lines with -p, or when SIGUSR1 asks."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

from pemu.block.describe import amount
from pemu.cli import outcome
from pemu.cli.img_commands.session import terminal
from pemu.cli.switches import Given

_EVERY = 0.2
"""Seconds between two lines on a terminal."""


class Progress:
    """Work of `total` bytes; `with` it, so that the line is finished.

    Without -p only people at a terminal see it, and only of what takes longer than a moment.
    """

    def __init__(self, given: Given, total: int) -> None:
        self.total = total
        self.done = 0
        self._lock = threading.Lock()
        self._quiet = "q" in given
        self._percent = "p" in given and not self._quiet
        self._people = not self._quiet and terminal(2) and (not self._percent or terminal(1))
        self._shown = -1.0
        self._begun = time.monotonic()
        self._next = self._begun if self._percent else self._begun + 1
        self._drawn = False

    def __enter__(self) -> Progress:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGUSR1, self._asked)
        if self._percent and not self._people:
            self._line(0.0)
        return self

    def __exit__(self, kind: type | None, *rest: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGUSR1, self._before)
        if self._people:
            if self._drawn:
                os.write(2, b"\r\x1b[K")
        elif self._percent:
            if kind is None and self._shown < 100:
                self._line(100.0)
            outcome.write(1, "\n")

    def add(self, done: int) -> None:
        """`done` more bytes have been dealt with."""
        with self._lock:
            self.done = min(self.done + done, self.total)
            if self._people:
                now = time.monotonic()
                if now >= self._next:
                    self._next = now + _EVERY
                    self._draw(now)
            elif self._percent and self._part() >= self._shown + 1:
                self._line(self._part())

    def grow(self, total: int) -> None:
        """There is more to do than was known."""
        with self._lock:
            self.total = total

    def _part(self) -> float:
        return 100.0 * self.done / self.total if self.total else 100.0

    def _line(self, percent: float) -> None:
        self._shown = percent
        outcome.write(1, f"    ({percent:3.2f}/100%)\r")

    def _draw(self, now: float) -> None:
        self._drawn = True
        rate = self.done / max(now - self._begun, 1e-9)
        left = (self.total - self.done) / rate if rate else 0
        text = f"{self._part():6.2f}%  {amount(self.done)} of {amount(self.total)}"
        text += f"  {amount(int(rate))}/s  {_clock(left)} left"
        os.write(2, f"\r{text}\x1b[K".encode())

    def _asked(self, number: int, frame: FrameType | None) -> None:
        os.write(2, f"    ({self._part():3.2f}/100%)\n".encode())


def _clock(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 60}:{whole % 60:02}"
