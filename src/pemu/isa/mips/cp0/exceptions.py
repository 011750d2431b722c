"""Entering exceptions and interrupts.

Source: MIPS32 and MIPS64 Architecture for Programmers, volume III, chapter 6 (interrupts and
exceptions); EJTAG Specification, chapter 5 for debug mode.
"""

from __future__ import annotations

from pemu.engine.staging.values import signed
from pemu.isa.mips import exceptions as e
from pemu.isa.mips.cp0 import interrupts, shadow, watch
from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0.translate import segment_mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.flow import Variable
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.state import SystemCpu

RESET_VECTOR = 0xBFC00000
_BOOT_VECTORS = 0xBFC00200
_DEBUG_VECTOR = 0xBFC00480
_VECTORS = 0x80000000
_UNCACHED = 0x20000000
"""Cache errors have their vector where caches are not used."""

_NOTHING = 0xFFFFFFFF
"""In place of an exception's code."""

_REFILL, _XTLB_REFILL, _CACHE_ERROR, _GENERAL, _INTERRUPT = 0, 0x80, 0x100, 0x180, 0x200


def enter_exception(cpu: SystemCpu, code: Value, argument: Value) -> None:
    """Raise exception `code` at the present instruction."""
    _enter(cpu, code, argument, cpu.in_delay_slot)


def _enter(cpu: SystemCpu, code: Value, argument: Value, in_slot: Value) -> None:
    target = cpu.var(cpu.arch.xlen)
    if "mips32" in cpu.features:
        in_debug = (cpu.debug & c.DM).ne(0)
        with cpu.if_(code.uge(e.DEBUG_BREAKPOINT) | in_debug, unlikely=True) as arm:
            _enter_debug(cpu, code, in_slot, in_debug)
            target.value = _long(cpu, _DEBUG_VECTOR)
        with arm.otherwise():
            _enter_vector(cpu, code, argument, in_slot, target)
    else:
        _enter_vector(cpu, code, argument, in_slot, target)
    cpu.resume_at(target.value)


def _enter_vector(
    cpu: SystemCpu, code: Value, argument: Value, in_slot: Value, target: Variable
) -> None:
    with cpu.if_(code.ult(e.RESET)) as arm:
        target.value = _enter_ordinary(cpu, code, argument, in_slot)
    with arm.otherwise():
        target.value = _enter_error(cpu, code)


def _enter_debug(cpu: SystemCpu, code: Value, in_slot: Value, already: Value) -> None:
    """Enter debug mode; an exception in debug mode enters it once more, and is noted."""
    kept = cpu.debug & ~c.DEBUG_CAUSES
    slot = in_slot.select(cpu.const(c.DBD, 32), 0)
    point = code.eq(e.DEBUG_BREAKPOINT)
    number = point.select(cpu.const(e.BREAKPOINT, 32), code & 0x1F)
    why = cpu.var(32, number << c.DEBUG_CODE_SHIFT)
    with cpu.if_(~already):
        cause = code.eq(e.DEBUG_STEP).select(cpu.const(c.DSS, 32), c.DINT)
        why.value = point.select(why.value | c.DBP, cause)
    cpu.debug = kept | slot | why.value | c.DM
    cpu.depc = cpu.pc
    cpu.flush_tlb()  # the debug unit's registers appear


def _enter_error(cpu: SystemCpu, code: Value) -> Value:
    """Reset, NMI and cache errors, which return by ErrorEPC."""
    cpu.errorepc = cpu.pc
    status = cpu.var(32, cpu.status | c.ERL)
    boot = (status.value & c.BEV).ne(0)
    target = cpu.var(cpu.arch.xlen, _long(cpu, RESET_VECTOR))
    with cpu.if_(code.eq(e.CACHE_ERROR)) as arm:
        target.value = (_vector_base(cpu, boot) | _UNCACHED) + _CACHE_ERROR
    with arm.otherwise():
        status.value = (status.value & ~(c.TS | c.SR | c.NMI)) | c.BEV
        with cpu.if_(code.eq(e.NMI)):
            status.value = status.value | c.NMI
    cpu.status = status.value
    return target.value


def _long(cpu: SystemCpu, address: int) -> Value:
    """An address in the segments that have 32 bits, as wide as a register."""
    return cpu.const(signed(address, 32), cpu.arch.xlen)


def _vector_base(cpu: SystemCpu, boot: Value) -> Value:
    base = _long(cpu, _VECTORS)
    if "mips32r2" in cpu.features:
        base = cpu.ebase & ~0xFFF
    return boot.select(_long(cpu, _BOOT_VECTORS), base)


def _enter_ordinary(cpu: SystemCpu, code: Value, argument: Value, in_slot: Value) -> Value:
    """Return the address of the vector."""
    status = cpu.status
    outermost = (status & c.EXL).eq(0)
    boot = (status & c.BEV).ne(0)
    refill = code.eq(e.TLB_REFILL_LOAD) | code.eq(e.TLB_REFILL_STORE)
    number = code & 0x1F
    offset = cpu.var(32, _GENERAL)
    cause = cpu.var(32, cpu.cause & ~(0x1F << c.EXC_CODE_SHIFT))
    cause.value = cause.value | (number << c.EXC_CODE_SHIFT)
    with cpu.if_(outermost):
        cpu.epc = cpu.pc
        slot = in_slot.select(cpu.const(c.BD, 32), 0)
        cause.value = (cause.value & ~c.BD) | slot
        with cpu.if_(refill):
            offset.value = _refill_offset(cpu, argument)
        with cpu.if_(code.eq(e.INTERRUPT) & (cpu.cause & c.IV).ne(0)):
            offset.value = _interrupt_offset(cpu, boot)
        shadow.enter(cpu, code, boot)
    with cpu.if_(number.eq(e.COPROCESSOR_UNUSABLE)):
        which = (argument.trunc(32) & 3) << c.CE_SHIFT
        cause.value = (cause.value & ~(3 << c.CE_SHIFT)) | which
    with cpu.if_(number.uge(e.TLB_MODIFIED) & number.ule(e.ADDRESS_STORE)):
        refillable = number.ult(e.ADDRESS_LOAD) | code.uge(e.SEGMENT_LOAD)
        _note_address(cpu, refillable, argument.trunc(cpu.arch.xlen))
    cpu.cause = cause.value
    cpu.status = status | c.EXL
    return _vector_base(cpu, boot) + offset.value.zext(cpu.arch.xlen)


def _refill_offset(cpu: SystemCpu, address: Value) -> Value:
    if cpu.arch.xlen == 32:
        return cpu.const(_REFILL, 32)
    # The segment's enable bit decides: UX for region 0, SX for 1, KX for 3.
    region = address.bits(62, 2)
    bit = region.eq(0).select(cpu.const(c.UX, 32), region.eq(1).select(cpu.const(c.SX, 32), c.KX))
    wide = (cpu.status & bit).ne(0)
    return wide.select(cpu.const(_XTLB_REFILL, 32), _REFILL)


def _interrupt_offset(cpu: SystemCpu, boot: Value) -> Value:
    """Interrupts have vectors of their own where IntCtl.VS says so.

    Config3.VInt of some models denies it, as in QEMU, and there they have, too.
    """
    if "mips32r2" not in cpu.features:
        return cpu.const(_INTERRUPT, 32)
    spacing = (cpu.intctl & 0x3E0).lshr(5) << 5
    own = interrupts.vector(cpu, interrupts.cause(cpu)) * spacing
    return boot.select(cpu.const(0, 32), own) + _INTERRUPT


def _note_address(cpu: SystemCpu, refillable: Value, address: Value) -> None:
    """BadVAddr, and what helps to refill the TLB.

    The latter is undefined for address errors; QEMU writes it for those that are not misaligned.
    """
    xlen = cpu.arch.xlen
    if xlen == 64:
        # Programs with 32-bit addresses calculate in 32 bits.
        narrow = (cpu.status & (c.KSU | c.EXL | c.ERL | c.UX)).eq(c.USER << c.KSU_SHIFT)
        address = narrow.select(address.trunc(32).sext(64), address)
    cpu.badvaddr = address
    with cpu.if_(refillable):
        kept = cpu.context & ~cpu.const(0x7FFFFF, xlen)
        cpu.context = kept | (address.lshr(9) & 0x7FFFF0)
        cpu.entryhi = (cpu.entryhi & 0xFF) | (address & ~0x1FFF & segment_mask(cpu))
        if xlen == 64:
            bits = c.control_of(cpu).virtual_bits
            low = bits - 9  # of BadVPN2 and the four zeros below it
            pages = address.lshr(9) & ((1 << low) - 16)
            region = address.lshr(62) << low
            cpu.xcontext = (cpu.xcontext & -(1 << (low + 2))) | region | pages


def take_interrupt(cpu: SystemCpu) -> Value:
    """Enter what is pending and not masked, also what has waited; one if there was something."""
    code = cpu.var(32, _NOTHING)
    with cpu.if_((cpu.nmi_request | cpu.debug_request).ne(0), unlikely=True):
        with cpu.if_((cpu.debug & c.DM).eq(0)):
            with cpu.if_(cpu.debug_request.ne(0)) as arm:
                code.value = cpu.const(e.DEBUG_INTERRUPT, 32)
                cpu.debug_request = 0
            with arm.otherwise():
                code.value = cpu.const(e.NMI, 32)
                cpu.nmi_request = 0
    cause = interrupts.cause(cpu)
    cpu.cause_seen = cause
    asked = interrupts.enabled(cpu) & interrupts.pending(cpu, cause)
    with cpu.if_(asked & code.value.eq(_NOTHING)):
        code.value = cpu.const(e.INTERRUPT, 32)
    if "watch" in cpu.features:
        with cpu.if_(watch.pending(cpu) & code.value.eq(_NOTHING), unlikely=True):
            code.value = cpu.const(e.WATCH, 32)
    entered = code.value.ne(_NOTHING)
    with cpu.if_(entered):
        _enter(cpu, code.value, cpu.const(0, 64), cpu.const(0, 1))
    return entered


def may_interrupt(cpu: SystemCpu) -> Value:
    """One if `take_interrupt` may find something, now that registers have changed.

    No clock is read: when the timer expires, the machine has interrupts looked for by itself, and
    where they are masked then, `cause_seen` keeps what was found. If that is out of date by now,
    somebody looks in vain.
    """
    value = cpu.cause | cpu.cause_seen | interrupts.lines(cpu)
    waits = interrupts.enabled(cpu) & interrupts.pending(cpu, value)
    waits = waits | (cpu.nmi_request | cpu.debug_request).ne(0)
    if "performance" in cpu.features:
        waits = waits | cpu.perf_enabled.ne(0)
    if "watch" in cpu.features:
        waits = waits | watch.pending(cpu)
    return waits
