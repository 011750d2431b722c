"""The FPU control and status register of a stopped cpu, as programs see it.

Parts of FCSR live in registers of their own (see `state`): condition codes, cause, flags; and the
flags of operations since are in the host's status register. Cause of an operation that nobody has
asked about yet (`fp_op`) is computed by native code.
"""

from __future__ import annotations

import ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.vcpu import Cpu

_OWN = 0x01000F83
"""Bits that `fcsr` itself holds: FS, enables, rounding mode."""

CAUSE_QUERY = "pemu_mips_fp_cause"
"""Symbol of the native code that computes Cause."""

_FLAGS = (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15)
"""The guest's I U O Z by the host's ZE OE UE PE."""
_GATHER, _SPREAD, _EACH = 0x0102040810204080, 0x0002040810204081, 0x0101010101010101
"""Factors that bring the lowest bits of eight bytes together in the highest byte, and that put
seven bits into a byte each; the lowest bit of each of eight bytes."""
_FLUSH, _ENABLES = 0x01000000, 0xF80
_UNIMPLEMENTED = 0x20
_FPE_FLTUNK = 14
_MODES = (0, 3, 2, 1)
"""Host rounding control by guest rounding mode (nearest, zero, up, down)."""


def _cause(cpu: Cpu) -> int:
    if not cpu.fp_op:
        return int(cpu.fp_cause)
    query = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(
        cpu.engine.query(cpu, "fpu.status", CAUSE_QUERY)
    )
    return int(query(cpu.address))


def fcsr_value(cpu: Cpu) -> int:
    """The architectural FCSR."""
    value: int = cpu.fcsr & _OWN
    value |= (cpu.fp_flags | _FLAGS[cpu.mxcsr >> 2 & 15]) << 2 | _cause(cpu) << 12
    codes = (int.from_bytes(cpu.fcc, "little") & _EACH) * _GATHER >> 56
    return value | (codes & 1) << 23 | (codes & 0xFE) << 24


def set_fcsr(cpu: Cpu, value: int) -> None:
    """Set the architectural FCSR."""
    cpu.fcsr = value & _OWN
    cpu.fp_flags = value >> 2 & 0x1F
    cpu.fp_cause = value >> 12 & 0x3F
    cpu.fp_op = 0
    codes = value >> 24 & 0xFE | value >> 23 & 1
    each = (codes & 0x7F) * _SPREAD & _EACH | codes >> 7 << 56
    cpu.fcc[:] = each.to_bytes(8, "little")
    cpu.mxcsr = 0x1F80 | _MODES[value & 3] << 13
    exact = value & (_FLUSH | _ENABLES) != 0
    cpu.mode = exact << 1 | cpu.mode & 1


def take_exception(cpu: Cpu) -> int:
    """Clear the exceptions in Cause that are enabled; return the si_code of their SIGFPE.

    As Linux does it: clears so that a handler may return, and takes the code from all of Cause
    (arch/mips/kernel/traps.c, do_fpe and force_fcr31_sig).
    """
    value = fcsr_value(cpu)
    cause = value >> 12 & 0x3F
    cpu.fp_cause = cause & ~(value >> 7 & 0x1F | _UNIMPLEMENTED)
    for bit, code in ((4, 7), (3, 3), (2, 4), (1, 5), (0, 6)):
        if cause >> bit & 1:
            return code
    return _FPE_FLTUNK
