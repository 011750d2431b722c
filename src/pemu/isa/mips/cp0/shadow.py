"""Shadow sets of the general registers.

The set in use (SRSCtl.CSS) is `gpr`; the others wait in `shadow`. Exceptions enter the set that
SRSCtl.ESS or, for an interrupt with a vector of its own, SRSMap or an external controller (EICSS)
names; ERET goes back to PSS.
"""

from __future__ import annotations

from pemu.isa.mips import exceptions as e
from pemu.isa.mips.cp0 import interrupts
from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0.usable import privileged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.state import SystemCpu

_CSS, _PSS, _ESS, _EICSS = 0, 6, 12, 18
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
            if "veic" in cpu.features:
                new.value = _field(cpu, _EICSS)
            else:
                number = interrupts.vector(cpu, interrupts.cause(cpu))
                new.value = cpu.srsmap.lshr((number & 7) << 2) & 15
        cpu.srsctl = (cpu.srsctl & ~(15 << _PSS)) | (_field(cpu, _CSS) << _PSS)
        _select(cpu, new.value)


def leave(cpu: SystemCpu, status: Value) -> None:
    """Go back to the set from before an exception."""
    if "shadow" in cpu.features:
        with cpu.if_((status & (c.ERL | c.BEV)).eq(0)):
            _select(cpu, _field(cpu, _PSS))


def _elsewhere(cpu: SystemCpu) -> Value:
    """One if the previous set is another than the one in use."""
    return _field(cpu, _PSS).ne(_field(cpu, _CSS))


def _previous(cpu: SystemCpu, number: Value) -> Value:
    """Where `shadow` has a register of the previous set."""
    return (_field(cpu, _PSS) << 5) + number.zext(32)


def rdpgpr(cpu: SystemCpu, rt: Value, rd: Value) -> None:
    """Read a register of the previous shadow set."""
    value = cpu.gpr[rt]
    if "shadow" in cpu.features:
        value = _elsewhere(cpu).select(cpu.shadow[_previous(cpu, rt)], value)
    cpu.gpr[rd] = value


def wrpgpr(cpu: SystemCpu, rt: Value, rd: Value) -> None:
    """Write a register of the previous shadow set."""
    value = cpu.gpr[rt]
    if "shadow" in cpu.features:
        elsewhere = _elsewhere(cpu)
        with cpu.if_(elsewhere & rd.ne(0)):
            cpu.shadow[_previous(cpu, rd)] = value
        value = elsewhere.select(cpu.gpr[rd], value)
    cpu.gpr[rd] = value


for _code, _meaning in (("01010", rdpgpr), ("01110", wrpgpr)):
    _name = _meaning.__name__
    privileged(
        f"010000 {_code} rt:5 rd:5 00000000000",
        f"{_name} {{rd}}, {{rt}}",
        name=f"{_name}_system",
        needs="mips32r2",
    )(_meaning)
