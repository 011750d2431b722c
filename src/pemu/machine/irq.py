"""Interrupt lines and what is wired from them.

A line has a level, 0 or 1, which its one source sets; sinks hear of changes only. Several sources
of one input go through `or_gate`. All under the machine's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pemu.machine.native import Cells

Sink = Callable[[int], object]
"""What hears of a line's changes: a function of the new level."""


class Irq:
    """One line, from its source to its sinks. `level` is 0 or 1."""

    __slots__ = ("_sink", "_sinks", "level", "unheard")

    def __init__(self, *sinks: Irq | Sink) -> None:
        self.level = 0
        self._sinks: list[Sink] = []
        self._sink: Sink = _nowhere
        self.unheard: Callable[[], bool] = _never
        """Called before the high line falls and rises at once; where it returns true that changes
        nothing behind it, as with a latch that has an edge already, and can be left out."""
        for sink in sinks:
            self.connect(sink)

    def connect(self, sink: Irq | Sink) -> None:
        """Let `sink` hear of changes too; it hears of a level that is high already at once."""
        self._sinks.append(sink.set if isinstance(sink, Irq) else sink)
        single = len(self._sinks) == 1
        self._sink = self._sinks[0] if single else self._fan_out
        self.unheard = partial(_unheard, sink) if single and isinstance(sink, Irq) else _never
        if self.level:
            self._sinks[-1](1)

    def set(self, level: object) -> None:
        """Drive the line to `level`; any true value is high."""
        if level:
            if not self.level:
                self.level = 1
                self._sink(1)
        elif self.level:
            self.level = 0
            self._sink(0)

    def raise_(self) -> None:
        """Drive the line high."""
        if not self.level:
            self.level = 1
            self._sink(1)

    def lower(self) -> None:
        """Drive the line low."""
        if self.level:
            self.level = 0
            self._sink(0)

    def pulse(self) -> None:
        """Drive the line high and low again: one edge."""
        self.set(1)
        self.set(0)

    def renew(self) -> None:
        """Have the line, which is high, fall and rise: another edge."""
        if not self.unheard():
            self.set(0)
            self.set(1)

    def repeat(self) -> None:
        """Tell the sinks the level again, so that gates know it after state was loaded."""
        self._sink(self.level)

    def _fan_out(self, level: int) -> None:
        for sink in self._sinks:
            sink(level)


class Line(Irq):
    """A line whose level native code sees and sets, too: one of a device with native methods.

    cells: the level; then, once native code may drive it, the native function that hears of
    changes, and its first two arguments.
    """

    __slots__ = ("bound", "cells")

    def __init__(self, *sinks: Irq | Sink) -> None:
        self.cells = Cells(4)
        self.bound: bool | None = None  # whether native code drives it; not found out yet
        super().__init__(*sinks)

    @property
    def level(self) -> int:
        return self.cells.view[0]

    @level.setter
    def level(self, level: int) -> None:
        self.cells.view[0] = level

    def connect(self, sink: Irq | Sink) -> None:
        if self.bound:
            raise RuntimeError("a line is connected before the guest uses it")
        super().connect(sink)

    @property
    def sinks(self) -> list[Sink]:
        """What hears of changes."""
        return self._sinks


class ProcessorInput:
    """What hears of an interrupt input of a processor, and can be reached by native code.

    cells: host addresses of the processor's levels (4 bytes), of the byte that has it look for
    interrupts, and of the cell that keeps it awake; the input's bit.
    """

    __slots__ = ("_handler", "cells")

    def __init__(
        self, handler: Callable[[int], object], levels: int, look: int, awake: int, bit: int
    ) -> None:
        self._handler = handler
        self.cells = Cells(4)
        for index, value in enumerate((levels, look, awake, bit)):
            self.cells.view[index] = value

    def __call__(self, level: int) -> None:
        self._handler(level)


def _nowhere(level: int) -> None:
    """The sink of a line that is not connected."""


def _unheard(line: Irq) -> bool:
    return line.unheard()


def _never() -> bool:
    """Of a line behind which every change is noticed."""
    return False


def input_lines(handler: Callable[[int, int], object], count: int) -> list[Irq]:
    """`count` lines whose changes go to `handler(number, level)`."""
    return [Irq(partial(handler, number)) for number in range(count)]


def or_gate(output: Irq | Sink, count: int) -> list[Irq]:
    """`count` lines of which `output` is high while at least one is."""
    line = Irq(output)
    high = 0

    def changed(number: int, level: int) -> None:
        nonlocal high
        high = high | 1 << number if level else high & ~(1 << number)
        line.set(high)

    return input_lines(changed, count)


def inverted(output: Irq | Sink) -> Irq:
    """A line whose opposite `output` is. `output` hears of it at once: the line is low."""
    line = Irq(output)
    line.raise_()
    return Irq(lambda level: line.set(not level))
