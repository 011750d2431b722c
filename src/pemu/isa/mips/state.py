"""The registers of a MIPS processor.

`hi` and `lo` are files of four: index 0 is the classic pair, 1 to 3 are the other accumulators of
the DSP extension. How `fpr` holds values depends on the FPU register mode (FR): with FR=0 a double
lies in an even register's slot, the single of that register in the slot's low half and the single
of the odd register in its high half; with FR=1 each slot stands alone, singles in the low half.
"""

from __future__ import annotations

from pemu.engine.layout.state import Layout, Register
from pemu.isa.mips.names import FCC, FPR, GPR_N64, GPR_O32, HI, LO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.builder import InsnBuilder, RegisterFile
    from pemu.engine.staging.values import Value

    class _Single:
        """A register that is not part of a file: read as a value, given a value or a number."""

        def __get__(self, cpu: Cpu, kind: type[Cpu]) -> Value: ...
        def __set__(self, cpu: Cpu, value: Value | int) -> None: ...

    class Cpu(InsnBuilder):
        """What the meaning of a MIPS instruction is handed: the builder with these registers."""

        gpr: RegisterFile
        hi: RegisterFile
        lo: RegisterFile
        fpr: RegisterFile
        fcc: RegisterFile
        fcsr: _Single
        fp_cause: _Single
        fp_flags: _Single
        fp_op: _Single
        fp_a: _Single
        fp_b: _Single
        fp_c: _Single
        fcr0: _Single
        dspctl: _Single
        llbit: _Single
        lladdr: _Single
        llvalue: _Single
        userlocal: _Single
        hwrena: _Single


def layout(xlen: int, abi: str) -> Layout:
    """Return the state of a processor with `xlen` bits a register (32 or 64).

    `abi` ("o32", "n32", "n64") only chooses the names that registers are displayed by.
    """
    general = GPR_O32 if abi == "o32" else GPR_N64
    return Layout(
        (
            Register("gpr", xlen, 32, zero=0, names=general),
            Register("hi", xlen, 4, names=HI),
            Register("lo", xlen, 4, names=LO),
            Register("fpr", 64, 32, group="float", names=FPR),
            Register("fcc", 8, 8, group="float", names=FCC),
            # FCSR without condition codes, cause and flags, which have registers of their own.
            Register("fcsr", 32, group="float", memory=True),
            Register("fp_cause", 8, group="float", memory=True),
            Register("fp_flags", 8, group="float", memory=True),
            # The last operation and its operands: Cause is computed from them when it is read.
            Register("fp_op", 32, group="hidden", memory=True),
            Register("fp_a", 64, group="hidden", memory=True),
            Register("fp_b", 64, group="hidden", memory=True),
            Register("fp_c", 64, group="hidden", memory=True),
            Register("fcr0", 32, group="float", memory=True),
            Register("dspctl", 32, group="system", memory=True),
            # LL remembers address and value; SC compares the value (see atomic.py).
            Register("llbit", 8, group="hidden", memory=True),
            Register("lladdr", xlen, group="hidden", memory=True),
            Register("llvalue", xlen, group="hidden", memory=True),
            Register("userlocal", xlen, group="system", memory=True),
            Register("hwrena", 32, group="hidden", memory=True),
        )
    )


def word(cpu: Cpu, index: Value | int) -> Value:
    """Return the low 32 bits of a general register: the operand of a 32-bit operation."""
    return cpu.gpr[index].trunc(32)


def set_word(cpu: Cpu, index: Value | int, value: Value) -> None:
    """Write a 32-bit result to a general register, where it stands sign-extended."""
    cpu.gpr[index] = value.sext(cpu.arch.xlen)
