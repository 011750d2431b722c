"""The Countdown 3000, an interval timer: it counts down and interrupts at zero.

The example of docs/adding-a-device.md, made up for it.
"""

from __future__ import annotations

from pemu.machine import prop, state
from pemu.machine.declare import Output, timer
from pemu.machine.device import Device
from pemu.machine.registers import Register, RegisterBank

START, ENABLE = 1, 2


class Countdown(Device):
    """The timer. The board maps `registers` and connects `irq`."""

    driver = "countdown"
    description = "Countdown 3000 interval timer"

    frequency = prop.uint(32, 1_000_000, "ticks a second")

    irq = Output("high while STATUS says that the time is up")
    starts = state.uint(64, help="how often it has been started")

    load_value = Register(0x0, 32, help="ticks to count")
    control = Register(0x4, 32, writable=ENABLE)
    status = Register(0x8, 32, writable=0, clears=1)

    registers: RegisterBank

    def realize(self) -> None:
        self.registers = RegisterBank(self, "countdown", 0x10)
        self.own(self.registers)

    @control.on_write
    def _control_written(self, written: int, old: int) -> None:
        if written & START:
            self.starts += 1
            self.expired.arm_in(self.load_value * 1_000_000_000 // self.frequency)

    @status.on_write
    def _status_written(self, written: int, old: int) -> None:
        self._update_irq()

    @timer
    def expired(self) -> None:
        """The time is up."""
        self.status |= 1
        self._update_irq()

    def _update_irq(self) -> None:
        self.irq.set(self.status and self.control & ENABLE)
