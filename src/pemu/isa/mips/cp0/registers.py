"""The registers of coprocessor 0: one table, from which the moves (`moves`), reset and displays
derive.

Source: MIPS32 and MIPS64 Architecture for Programmers, volume III, chapter 9 (CP0 registers).
"""

from __future__ import annotations

from pemu.engine.staging.architecture import ACCESS_LOOK, PAGE_FAULT
from pemu.engine.staging.builder import Procedure
from pemu.isa.mips.cp0 import interrupts, performance, tcstatus, timer, watch
from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0.tlb import DROP_KEPT
from pemu.isa.mips.cp0.translate import MODE_KERNEL, segment_mask, translate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.models import Control
    from pemu.isa.mips.cp0.state import SystemCpu

    Number: TypeAlias = int | Callable[[Control], int]
    Read: TypeAlias = Callable[..., Value]
    Write: TypeAlias = Callable[..., None]
    """Of the cpu (and the value); for one of a file of registers also the selection."""

ALL = -1


class ControlRegister:
    """One register: `number` and `select` as in the manual.

    `select` None: a file of eight, one for each selection. `mask`: bits that can be written.
    `needs`: features without which there is no such register. `read`, `write`: staged, where the
    register is not just its place in the state, which has the same `name`; `write` is handed what
    is in the general register, and knows what can be written. `constant`: it has no place in the
    state, and without `read` is what it is after reset.
    """

    __slots__ = ("constant", "mask", "name", "needs", "number", "read", "reset", "select", "write")

    def __init__(
        self,
        number: int,
        select: int | None,
        name: str,
        mask: Number = 0,
        *,
        reset: Number = 0,
        needs: str = "",
        read: Read | None = None,
        write: Write | None = None,
        constant: bool = False,
    ) -> None:
        self.number = number
        self.select = select
        self.name = name
        self.mask = mask
        self.reset = reset
        self.needs = needs
        self.read = read
        self.write = write
        self.constant = constant

    def exists(self, control: Control) -> bool:
        """Whether a model has it."""
        return frozenset(self.needs.split()) <= control.features | control.model.features


def of_model(number: Number, control: Control) -> int:
    """What a mask or reset value is for one model."""
    return number if isinstance(number, int) else number(control)


# Masks and reset values.


def _entrylo(control: Control) -> int:
    return (1 << control.physical_bits - 6) - 1


def _context(control: Control) -> int:
    return ALL << 23


def _xcontext(control: Control) -> int:
    return ALL << (control.virtual_bits - 7)


def _hwrena(control: Control) -> int:
    return 0x0F | (1 << 29 if "ulri" in control.features else 0)


def _intctl(control: Control) -> int:
    """The timer and the performance counters interrupt by IP7."""
    return 0xE0000000 | (c.TIMER_LINE << 26 if control.counters else 0)


def _srsconf(number: int) -> Callable[[Control], int]:
    value = 0xBFEFFBFE if number < 4 else 0x3FEFFBFE
    return lambda control: value if "mt" in control.model.features else 0


def _config(number: int) -> Callable[[Control], int]:
    return lambda control: control.config(number)


# Writes that do more than store.


def _write_pagemask(cpu: SystemCpu, value: Value) -> None:
    """Store a mask of adjacent ones, 0 for any other."""
    pages = value.trunc(32).bits(13, 16).zext(32)
    adjacent = (pages & (pages + 1)).eq(0)
    cpu.pagemask = adjacent.select(pages << 13, 0)


def _write_index(cpu: SystemCpu, value: Value) -> None:
    """Numbers of entries that there are not are ignored."""
    value = value.trunc(32)
    with cpu.if_((value & 0x7FFFFFFF).ult(c.control_of(cpu).tlb)):
        cpu.index = (cpu.index & ~0x7FFFFFFF) | (value & 0x7FFFFFFF)


def _write_srsconf(number: int) -> Callable[[SystemCpu, Value], None]:
    """Fields can be given a thread context once: bits are only ever set."""

    def write(cpu: SystemCpu, value: Value) -> None:
        if "mt" in cpu.features:
            name = f"srsconf{number}"
            setattr(cpu, name, getattr(cpu, name) | (value.trunc(32) & 0x3FFFFFFF))

    return write


def _write_wired(cpu: SystemCpu, value: Value) -> None:
    own = c.control_of(cpu).tlb
    if not own:
        return
    number = value.trunc(32)
    cpu.wired = number & (own - 1) if own & (own - 1) == 0 else number.urem(own)
    cpu.random = own - 1
    cpu.invoke(DROP_KEPT)


def _write_entryhi(cpu: SystemCpu, value: Value) -> None:
    value = value & (segment_mask(cpu) & ~0x1FFF | 0xFF)
    other = ((cpu.entryhi ^ value) & 0xFF).ne(0)
    cpu.entryhi = value
    with cpu.if_(other):
        cpu.set_context(value.trunc(32) & 0xFF)
    cpu.end_block()  # which has the soft TLB of the old address space at hand


def _write_status(cpu: SystemCpu, value: Value) -> None:
    mask = c.control_of(cpu).status_mask
    old = cpu.status
    new = (old & ~mask) | (value.trunc(32) & mask)
    cpu.status = new
    if cpu.arch.xlen == 64:
        with cpu.if_(((old ^ new) & (c.UX | c.SX | c.KX)).ne(0), unlikely=True):
            cpu.flush_tlb()
    cpu.update_mode()


def _write_cause(cpu: SystemCpu, value: Value) -> None:
    mask = interrupts.SOFTWARE | c.IV
    value = value.trunc(32)
    kept = cpu.cause & ~mask & (value | ~c.WP)  # programs can take WP back, not set it
    cpu.cause = kept | (value & mask)
    cpu.update_mode()
    if "mips32r2" in cpu.features:
        timer.stop_or_start(cpu, (value & c.DC).ne(0))


def _write_ebase(cpu: SystemCpu, value: Value) -> None:
    mask = cpu.const(0x3FFFF000, cpu.arch.xlen)
    if "ebase_wg" in cpu.features:
        mask = (value & _WG).ne(0).select(cpu.const(~0xFFF, cpu.arch.xlen), mask) | _WG
    cpu.ebase = (cpu.ebase & ~mask) | (value & mask)


def _write_config(cpu: SystemCpu, value: Value) -> None:
    cpu.config = (cpu.config & 0x81FFFFF8) | (value.trunc(32) & 7)


def _lladdr(cpu: SystemCpu) -> Value:
    """Where the last LL was, as memory's addresses go; 0 where that is no longer mapped."""
    mode = cpu.const(MODE_KERNEL, 32)
    address = cpu.lladdr
    page = translate(cpu, address, cpu.const(ACCESS_LOOK, 32), mode)
    physical = (page & ~0xFFF) | (address.zext(64) & 0xFFF)
    there = (page & PAGE_FAULT).eq(0) & address.ne(0)
    found = there.select(physical, 0)
    return found.lshr(c.control_of(cpu).lladdr_shift).trunc(cpu.arch.xlen)


def lladdr_procedure(xlen: int) -> Procedure:
    """LLAddr, by a function of its own: translating takes much code."""
    return Procedure("mips_lladdr", (), xlen, _lladdr)


def _read_lladdr(cpu: SystemCpu) -> Value:
    return cpu.invoke(lladdr_procedure(cpu.arch.xlen))


def _write_taglo(cpu: SystemCpu, value: Value, sel: Value) -> None:
    """TagLo, and DataLo with odd selections."""
    mask = sel.bit(0).select(cpu.const(ALL, 32), 0xFFFFFCF6)
    cpu.taglo[sel] = value.trunc(32) & mask


_WG = 1 << 11
"""Bit of EBase: the vectors may lie anywhere."""

_R1, _R2 = "mips32", "mips32r2"

REGISTERS = (
    ControlRegister(0, 0, "index", write=_write_index),
    ControlRegister(0, 1, "mvpcontrol", 0xB, reset=1, needs="mt"),
    ControlRegister(0, 2, "mvpconf0", needs="mt", constant=True),
    ControlRegister(0, 3, "mvpconf1", needs="mt", constant=True),
    ControlRegister(1, 0, "random", reset=lambda m: max(m.tlb - 1, 0)),
    ControlRegister(1, 1, "vpecontrol", 0x003080FF, needs="mt"),
    ControlRegister(1, 2, "vpeconf0", 0x1FE00003, reset=3, needs="mt"),
    ControlRegister(1, 3, "vpeconf1", needs="mt", constant=True),
    ControlRegister(1, 4, "yqmask", needs="mt", constant=True),
    ControlRegister(1, 5, "vpeschedule", ALL, needs="mt"),
    ControlRegister(1, 6, "vpeschefback", ALL, needs="mt"),
    ControlRegister(1, 7, "vpeopt", 0xFFFF, needs="mt"),
    ControlRegister(2, 0, "entrylo0", _entrylo),
    ControlRegister(
        *(2, 1, "tcstatus"),
        reset=tcstatus.ACTIVE,
        needs="mt",
        read=tcstatus.read,
        write=tcstatus.write,
    ),
    ControlRegister(2, 2, "tcbind", 0x20000, needs="mt"),
    ControlRegister(2, 3, "tcrestart", ALL, needs="mt"),
    ControlRegister(2, 4, "tchalt", 1, needs="mt"),
    ControlRegister(2, 5, "tccontext", ALL, needs="mt"),
    ControlRegister(2, 6, "tcschedule", ALL, needs="mt"),
    ControlRegister(2, 7, "tcschefback", ALL, needs="mt"),
    ControlRegister(3, 0, "entrylo1", _entrylo),
    ControlRegister(4, 0, "context", _context),
    ControlRegister(4, 2, "userlocal", ALL, needs=f"ulri {_R2}"),
    ControlRegister(5, 0, "pagemask", write=_write_pagemask),
    ControlRegister(5, 1, "pagegrain", needs=_R2, constant=True),
    ControlRegister(6, 0, "wired", write=_write_wired),
    *(
        ControlRegister(
            *(6, n + 1, f"srsconf{n}"), reset=_srsconf(n), needs=_R2, write=_write_srsconf(n)
        )
        for n in range(5)
    ),
    ControlRegister(7, 0, "hwrena", _hwrena, needs=_R2),
    ControlRegister(8, 0, "badvaddr"),
    ControlRegister(9, 0, "count", read=timer.count, write=timer.write_count, constant=True),
    ControlRegister(10, 0, "entryhi", write=_write_entryhi),
    ControlRegister(11, 0, "compare", write=timer.write_compare),
    ControlRegister(12, 0, "status", reset=c.STATUS_RESET, write=_write_status),
    ControlRegister(12, 1, "intctl", 0x3E0, reset=_intctl, needs=_R2),
    ControlRegister(
        *(12, 2, "srsctl", 0xF3C0), reset=lambda m: (m.shadow_sets - 1) << 26, needs=_R2
    ),
    ControlRegister(12, 3, "srsmap", ALL, needs=_R2),
    ControlRegister(13, 0, "cause", read=interrupts.cause, write=_write_cause),
    ControlRegister(14, 0, "epc", ALL),
    ControlRegister(15, 0, "prid", reset=lambda m: m.model.prid, constant=True),
    ControlRegister(15, 1, "ebase", reset=-0x80000000, needs=_R2, write=_write_ebase),
    ControlRegister(16, 0, "config", reset=_config(0), write=_write_config),
    *(
        ControlRegister(16, n, f"config{n}", reset=_config(n), needs=_R1, constant=True)
        for n in range(1, 8)
    ),
    ControlRegister(17, 0, "lladdr", read=_read_lladdr),
    ControlRegister(18, None, "watchlo", needs="watch", write=watch.write_low),
    ControlRegister(19, None, "watchhi", reset=0x80000000, needs="watch", write=watch.write_high),
    ControlRegister(20, 0, "xcontext", _xcontext, needs="mips3"),
    ControlRegister(21, 0, "framemask", ALL),
    ControlRegister(23, 0, "debug", 0x13300120, reset=0x02008000, needs=_R1),
    ControlRegister(24, 0, "depc", ALL, needs=_R1),
    ControlRegister(25, None, "perf", needs=_R1, read=performance.read, write=performance.write),
    ControlRegister(26, 0, "errctl", 0x30000000),
    ControlRegister(27, 0, "cacheerr", constant=True),
    ControlRegister(28, None, "taglo", write=_write_taglo),
    ControlRegister(29, None, "taghi", ALL),
    ControlRegister(30, 0, "errorepc", ALL),
    ControlRegister(31, 0, "desave", ALL, needs=_R1),
)
"""Every register, in the order of the numbers."""
