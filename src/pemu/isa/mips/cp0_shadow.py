"""Shadow sets of the general registers.

The set in use (SRSCtl.CSS) is `gpr`; the others wait in `shadow`. Exceptions enter the set that
SRSCtl.ESS or, for an interrupt with a vector of its own, SRSMap names; ERET goes back to PSS.
"""

from __future__ import annotations

from pemu.isa.mips import cp0_interrupts as interrupts
from pemu.isa.mips import cp0_state as c
from pemu.isa.mips import exceptions as e
from pemu.isa.mips.cp0_usable import privileged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.values import Value
    from pemu.isa.mips.cp0_state import SystemCpu

_CSS, _PSS, _ESS = 0, 6, 12
"""Lowest bits of SRSCtl's fields of four bits."""


def _field(cpu: SystemCpu, low: int) -> Value:
    return cpu.srsctl.lshr(low) & 15


def _select(cpu: SystemCpu, new: Value) -> None:
    old = _field(cpu, _CSS)
    with cpu.if_(old.ne(new), unlikely=True):
        for number in range(1, 32):
            cpu.shadow[(old << 5) + number] = cpu.gpr[number]
            cpu.gpr[number] = cpu.shadow[(new << 5) + number]
        cpu.srsctl = (cpu.srsctl & ~15) | new


def enter(cpu: SystemCpu, code: Value, boot: Value) -> None:
    """Change to the set of an exception, where exceptions have one."""
    if "shadow" not in cpu.features:
        return
    with cpu.if_(~boot):
        new = cpu.var(32, _field(cpu, _ESS))
        spaced = (cpu.cause & c.IV).ne(0) & (cpu.intctl & 0x3E0).ne(0)
        with cpu.if_(code.eq(e.INTERRUPT) & spaced):
            number = interrupts.vector(cpu, interrupts.cause(cpu))
            new.value = cpu.srsmap.lshr((number & 7) << 2) & 15
        cpu.srsctl = (cpu.srsctl & ~(15 << _PSS)) | (_field(cpu, _CSS) << _PSS)
        _select(cpu, new.value)


def leave(cpu: SystemCpu, status: Value) -> None:
    """Go back to the set from before an exception."""
    if "shadow" in cpu.features:
        with cpu.if_((status & (c.ERL | c.BEV)).eq(0)):
            _select(cpu, _field(cpu, _PSS))


def _other(cpu: SystemCpu) -> Value | None:
    """One if PSS is another set than the one in use; None if there is only one."""
    if "shadow" not in cpu.features:
        return None
    return _field(cpu, _PSS).ne(_field(cpu, _CSS))


@privileged(
    "010000 01010 rt:5 rd:5 00000000000",
    "rdpgpr {rd}, {rt}",
    name="rdpgpr_system",
    needs="mips32r2",
)
def rdpgpr(cpu: SystemCpu, rt: Value, rd: Value) -> None:
    other = _other(cpu)
    value = cpu.gpr[rt]
    if other is not None:
        value = other.select(cpu.shadow[(_field(cpu, _PSS) << 5) + rt.zext(32)], value)
    cpu.gpr[rd] = value


@privileged(
    "010000 01110 rt:5 rd:5 00000000000",
    "wrpgpr {rd}, {rt}",
    name="wrpgpr_system",
    needs="mips32r2",
)
def wrpgpr(cpu: SystemCpu, rt: Value, rd: Value) -> None:
    other = _other(cpu)
    value = cpu.gpr[rt]
    if other is None:
        cpu.gpr[rd] = value
        return
    with cpu.if_(other) as arm, cpu.if_(rd.ne(0)):
        cpu.shadow[(_field(cpu, _PSS) << 5) + rd.zext(32)] = value
    with arm.otherwise():
        cpu.gpr[rd] = value
