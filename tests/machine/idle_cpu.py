"""A processor that does nothing, for machines whose devices are tested without one."""

from __future__ import annotations

import threading
from collections.abc import Callable


class IdleCpu:
    """Sleeps until it is kicked. `levels`: of its interrupt inputs."""

    bits = 32
    count_ns = 0

    def __init__(self, model: str = "") -> None:
        self.model = model
        self.levels: dict[int, int] = {}
        self._kicked = threading.Event()

    def run(self) -> None:
        self._kicked.wait()
        self._kicked.clear()

    def kick(self) -> None:
        self._kicked.set()

    def reset(self) -> None:
        """Nothing to put back."""

    def close(self) -> None:
        pass

    def leave_reset(self) -> None:
        """There is no status."""

    def start_at(self, address: int) -> None:
        """Nothing begins."""

    def line(self, number: int) -> Callable[[int], object]:
        def changed(level: int) -> None:
            self.levels[number] = level

        return changed
