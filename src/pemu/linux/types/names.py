"""Argument types for constants whose numbers are the guest's and the host's alike.

They pass numbers as they are, also natively, and give -strace the names.
"""

from __future__ import annotations

from pemu.linux.types.base import ArgType, UnsignedType, signed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.linux.process import Thread


class Named(ArgType):
    """A signed int with one of several meanings.

    `names` are in the order of their numbers from `first` on; "-" stands for a gap.
    """

    __slots__ = ("first", "names")

    def __init__(self, name: str, names: str, first: int = 0) -> None:
        super().__init__(name)
        self.names = names
        self.first = first

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        value = signed(raw[index], 32)
        names = self.names.split()
        place = value - self.first
        known = names[place] if 0 <= place < len(names) else "-"
        return str(value) if known == "-" else known


class Bits(UnsignedType):
    """An unsigned int of bits; `names` are pairs of a name and its bits."""

    __slots__ = ("names", "zero")

    def __init__(self, name: str, names: str, zero: str = "0") -> None:
        super().__init__(name)
        self.names = names
        self.zero = zero

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        rest = raw[index] & 0xFFFFFFFF
        words = self.names.split()
        shown = []
        for name, number in zip(words[::2], words[1::2], strict=True):
            bits = int(number, 0)
            if rest & bits == bits:
                shown.append(name)
                rest &= ~bits
        if rest:
            shown.append(hex(rest))
        return "|".join(shown) or self.zero


ClockId = Named(
    "clockid_t",
    "CLOCK_REALTIME CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID CLOCK_THREAD_CPUTIME_ID"
    " CLOCK_MONOTONIC_RAW CLOCK_REALTIME_COARSE CLOCK_MONOTONIC_COARSE CLOCK_BOOTTIME"
    " CLOCK_REALTIME_ALARM CLOCK_BOOTTIME_ALARM - CLOCK_TAI",
)
