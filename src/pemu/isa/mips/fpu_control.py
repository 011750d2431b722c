"""The FPU control and status register of a stopped cpu, as programs see it.

Parts of FCSR live in registers of their own (see `state`): condition codes, cause, flags; and the
flags of operations since are in the host's status register.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.vcpu import Cpu

_OWN = 0x01000F83 | 0x000C0000
"""Bits that `fcsr` itself holds: FS, enables, rounding mode, NAN2008, ABS2008."""

_FROM_MXCSR = ((5, 0), (4, 1), (3, 2), (2, 3))  # host PE UE OE ZE to guest I U O Z
_MODES = (0, 3, 2, 1)
"""Host rounding control by guest rounding mode (nearest, zero, up, down)."""


def fcsr_value(cpu: Cpu) -> int:
    """The architectural FCSR."""
    value: int = cpu.fcsr & _OWN
    flags: int = cpu.fp_flags
    for host, guest in _FROM_MXCSR:
        flags |= (cpu.mxcsr >> host & 1) << guest
    value |= flags << 2 | cpu.fp_cause << 12
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
    codes = cpu.fcc
    codes[0] = value >> 23 & 1
    for index in range(1, 8):
        codes[index] = value >> (24 + index) & 1
    cpu.mxcsr = 0x1F80 | _MODES[value & 3] << 13


def fpe_code(cpu: Cpu) -> int:
    """si_code of SIGFPE for the enabled exceptions in Cause, as Linux chooses it."""
    pending = fcsr_value(cpu) >> 12 & 0x1F & (fcsr_value(cpu) >> 7)
    for bit, code in ((4, 7), (3, 3), (2, 4), (1, 5), (0, 6)):
        if pending >> bit & 1:
            return code
    return 0
