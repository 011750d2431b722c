"""Performance counters: cycles (event 0) and instructions (event 1); other events never happen.

Cycles follow virtual time: two for each value of Count. Instructions are counted by native code
where it counts them all (-icount), or in translation modes of their own, which the processor is in
while a counter asks for them; a block counts as a whole. What has been counted is added to the
registers when somebody looks at them, or when another mode of the processor begins.

An even selection is a counter's control register, the odd one after it the counter.

Source: MIPS64 Architecture for Programmers, volume III (Performance Counter Register).
"""

from __future__ import annotations

from pemu.engine.staging.builder import Procedure
from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0 import timer
from pemu.isa.mips.cp0.exits import EXIT_COUNTERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.machinecpu import MachineCpu
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.state import SystemCpu

MORE, INTERRUPTS = 1 << 31, 1 << 4
"""Bits of the control register: there is another counter; bit 31 of this one interrupts."""

IN_EXCEPTION, IN_KERNEL, IN_SUPERVISOR, IN_USER = 1 << 0, 1 << 1, 1 << 2, 1 << 3
"""When it counts."""

EVENT_SHIFT, CYCLES, INSTRUCTIONS = 5, 0, 1
WRITABLE = 0x7FF

PCI = 1 << 26
"""Bit of Cause (Release 2): a counter interrupts."""

CYCLES_A_COUNT = 2
INSTRUCTIONS_A_NS = 4
"""More are not run."""

_MOST = 4
"""Counters in the state."""


def _settle(cpu: SystemCpu) -> None:
    """Add what has been counted since the last time; see what is counted from now on."""
    cycle = timer.ticks(cpu) * CYCLES_A_COUNT
    instruction = cpu.instructions()
    cycles, instructions = cycle - cpu.perf_cycle, instruction - cpu.perf_instruction
    cpu.perf_cycle = cycle
    cpu.perf_instruction = instruction
    now = _present(cpu)
    running, of_instructions = cpu.const(0, 32), cpu.const(0, 32)
    for number in range(c.control_of(cpu).counters):
        control, count = cpu.perf[2 * number], cpu.perf[2 * number + 1]
        event = control.lshr(EVENT_SHIFT) & 0x3F
        more = event.eq(INSTRUCTIONS).select(instructions.trunc(32), 0)
        more = event.eq(CYCLES).select(cycles.trunc(32), more)
        ran = (cpu.perf_running & 1 << number).ne(0)
        cpu.perf[2 * number + 1] = count + ran.select(more, 0)
        bit = (control & now).ne(0).select(cpu.const(1 << number, 32), 0)
        running = running | bit
        of_instructions = of_instructions | event.eq(INSTRUCTIONS).select(bit, 0)
    cpu.perf_running = running
    cpu.perf_instructions = of_instructions


def _present(cpu: SystemCpu) -> Value:
    """The bit of the control registers that stands for the processor's present mode, or 0."""
    status = cpu.status
    bit = cpu.const(IN_KERNEL, 32) << (status.lshr(c.KSU_SHIFT) & 3)
    bit = (status & c.EXL).ne(0).select(cpu.const(IN_EXCEPTION, 32), bit)
    nowhere = (status & c.ERL).ne(0) | (cpu.debug & c.DM).ne(0)
    return nowhere.select(cpu.const(0, 32), bit)


_SETTLE = Procedure("mips_performance", (), 0, _settle)


def read(cpu: SystemCpu, sel: Value) -> Value:
    """The register with selection `sel`; all ones where there is none."""
    counters = c.control_of(cpu).counters
    if counters:
        cpu.invoke(_SETTLE)
        cpu.end_block()  # what comes after is not counted yet
    there = sel.zext(32).ult(2 * counters or 1)
    return there.select(cpu.perf[sel], -1)


def write(cpu: SystemCpu, value: Value, sel: Value) -> None:
    """Write the register with selection `sel`."""
    counters = c.control_of(cpu).counters
    value = value.trunc(32)
    if not counters:
        with cpu.if_(sel.eq(0)):
            cpu.perf[0] = value & WRITABLE
        return
    cpu.invoke(_SETTLE)
    with cpu.if_(sel.zext(32).ult(2 * counters)):
        mask = sel.bit(0).select(cpu.const(-1, 32), WRITABLE)
        cpu.perf[sel] = (cpu.perf[sel] & ~mask) | (value & mask)
    enabled, all_controls = cpu.const(0, 32), cpu.const(0, 32)
    for number in range(counters):
        control = cpu.perf[2 * number]
        counts = (control & (IN_EXCEPTION | IN_KERNEL | IN_SUPERVISOR | IN_USER)).ne(0)
        enabled = enabled | counts.select(cpu.const(1 << number, 32), 0)
        all_controls = all_controls | control
    cpu.perf_enabled = enabled
    cpu.perf_running = 0  # what has been counted is settled
    cpu.invoke(_SETTLE)
    cpu.update_mode()
    with cpu.if_((all_controls & INTERRUPTS).ne(0)):
        cpu.exit(EXIT_COUNTERS)


def counts_instructions(cpu: SystemCpu) -> Value:
    """One while a counter counts instructions. For when the processor's mode may have changed."""
    with cpu.if_(cpu.perf_enabled.ne(0), unlikely=True):
        cpu.invoke(_SETTLE)
    return cpu.perf_instructions.ne(0)


def overflowed(cpu: SystemCpu) -> Value:
    """One while a counter interrupts."""
    with cpu.if_(cpu.perf_enabled.ne(0), unlikely=True):
        cpu.invoke(_SETTLE)
    found = cpu.const(0, 1)
    for number in range(c.control_of(cpu).counters):
        allowed = (cpu.perf[2 * number] & INTERRUPTS).ne(0)
        found = found | (allowed & cpu.perf[2 * number + 1].bit(31))
    return found


# Of a stopped processor, or on its thread.


def interrupts(cpu: MachineCpu) -> bool:
    """Whether a counter interrupts, as far as has been looked at them."""
    return any(
        cpu.perf[2 * number] & INTERRUPTS and cpu.perf[2 * number + 1] >> 31
        for number in range(_MOST)
    )


def overflow_in(cpu: MachineCpu) -> int | None:
    """Virtual time in ns before which no counter interrupts, None if none will."""
    soonest = None
    for number in range(_MOST):
        control, count = cpu.perf[2 * number], cpu.perf[2 * number + 1]
        if not cpu.perf_enabled >> number & 1 or not control & INTERRUPTS or count >> 31:
            continue
        delay = (1 << 31) - count
        if control >> EVENT_SHIFT & 0x3F == CYCLES:
            delay = delay * cpu.count_ns // CYCLES_A_COUNT
        else:
            delay //= INSTRUCTIONS_A_NS
        soonest = delay if soonest is None else min(soonest, delay)
    return soonest
