"""Count and Compare: the timer that follows virtual time.

Count is not stored: it is computed from the clock when it is read. Whether the timer's interrupt is
pending follows from the virtual time at which Count reaches Compare, which is computed when one
of them is written; the machine is then told (exit COMPARE) to wake the processor at that time.

After a reset Count begins when the guest first looks at it. Kernels that choose their own address
at random, by the time that has gone by, so choose the same one each time, and the code cache has
what it had compiled when they ran before.
"""

from __future__ import annotations

from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0.exits import EXIT_COMPARE, NEVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.state import SystemCpu


def ticks(cpu: SystemCpu) -> Value:
    """Counts since virtual time 0, 64 bits."""
    return cpu.clock().udiv(cpu.count_ns.zext(64))


def _begin(cpu: SystemCpu, now: Value) -> None:
    """Let Count begin with 0 if it has not. `now`: ticks, 32 bits."""
    with cpu.if_(cpu.count_begun.eq(0), unlikely=True):
        cpu.count_begun = cpu.const(1, 32)
        cpu.count_base = -now


def _stopped(cpu: SystemCpu) -> Value:
    return (cpu.cause & c.DC).ne(0)


def count(cpu: SystemCpu) -> Value:
    """The register Count."""
    now = ticks(cpu).trunc(32)
    _begin(cpu, now)
    running = cpu.var(32, cpu.count_base)
    with cpu.if_(~_stopped(cpu)):
        running.value = running.value + now
    return running.value


def expired(cpu: SystemCpu) -> Value:
    """One while the timer's interrupt is pending."""
    deadline = cpu.timer_deadline
    result = cpu.var(1, 0)
    with cpu.if_(deadline.ne(NEVER)):
        result.value = deadline.ule(cpu.clock())
    return result.value


def _deadline(cpu: SystemCpu) -> Value:
    """When Count reaches Compare next."""
    now = ticks(cpu)
    ahead = cpu.compare - (now.trunc(32) + cpu.count_base)
    whole = ahead.eq(0).select(cpu.const(1 << 32, 64), ahead.zext(64))
    at = (now + whole) * cpu.count_ns.zext(64)
    return _stopped(cpu).select(cpu.const(NEVER, 64), at)


def write_compare(cpu: SystemCpu, value: Value) -> None:
    """Set Compare; the pending interrupt is no more."""
    _begin(cpu, ticks(cpu).trunc(32))
    cpu.compare = value.trunc(32)
    cpu.timer_deadline = _deadline(cpu)
    cpu.exit(EXIT_COMPARE, cpu.timer_deadline)


def write_count(cpu: SystemCpu, value: Value) -> None:
    """Set Count. An interrupt that is pending stays so until Compare is written."""
    _begin(cpu, ticks(cpu).trunc(32))
    pending = expired(cpu)
    value = value.trunc(32)
    with cpu.if_(_stopped(cpu)) as arm:
        cpu.count_base = value
    with arm.otherwise():
        cpu.count_base = value - ticks(cpu).trunc(32)
    cpu.timer_deadline = pending.select(cpu.timer_deadline, _deadline(cpu))
    cpu.exit(EXIT_COMPARE, cpu.timer_deadline)


def stop_or_start(cpu: SystemCpu, stop: Value) -> None:
    """Stop Count, or let it go on from where it is, as Cause.DC is to be. Ends the meaning."""
    _begin(cpu, ticks(cpu).trunc(32))
    with cpu.if_(stop.ne(_stopped(cpu))):
        now = ticks(cpu).trunc(32)
        base = cpu.count_base
        cpu.count_base = stop.select(base + now, base - now)
        cpu.cause = (cpu.cause & ~c.DC) | stop.select(cpu.const(c.DC, 32), 0)
        pending = expired(cpu)
        cpu.timer_deadline = pending.select(cpu.timer_deadline, _deadline(cpu))
        cpu.exit(EXIT_COMPARE, cpu.timer_deadline)
