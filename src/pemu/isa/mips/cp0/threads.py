"""The multithreading extension, with one thread context on one virtual processor.

Its registers are in the table of `registers`. MFTR and MTTR reach registers of the one context
there is, number 0; of others they read all ones, and change nothing. Halting the context by its own
TCHalt does not stop it.

Source: MIPS32 Architecture for Programmers, volume IV-f, "The MIPS MT Module".
"""

from __future__ import annotations

from pemu.isa.mips.cp0.moves import read, write
from pemu.isa.mips.cp0.registers import REGISTERS, ControlRegister
from pemu.isa.mips.cp0.usable import privileged
from pemu.isa.mips.state import set_word, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.state import SystemCpu

_EVP = 1 << 0
_TE = 1 << 15
_TARGET = 0xFF


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


def _declare_moves(register: ControlRegister) -> None:
    """Declare MFTR and MTTR for a register of coprocessor 0."""

    def from_context(cpu: SystemCpu, rd: Value) -> None:
        set_word(cpu, rd, _own(cpu).select(read(cpu, register).trunc(32), -1))

    def to_context(cpu: SystemCpu, rt: Value) -> None:
        kept = read(cpu, register).sext(cpu.arch.xlen)
        write(cpu, register, _own(cpu).select(word(cpu, rt).sext(cpu.arch.xlen), kept))

    end = f"00000 000 {register.select:03b}"
    for mnemonic, pattern, operand, meaning in (
        ("mftr", f"01000 {register.number:05b} rd:5", "rd", from_context),
        ("mttr", f"01100 rt:5 {register.number:05b}", "rt", to_context),
    ):
        privileged(
            f"010000 {pattern} {end}",
            f"{mnemonic[:2]}tc0 {{{operand}}}, c0_{register.name}",
            name=f"{mnemonic}_{register.name}",
            needs=f"mt {register.needs}",
        )(meaning)


for _register in REGISTERS:
    if _register.select is not None:
        _declare_moves(_register)


@privileged("010000 01000 rt:5 rd:5 00000 100 000", "mftgpr {rd}, {rt}", name="mftgpr", needs="mt")
def mftgpr(cpu: SystemCpu, rt: Value, rd: Value) -> None:
    set_word(cpu, rd, _own(cpu).select(word(cpu, rt), -1))


@privileged("010000 01100 rt:5 rd:5 00000 100 000", "mttgpr {rt}, {rd}", name="mttgpr", needs="mt")
def mttgpr(cpu: SystemCpu, rt: Value, rd: Value) -> None:
    set_word(cpu, rd, _own(cpu).select(word(cpu, rt), word(cpu, rd)))
