"""The TLB: its entries, and the instructions that read, write and search them.

TLBWR replaces an entry that is not the program's choice. What it replaces is kept: a program must
not rely on which entry has gone, so the processor behaves as if some other, unused one had. Kept
entries save the guest refill exceptions; the model's TLB is small. They lie behind the model's own,
in a ring, each with the number of the entry that it was. A program that wants a translation to be
gone overwrites all entries, or finds the one it means with TLBP first. So a kept entry goes when
TLBWI writes something else to the entry that it was, when what is written covers its addresses,
and when Wired changes; and TLBP puts it back among the model's own, in place of another.

Source: MIPS32 and MIPS64 Architecture for Programmers, volumes II and III (4.3, TLB).
"""

from __future__ import annotations

from pemu.engine.staging.builder import Procedure
from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0.translate import ENTRY_D, ENTRY_V, find
from pemu.isa.mips.cp0.usable import privileged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.state import SystemCpu

PAGE = 0x1000
_SMALL_PAIR = 2 * PAGE - 1
_FLUSHED_SINGLY = 0x1FFFF
"""Mask of the largest pair of pages that is flushed page by page, not with all others."""

PROBE_FAILED = 1 << 31


class Entry:
    """What a TLB entry holds, as values: tag, mask (with the bits of a small pair), ASID with G."""

    __slots__ = ("asid", "hi", "lo0", "lo1", "mask")

    def __init__(self, hi: Value, mask: Value, asid: Value, lo0: Value, lo1: Value) -> None:
        self.hi = hi
        self.mask = mask
        self.asid = asid
        self.lo0 = lo0
        self.lo1 = lo1


def _read(cpu: SystemCpu, number: Value) -> Entry:
    return Entry(
        cpu.tlb_hi[number],
        cpu.tlb_mask[number],
        cpu.tlb_asid[number],
        cpu.tlb_lo0[number],
        cpu.tlb_lo1[number],
    )


def _write(cpu: SystemCpu, number: Value, entry: Entry) -> None:
    cpu.tlb_hi[number] = entry.hi
    cpu.tlb_mask[number] = entry.mask
    cpu.tlb_asid[number] = entry.asid
    cpu.tlb_lo0[number] = entry.lo0
    cpu.tlb_lo1[number] = entry.lo1


def _from_registers(cpu: SystemCpu) -> Entry:
    """What TLBWI and TLBWR write."""
    mask = cpu.pagemask | _SMALL_PAIR
    low0, low1 = cpu.entrylo0, cpu.entrylo1
    everywhere = (low0 & low1).bit(0)
    asid = (cpu.entryhi & 0xFF).trunc(16) | (everywhere.zext(16) << 15)
    stored = ~((mask.lshr(13) << 6) | 1).zext(cpu.arch.xlen)
    return Entry(cpu.entryhi & ~_SMALL_PAIR, mask, asid, low0 & stored, low1 & stored)


# Soft TLB.


def _address(cpu: SystemCpu, entry: Entry) -> Value:
    """The guest-virtual address that an entry begins with."""
    start = entry.hi & ~entry.mask.zext(cpu.arch.xlen)
    if cpu.arch.xlen == 32:
        return start
    bits = c.control_of(cpu).virtual_bits
    inside = start & ((1 << 62) - 1)
    compatible = inside.uge((1 << bits) - (1 << 31)) & start.uge(3 << 62)
    return compatible.select(start | -(1 << bits), start)


def _flush(cpu: SystemCpu, entry: Entry, even: Value, odd: Value) -> None:
    """Have the soft TLB forget an entry's even and odd pages, where the bits `even`, `odd` are."""
    address = _address(cpu, entry)
    with cpu.if_(even | odd):
        with cpu.if_(entry.mask.eq(_SMALL_PAIR)) as arm:
            with cpu.if_(even):
                cpu.flush_page(address)
            with cpu.if_(odd):
                cpu.flush_page(address + PAGE)
        with arm.otherwise():
            with cpu.if_(entry.mask.ule(_FLUSHED_SINGLY)) as inner:
                offset = cpu.var(cpu.arch.xlen, 0)
                size = entry.mask.zext(cpu.arch.xlen)
                with cpu.while_(lambda: offset.value.ult(size)):
                    cpu.flush_page(address + offset.value)
                    offset.value = offset.value + PAGE
            with inner.otherwise():
                cpu.flush_tlb()


def _forget(cpu: SystemCpu, entry: Entry) -> None:
    """Have the soft TLB forget all of an entry."""
    there = entry.asid.ne(c.UNUSED)
    _flush(cpu, entry, there & (entry.lo0 & ENTRY_V).ne(0), there & (entry.lo1 & ENTRY_V).ne(0))


def _forget_changed(cpu: SystemCpu, old: Entry, new: Entry) -> None:
    """The same for an entry that gets other pages at its addresses, or other rights."""

    def lost(before: Value, after: Value) -> Value:
        kept = after.eq(before) | after.eq(before | ENTRY_D)
        return (before & ENTRY_V).ne(0) & ~kept

    _flush(cpu, old, lost(old.lo0, new.lo0), lost(old.lo1, new.lo1))


# Kept entries.


def _drop_covered(cpu: SystemCpu, entry: Entry, slot: Value | None) -> None:
    """Drop the kept entries whose addresses `entry` covers too, and those that were `slot`."""
    xlen = cpu.arch.xlen
    number = cpu.var(32, c.control_of(cpu).tlb)
    with cpu.while_(lambda: number.value.ult(cpu.tlb_used)):
        larger = (cpu.tlb_mask[number.value] | entry.mask).zext(xlen)
        whose = cpu.tlb_asid[number.value]
        same = ((cpu.tlb_hi[number.value] ^ entry.hi) & ~larger).eq(0)
        same = same & (whose.eq(entry.asid) | (whose | entry.asid).uge(c.GLOBAL))
        if slot is not None:
            same = same | cpu.tlb_slot[number.value].eq(slot.trunc(8))
        with cpu.if_(same & whose.ne(c.UNUSED), unlikely=True):
            _forget(cpu, _read(cpu, number.value))
            cpu.tlb_asid[number.value] = c.UNUSED
        number.value = number.value + 1


def drop_kept(cpu: SystemCpu) -> None:
    """Drop all kept entries."""
    own = c.control_of(cpu).tlb
    number = cpu.var(32, own)
    with cpu.while_(lambda: number.value.ult(cpu.tlb_used)):
        _forget(cpu, _read(cpu, number.value))
        cpu.tlb_asid[number.value] = c.UNUSED
        number.value = number.value + 1
    cpu.tlb_used = own
    cpu.tlb_next = own


def _keep(cpu: SystemCpu, number: Value) -> None:
    """Copy one of the model's own entries to where those are kept that have been replaced."""
    entry = _read(cpu, number)
    with cpu.if_(entry.asid.ne(c.UNUSED)):
        place = cpu.tlb_next
        used = cpu.tlb_used
        with cpu.if_(place.ult(used)):
            _forget(cpu, _read(cpu, place))
        _write(cpu, place, entry)
        cpu.tlb_slot[place] = number.trunc(8)
        following = place + 1
        cpu.tlb_used = used.umax(following)
        full = following.eq(c.TLB_ENTRIES)
        cpu.tlb_next = full.select(cpu.const(c.control_of(cpu).tlb, 32), following)


def _take_random(cpu: SystemCpu) -> Value:
    """The number of the entry to replace; Random goes on to the next, downwards to Wired."""
    number = cpu.random
    lowest = number.ule(cpu.wired)
    cpu.random = lowest.select(cpu.const(c.control_of(cpu).tlb - 1, 32), number - 1)
    return number


def _write_random(cpu: SystemCpu) -> None:
    number = _take_random(cpu)
    _keep(cpu, number)
    entry = _from_registers(cpu)
    _write(cpu, number, entry)
    _drop_covered(cpu, entry, None)


def _write_indexed(cpu: SystemCpu) -> None:
    number = _index(cpu)
    old, new = _read(cpu, number), _from_registers(cpu)
    same = old.hi.eq(new.hi) & old.mask.eq(new.mask) & old.asid.eq(new.asid)
    with cpu.if_(same) as arm:
        _forget_changed(cpu, old, new)
        _write(cpu, number, new)
    with arm.otherwise():
        _forget(cpu, old)
        _write(cpu, number, new)
        _drop_covered(cpu, new, number)


def _index(cpu: SystemCpu) -> Value:
    """The entry that Index names."""
    own = c.control_of(cpu).tlb
    number = cpu.index & 0x7FFFFFFF
    return number & (own - 1) if own & (own - 1) == 0 else number.urem(own)


def _probe(cpu: SystemCpu) -> None:
    own = c.control_of(cpu).tlb
    asid = (cpu.entryhi & 0xFF).trunc(16)
    # The entry's mask decides which bits are compared.
    found = find(cpu, cpu.entryhi & ~_SMALL_PAIR, asid, cpu.tlb_used)
    with cpu.if_(found.uge(own)) as arm:
        with cpu.if_(found.ult(cpu.tlb_used)) as inner:
            number = _take_random(cpu)
            kept, replaced = _read(cpu, found), _read(cpu, number)
            _write(cpu, number, kept)
            _write(cpu, found, replaced)
            cpu.tlb_slot[found] = number.trunc(8)
            cpu.index = number
        with inner.otherwise():
            cpu.index = cpu.index | PROBE_FAILED
    with arm.otherwise():
        cpu.index = found


def _read_indexed(cpu: SystemCpu) -> None:
    entry = _read(cpu, _index(cpu))
    everywhere = entry.asid.bit(15).zext(cpu.arch.xlen)
    asid = (entry.asid & 0xFF).zext(cpu.arch.xlen)
    _set_asid(cpu, asid.trunc(32))
    cpu.entryhi = entry.hi | asid
    cpu.pagemask = entry.mask & ~_SMALL_PAIR
    cpu.entrylo0 = entry.lo0 | everywhere
    cpu.entrylo1 = entry.lo1 | everywhere


def _set_asid(cpu: SystemCpu, asid: Value) -> None:
    with cpu.if_((cpu.entryhi.trunc(32) & 0xFF).ne(asid)):
        cpu.set_context(asid)


_READ = Procedure("mips_tlbr", (), 0, _read_indexed)
_WRITE_INDEXED = Procedure("mips_tlbwi", (), 0, _write_indexed)
_WRITE_RANDOM = Procedure("mips_tlbwr", (), 0, _write_random)
_PROBE = Procedure("mips_tlbp", (), 0, _probe)
DROP_KEPT = Procedure("mips_tlb_drop_kept", (), 0, drop_kept)


def _instruction(name: str, function: str, procedure: Procedure) -> None:
    def meaning(cpu: SystemCpu) -> None:
        cpu.invoke(procedure)
        if procedure is _READ:
            cpu.end_block()  # the address space may be another

    privileged(
        f"010000 1 0000000000000000000 {function}",
        name,
        name=f"{name}_system",
        needs="tlb",
    )(meaning)


_instruction("tlbr", "000001", _READ)
_instruction("tlbwi", "000010", _WRITE_INDEXED)
_instruction("tlbwr", "000110", _WRITE_RANDOM)
_instruction("tlbp", "001000", _PROBE)
