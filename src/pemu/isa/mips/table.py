"""The table that every MIPS instruction is declared on, and the ways operands are written.

Fields are named as in the architecture manuals (rs, rt, rd, base, sa, fs, cc, ...). How a field is
written in assembly follows from its name (rs, rt, rd, base: general register; fs, ft, fd, fr:
floating-point register; cc: condition code; ac: DSP accumulator) or from a kind after a colon:

    {x:g} {x:f} {x:cc} {x:ac}   registers as above, also for fields with other names
    {x:$}           number of a register without name: $5
    {x:d} {x:u}     signed, unsigned decimal number
    {x:x}           hexadecimal number 0x1f; `{x:x+1-lsb}` adds terms (numbers, other fields)
    {x:c0}{sel:c0sel}   coprocessor 0 register by number and selection
    {x:c1}          coprocessor 1 control register
    {x:branch}      word offset from the delay slot, written as the target address
    {x:jump} {x:jumpx}       word index in the 256 MiB segment, written as the target address

A mnemonic `.word` means that disassemblers know no name for the pattern.
"""

from __future__ import annotations

from functools import cache

from pemu.engine.staging.insn import InstructionSet

PACKAGE = "pemu.isa.mips"

MIPS = InstructionSet("mips", unit=32, package=PACKAGE)

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

COPROCESSORS = ("dsp", "fpu")
"""Folders of this package whose modules declare DSP and floating-point instructions."""


@cache
def instructions() -> InstructionSet:
    """Import every module that declares instructions and return the table.

    This takes tens of milliseconds: only for translating, never with a warm code cache.
    """
    from importlib import import_module
    from pkgutil import iter_modules

    for module in MODULES:
        import_module(f"{PACKAGE}.{module}")
    for folder in COPROCESSORS:
        package = import_module(f"{PACKAGE}.{folder}")
        for found in iter_modules(package.__path__, f"{package.__name__}."):
            import_module(found.name)
    return MIPS
