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

_FROM_MXCSR = ((5, 0), (4, 1), (3, 2), (2, 3))  # host PE UE OE ZE to guest I U O Z
_FLUSH, _ENABLES = 0x01000000, 0xF80
_UNIMPLEMENTED = 0x20
_FPE_FLTUNK = 14
_MODES = (0, 3, 2, 1)
"""Host rounding control by guest rounding mode (nearest, zero, up, down)."""


def _cause(cpu: Cpu) -> int:
    if not cpu.fp_op:
        return int(cpu.fp_cause)
    query = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(
        cpu.engine.query(cpu, "fpu_status", CAUSE_QUERY)
    )
    return int(query(cpu.address))


def fcsr_value(cpu: Cpu) -> int:
    """The architectural FCSR."""
    value: int = cpu.fcsr & _OWN
    flags: int = cpu.fp_flags
    raised = cpu.mxcsr
    for host, guest in _FROM_MXCSR:
        flags |= (raised >> host & 1) << guest
    value |= flags << 2 | _cause(cpu) << 12
    codes = cpu.fcc
    value |= (codes[0] & 1) << 23
    for index in range(1, 8):
        value |= (codes[index] & 1) << (24 + index)
    return value


def set_fcsr(cpu: Cpu, value: int) -> None:
    """Set the architectural FCSR."""
    cpu.fcsr = value & _OWN
    cpu.fp_flags = value >> 2 & 0x1F
    cpu.fp_cause = value >> 12 & 0x3F
    cpu.fp_op = 0
    codes = cpu.fcc
    codes[0] = value >> 23 & 1
    for index in range(1, 8):
        codes[index] = value >> (24 + index) & 1
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
