"""Registers as text, in the form of QEMU's log."""

from __future__ import annotations

import struct

from pemu.isa.mips.cpu import MODE_FR1
from pemu.isa.mips.fpu.control import fcsr_value
from pemu.isa.mips.names import GPR_O32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.vcpu import Cpu

_ZERO = ("r0",)
"""What stands for the assembler's name of register 0."""


def general(cpu: Cpu) -> str:
    """The program counter, HI and LO, and the general registers: nine lines."""
    arch = cpu.engine.arch
    digits = arch.xlen // 4
    # Programs have an ABI that names the registers; for whole processors QEMU has one set of names.
    names = GPR_O32 if arch.system is not None else arch.layout.by_name[arch.general].names
    names = (*_ZERO, *names[len(_ZERO) :])
    gpr: memoryview = cpu.gpr
    lines = [
        f"pc=0x{cpu.pc & (1 << arch.xlen) - 1:0{digits}x} "
        f"HI=0x{cpu.hi[0]:0{digits}x} LO=0x{cpu.lo[0]:0{digits}x}"
    ]
    for first in range(0, 32, 4):
        cells = (f"{names[i]} {gpr[i]:0{digits}x}" for i in range(first, first + 4))
        lines.append(f"GPR{first:02}: {' '.join(cells)}")
    return "\n".join(lines) + "\n"


def floating_point(cpu: Cpu) -> str:
    """The control registers of the FPU, and its data registers as word, double and singles.

    Where the FPU has 16 registers of 64 bits (FR=0) only the even numbers are listed.
    """
    wide = bool(cpu.mode & MODE_FR1)
    lines = [
        f"CP1 FCR0 0x{cpu.fcr0:08x}  FCR31 0x{fcsr_value(cpu):08x}  SR.FR {wide:d}  "
        f"fp_status 0x{fcsr_value(cpu) >> 2 & 31:02x}"
    ]
    fpr: memoryview = cpu.fpr
    for number in range(0, 32, 1 if wide else 2):
        raw = fpr[number].to_bytes(8, "little")
        (double,) = struct.unpack("<d", raw)
        single, upper = struct.unpack("<ff", raw)
        lines.append(
            f"{f'f{number}':>3}: w:{fpr[number] & 0xFFFFFFFF:08x} d:{fpr[number]:016x} "
            f"fd:{double:13g} fs:{single:13g} psu: {upper:13g}"
        )
    return "\n".join(lines) + "\n"
