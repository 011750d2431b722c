"""What Status lets be used: coprocessors, the DSP extension, instructions of 64 bits.

The modules that declare instructions know nothing of it: `guard` adds the tests to the whole table.
Privileged instructions are declared by `privileged`.
"""

from __future__ import annotations

from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.exceptions import COPROCESSOR_UNUSABLE, DSP_DISABLED, RESERVED_INSTRUCTION
from pemu.isa.mips.table import COPROCESSORS, MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.insn import InstructionSet, Meaning
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.state import SystemCpu


def unprivileged(cpu: SystemCpu) -> Value:
    """One where the processor is not in kernel mode."""
    status = cpu.status
    lesser = (status & c.KSU).ne(0) & (status & (c.EXL | c.ERL)).eq(0)
    if "mips32" in cpu.features:
        lesser = lesser & (cpu.debug & c.DM).eq(0)
    return lesser


def require_privilege(cpu: SystemCpu) -> None:
    """Raise Coprocessor Unusable where coprocessor 0 may not be used."""
    cpu.trap(COPROCESSOR_UNUSABLE, unprivileged(cpu) & (cpu.status & c.CU0).eq(0), 0)


def _require_fpu(cpu: SystemCpu) -> None:
    """Raise Coprocessor Unusable where the FPU is switched off; never in user emulation."""
    if "system" in cpu.features:
        cpu.require("cu1", COPROCESSOR_UNUSABLE, lambda: (cpu.status & c.CU1).eq(0), 1)


def _require_dsp(cpu: SystemCpu) -> None:
    """Raise DSP Disabled where the DSP extension is switched off; never in user emulation."""
    if "system" in cpu.features:
        cpu.require("mx", DSP_DISABLED, lambda: (cpu.status & c.MX).eq(0))


WIDE = frozenset(("mips3", "mips64", "mips64r2", "dsp64"))
"""Features that instructions of 64 bits need: those of the translation modes that have them."""

WIDE_PART = "wide"
"""The part of tier 0 that has them (see `engine.architecture.Architecture`)."""


_FLOATS = (("cop1_reserved", "010001"), ("cop1x_reserved", "010011"))
_RESERVED_FLOATS = tuple(name for name, _ in _FLOATS)


def _reserved(cpu: SystemCpu) -> None:
    cpu.trap(RESERVED_INSTRUCTION)


for _name, _opcode in _FLOATS:
    MIPS.insn(
        f"{_opcode} --------------------------",
        ".word",
        name=_name,
        needs="system fpu",
    )(_reserved)


def guard(table: InstructionSet) -> None:
    """Have the instructions tested for being usable, on whole processors."""
    for insn in table.insns:
        if "fpu" in insn.needs:
            insn.before = _require_fpu
            if not insn.name.startswith(_RESERVED_FLOATS):
                insn.overrides += tuple(
                    name for name, opcode in _FLOATS if insn.match >> 26 == int(opcode, 2)
                )
        elif insn.needs & {"dsp", "dspr2"}:
            insn.before = _require_dsp
        if (insn.needs | insn.unless) & WIDE and not insn.module.startswith(COPROCESSORS):
            insn.module = WIDE_PART


def privileged(
    pattern: str,
    assembly: str,
    *,
    name: str = "",
    needs: str = "",
    unless: str = "",
    overrides: str = "",
) -> Callable[[Meaning], Meaning]:
    """Declare an instruction of a whole processor that only the kernel may use."""
    if pattern.startswith("010000 ") and name != "cop0_system":
        overrides += " cop0_system"
    return MIPS.insn(
        pattern,
        assembly,
        name=name,
        needs=f"system {needs}",
        unless=unless,
        overrides=overrides,
        before=require_privilege,
    )
