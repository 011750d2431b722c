"""Which address an instruction accesses memory at, told from its word and the registers.

Pemu's own accesses differ: those of a part of a word begin elsewhere, others need not be aligned.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.vcpu import Cpu

_PARTIAL = (0x1A, 0x1B, 0x22, 0x26, 0x2A, 0x2C, 0x2D, 0x2E)
"""Opcodes of LDL, LDR, LWL, LWR, SWL, SDL, SDR, SWR."""

_SIZES = {0x21: 2, 0x23: 4, 0x25: 2, 0x27: 4, 0x29: 2, 0x2B: 4, 0x37: 8, 0x3F: 8}
_SIZES |= {0x31: 4, 0x35: 8, 0x39: 4, 0x3D: 8}
"""Bytes of LH, LW, LHU, LWU, SH, SW, LD, SD, LWC1, LDC1, SWC1, SDC1, by opcode."""


def accessed(cpu: Cpu, word: int) -> tuple[int, int] | None:
    """The guest-virtual address of an access, and the bytes that it is aligned to.

    None for instructions of which nobody needs to know it.
    """
    size = 1 if word >> 26 in _PARTIAL else _SIZES.get(word >> 26)
    if size is None:
        return None
    offset = (word & 0xFFFF ^ 0x8000) - 0x8000
    address = cpu.gpr[word >> 21 & 31] + offset
    return address & (1 << cpu.engine.arch.address_bits) - 1, size
