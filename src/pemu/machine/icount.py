"""Virtual time that follows the instructions a processor runs (-icount).

With a fixed shift nothing here depends on the host's speed, so runs repeat. With `shift=auto` the
time that an instruction takes is changed now and then by a factor of two, so that virtual time
keeps up with the host's, on average. With `align=on` the guest waits where it is ahead of the host;
where it falls behind, the user is told.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from pemu.machine.clock import MILLISECOND, SECOND, InstructionCount

if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.machine.machine import Machine

FIRST_SHIFT, MOST_SHIFT = 3, 10
"""-icount shift=auto: an instruction takes 8 ns at first, and at most 1024 ns."""

MOST_INSTRUCTIONS = 1 << 40
"""Run without a deadline before the virtual clock is looked at again."""

ADJUST_EVERY, ALIGN_EVERY = 100 * MILLISECOND, 10 * MILLISECOND
"""Virtual time between looks at the host's clock."""

SLACK = 100 * MILLISECOND
"""What virtual time may differ from the host's before it is made up for."""

MOST_AHEAD, LONGEST_WAIT = 3 * MILLISECOND, 100 * MILLISECOND
WARN_EVERY = 2 * SECOND


class InstructionTime:
    """How a processor's instructions move the virtual clock.

    cpu: the engine's. offset_changed: called with the clock's new offset, for native code. wake:
    set when the processor is not to idle any longer. warn: tells the user a sentence. host: the
    host's monotonic clock, ns; sleep: lets so many seconds of it pass.
    """

    def __init__(
        self,
        machine: Machine,
        cpu: Any,
        icount: InstructionCount,
        offset_changed: Callable[[int], object],
        wake: threading.Event,
        *,
        warn: Callable[[str], object] = lambda text: print(text, file=sys.stderr, flush=True),
        host: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._lock = machine.lock
        self._clock = machine.clocks.virtual
        self._cpu = cpu
        self._icount = icount
        self._offset_changed = offset_changed
        self._wake = wake
        self._warn = warn
        self._host = host
        self._sleep = sleep
        self.shift = FIRST_SHIFT if icount.shift is None else icount.shift
        self._apart = 0  # what the virtual clock shows more than the host's when both agree
        self._busy_since = 0
        self._instructions = 0
        self._warned_at = -WARN_EVERY
        self._warned_of = 0
        self._adjusts = icount.shift is None
        cpu.set_instruction_time(self.shift)
        self._clock.count_by(lambda: cpu.instructions << self.shift)
        self._clock.on_earlier.append(self.limit)
        self._timer = self._clock.timer(self._adjust)

    def started(self) -> None:
        """The machine runs again: whatever time has passed, the clocks agree."""
        now = self._host()
        self._apart = self._clock.now() - now
        self._busy_since = now
        self._instructions = self._cpu.instructions
        if self._adjusts:
            self._timer.arm_in(ADJUST_EVERY)
        elif self._icount.align:
            self._timer.arm_in(ALIGN_EVERY)

    @property
    def lead(self) -> int:
        """By how many ns virtual time is ahead of the host's; negative where it is behind."""
        return self._clock.now() - self._apart - self._host()

    def limit(self) -> None:
        """Let the guest run to the virtual clock's first deadline and no further."""
        clock = self._clock
        self._offset_changed(clock.offset)
        deadline = clock.deadline()
        left = MOST_INSTRUCTIONS
        if deadline is not None:
            left = min(left, max(deadline - clock.now() + (1 << self.shift) - 1, 0) >> self.shift)
        self._cpu.grant(left)

    def run_timers(self) -> None:
        """Run the timers that are due, on this thread, so that they run at the same instruction."""
        with self._lock:
            self._clock.run_timers()
            self.limit()
        if self._icount.align and (lead := self.lead) > MOST_AHEAD:
            self._sleep(min(lead, LONGEST_WAIT) / SECOND)

    def idle(self) -> None:
        """Let virtual time go on while the guest sleeps."""
        clock = self._clock
        follows_host = self._adjusts or self._icount.align
        began = self._host()
        with self._lock:
            deadline = clock.deadline()
            delay = None
            if deadline is not None:
                delay = max(deadline - clock.now() + (self.lead if follows_host else 0), 0) / SECOND
        woken = (self._icount.sleep or delay is None) and self._wake.wait(delay)
        self._busy_since += self._host() - began
        with self._lock:
            if not woken:
                clock.skip()
            elif self._adjusts and self.lead < 0:
                now = clock.now() - self.lead
                clock.set(now if deadline is None else min(now, deadline))
            else:
                return
        self.run_timers()

    # On the virtual clock's timer

    def _adjust(self) -> None:
        lead = self.lead
        if not self._adjusts:
            self._timer.arm_in(ALIGN_EVERY)
            self._tell(-lead)
            return
        now, instructions = self._host(), self._cpu.instructions
        busy, run = max(now - self._busy_since, 1), max(instructions - self._instructions, 1)
        self._busy_since, self._instructions = now, instructions
        self._set_shift(best_shift(busy, run, lead))
        self._timer.arm_in(ADJUST_EVERY)

    def _set_shift(self, shift: int) -> None:
        if shift != self.shift:
            now = self._clock.now()
            self.shift = shift
            self._cpu.set_instruction_time(shift)
            self._clock.set(now)

    def _tell(self, late: int) -> None:
        """Warn, not too often, where the guest is late by another number of seconds."""
        now = self._host()
        seconds = max(late, 0) // SECOND + (late > MOST_AHEAD)
        if seconds != self._warned_of and now - self._warned_at >= WARN_EVERY:
            self._warned_of, self._warned_at = seconds, now
            if seconds:
                text = f"{seconds - 1}.0 to {seconds}.0 seconds"
                self._warn(f"Warning: The guest is now late by {text}")


def best_shift(busy: int, instructions: int, lead: int) -> int:
    """The shift with which virtual time follows the host's: 2**shift ns an instruction.

    `busy`: ns in which so many `instructions` were run lately. `lead`: by how many ns virtual time
    is ahead; a lead or lag that is no longer slight is made up for.
    """
    # The nearest power of two, by its logarithm.
    shift = (2 * busy * busy // (instructions * instructions)).bit_length() - 1 >> 1
    if lead > SLACK:
        shift -= 1
    elif lead < -SLACK:
        shift += 1
    return min(max(shift, 0), MOST_SHIFT)
