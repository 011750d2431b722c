"""Watch registers: exceptions at accesses to chosen doublewords.

Loads and stores are compared when the soft TLB asks for a translation, which it does at each access
to a page that one of the registers touches, and never does for the others. Fetched instructions are
compared by the machine, at hooks (exit WATCH).

Where Status.EXL or ERL is set the exception waits: Cause.WP. In debug mode nothing is watched.

Source: MIPS32 and MIPS64 Architecture for Programmers, volume III (WatchLo, WatchHi, Cause.WP).
"""

from __future__ import annotations

from pemu.engine.staging.architecture import ACCESS_LOAD, ACCESS_STORE
from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0.exits import EXIT_HOOKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.machinecpu import MachineCpu
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.state import SystemCpu

PAIRS = 8
"""Watch registers of all models that have some."""

FETCH, LOAD, STORE = 1 << 2, 1 << 1, 1 << 0
"""Bits of WatchLo: what raises an exception; of WatchHi (Release 2): what was met."""

GLOBAL, ASID_SHIFT = 1 << 30, 16
ADDRESSES = 0xFF8
"""Bits of WatchHi that say which address bits are not compared, beside the lowest three."""

_WRITABLE = GLOBAL | 0xFF << ASID_SHIFT | ADDRESSES
PAGE = 0x1000


def write_low(cpu: SystemCpu, value: Value, sel: Value) -> None:
    """Write WatchLo `sel`."""
    old = cpu.watchlo[sel]
    _forget(cpu, sel)
    cpu.watchlo[sel] = value
    _forget(cpu, sel)
    active = cpu.const(1, 32) << sel.zext(32)
    watches = (value & (FETCH | LOAD | STORE)).ne(0)
    cpu.watch_active = watches.select(cpu.watch_active | active, cpu.watch_active & ~active)
    _fetches_changed(cpu, old | value, value)


def write_high(cpu: SystemCpu, value: Value, sel: Value) -> None:
    """Write WatchHi `sel`. Ones take bits back that tell what was met."""
    old = cpu.watchhi[sel]
    value = value.trunc(32)
    met = old & ~value if "mips32r2" in cpu.features else old
    _forget(cpu, sel)
    cpu.watchhi[sel] = (value & _WRITABLE) | (old & 1 << 31) | (met & (FETCH | LOAD | STORE))
    _forget(cpu, sel)
    low = cpu.watchlo[sel]
    _fetches_changed(cpu, low, low)


def _fetches_changed(cpu: SystemCpu, kinds: Value, address: Value) -> None:
    """Have the machine look which fetches are watched, if any were or are (`kinds`).

    For addresses of programs it does so at the next ERET only: kernels try the registers out.
    """
    with cpu.if_((kinds & FETCH).ne(0), unlikely=True):
        cpu.watch_hooks = 1
        with cpu.if_(address.bit(31)):
            cpu.exit(EXIT_HOOKS)


def before_return(cpu: SystemCpu) -> None:
    """For ERET, which is run once more where the machine had to look."""
    if "watch" in cpu.features:
        with cpu.if_(cpu.watch_hooks.ne(0), unlikely=True):
            cpu.exit(EXIT_HOOKS, 1)


def _forget(cpu: SystemCpu, sel: Value) -> None:
    """Have the soft TLB ask again for the page that a register watches."""
    low = cpu.watchlo[sel]
    with cpu.if_((low & (LOAD | STORE)).ne(0)):
        cpu.flush_page(low & -PAGE)


def look(cpu: SystemCpu, address: Value, access: Value) -> tuple[Value, Value]:
    """Compare an access: (whether its page is watched, whether it raises the exception)."""
    asks, raises = cpu.var(1, 0), cpu.var(1, 0)
    with cpu.if_(cpu.watch_active.ne(0), unlikely=True):
        wanted = access.eq(ACCESS_LOAD).select(cpu.const(LOAD, 32), 0)
        wanted = access.eq(ACCESS_STORE).select(cpu.const(STORE, 32), wanted)
        wanted = (cpu.debug & c.DM).eq(0).select(wanted, 0)
        number = cpu.var(32, 0)
        with cpu.while_(lambda: number.value.ult(PAIRS)):
            low, high = cpu.watchlo[number.value], cpu.watchhi[number.value]
            whose = (high & GLOBAL).ne(0)
            whose = whose | (high.lshr(ASID_SHIFT) & 0xFF).eq(cpu.entryhi.trunc(32) & 0xFF)
            other = address ^ low
            with cpu.if_(whose & (low & (LOAD | STORE)).ne(0) & (other & -PAGE).eq(0)):
                asks.value = cpu.const(1, 1)
                ignored = (high & ADDRESSES | 7).zext(cpu.arch.xlen)
                met = (low.trunc(32) & wanted).ne(0) & (other & ~ignored).eq(0)
                with cpu.if_(met):
                    raises.value = cpu.const(1, 1)
                    if "mips32r2" in cpu.features:
                        cpu.watchhi[number.value] = high | wanted
            number.value = number.value + 1
        with cpu.if_(raises.value & (cpu.status & (c.EXL | c.ERL)).ne(0)):
            cpu.cause = cpu.cause | c.WP
            raises.value = cpu.const(0, 1)
    return asks.value, raises.value


def registers_changed(cpu: MachineCpu) -> None:
    """The registers of a stopped processor have been changed by hand."""
    bits = (
        (cpu.watchlo[number] & (FETCH | LOAD | STORE) != 0) << number for number in range(PAIRS)
    )
    cpu.watch_active = sum(bits)
    cpu.watch_hooks = 1
    cpu.flush_tlb()


def fetches(cpu: MachineCpu, address: int) -> bool:
    """Whether a stopped processor's fetch from `address` is watched and raises the exception.

    Notes what was met, and that the exception waits where it has to.
    """
    met = False
    for number in range(PAIRS) if not cpu.debug & c.DM else ():
        low, high = cpu.watchlo[number], cpu.watchhi[number]
        whose = high & GLOBAL or high >> ASID_SHIFT & 0xFF == cpu.entryhi & 0xFF
        if low & FETCH and whose and (address ^ low) & ~(high & ADDRESSES | 7) == 0:
            met = True
            if "mips32r2" in cpu.engine.arch.features:
                cpu.watchhi[number] |= FETCH
    if met and cpu.status & (c.EXL | c.ERL):
        cpu.cause |= c.WP
        return False
    return met


def watched_instructions(cpu: MachineCpu) -> set[int]:
    """Addresses of instructions whose fetch is watched, by whomever."""
    found: set[int] = set()
    for number in range(PAIRS):
        low = cpu.watchlo[number]
        if low & FETCH:
            ignored = cpu.watchhi[number] & ADDRESSES | 7
            found |= {
                (low & ~ignored) + offset for offset in range(0, PAGE, 4) if not offset & ~ignored
            }
    return found


def pending(cpu: SystemCpu) -> Value:
    """One if an exception has waited and can be raised now."""
    waits = (cpu.cause & c.WP).ne(0) & (cpu.status & (c.EXL | c.ERL)).eq(0)
    return waits & (cpu.debug & c.DM).eq(0)
