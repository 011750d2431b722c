"""The MC146818 real-time clock, with the second bank of CMOS RAM that the PIIX4 has.

Motorola MC146818A data sheet, 1988; the bank at ports 0x72 and 0x73 as in the 82371AB (PIIX4) data
sheet, April 1997. What moves the clock is -rtc's choice. Time is computed when it is asked for, and
timers run only for interrupts that are enabled. Left out: the square-wave pin, which is not
connected, and the daylight saving rules of 1967.
"""

from __future__ import annotations

import calendar
import time

from pemu.machine import prop, state
from pemu.machine.clock import MICROSECOND, MILLISECOND, SECOND, Timer
from pemu.machine.declare import Output
from pemu.machine.isa import IsaDevice
from pemu.machine.region import Mmio

SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY = 0, 2, 4, 6, 7, 8, 9, 0x32
TIME = frozenset((SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY))
SECONDS_ALARM, MINUTES_ALARM, HOURS_ALARM = 1, 3, 5
ALARM = frozenset((SECONDS_ALARM, MINUTES_ALARM, HOURS_ALARM))
A, B, C, D = 10, 11, 12, 13

A_UIP, A_DIVIDER, A_RESET, A_RATE = 0x80, 0x70, 0x60, 0x0F
B_SET, B_PIE, B_AIE, B_UIE, B_SQWE, B_BINARY, B_24_HOURS = 128, 64, 32, 16, 8, 4, 2
C_IRQF, C_PF, C_AF, C_UF = 128, 64, 32, 16
D_VALID = 0x80
PM = 0x80
ANY = 0xC0
"""What an alarm byte that fits everything has set."""

BEFORE_UPDATE = 244 * MICROSECOND
"""How long before an update UIP rises."""
UPDATE = 1984 * MICROSECOND
"""How long an update takes, with a crystal of 32768 Hz."""
POLLING = 250 * MILLISECOND
"""A guest that reads register A at least this often waits for UIP, to measure time by it."""

LATEST = 500 * MICROSECOND
"""How late such a guest may see UIP rise: what it measures is right to 0.05 %, and the wait for
Python's lock, which is up to 200 us, does not cost it a second. Twice as late each time that it has
missed one, or it would hardly ever see one on a host with much to do."""

CRYSTAL = 32768


class Mc146818(IsaDevice):
    """The clock. `irq` is high while register C's interrupt flag is set."""

    driver = "mc146818rtc"
    description = "MC146818 real-time clock"
    category = "misc"
    user_creatable = False

    base_year = prop.sint(32, 0, "the year that the clock shows as 00", key="base_year")
    iobase = prop.uint(16, 0x70, "first I/O port")
    isairq = prop.uint(8, 8, "interrupt", key="irq")

    irq = Output("the interrupt flag")

    ram = state.memory(256, kept=True, help="both banks; of the time registers while it stands")
    index = state.array(8, 2, help="the addressed byte of each bank")
    register_a = state.uint(8, reset=0x26, kept=True)
    register_b = state.uint(8, reset=B_24_HOURS, kept=True)
    flags = state.uint(8, help="register C")
    offset = state.sint(96, kept=True, help="nanoseconds by which the guest has set it")
    weekday_offset = state.uint(3, kept=True, help="days by which the guest has set the weekday")
    checked = state.sint(96, kept=True, help="the time up to which `flags` is right")

    region: Mmio
    event: Timer

    def realize(self) -> None:
        self.region = Mmio("rtc", 4, self._read, self._write, self, maximum=1)
        self.ports(self.region, self.iobase)
        self.bus.connect(self.irq, self.isairq)
        self.event = self.machine.rtc.clock.timer(self._expired)
        self.checked = self._now()
        self._polled, self._missed, self._misses = 0, -1, 0

    def reset(self) -> None:
        self.register_b &= ~(B_PIE | B_AIE | B_UIE | B_SQWE)
        self._schedule()

    def loaded(self) -> None:
        self._schedule()

    def unplugged(self) -> None:
        self.event.cancel()

    # Time

    def _now(self) -> int:
        """Nanoseconds since 1970 as the guest has set the clock."""
        return self.machine.rtc.now() + self.offset

    @property
    def _stands(self) -> bool:
        """Whether the guest holds the clock: to set it, or its divider in reset."""
        return bool(self.register_b & B_SET) or self.register_a & A_RESET == A_RESET

    def _encode(self, value: int) -> int:
        return value if self.register_b & B_BINARY else value // 10 % 16 << 4 | value % 10

    def _decode(self, byte: int) -> int:
        return byte if self.register_b & B_BINARY else (byte >> 4) * 10 + (byte & 15)

    def _decode_hour(self, byte: int) -> int:
        if self.register_b & B_24_HOURS:
            return self._decode(byte)
        return self._decode(byte & ~PM) % 12 + (12 if byte & PM else 0)

    def _show(self) -> None:
        """Write the time into the time registers, unless it stands."""
        if self._stands:
            return
        ram, encode = self.ram, self._encode
        now = time.gmtime(self._now() // SECOND)
        hour = now.tm_hour
        ram[SECONDS], ram[MINUTES] = encode(now.tm_sec), encode(now.tm_min)
        if self.register_b & B_24_HOURS:
            ram[HOURS] = encode(hour)
        else:
            ram[HOURS] = encode(hour % 12 or 12) | (PM if hour >= 12 else 0)
        ram[WEEKDAY] = encode((now.tm_wday + 1 + self.weekday_offset) % 7 + 1)
        ram[DAY], ram[MONTH] = encode(now.tm_mday), encode(now.tm_mon)
        year = max(now.tm_year - self.base_year, 0)
        ram[YEAR], ram[CENTURY] = encode(year % 100), encode(year // 100 % 100)

    def _set(self) -> None:
        """Let the clock go on from what the time registers say."""
        ram, decode = self.ram, self._decode
        year = self.base_year + decode(ram[CENTURY]) * 100 + decode(ram[YEAR])
        date = (
            min(max(year, 1), 9998),
            min(max(decode(ram[MONTH]), 1), 12),
            decode(ram[DAY]),
            self._decode_hour(ram[HOURS]),
            decode(ram[MINUTES]),
            decode(ram[SECONDS]),
        )
        seconds = calendar.timegm((*date, 0, 0, 0))
        self.offset += (seconds - self._now() // SECOND) * SECOND
        weekday = (time.gmtime(seconds).tm_wday + 1) % 7 + 1
        self.weekday_offset = (decode(ram[WEEKDAY]) - weekday) % 7
        self.checked = self._now()

    # Interrupts

    def _period(self) -> int:
        """Ticks of the crystal between periodic interrupts, 0 for none."""
        rate = self.register_a & A_RATE
        if not rate or self.register_a & A_RESET == A_RESET:
            return 0
        return 1 << (rate + 6 if rate <= 2 else rate - 1)

    def _next_alarm(self, after: int) -> int | None:
        """The first second after `after` that fits the alarm registers."""
        fitting: list[list[int]] = []
        for register, most, decode in (
            (HOURS_ALARM, 24, self._decode_hour),
            (MINUTES_ALARM, 60, self._decode),
            (SECONDS_ALARM, 60, self._decode),
        ):
            byte = self.ram[register]
            values = list(range(most)) if byte & ANY == ANY else [decode(byte)]
            if values[0] >= most:
                return None
            fitting.append(values)
        hours, minutes, seconds = fitting
        day, rest = divmod(after, 86400)
        hour, minute, second = rest // 3600, rest // 60 % 60, rest % 60
        found = [one for one in seconds if one > second]
        if hour in hours and minute in minutes and found:
            return day * 86400 + hour * 3600 + minute * 60 + found[0]
        found = [one for one in minutes if one > minute]
        if hour in hours and found:
            return day * 86400 + hour * 3600 + found[0] * 60 + seconds[0]
        found = [one for one in hours if one > hour]
        start = (day, found[0]) if found else (day + 1, hours[0])
        return start[0] * 86400 + start[1] * 3600 + minutes[0] * 60 + seconds[0]

    def _catch_up(self) -> None:
        """Set the flags for what has happened since they were right."""
        now, before = self._now(), self.checked
        self.checked = now
        period = self._period()
        if period and _ticks(now) // period > _ticks(before) // period:
            self.flags |= C_PF
        if not self._stands and now // SECOND > before // SECOND:
            self.flags |= C_UF
            alarm = self._next_alarm(before // SECOND)
            if alarm is not None and alarm <= now // SECOND:
                self.flags |= C_AF
        if self.flags & self.register_b & (C_PF | C_AF | C_UF):
            self.flags |= C_IRQF
        self.irq.set(self.flags & C_IRQF)

    def _schedule(self) -> None:
        """Have `_expired` called at the next enabled interrupt."""
        now, enabled = self._now(), self.register_b & ~self.flags
        times = []
        period = self._period()
        if enabled & B_PIE and period:
            following = (_ticks(now) // period + 1) * period
            times.append(-(-following * SECOND // CRYSTAL))
        if not self._stands:
            if enabled & B_UIE:
                times.append((now // SECOND + 1) * SECOND)
            alarm = self._next_alarm(now // SECOND) if enabled & B_AIE else None
            if alarm is not None:
                times.append(alarm * SECOND)
        if times:
            self.event.arm_in(min(times) - now)
        else:
            self.event.cancel()

    def _expired(self) -> None:
        self._catch_up()
        self._schedule()

    # Ports

    def _read(self, offset: int, size: int) -> int:
        bank = offset >> 1
        if not offset & 1:
            return 0xFF  # the index ports cannot be read
        at = self.index[bank]
        if bank or at > D and at != CENTURY:
            return self.ram[128 * bank + at]
        if at in TIME:
            self._show()
        elif at == A:
            return self.register_a | (A_UIP if self._updating() else 0)
        elif at == B:
            return self.register_b
        elif at == C:
            return self._acknowledge()
        elif at == D:
            return D_VALID
        return self.ram[at]

    def _updating(self) -> bool:
        """The UIP bit.

        Guests measure the processor's clock from one rise to another. One that the host has run too
        late to see it rise does not see it in this second, rather than to measure wrongly.
        """
        if self._stands:
            return False
        now = self._now() + BEFORE_UPDATE
        second, phase = divmod(now, SECOND)
        before, self._polled = self._polled, now
        if second * SECOND - POLLING < before < second * SECOND:
            if phase <= LATEST << self._misses:
                self._misses = 0
                return True
            self._missed, self._misses = second, self._misses + 1
        return phase < BEFORE_UPDATE + UPDATE and second != self._missed

    def _acknowledge(self) -> int:
        """Read register C, which clears it."""
        self._catch_up()
        flags, self.flags = self.flags, 0
        self.irq.lower()
        self._schedule()
        return flags

    def _write(self, offset: int, value: int, size: int) -> None:
        bank = offset >> 1
        if not offset & 1:
            self.index[bank] = value & 0x7F
            return
        at = self.index[bank]
        if bank or at > D and at != CENTURY:
            self.ram[128 * bank + at] = value
        elif at in TIME:
            self._show()
            self.ram[at] = value
            if not self._stands:
                self._set()
            self._schedule()
        elif at == A or at == B:
            self._control(at, value)
        elif at in ALARM:
            self._catch_up()
            self.ram[at] = value
            self._schedule()

    def _control(self, at: int, value: int) -> None:
        """Write register A or B."""
        self._catch_up()
        self._show()
        stood, in_reset = self._stands, self.register_a & A_RESET == A_RESET
        if at == A:
            self.register_a = value & ~A_UIP
        else:
            self.register_b = value & ~B_UIE if value & B_SET else value
        if stood and not self._stands:
            if in_reset:  # the first update comes half a second after the divider's reset
                self.offset += SECOND // 2 - self._now() % SECOND
            self._set()
        self._catch_up()
        self._schedule()


def _ticks(nanoseconds: int) -> int:
    """Ticks of the crystal until a time."""
    return nanoseconds * CRYSTAL // SECOND
