"""How a processor translates guest-virtual addresses: segments, the TLB, fixed mapping.

Nothing but the watch registers' notes is changed by it. What writes the TLB is `tlb`.
Source: MIPS32 and MIPS64 Architecture for Programmers, volume III, chapter 4 (virtual memory).
"""

from __future__ import annotations

from pemu.engine.staging.architecture import (
    ACCESS_STORE,
    PAGE_ASK,
    PAGE_EXECUTE,
    PAGE_FAULT,
    PAGE_FAULT_SHIFT,
    PAGE_READ,
    PAGE_WRITE,
)
from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0 import watch
from pemu.isa.mips.exceptions import (
    SEGMENT_LOAD,
    TLB_LOAD,
    TLB_MODIFIED,
    TLB_REFILL_LOAD,
    WATCH,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.flow import Variable
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.state import SystemCpu

MODE_KERNEL, MODE_SUPERVISOR, MODE_USER, MODE_ERROR = range(4)
"""Ways to translate. ERROR: the kernel with Status.ERL set, when the user's segment is unmapped."""

_ALL = PAGE_READ | PAGE_WRITE | PAGE_EXECUTE
_PAGE = 0xFFF
_KSEG_PHYSICAL = 0x1FFFFFFF
_XKPHYS_PHYSICAL = (1 << 59) - 1
_FIXED_OFFSET = 0x40000000
"""Where the user's segment lies in memory without a TLB."""

DEBUG_PHYSICAL, DEBUG_BYTES = 1 << 40, 0x200000
"""Where the debug unit's registers are among guest-physical addresses, beyond all others."""

_DEBUG_SEGMENT = 0xFF200000

ENTRY_V, ENTRY_D = 1 << 1, 1 << 2
"""Bits of EntryLo: valid, may be written."""


def segment_mask(cpu: SystemCpu) -> int:
    """Bits of a guest-virtual address that the TLB compares, as far as pages are concerned."""
    if cpu.arch.xlen == 32:
        return 0xFFFFFFFF
    return 3 << 62 | (1 << c.control_of(cpu).virtual_bits) - 1


def translate(cpu: SystemCpu, address: Value, access: Value, mode: Value) -> Value:
    """Where an address leads, as `engine.architecture.System` says."""
    store = access.eq(ACCESS_STORE)
    if cpu.arch.xlen == 64:
        # Programs with 32-bit addresses calculate in 32 bits.
        narrow = mode.eq(MODE_USER) & ~cpu.status.bit(5)
        address = narrow.select(address.trunc(32).sext(64), address)
    segment = _segment_32 if cpu.arch.xlen == 32 else _segment_64
    unmapped, physical, mapped = segment(cpu, address, mode)
    result = cpu.var(64, _fault(store.zext(64) + SEGMENT_LOAD))
    with cpu.if_(unmapped) as arm:
        result.value = (physical & ~_PAGE) | _ALL
    with arm.otherwise(), cpu.if_(mapped):
        if c.control_of(cpu).tlb:
            result.value = _look_up(cpu, address, store)
        else:
            result.value = ((address.trunc(32) + _FIXED_OFFSET) & ~_PAGE).zext(64) | _ALL
    if "mips32" in cpu.features:
        _debug_segment(cpu, address, result)
    if "watch" in cpu.features:
        asks, raises = watch.look(cpu, address, access)
        with cpu.if_(asks, unlikely=True):
            result.value = result.value | PAGE_ASK
            with cpu.if_(raises):
                result.value = _fault(cpu.const(WATCH, 64))
    return result.value


def _debug_segment(cpu: SystemCpu, address: Value, result: Variable) -> None:
    """In debug mode the debug unit's registers hide a part of kseg3, unless Debug.LSNM is set."""
    with cpu.if_((cpu.debug & (c.DM | c.LSNM)).eq(c.DM), unlikely=True):
        low = address.trunc(32)
        inside = (low & -DEBUG_BYTES).eq(_DEBUG_SEGMENT) & low.sext(cpu.arch.xlen).eq(address)
        with cpu.if_(inside):
            offset = low.zext(64) & (DEBUG_BYTES - 1) & ~_PAGE
            result.value = offset | DEBUG_PHYSICAL | PAGE_READ | PAGE_WRITE


def _fault(code: Value) -> Value:
    return (code << PAGE_FAULT_SHIFT) | PAGE_FAULT


def _segment_32(cpu: SystemCpu, address: Value, mode: Value) -> tuple[Value, Value, Value]:
    """(whether unmapped, the guest-physical address then, whether mapped). Neither: an error."""
    kernel = mode.eq(MODE_KERNEL) | mode.eq(MODE_ERROR)
    segment = address.bits(29, 3)
    user = ~address.bit(31)
    below = user & mode.eq(MODE_ERROR)
    unmapped = (kernel & (segment.eq(4) | segment.eq(5))) | below
    supervisor = segment.eq(6) & mode.ne(MODE_USER)
    upper = supervisor | (segment.eq(7) & kernel)
    mapped = user
    if not c.control_of(cpu).tlb:
        # Without a TLB the upper segments lead to memory of the same address.
        unmapped = unmapped | upper
        below = below | segment.uge(6)
    else:
        mapped = mapped | upper
    physical = below.select(address, address & _KSEG_PHYSICAL)
    return unmapped, physical.zext(64), mapped


def _segment_64(cpu: SystemCpu, address: Value, mode: Value) -> tuple[Value, Value, Value]:
    status = cpu.status
    ux, sx, kx = status.bit(5), status.bit(6), status.bit(7)
    limit = (1 << c.control_of(cpu).virtual_bits) - 1
    kernel = mode.eq(MODE_KERNEL) | mode.eq(MODE_ERROR)
    not_user = mode.ne(MODE_USER)
    region = address.bits(62, 2)
    inside = (address & ((1 << 62) - 1)).ule(limit)
    compatible, compatible_physical, compatible_mapped = _segment_32(cpu, address.trunc(32), mode)
    is_compatible = address.trunc(32).sext(64).eq(address)
    direct = region.eq(2) & kernel & kx
    direct = direct & (address & _XKPHYS_PHYSICAL).ult(1 << c.control_of(cpu).physical_bits)
    unmapped = (is_compatible & compatible) | direct
    physical = direct.select(address & _XKPHYS_PHYSICAL, compatible_physical)
    wide = (region.eq(0) & ux & inside) | (region.eq(1) & not_user & sx & inside)
    top = (3 << 62) + limit - 0x7FFFFFFF
    wide = wide | (region.eq(3) & kernel & kx & address.ult(top))
    return unmapped, physical, is_compatible.select(compatible_mapped, wide)


def find(cpu: SystemCpu, address: Value, asid: Value, limit: Value | int) -> Value:
    """The first entry below `limit` for an address and ASID (16 bits); `limit` if there is none."""
    number = cpu.var(32, 0)
    found = cpu.var(32, limit)
    tag = address & segment_mask(cpu)
    xlen = cpu.arch.xlen
    with cpu.while_(lambda: number.value.ult(found.value)):
        entry = number.value
        mask = cpu.tlb_mask[entry].zext(xlen)
        same = ((tag ^ cpu.tlb_hi[entry]) & ~mask).eq(0)
        whose = cpu.tlb_asid[entry]
        with cpu.if_(same & (whose.eq(asid) | whose.uge(c.GLOBAL)), unlikely=True) as arm:
            found.value = entry
        with arm.otherwise():
            number.value = entry + 1
    return number.value


def _look_up(cpu: SystemCpu, address: Value, store: Value) -> Value:
    """Translate by the TLB."""
    used = cpu.tlb_used
    entry = find(cpu, address, (cpu.entryhi & 0xFF).trunc(16), used)
    as_store = store.zext(64)
    result = cpu.var(64, _fault(as_store + TLB_REFILL_LOAD))
    with cpu.if_(entry.ult(used)):
        mask = cpu.tlb_mask[entry].zext(64)
        page = mask.lshr(1)
        wide = address.zext(64)
        odd = (wide & (page + 1)).ne(0)
        low = odd.select(cpu.tlb_lo1[entry], cpu.tlb_lo0[entry]).zext(64)
        writable = (low & ENTRY_D).ne(0)
        with cpu.if_((low & ENTRY_V).eq(0)) as arm:
            result.value = _fault(as_store + TLB_LOAD)
        with arm.otherwise():
            with cpu.if_(store & ~writable) as inner:
                result.value = _fault(cpu.const(TLB_MODIFIED, 64))
            with inner.otherwise():
                physical = (low.lshr(6) << 12) | (wide & page & ~_PAGE)
                allowed = writable.select(cpu.const(_ALL, 64), _ALL & ~PAGE_WRITE)
                result.value = physical | allowed
    return result.value


def fixed(cpu: SystemCpu, address: Value) -> Value:
    """One where an address is in an unmapped segment of the kernel."""
    if not c.control_of(cpu).tlb:
        return cpu.const(1, 1)
    if cpu.arch.xlen == 32:
        return address.bits(30, 2).eq(2)
    low = address.trunc(32)
    compatible = low.bits(30, 2).eq(2) & low.sext(64).eq(address)
    return compatible | address.bits(62, 2).eq(2)
