"""What the engine is told of a whole processor, beside its instructions."""

from __future__ import annotations

from functools import cache

from pemu.isa.mips.cp0.exceptions import enter_exception, may_interrupt, take_interrupt
from pemu.isa.mips.cp0.mode import current_mode
from pemu.isa.mips.cp0.state import MipsSystem
from pemu.isa.mips.cp0.translate import MODE_ERROR, MODE_KERNEL, fixed, translate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.insn import InstructionSet
    from pemu.isa.mips.cp0.models import Control

_MODULES = (
    "moves",
    "tlb",
    "returning",
    "shadow",
    "instructions",
    "threads",
)
"""Modules that declare what only whole processors have."""


def system_of(control: Control) -> MipsSystem:
    """Return the system architecture with a coprocessor 0."""
    return MipsSystem(
        control,
        enter_exception=enter_exception,
        take_interrupt=take_interrupt,
        may_interrupt=may_interrupt,
        translate=translate,
        current_mode=current_mode,
        fixed=fixed,
        common_modes=1 << MODE_KERNEL | 1 << MODE_ERROR,
    )


@cache
def system_instructions() -> InstructionSet:
    """The table of instructions with those of whole processors, tested for being usable."""
    from importlib import import_module

    from pemu.isa.mips.cp0.usable import guard
    from pemu.isa.mips.table import instructions

    table = instructions()
    for module in _MODULES:
        import_module(f"pemu.isa.mips.cp0.{module}")
    guard(table)
    return table
