"""The table that every MIPS instruction is declared on, and the ways operands are written.

Fields are named as in the architecture manuals (rs, rt, rd, sa, fs, ...). A field in an assembly
text may carry a kind after a colon that says how it is written; `disassembler` knows the kinds.
"""

from __future__ import annotations

from pemu.engine.insn import InstructionSet

MIPS = InstructionSet("mips", unit=32)

MODULES = (
    "integer",
    "multiply",
    "branch",
    "memory_access",
    "atomic",
    "traps",
    "system",
)
"""Modules of this package that declare integer instructions."""

COPROCESSOR_MODULES = ("fpu", "dsp")
"""Name prefixes of the modules that declare floating-point and DSP instructions."""


def instructions() -> InstructionSet:
    """Import every module that declares instructions and return the table.

    This takes tens of milliseconds: only for translating, never with a warm code cache.
    """
    from importlib import import_module
    from pkgutil import iter_modules

    import pemu.isa.mips as package

    for module in MODULES:
        import_module(f"{package.__name__}.{module}")
    for found in iter_modules(package.__path__):
        if found.name.startswith(COPROCESSOR_MODULES):
            import_module(f"{package.__name__}.{found.name}")
    return MIPS
