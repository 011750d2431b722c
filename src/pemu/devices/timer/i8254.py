"""The 8254 timer, and port 0x61, which gates its counter 2 for the speaker.

Intel 8254 data sheet, September 1993; port 0x61 as in the 82371AB (PIIX4) data sheet, April 1997.
Counters are computed from the time when they are asked for. Counter 0's output interrupts; a
counter that nobody has programmed stands still. The speaker makes no sound.
"""

from __future__ import annotations

from pemu.machine import prop, state
from pemu.machine.clock import MICROSECOND, SECOND
from pemu.machine.declare import Output, timer
from pemu.machine.isa import IsaDevice
from pemu.machine.region import Mmio

FREQUENCY = 1_193_182
COUNTERS = 3
SPEAKER = 2
"""The counter whose gate port 0x61 has."""

MOST_OFTEN = 50 * MICROSECOND
"""The shortest time between edges of counter 0: what programs it faster would fill the host."""

CONTROL = 3
LATCH, LOW, HIGH, BOTH = 0, 1, 2, 3
"""How a count is accessed, bits 4 and 5 of a control word."""

STATUS_OUT, STATUS_NULL = 0x80, 0x40
PORT61_GATE, PORT61_WRITABLE, PORT61_REFRESH, PORT61_OUT = 1, 15, 16, 32
REFRESH_TICKS = 18


class I8254(IsaDevice):
    """The three counters. `irq` is the output of counter 0."""

    driver = "isa-pit"
    description = "8254 interval timer"
    category = "misc"
    user_creatable = False

    iobase = prop.uint(32, 0x40, "first I/O port")

    irq = Output("the output of counter 0")

    control = state.array(6, COUNTERS, help="the lower bits of the last control word")
    initial = state.array(17, COUNTERS, help="the count in force, 0 for none")
    following = state.array(17, COUNTERS, help="the count that comes into force next, 0 for none")
    boundary = state.array(64, COUNTERS, help="the tick at which `following` does")
    start = state.array(64, COUNTERS, help="the tick at which the count began")
    held = state.array(64, COUNTERS, help="ticks counted while the counter stands")
    running = state.array(1, COUNTERS)
    gates = state.array(1, COUNTERS, reset=1)
    first_byte = state.array(9, COUNTERS, help="the low byte + 1 of a count half written, or 0")
    latch = state.array(16, COUNTERS)
    latched = state.array(1, COUNTERS)
    status = state.array(8, COUNTERS)
    status_latched = state.array(1, COUNTERS)
    reads_high = state.array(1, COUNTERS, help="the next read of two is that of the high byte")
    port61 = state.uint(8)

    region: Mmio
    speaker: Mmio

    def realize(self) -> None:
        self.region = Mmio("pit", 4, self._read, self._write, self, maximum=1)
        self.ports(self.region, self.iobase)
        self.speaker = Mmio("port61", 1, self._read_port61, self._write_port61, self, maximum=1)
        self.ports(self.speaker, 0x61)

    def reset(self) -> None:
        self.gates[SPEAKER] = 0

    # Counting

    def _ticks(self) -> int:
        return self.clocks.virtual.now() * FREQUENCY // SECOND

    def _mode(self, counter: int) -> int:
        mode = self.control[counter] >> 1 & 7
        return mode & 3 if mode > 5 else mode

    def _elapsed(self, counter: int) -> int:
        """Ticks that the count in force has been counted down."""
        if not self.running[counter]:
            return self.held[counter]
        now = self._ticks()
        if self.following[counter] and now >= self.boundary[counter]:
            self.initial[counter] = self.following[counter]
            self.following[counter] = 0
            self.start[counter] = self.boundary[counter]
        return max(now - self.start[counter], 0)

    def _value(self, counter: int) -> int:
        """The count as it is read."""
        elapsed = self._elapsed(counter)
        count = self.initial[counter]
        if not count:
            return 0
        mode = self._mode(counter)
        if mode == 2:
            value = count - elapsed % count
        elif mode == 3:
            elapsed %= count
            high = (count + 1) // 2
            value = (count & ~1) - 2 * (elapsed - high if elapsed >= high else elapsed)
        else:
            value = count - elapsed
        if not self.control[counter] & 1:
            return value & 0xFFFF
        value %= 10_000
        return int(str(value), 16)

    def _out(self, counter: int) -> bool:
        """The level of the counter's output."""
        mode = self._mode(counter)
        elapsed = self._elapsed(counter)
        count = self.initial[counter]
        if mode == 0:
            return bool(count) and elapsed >= count
        if not count or (mode in (1, 2, 3, 5) and not self.running[counter]):
            return True
        if mode == 1:
            return elapsed >= count
        if mode == 2:
            return elapsed % count != count - 1
        if mode == 3:
            return elapsed % count < (count + 1) // 2
        return elapsed != count

    def _begin(self, counter: int) -> None:
        """Count from the start."""
        if self.following[counter]:
            self.initial[counter] = self.following[counter]
            self.following[counter] = 0
        self.start[counter] = self._ticks()
        self.held[counter] = 0
        self.running[counter] = int(bool(self.initial[counter]))

    def _load(self, counter: int, count: int) -> None:
        """A whole count has been written."""
        if self.control[counter] & 1:
            digits = (count >> shift & 15 for shift in (12, 8, 4, 0))
            thousands, hundreds, tens, ones = digits
            count = thousands * 1000 + hundreds * 100 + tens * 10 + ones or 10_000
        else:
            count = count or 0x10000
        mode = self._mode(counter)
        elapsed = self._elapsed(counter)
        old = self.initial[counter]
        if mode in (0, 4):
            self.initial[counter] = count
            self._begin(counter)
            self.running[counter] = self.gates[counter]
        elif mode in (1, 5):
            # It counts from the next trigger on, and what is under way is not disturbed.
            if self.running[counter]:
                self.following[counter] = count
                self.boundary[counter] = (1 << 64) - 1
            else:
                self.initial[counter] = count
        elif self.running[counter]:
            self.following[counter] = count
            self.boundary[counter] = self.start[counter] + self._next_edge(mode, elapsed, old)
        else:
            self.initial[counter] = count
            if self.gates[counter]:
                self._begin(counter)
        self._schedule()

    @staticmethod
    def _next_edge(mode: int, elapsed: int, count: int) -> int:
        """Ticks from the start to where a counter in mode 2 or 3 takes a new count."""
        whole = elapsed - elapsed % count
        high = (count + 1) // 2
        if mode == 3 and elapsed % count < high:
            return whole + high
        return whole + count

    def set_gate(self, counter: int, level: int) -> None:
        """Drive a counter's gate."""
        if level == self.gates[counter]:
            return
        elapsed = self._elapsed(counter)
        self.gates[counter] = level
        mode = self._mode(counter)
        if mode in (0, 4):
            if level:
                self.start[counter] = self._ticks() - self.held[counter]
                self.running[counter] = int(bool(self.initial[counter]))
            else:
                self.held[counter] = elapsed
                self.running[counter] = 0
        elif level:
            self._begin(counter)
        elif mode in (2, 3):
            self.held[counter] = self.running[counter] = 0
        self._schedule()

    # Counter 0's interrupts

    def _schedule(self) -> None:
        """Drive `irq`, and have `edge` called when it is to change."""
        self.irq.set(self._out(0))
        elapsed = self._elapsed(0)
        count, mode = self.initial[0], self._mode(0)
        at: int | None = None
        if not self.running[0] or not count:
            pass
        elif mode in (2, 3):
            at = self._next_edge(mode, elapsed, count)
        elif mode in (4, 5):
            at = count + 1 if elapsed <= count else None
        elif elapsed < count:
            at = count
        if at is None:
            self.edge.cancel()
            return
        when = -(-(self.start[0] + at) * SECOND // FREQUENCY)
        self.edge.arm(max(when, self.clocks.virtual.now() + MOST_OFTEN))

    @timer
    def edge(self) -> None:
        """The output of counter 0 changes, or has been low for one tick."""
        if self._mode(0) in (2, 4, 5):
            self.irq.lower()
        self._schedule()

    # Ports

    def _read(self, offset: int, size: int) -> int:
        counter = offset
        if counter == CONTROL:
            return 0  # nothing drives the bus
        if self.status_latched[counter]:
            self.status_latched[counter] = 0
            return self.status[counter]
        value = self.latch[counter] if self.latched[counter] else self._value(counter)
        access = self.control[counter] >> 4
        high = access == HIGH or bool(self.reads_high[counter])
        if access == BOTH:
            self.reads_high[counter] ^= 1
        if not self.reads_high[counter]:
            self.latched[counter] = 0
        return value >> 8 if high else value & 0xFF

    def _write(self, offset: int, value: int, size: int) -> None:
        if offset == CONTROL:
            self._command(value)
            return
        counter = offset
        access = self.control[counter] >> 4
        if access == LOW:
            self._load(counter, value)
        elif access == HIGH:
            self._load(counter, value << 8)
        elif self.first_byte[counter]:
            low = self.first_byte[counter] - 1
            self.first_byte[counter] = 0
            self._load(counter, value << 8 | low)
        else:
            self.first_byte[counter] = value + 1
            if self._mode(counter) == 0:
                self._stop(counter)

    def _stop(self, counter: int) -> None:
        self.initial[counter] = self.following[counter] = 0
        self.held[counter] = self.running[counter] = 0
        if counter == 0:
            self._schedule()

    def _command(self, word: int) -> None:
        """Take a control word."""
        counter = word >> 6
        if counter == CONTROL:
            for one in range(COUNTERS):
                if word >> one & 2:
                    self._read_back(one, count=not word & 0x20, status=not word & 0x10)
        elif word >> 4 & 3 == LATCH:
            self._read_back(counter, count=True, status=False)
        else:
            self.control[counter] = word & 0x3F
            self.first_byte[counter] = self.reads_high[counter] = 0
            self.latched[counter] = self.status_latched[counter] = 0
            self._stop(counter)

    def _read_back(self, counter: int, *, count: bool, status: bool) -> None:
        if count and not self.latched[counter]:
            self.latch[counter] = self._value(counter)
            self.latched[counter] = 1
        if status and not self.status_latched[counter]:
            out = STATUS_OUT if self._out(counter) else 0
            waits = not self.initial[counter] or self.following[counter]
            self.status[counter] = self.control[counter] | out | (STATUS_NULL if waits else 0)
            self.status_latched[counter] = 1

    def _read_port61(self, offset: int, size: int) -> int:
        value = self.port61
        if self._ticks() // REFRESH_TICKS & 1:
            value |= PORT61_REFRESH
        if self._out(SPEAKER):
            value |= PORT61_OUT
        return value

    def _write_port61(self, offset: int, value: int, size: int) -> None:
        self.port61 = value & PORT61_WRITABLE
        self.set_gate(SPEAKER, value & PORT61_GATE)
