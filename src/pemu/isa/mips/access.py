"""What memory an instruction accesses, for watchpoints and for what faults tell."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SIZES = {
    **dict.fromkeys((0x20, 0x24, 0x28), 1),  # lb lbu sb
    **dict.fromkeys((0x21, 0x25, 0x29), 2),  # lh lhu sh
    **dict.fromkeys((0x23, 0x27, 0x2B, 0x30, 0x31, 0x38, 0x39), 4),  # lw lwu sw ll lwc1 sc swc1
    **dict.fromkeys((0x34, 0x35, 0x37, 0x3C, 0x3D, 0x3F), 8),  # lld ldc1 ld scd sdc1 sd
}
"""Bytes by the major opcode, of instructions with a base register and an offset."""

_PARTS = {
    **dict.fromkeys((0x22, 0x2A), (4, True)),  # lwl swl
    **dict.fromkeys((0x26, 0x2E), (4, False)),  # lwr swr
    **dict.fromkeys((0x1A, 0x2C), (8, True)),  # ldl sdl
    **dict.fromkeys((0x1B, 0x2D), (8, False)),  # ldr sdr
}
"""(bytes of the word, whether it is the left part) of the unaligned accesses."""

_COP1X = {0: 4, 1: 8, 5: 8, 8: 4, 9: 8, 13: 8}  # lwxc1 ldxc1 luxc1 swxc1 sdxc1 suxc1
_LX = {0: 4, 4: 2, 6: 1, 8: 8}  # lwx lhx lbux ldx


def addressed(instruction: int, gpr: Sequence[int]) -> tuple[int, int] | None:
    """(address, bytes that it is to be aligned to) of an instruction with a base and an offset.

    The address is the instruction's own, of which a part of a word may lie before it, and is not
    yet cut to the width of addresses.
    """
    opcode = instruction >> 26
    size = 1 if opcode in _PARTS else _SIZES.get(opcode)
    if size is None:
        return None
    return gpr[instruction >> 21 & 31] + (instruction & 0xFFFF ^ 0x8000) - 0x8000, size


def accessed(
    instruction: int, gpr: Sequence[int], big_endian: bool
) -> tuple[int, int, bool] | None:
    """(address, bytes, whether it is a store) of the access that an instruction would make.

    The address is not yet cut to the width of addresses. None for one that makes no access.
    """
    opcode, base = instruction >> 26, gpr[instruction >> 21 & 31]
    offset = (instruction & 0xFFFF ^ 0x8000) - 0x8000
    store = 0x28 <= opcode <= 0x2E or opcode >= 0x38
    if opcode in _SIZES:
        return base + offset, _SIZES[opcode], store
    if opcode in _PARTS:
        size, left = _PARTS[opcode]
        address = base + offset
        start = address & -size
        if left == big_endian:
            return address, start + size - address, store
        return start, address + 1 - start, store
    index = gpr[instruction >> 16 & 31]
    function = instruction & 0x3F
    if opcode == 0x13 and function in _COP1X:
        return base + index, _COP1X[function], function >= 8
    if opcode == 0x1F and function == 0x0A and instruction >> 6 & 31 in _LX:
        return base + index, _LX[instruction >> 6 & 31], False
    return None


def is_branch(instruction: int) -> bool:
    """Whether an instruction has a delay slot."""
    opcode = instruction >> 26
    if opcode == 0:
        return instruction & 0x3E == 8  # jr jalr
    if opcode in (0x11, 0x12):
        return instruction >> 21 & 31 in (8, 9, 10)  # bc1 bc1any2 bc1any4
    return 1 <= opcode <= 7 and instruction >> 16 & 0x18 != 8 or 0x14 <= opcode <= 0x17
