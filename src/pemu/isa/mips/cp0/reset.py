"""What reset makes of a processor."""

from __future__ import annotations

from pemu.engine.staging.values import signed
from pemu.isa.mips.cp0 import performance, watch
from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0.exits import NEVER
from pemu.isa.mips.cp0.registers import REGISTERS, of_model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.machinecpu import MachineCpu

RESET_VECTOR = 0xBFC00000
COUNT_NS = 6
"""Virtual time between two counts of a board that does not say otherwise."""

_WATCH_MORE = 1 << 31
"""M in WatchHi: there is another watch register."""

_BIG_ENDIAN = 1 << 15
"""BE in Config."""


def reset(cpu: MachineCpu, count_ns: int = COUNT_NS) -> None:
    """Put a stopped processor into the state after power-on.

    `count_ns`: virtual time in ns from one value of Count to the next.
    """
    arch = cpu.engine.arch
    system = arch.system
    assert isinstance(system, c.MipsSystem)
    control = system.control
    cpu.clear()
    for register in REGISTERS:
        declared = arch.layout.by_name.get(register.name)
        if declared is None or not register.exists(control):
            continue
        value = of_model(register.reset, control) & (1 << declared.width) - 1
        if register.select is not None:
            setattr(cpu, register.name, value)
            continue
        file = getattr(cpu, register.name)
        for index in range(8):
            file[index] = value
    cpu.watchhi[watch.PAIRS - 1] &= ~_WATCH_MORE
    if control.counters > 1:
        cpu.perf[0] = performance.MORE
    if not arch.big_endian:
        cpu.config &= ~_BIG_ENDIAN
    cpu.fcr0 = control.model.fir
    for index in range(c.TLB_ENTRIES):
        cpu.tlb_asid[index] = c.UNUSED
    cpu.tlb_used = cpu.tlb_next = control.tlb
    cpu.timer_deadline = NEVER
    cpu.count_ns = count_ns
    cpu.pc = signed(RESET_VECTOR, 32) & (1 << arch.xlen) - 1
    cpu.flush_tlb()
    cpu.set_context(0)
    cpu.update_mode()
