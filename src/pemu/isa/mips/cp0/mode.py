"""The translation mode that the registers ask for, and what reset makes of a processor."""

from __future__ import annotations

from pemu.engine.layout.context import MMU_SHIFT
from pemu.isa.mips.cp0 import performance
from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0.translate import MODE_ERROR, MODE_KERNEL, MODE_USER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.state import SystemCpu

_FS_AND_ENABLES = 0x01000F80
"""Bits of FCSR that need the exact modes of the FPU."""


def current_mode(cpu: SystemCpu) -> Value:
    """As `engine.architecture.System` says: FR, exact FPU, no 64 bits, counted, from bit 0 on."""
    status = cpu.status
    privilege = status.lshr(c.KSU_SHIFT) & 3
    exempt = (status & c.EXL).ne(0)
    if "mips32" in cpu.features:
        exempt = exempt | (cpu.debug & c.DM).ne(0)
    mmu = exempt.select(cpu.const(MODE_KERNEL, 32), privilege.umin(MODE_USER))
    mmu = (status & c.ERL).ne(0).select(cpu.const(MODE_ERROR, 32), mmu)
    mode = cpu.const(0, 32)
    bits = 0
    if "fpu" in cpu.features:
        mode = (status & c.FR).ne(0).zext(32)
        mode = mode | ((cpu.fcsr & _FS_AND_ENABLES).ne(0).zext(32) << 1)
        bits = 2
    if cpu.arch.xlen == 64:
        wide = cpu.const(c.UX, 32)
        if "mips64" in c.control_of(cpu).model.features:
            wide = cpu.const(c.UX | c.PX, 32)
        narrow = mmu.eq(MODE_USER) & (status & wide).eq(0)
        mode = mode | (narrow.zext(32) << bits)
        bits += 1
    if "performance" in cpu.features:
        counted = performance.counts_instructions(cpu)
        if not cpu.arch.counts:
            mode = mode | (counted.zext(32) << bits)
    return mode | (mmu << MMU_SHIFT)
