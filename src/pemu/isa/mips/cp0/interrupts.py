"""Interrupts: what is pending, and what is enabled."""

from __future__ import annotations

from pemu.isa.mips.cp0 import performance, timer
from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0.tcstatus import IXMT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.state import SystemCpu

SOFTWARE = 3 << c.IP_SHIFT
"""Bits of Cause that software sets: IP1, IP0."""

STORED = 0x8000007C | 3 << c.CE_SHIFT | c.DC | c.IV | c.WP | SOFTWARE
"""Bits of Cause that the register `cause` holds; the others are computed."""


def lines(cpu: SystemCpu) -> Value:
    """The bits of Cause that the interrupt inputs make."""
    return (cpu.irq_lines & 0x3F) << (c.IP_SHIFT + 2)


def cause(cpu: SystemCpu) -> Value:
    """The register Cause."""
    expired = timer.expired(cpu).zext(32)
    counters = cpu.const(0, 32)
    if "performance" in cpu.features:
        counters = performance.overflowed(cpu).zext(32)
    value = cpu.cause | lines(cpu)
    if "veic" not in cpu.features:
        value = value | ((expired | counters) << (c.IP_SHIFT + c.TIMER_LINE))
    return (
        value | (expired << 30) | (counters * performance.PCI)
        if "mips32r2" in cpu.features
        else value
    )


def pending(cpu: SystemCpu, value: Value) -> Value:
    """One if an interrupt is pending in `value` of Cause that Status does not mask."""
    status = cpu.status
    if "veic" in cpu.features:
        return value.bits(10, 6).ugt(status.bits(10, 6))
    return (value & status & 0xFF00).ne(0)


def enabled(cpu: SystemCpu) -> Value:
    """One if interrupts can be taken."""
    open_ = (cpu.status & (c.IE | c.EXL | c.ERL)).eq(c.IE)
    if "mt" in cpu.features:
        open_ = open_ & (cpu.tcstatus & IXMT).eq(0)
    return open_ & (cpu.debug & c.DM).eq(0)


def vector(cpu: SystemCpu, value: Value) -> Value:
    """Number of the interrupt's own vector (32 bits), where they have vectors of their own."""
    if "veic" in cpu.features:
        return value.bits(10, 6).zext(32)
    asking = (value & cpu.status).lshr(c.IP_SHIFT) & 0xFF
    return 31 - asking.clz()
