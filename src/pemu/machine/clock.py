"""Clocks, in nanoseconds, and the timers that run on them.

- the virtual clock stands still while the machine does; devices use it. It follows the host's
  monotonic clock, or with -icount the instructions that have been run.
- the host clock is the host's time of day, in nanoseconds since 1970.
- the real-time clock is the host's monotonic clock.

Timers are run by the I/O thread, under the machine's lock; those of the virtual clock with -icount
by the processor's thread, at exact instruction counts.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

MICROSECOND, MILLISECOND, SECOND = 1_000, 1_000_000, 1_000_000_000

_STALE = 64
"""Entries of cancelled timers that the heap may hold beside as many as there are real ones."""


class Timer:
    """Calls `callback()` once when its clock reaches the time that it is armed for."""

    __slots__ = ("_entry", "callback", "clock")

    def __init__(self, clock: Clock, callback: Callable[[], object]) -> None:
        self.clock = clock
        self.callback = callback
        self._entry: tuple[int, int, Timer] | None = None

    @property
    def expires(self) -> int | None:
        """When it runs, in nanoseconds of its clock; None while it is not armed."""
        return self._entry[0] if self._entry else None

    def arm(self, when: int) -> None:
        """Run at `when` nanoseconds of the clock, soon if that is past, instead of before."""
        self.clock._insert(when, self)

    def arm_in(self, delay: int) -> None:
        """Run in `delay` nanoseconds."""
        self.arm(self.clock.now() + delay)

    def cancel(self) -> None:
        """Do not run."""
        self._entry = None


class Clock:
    """A clock that always runs, by `source`, and its timers.

    on_earlier: functions that are called, by any thread that holds the machine's lock, when the
        first deadline has come nearer or the clock has changed its pace.
    """

    def __init__(self, source: Callable[[], int]) -> None:
        self.now = source
        self.on_earlier: list[Callable[[], object]] = []
        self._heap: list[tuple[int, int, Timer]] = []
        self._number = count()

    @property
    def driven_by_host(self) -> bool:
        """Whether it goes on with the host's time, so that the I/O thread runs its timers."""
        return True

    def timer(self, callback: Callable[[], object]) -> Timer:
        """A timer of this clock, not armed."""
        return Timer(self, callback)

    def deadline(self) -> int | None:
        """When the next timer is to be run; None if none is armed."""
        heap = self._heap
        while heap:
            entry = heap[0]
            if entry[2]._entry is entry:
                return entry[0]
            heapq.heappop(heap)
        return None

    def run_timers(self) -> None:
        """Run what is due by now, in order. What is armed meanwhile waits for the next call."""
        now = self.now()
        due = []
        while (when := self.deadline()) is not None and when <= now:
            due.append(heapq.heappop(self._heap))
        for entry in due:
            timer = entry[2]
            if timer._entry is entry:  # not cancelled or armed anew by an earlier one
                timer._entry = None
                timer.callback()

    def _insert(self, when: int, timer: Timer) -> None:
        heap = self._heap
        entry = timer._entry = (when, next(self._number), timer)
        first = heap[0][0] if heap else None
        heapq.heappush(heap, entry)
        if len(heap) > _STALE:
            self._compact()
        if first is None or when < first:
            self._tell()

    def _tell(self) -> None:
        for listener in self.on_earlier:
            listener()

    def _compact(self) -> None:
        """Drop entries of cancelled and re-armed timers when they are most of the heap."""
        live = [entry for entry in self._heap if entry[2]._entry is entry]
        if 2 * len(live) <= len(self._heap):
            heapq.heapify(live)
            self._heap = live


class VirtualClock(Clock):
    """The machine's own time, which stops with it. It stands still at first, at 0."""

    def __init__(self) -> None:
        super().__init__(self._now)
        self._source: Callable[[], int] = time.monotonic_ns
        self._offset = 0
        self._stopped_at: int | None = 0
        self.counted = False
        """Whether instructions drive it (-icount); then the processor's thread runs the timers."""

    @property
    def driven_by_host(self) -> bool:
        return self._stopped_at is None and not self.counted

    @property
    def running(self) -> bool:
        """Whether time goes on."""
        return self._stopped_at is None

    def _now(self) -> int:
        if self._stopped_at is not None:
            return self._stopped_at
        return self._source() + self._offset

    @property
    def offset(self) -> int:
        """What is added to the host's monotonic clock while time goes on, for native code."""
        return self._offset

    def start(self) -> None:
        """Let time go on."""
        if self._stopped_at is not None:
            self._offset = self._stopped_at - self._source()
            self._stopped_at = None
            self._tell()

    def stop(self) -> None:
        """Let time stand still."""
        if self._stopped_at is None:
            self._stopped_at = self._now()

    def set(self, now: int) -> None:
        """Make it `now`, when a saved machine is loaded."""
        if self._stopped_at is not None:
            self._stopped_at = now
        else:
            self._offset = now - self._source()
        self._tell()

    def count_by(self, source: Callable[[], int]) -> None:
        """Follow `source`, nanoseconds that the processor's side derives from instructions.

        The processor's thread then runs no further than to `deadline()`, which may come nearer
        meanwhile (`on_earlier`), and calls `run_timers()` there. Where it idles it calls `skip()`,
        with -icount sleep=on after as much of the host's time.
        """
        now = self._now()
        self._source = source
        self.counted = True
        self.set(now)

    def skip(self) -> int:
        """Jump to the next deadline; returns the nanoseconds skipped, 0 without a deadline."""
        when = self.deadline()
        if when is None or self._stopped_at is not None:
            return 0
        skipped = max(when - self._now(), 0)
        self._offset += skipped
        return skipped


class InstructionCount(NamedTuple):
    """What -icount says: virtual time goes on by 2**shift ns an instruction.

    shift: None for 'auto', as many as the host's speed allows. sleep: idle time passes as on the
    host. align: warn when the guest falls behind the host.
    """

    shift: int | None
    sleep: bool
    align: bool


class Clocks:
    """The clocks of one machine."""

    def __init__(self) -> None:
        self.virtual = VirtualClock()
        self.host = Clock(time.time_ns)
        self.realtime = Clock(time.monotonic_ns)
