"""Where the arguments of a guest's system call are.

They lie in "slots": on o32 a0 to a3, then words from sp+16 on, a 64-bit value in an even pair of
slots; on n32 and n64 a0 to a7 (no call has more than six arguments there).
"""

from __future__ import annotations

from pemu.isa.mips.names import A0, SP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol, TypeAlias

    from pemu.linux.process import Thread

    Registers: TypeAlias = Sequence[int]
    Getter: TypeAlias = Callable[[Thread, Registers], int]
    Decoder: TypeAlias = Callable[[Thread, Registers], Any]

    class Passed(Protocol):
        """What has to be known of an argument to find it: whether it has 64 bits in all ABIs."""

        @property
        def wide(self) -> bool: ...


class Abi:
    """How one guest ABI passes arguments: `word` bytes a long, 32- or 64-bit registers."""

    __slots__ = ("big_endian", "name", "order", "register_count", "word", "xlen")

    def __init__(self, name: str, word: int, xlen: int, big_endian: bool) -> None:
        self.name = name
        self.word = word
        self.xlen = xlen
        self.big_endian = big_endian
        self.order = "big" if big_endian else "little"
        self.register_count = 4 if name == "o32" else 8

    def slots(self, types: Sequence[Passed], shift: int = 0) -> list[int]:
        """The first slot of each argument; `shift` slots are taken before the first."""
        result = []
        slot = shift
        for type in types:
            if type.wide and self.xlen == 32:
                slot += (slot - shift) & 1
                result.append(slot)
                slot += 2
            else:
                result.append(slot)
                slot += 1
        return result

    def word_getter(self, slot: int) -> Getter:
        """A function that fetches the unsigned word of a slot."""
        if slot < self.register_count:
            register = A0 + slot
            return lambda t, regs: regs[register]
        offset = 4 * slot
        return lambda t, regs: t.mem.u32((regs[SP] + offset) & 0xFFFFFFFF)

    def getter(self, slot: int, wide: bool) -> Getter:
        """A function that fetches the unsigned value at a slot: a word, or 64 bits if `wide`."""
        first = self.word_getter(slot)
        if not wide or self.xlen == 64:
            return first
        second = self.word_getter(slot + 1)
        if self.big_endian:
            return lambda t, regs: first(t, regs) << 32 | second(t, regs)
        return lambda t, regs: second(t, regs) << 32 | first(t, regs)
