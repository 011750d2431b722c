"""TCStatus of the multithreading extension: what it shares with Status and EntryHi is kept there.

Source: MIPS32 Architecture for Programmers, volume IV-f, "The MIPS MT Module".
"""

from __future__ import annotations

from pemu.isa.mips.cp0 import state as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.state import SystemCpu

ACTIVE, IXMT = 1 << 13, 1 << 10
"""Bits of TCStatus: the thread context runs; no interrupts for it."""

_OWN = IXMT | ACTIVE | 1 << 15 | 1 << 20
"""Bits of TCStatus that are in no other register: IXMT, A, DA, DT."""

_TCU, _TMX_SHIFT, _TKSU_SHIFT = 0xF << 28, 27 - 24, 11 - c.KSU_SHIFT
"""Where TCStatus has CU3..0 of Status; by how much further up it has MX and KSU."""


def read(cpu: SystemCpu) -> Value:
    """TCStatus, with what Status and EntryHi hold of it."""
    status = cpu.status
    shared = (status & _TCU) | ((status & c.MX) << _TMX_SHIFT) | ((status & c.KSU) << _TKSU_SHIFT)
    return (cpu.tcstatus & _OWN) | shared | (cpu.entryhi.trunc(32) & 0xFF)


def write(cpu: SystemCpu, value: Value) -> None:
    """Write TCStatus, and what it shares with Status and EntryHi."""
    value = value.trunc(32)
    cpu.tcstatus = value & _OWN
    mask = (_TCU | c.MX | c.KSU) & c.control_of(cpu).status_mask
    shared = (value & _TCU) | (value.lshr(_TMX_SHIFT) & c.MX) | (value.lshr(_TKSU_SHIFT) & c.KSU)
    cpu.status = (cpu.status & ~mask) | (shared & mask)
    asid = value & 0xFF
    cpu.entryhi = (cpu.entryhi & ~0xFF) | asid.zext(cpu.arch.xlen)
    cpu.set_context(asid)
    cpu.update_mode()
