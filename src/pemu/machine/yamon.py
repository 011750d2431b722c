"""What the monitor YAMON leaves behind on MIPS boards for a kernel that it starts.

MIPS YAMON User's Manual, revision 2.21: arguments and environment are strings in memory, found by
arrays of 32-bit pointers; a0 is the number of arguments, a1 and a2 point to the arrays, a3 is the
size of memory. Of YAMON itself, its functions for applications, nothing is there.
"""

from __future__ import annotations

from collections.abc import Sequence

from pemu.machine.region import Order

KSEG0, KSEG1 = 0xFFFF_FFFF_8000_0000, 0xFFFF_FFFF_A000_0000
A0, A1, A2, A3, T0, T1, T9, SP = 4, 5, 6, 7, 8, 9, 25, 29


def physical(address: int) -> int:
    """The physical address of one in kseg0, kseg1 or xkphys; raises ValueError for others."""
    if address >> 62 == 2:
        return address & (1 << 59) - 1
    if address >> 32 in (0, 0xFFFF_FFFF) and 4 <= (address & 0xFFFF_FFFF) >> 29 <= 5:
        return address & 0x1FFF_FFFF
    if address < 0x2000_0000:
        return address
    raise ValueError(f"the address {address:#x} is mapped by the TLB")


def parameters(
    address: int, arguments: Sequence[str], environment: Sequence[tuple[str, str]], order: Order
) -> tuple[bytes, int, int]:
    """The block of arrays and strings for `address`, and the addresses of the two arrays."""
    strings = [*arguments, *(text for pair in environment for text in pair)]
    at = address + 4 * (len(strings) + 2)
    pointers, texts = [], bytearray()
    for text in strings:
        pointers.append(at + len(texts))
        texts += text.encode("utf-8", "surrogateescape") + b"\0"
    count = len(arguments)
    words = [*pointers[:count], 0, *pointers[count:], 0]
    block = b"".join((word & 0xFFFF_FFFF).to_bytes(4, order) for word in words) + bytes(texts)
    return block, address, address + 4 * (count + 1)


class Code:
    """Machine code under construction: what a boot loader does, a step at a time."""

    def __init__(self, order: Order) -> None:
        self.order: Order = order
        self.words: list[int] = []

    def bytes(self) -> bytes:
        """What has been written."""
        return b"".join(word.to_bytes(4, self.order) for word in self.words)

    def skip(self, words: int) -> None:
        """Branch to `words` instructions after this branch."""
        self.words += [0x10000000 | words - 1, 0]

    def load(self, register: int, value: int) -> None:
        """Load a constant of 64 bits, which on a 32-bit processor is a sign-extended one."""
        value &= (1 << 64) - 1
        if value >> 31 not in (0, (1 << 33) - 1):
            self.load(register, value >> 32)
            for shift in (16, 0):
                self.words.append(register << 16 | register << 11 | 16 << 6 | 0x38)  # dsll
                self._or(register, value >> shift & 0xFFFF)
            return
        self.words.append(0x3C000000 | register << 16 | value >> 16 & 0xFFFF)  # lui
        self._or(register, value & 0xFFFF)

    def _or(self, register: int, value: int) -> None:
        self.words.append(0x34000000 | register << 21 | register << 16 | value)  # ori

    def store(self, address: int, value: int) -> None:
        """Store a word."""
        self._store(0xAC000000, address, value)

    def store_byte(self, address: int, value: int) -> None:
        """Store a byte."""
        self._store(0xA0000000, address, value)

    def store_swapped(self, address: int, value: int) -> None:
        """Store a word to a register that is little-endian."""
        self.store(address, int.from_bytes(value.to_bytes(4, self.order), "little"))

    def _store(self, opcode: int, address: int, value: int) -> None:
        self.load(T0, address)
        self.load(T1, value - (1 << 32) if value >> 31 else value)
        self.words.append(opcode | T0 << 21 | T1 << 16)

    def jump(self, address: int) -> None:
        """Jump to an address."""
        self.load(T9, address)
        self.words += [T9 << 21 | 8, 0]  # jr
