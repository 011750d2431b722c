"""The multithreading extension, with one thread context on one virtual processor.

Its registers are in the table of `cp0_registers`. What TCStatus shares with Status and EntryHi is
kept there only. MFTR and MTTR reach registers of the one context there is, number 0; of others they
read all ones, and change nothing. Halting the context by its own TCHalt does not stop it.

Source: MIPS32 Architecture for Programmers, volume IV-f, "The MIPS MT Module".
"""

from __future__ import annotations

from pemu.isa.mips import cp0_state as c
from pemu.isa.mips.cp0_interrupts import IXMT
from pemu.isa.mips.cp0_usable import privileged
from pemu.isa.mips.state import set_word, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.values import Value
    from pemu.isa.mips.cp0_state import SystemCpu

ACTIVE = 1 << 13
"""Bit of TCStatus: the thread context runs."""

_OWN = IXMT | ACTIVE | 1 << 15 | 1 << 20
"""Bits of TCStatus that are in no other register: IXMT, A, DA, DT."""

_TCU, _TMX_SHIFT, _TKSU_SHIFT = 0xF << 28, 27 - 24, 11 - c.KSU_SHIFT
"""Where TCStatus has CU3..0 of Status; by how much further up it has MX and KSU."""

_EVP = 1 << 0
_TE = 1 << 15
_TARGET = 0xFF


def read_tcstatus(cpu: SystemCpu) -> Value:
    """TCStatus, with what Status and EntryHi hold of it."""
    status = cpu.status
    shared = (status & _TCU) | ((status & c.MX) << _TMX_SHIFT) | ((status & c.KSU) << _TKSU_SHIFT)
    return (cpu.tcstatus & _OWN) | shared | (cpu.entryhi.trunc(32) & 0xFF)


def write_tcstatus(cpu: SystemCpu, value: Value) -> None:
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


def _switch(name: str, pattern: str, register: str, bit: int, on: bool) -> None:
    """Declare an instruction that reads a register and sets or clears one of its bits."""

    def meaning(cpu: SystemCpu, rt: Value) -> None:
        value: Value = getattr(cpu, register)
        setattr(cpu, register, value | bit if on else value & ~bit)
        set_word(cpu, rt, value)

    privileged(f"010000 01011 rt:5 {pattern}", f"{name} {{rt}}", name=name, needs="mt")(meaning)


_switch("dvpe", "00000 00000 000001", "mvpcontrol", _EVP, on=False)
_switch("evpe", "00000 00000 100001", "mvpcontrol", _EVP, on=True)
_switch("dmt", "00001 01111 000001", "vpecontrol", _TE, on=False)
_switch("emt", "00001 01111 100001", "vpecontrol", _TE, on=True)


def _own(cpu: SystemCpu) -> Value:
    """One if moves are from or to the thread context that there is."""
    return (cpu.vpecontrol & _TARGET).eq(0)


def declare_moves(
    number: int,
    select: int,
    name: str,
    needs: str,
    read: Callable[[SystemCpu], Value],
    write: Callable[[SystemCpu, Value], None],
) -> None:
    """Declare MFTR and MTTR for a register of coprocessor 0."""

    def from_context(cpu: SystemCpu, rd: Value) -> None:
        set_word(cpu, rd, _own(cpu).select(read(cpu).trunc(32), -1))

    def to_context(cpu: SystemCpu, rt: Value) -> None:
        kept = read(cpu).sext(cpu.arch.xlen)
        write(cpu, _own(cpu).select(word(cpu, rt).sext(cpu.arch.xlen), kept))

    end = f"00000 000 {select:03b}"
    for mnemonic, pattern, operand, meaning in (
        ("mftr", f"01000 {number:05b} rd:5", "rd", from_context),
        ("mttr", f"01100 rt:5 {number:05b}", "rt", to_context),
    ):
        privileged(
            f"010000 {pattern} {end}",
            f"{mnemonic[:2]}tc0 {{{operand}}}, c0_{name}",
            name=f"{mnemonic}_{name}",
            needs=f"mt {needs}",
        )(meaning)


@privileged("010000 01000 rt:5 rd:5 00000 100 000", "mftgpr {rd}, {rt}", name="mftgpr", needs="mt")
def mftgpr(cpu: SystemCpu, rt: Value, rd: Value) -> None:
    set_word(cpu, rd, _own(cpu).select(word(cpu, rt), -1))


@privileged("010000 01100 rt:5 rd:5 00000 100 000", "mttgpr {rt}, {rd}", name="mttgpr", needs="mt")
def mttgpr(cpu: SystemCpu, rt: Value, rd: Value) -> None:
    set_word(cpu, rd, _own(cpu).select(word(cpu, rt), word(cpu, rd)))
