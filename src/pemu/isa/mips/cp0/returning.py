"""Coming back from exceptions: ERET, and DERET from debug mode.

Source: MIPS32 and MIPS64 Architecture for Programmers, volume II; EJTAG Specification, chapter 5.
"""

from __future__ import annotations

from pemu.isa.mips.cp0 import shadow, watch
from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0.exits import EXIT_STEP
from pemu.isa.mips.cp0.usable import privileged
from pemu.isa.mips.exceptions import RESERVED_INSTRUCTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.isa.mips.cp0.state import SystemCpu


@privileged(
    "010000 1 0000000000000000000 011000",
    "eret",
    name="eret_system",
    needs="mips3_32",
)
def eret(cpu: SystemCpu) -> None:
    watch.before_return(cpu)
    status = cpu.status
    error = (status & c.ERL).ne(0)
    target = error.select(cpu.errorepc, cpu.epc)
    shadow.leave(cpu, status)
    cpu.status = status & ~error.select(cpu.const(c.ERL, 32), c.EXL)
    cpu.llbit = 0
    cpu.resume_at(target)


@privileged(
    "010000 1 0000000000000000000 011111",
    "deret",
    name="deret_system",
    needs="mips32",
)
def deret(cpu: SystemCpu) -> None:
    cpu.trap(RESERVED_INSTRUCTION, (cpu.debug & c.DM).eq(0))
    cpu.debug = cpu.debug & ~c.DM
    cpu.flush_tlb()  # the debug unit's registers are hidden again
    with cpu.if_((cpu.debug & c.DSS_ENABLE).ne(0), unlikely=True):
        cpu.exit(EXIT_STEP)
    cpu.resume_at(cpu.depc)
