"""The calls that led to a place, found by reading the code of each function's beginning.

Source: System V ABI, MIPS supplement, chapter 3 (the stack frame): a function that calls others
lowers sp once and saves ra in its frame; one with a frame of changing size keeps sp in s8.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_INSTRUCTIONS = 4096
"""Searched before a place for the beginning of its function."""

_RETURN = 0x03E00008  # jr ra
_MOVES_SP_TO_S8 = (0x03A0F021, 0x03A0F025, 0x03A0F02D)  # addu, or, daddu s8, sp, zero
_ADDIU_SP, _DADDIU_SP = 0x27BD, 0x67BD
_SAVES_RA = (0xAFBF, 0xFFBF)  # sw, sd ra, offset(sp)
_SAVES_S8 = (0xAFBE, 0xFFBE)


def _signed(half: int) -> int:
    return half - 0x10000 if half & 0x8000 else half


def _begins_frame(instruction: int) -> bool:
    return instruction >> 16 in (_ADDIU_SP, _DADDIU_SP) and instruction & 0x8000 != 0


def _calls(instruction: int) -> bool:
    """Whether it is jal, bal (bgezal, bltzal) or jalr."""
    major = instruction >> 26
    if major == 1:
        return instruction >> 20 & 1 != 0
    return major == 3 or (major == 0 and instruction & 0x3F == 9)


def _search_start(pc: int, fetch: Callable[[int], int]) -> int:
    """Where the function around `pc` may begin, if nobody knows better."""
    calls = False
    for at in range(pc, max(pc - 4 * MOST_INSTRUCTIONS, 0), -4):
        instruction = fetch(at)
        if _begins_frame(instruction):
            return at
        # What calls others must have a frame: then this is a return in a function's middle.
        if instruction == _RETURN and at + 4 < pc and not calls:
            return at + 8
        calls = calls or _calls(instruction)
    return pc


class _Frame:
    """What a function's beginning has done when it reached a place."""

    __slots__ = ("fixed", "ra_at", "s8_at", "size")

    def __init__(self, start: int, pc: int, fetch: Callable[[int], int]) -> None:
        self.size = 0
        self.ra_at: int | None = None
        self.s8_at: int | None = None
        self.fixed = False
        for at in range(start, min(pc, start + 4 * MOST_INSTRUCTIONS), 4):
            instruction = fetch(at)
            upper, offset = instruction >> 16, _signed(instruction & 0xFFFF)
            if not self.size and _begins_frame(instruction):
                self.size = -offset
            elif upper in _SAVES_RA and self.ra_at is None:
                self.ra_at = offset
            elif upper in _SAVES_S8 and self.s8_at is None:
                self.s8_at = offset
            elif instruction in _MOVES_SP_TO_S8:
                self.fixed = True


def callers(
    pc: int,
    sp: int,
    s8: int,
    ra: int,
    fetch: Callable[[int], int],
    load: Callable[[int], int],
    function: Callable[[int], int | None],
    interrupted: Callable[[int, int], tuple[int, int, int, int] | None],
) -> Iterator[tuple[int, bool]]:
    """Yield the address of each call that has not returned, the latest first, and False.

    Where a signal handler was entered instead, the address of what it interrupted, and True:
    `interrupted` tells the pc, sp, s8 and ra of that from a return address and an sp.

    `pc`, `sp`, `s8`, `ra`: the registers at the place to start from. `fetch` reads an instruction
    and `load` a saved register (as wide as the ABI saves it) at a guest-virtual address; what they
    raise ends the walk where it is caught. `function` tells where the function around an address
    begins, None where that is not known.
    """
    return_address: int | None = ra
    while True:
        start = function(pc)
        frame = _Frame(_search_start(pc, fetch) if start is None else start, pc, fetch)
        base = s8 if frame.fixed else sp
        if frame.ra_at is not None:
            return_address = load(base + frame.ra_at)
        if frame.s8_at is not None:
            s8 = load(base + frame.s8_at)
        if not return_address or return_address & 3 or (return_address == pc and not frame.size):
            return
        if base + frame.size < sp:
            return
        sp = base + frame.size
        before = interrupted(return_address, sp)
        if before is not None:
            pc, sp, s8, return_address = before
            yield pc, True
            continue
        pc = return_address - 8
        yield pc, False
        # A second function that has not saved its return address: the walk went astray.
        return_address = None
