"""Words of privileged instructions, and of what tests need beside them."""

from __future__ import annotations

ZERO, V0, A0, A1, T0, T1, T2, T3, T4, K0, K1 = 0, 2, 4, 5, 8, 9, 10, 11, 12, 26, 27

INDEX, RANDOM, ENTRYLO0, ENTRYLO1, CONTEXT, PAGEMASK, WIRED = range(7)
BADVADDR, COUNT, ENTRYHI, COMPARE, STATUS, CAUSE, EPC, PRID, CONFIG = range(8, 17)
LLADDR, XCONTEXT, DEBUG, DEPC, ERROREPC = 17, 20, 23, 24, 30

TLBR, TLBWI, TLBWR, TLBP, ERET, DERET, WAIT = (
    *(0x42000001, 0x42000002, 0x42000006, 0x42000008, 0x42000018, 0x4200001F, 0x42000020),
)
NOP, SYSCALL, BREAK, SDBBP = 0, 0x0000000C, 0x0000000D, 0x7000003F


def mfc0(rt: int, rd: int, sel: int = 0) -> int:
    return 0x40000000 | rt << 16 | rd << 11 | sel


def mtc0(rt: int, rd: int, sel: int = 0) -> int:
    return 0x40800000 | rt << 16 | rd << 11 | sel


def dmfc0(rt: int, rd: int, sel: int = 0) -> int:
    return 0x40200000 | rt << 16 | rd << 11 | sel


def dmtc0(rt: int, rd: int, sel: int = 0) -> int:
    return 0x40A00000 | rt << 16 | rd << 11 | sel


def lui(rt: int, value: int) -> int:
    return 0x3C000000 | rt << 16 | value & 0xFFFF


def ori(rt: int, rs: int, value: int) -> int:
    return 0x34000000 | rs << 21 | rt << 16 | value & 0xFFFF


def addiu(rt: int, rs: int, value: int) -> int:
    return 0x24000000 | rs << 21 | rt << 16 | value & 0xFFFF


def li(rt: int, value: int) -> list[int]:
    """Load a 32-bit constant."""
    return [lui(rt, value >> 16), ori(rt, rt, value)]


def lw(rt: int, base: int, offset: int = 0) -> int:
    return 0x8C000000 | base << 21 | rt << 16 | offset & 0xFFFF


def sw(rt: int, base: int, offset: int = 0) -> int:
    return 0xAC000000 | base << 21 | rt << 16 | offset & 0xFFFF


def jr(rs: int) -> int:
    return 0x00000008 | rs << 21


def beq(rs: int, rt: int, words: int) -> int:
    return 0x10000000 | rs << 21 | rt << 16 | words & 0xFFFF


def stop() -> list[int]:
    """Stop the processor."""
    return [WAIT, beq(0, 0, -2), NOP]


def set_cp0(rd: int, value: int, sel: int = 0) -> list[int]:
    """Write a constant to a register; leaves t4 changed."""
    return [*li(T4, value), mtc0(T4, rd, sel)]
