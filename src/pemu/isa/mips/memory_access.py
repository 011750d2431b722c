"""Loads and stores of general registers, prefetch and cache operations.

Programs may access halfwords, words and doublewords at any address: Linux makes unaligned accesses
work, so there is no check. A whole processor's soft TLB refuses them by itself.

The partial accesses (lwl, swr, ...) touch only bytes of one aligned word or doubleword. A partial
load reads all of it, a partial store writes its bytes and no others: another thread may be
writing its neighbours.
"""

from __future__ import annotations

from pemu.isa.mips.exceptions import ADDRESS_LOAD, ADDRESS_STORE
from pemu.isa.mips.state import set_word, word
from pemu.isa.mips.table import MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.state import Cpu


def effective_address(cpu: Cpu, base: Value, offset: Value) -> Value:
    """Return register `base` plus the signed offset."""
    return cpu.gpr[base] + offset.sext(cpu.arch.xlen)


def demand_aligned(cpu: Cpu, address: Value, size: int, store: bool) -> None:
    """Raise an address error where `address` is no multiple of `size` bytes."""
    code = ADDRESS_STORE if store else ADDRESS_LOAD
    cpu.trap(code, (address & (size - 1)).ne(0), address)


def load(cpu: Cpu, base: Value, offset: Value, size: int) -> Value:
    """Return `size` bytes from register `base` plus offset."""
    return cpu.load(effective_address(cpu, base, offset), size)


def store(cpu: Cpu, base: Value, offset: Value, value: Value) -> None:
    """Store `value` at register `base` plus offset."""
    cpu.store(effective_address(cpu, base, offset), value)


@MIPS.insn("100000 base:5 rt:5 offset:16", "lb {rt}, {offset:d}({base})")
def lb(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    cpu.gpr[rt] = load(cpu, base, offset, 1).sext(cpu.arch.xlen)


@MIPS.insn("100100 base:5 rt:5 offset:16", "lbu {rt}, {offset:d}({base})")
def lbu(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    cpu.gpr[rt] = load(cpu, base, offset, 1).zext(cpu.arch.xlen)


@MIPS.insn("100001 base:5 rt:5 offset:16", "lh {rt}, {offset:d}({base})")
def lh(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    cpu.gpr[rt] = load(cpu, base, offset, 2).sext(cpu.arch.xlen)


@MIPS.insn("100101 base:5 rt:5 offset:16", "lhu {rt}, {offset:d}({base})")
def lhu(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    cpu.gpr[rt] = load(cpu, base, offset, 2).zext(cpu.arch.xlen)


@MIPS.insn("100011 base:5 rt:5 offset:16", "lw {rt}, {offset:d}({base})")
def lw(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    set_word(cpu, rt, load(cpu, base, offset, 4))


@MIPS.insn("100111 base:5 rt:5 offset:16", "lwu {rt}, {offset:d}({base})", needs="mips3")
def lwu(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    cpu.gpr[rt] = load(cpu, base, offset, 4).zext(cpu.arch.xlen)


@MIPS.insn("110111 base:5 rt:5 offset:16", "ld {rt}, {offset:d}({base})", needs="mips3")
def ld(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    cpu.gpr[rt] = load(cpu, base, offset, 8)


@MIPS.insn("101000 base:5 rt:5 offset:16", "sb {rt}, {offset:d}({base})")
def sb(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    store(cpu, base, offset, cpu.gpr[rt].trunc(8))


@MIPS.insn("101001 base:5 rt:5 offset:16", "sh {rt}, {offset:d}({base})")
def sh(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    store(cpu, base, offset, cpu.gpr[rt].trunc(16))


@MIPS.insn("101011 base:5 rt:5 offset:16", "sw {rt}, {offset:d}({base})")
def sw(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    store(cpu, base, offset, word(cpu, rt))


@MIPS.insn("111111 base:5 rt:5 offset:16", "sd {rt}, {offset:d}({base})", needs="mips3")
def sd(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    store(cpu, base, offset, cpu.gpr[rt])


# Partial loads. "left" fills a register from its most significant byte on with the bytes from the
# address to the end of the aligned word, "right" its least significant bytes with those from the
# start of the word to the address (big-endian; little-endian the other way round).


def _load_left(cpu: Cpu, address: Value, size: int, old: Value) -> Value:
    """Return `old` with its upper bytes loaded."""
    width = size * 8
    missing = (address if cpu.arch.big_endian else ~address) & (size - 1)
    shift = missing.trunc(width) << 3
    loaded = cpu.load(address & -size, size, address & (size - 1))
    kept = ~(cpu.const(-1, width) << shift)
    return (loaded << shift) | (old & kept)


def _load_right(cpu: Cpu, address: Value, size: int, old: Value) -> Value:
    """Return `old` with its lower bytes loaded."""
    width = size * 8
    missing = (~address if cpu.arch.big_endian else address) & (size - 1)
    shift = missing.trunc(width) << 3
    loaded = cpu.load(address & -size, size, address & (size - 1))
    kept = ~cpu.const(-1, width).lshr(shift)
    return loaded.lshr(shift) | (old & kept)


@MIPS.insn("100010 base:5 rt:5 offset:16", "lwl {rt}, {offset:d}({base})")
def lwl(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    address = effective_address(cpu, base, offset)
    set_word(cpu, rt, _load_left(cpu, address, 4, word(cpu, rt)))


@MIPS.insn("100110 base:5 rt:5 offset:16", "lwr {rt}, {offset:d}({base})")
def lwr(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    address = effective_address(cpu, base, offset)
    set_word(cpu, rt, _load_right(cpu, address, 4, word(cpu, rt)))


@MIPS.insn("011010 base:5 rt:5 offset:16", "ldl {rt}, {offset:d}({base})", needs="mips3")
def ldl(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    address = effective_address(cpu, base, offset)
    cpu.gpr[rt] = _load_left(cpu, address, 8, cpu.gpr[rt])


@MIPS.insn("011011 base:5 rt:5 offset:16", "ldr {rt}, {offset:d}({base})", needs="mips3")
def ldr(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    address = effective_address(cpu, base, offset)
    cpu.gpr[rt] = _load_right(cpu, address, 8, cpu.gpr[rt])


# Partial stores, the counterparts of the partial loads.


def _store_bytes(
    cpu: Cpu, address: Value, value: Value, count: Value, to_end: bool, beyond: Value
) -> None:
    """Store the low `count` bytes of `value`, 1 to all, inside one aligned word or doubleword.

    `count` is split into powers of two, in an order that keeps each store aligned: `to_end` says
    that the bytes end where the word does, else they begin there. Big-endian the upper bytes come
    first in memory. beyond: how far behind the first byte the instruction's address is.
    """
    width = value.width
    size = width // 8
    bits = count.trunc(width) << 3
    whole = count.eq(size)
    with cpu.if_(whole) as arm:
        cpu.store(address, value, beyond)
    with arm.otherwise():
        done = cpu.const(0, address.width)
        pieces = [piece for piece in (4, 2, 1) if piece < size]
        for piece in reversed(pieces) if to_end else pieces:
            with cpu.if_((count & piece).ne(0)):
                before = done.trunc(width) << 3
                if cpu.arch.big_endian:
                    part = value.lshr(bits - before - piece * 8)
                else:
                    part = value.lshr(before)
                cpu.store(address + done, part.trunc(piece * 8), beyond)
            done = done + (count & piece)


def _store_left(cpu: Cpu, address: Value, value: Value) -> None:
    """Store the upper bytes of `value`, as many as the address asks for."""
    size = value.width // 8
    place = address & (size - 1)
    if cpu.arch.big_endian:
        start, count = address, size - place
    else:
        start, count = address & -size, place + 1
    missing = (size - count).trunc(value.width)
    left = value.lshr(missing << 3)
    _store_bytes(cpu, start, left, count, cpu.arch.big_endian, address - start)


def _store_right(cpu: Cpu, address: Value, value: Value) -> None:
    """Store the lower bytes of `value`, as many as the address asks for."""
    size = value.width // 8
    place = address & (size - 1)
    if cpu.arch.big_endian:
        start, count = address & -size, place + 1
    else:
        start, count = address, size - place
    _store_bytes(cpu, start, value, count, not cpu.arch.big_endian, address - start)


@MIPS.insn("101010 base:5 rt:5 offset:16", "swl {rt}, {offset:d}({base})")
def swl(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    _store_left(cpu, effective_address(cpu, base, offset), word(cpu, rt))


@MIPS.insn("101110 base:5 rt:5 offset:16", "swr {rt}, {offset:d}({base})")
def swr(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    _store_right(cpu, effective_address(cpu, base, offset), word(cpu, rt))


@MIPS.insn("101100 base:5 rt:5 offset:16", "sdl {rt}, {offset:d}({base})", needs="mips3")
def sdl(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    _store_left(cpu, effective_address(cpu, base, offset), cpu.gpr[rt])


@MIPS.insn("101101 base:5 rt:5 offset:16", "sdr {rt}, {offset:d}({base})", needs="mips3")
def sdr(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    _store_right(cpu, effective_address(cpu, base, offset), cpu.gpr[rt])


# Prefetches are hints. `synci` makes stores to code visible; `cache` is privileged (system.py).


@MIPS.insn("110011 base:5 hint:5 offset:16", "pref {hint:x}, {offset:d}({base})", needs="mips4_32")
def pref(cpu: Cpu) -> None:
    pass


@MIPS.insn(
    "010011 base:5 index:5 hint:5 00000 001111",
    "prefx {hint:x}, {index:g}({base})",
    needs="mips4_32r2 fpu",
)
def prefx(cpu: Cpu) -> None:
    pass


@MIPS.insn("000001 base:5 11111 offset:16", "synci {offset:d}({base})", needs="mips32r2")
def synci(cpu: Cpu, base: Value, offset: Value) -> None:
    cpu.flush_code(effective_address(cpu, base, offset))
