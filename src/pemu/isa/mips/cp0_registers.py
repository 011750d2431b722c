"""The registers of coprocessor 0: one table, from which the moves, reset and displays derive.

What Release 1 and later have not implemented reads as all ones, as under QEMU (the manual has it
undefined).

Source: MIPS32 and MIPS64 Architecture for Programmers, volume III, chapter 9 (CP0 registers).
"""

from __future__ import annotations

from pemu.isa.mips import cp0_interrupts as interrupts
from pemu.isa.mips import cp0_state as c
from pemu.isa.mips import cp0_threads as threads
from pemu.isa.mips import cp0_timer as timer
from pemu.isa.mips.cp0_tlb import DROP_KEPT
from pemu.isa.mips.cp0_translate import segment_mask
from pemu.isa.mips.cp0_usable import privileged
from pemu.isa.mips.exceptions import RESERVED_INSTRUCTION
from pemu.isa.mips.state import set_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from pemu.engine.values import Value
    from pemu.isa.mips.cp0_models import Control
    from pemu.isa.mips.cp0_state import SystemCpu

    Number: TypeAlias = int | Callable[[Control], int]
    Read: TypeAlias = Callable[[SystemCpu], Value]
    Write: TypeAlias = Callable[[SystemCpu, Value], None]

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


def _config(number: int) -> Callable[[Control], int]:
    return lambda control: control.config(number)


# Writes that do more than store.


def _write_pagemask(cpu: SystemCpu, value: Value) -> None:
    """Store a mask of adjacent ones, 0 for any other."""
    pages = value.trunc(32).bits(13, 16).zext(32)
    adjacent = (pages & (pages + 1)).eq(0)
    cpu.pagemask = adjacent.select(pages << 13, 0)


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
    mask = interrupts.SOFTWARE | c.IV | c.WP
    value = value.trunc(32)
    cpu.cause = (cpu.cause & ~mask) | (value & mask)
    if "mips32r2" in cpu.features:
        timer.stop_or_start(cpu, (value & c.DC).ne(0))
    cpu.update_mode()


def _write_config(cpu: SystemCpu, value: Value) -> None:
    cpu.config = (cpu.config & ~7) | (value.trunc(32) & 7)


def _read_lladdr(cpu: SystemCpu) -> Value:
    return cpu.lladdr.trunc(32).lshr(4)


_R1, _R2 = "mips32", "mips32r2"

REGISTERS = (
    ControlRegister(0, 0, "index", lambda m: (1 << (m.tlb - 1).bit_length()) - 1 if m.tlb else 0),
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
        reset=threads.ACTIVE,
        needs="mt",
        read=threads.read_tcstatus,
        write=threads.write_tcstatus,
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
            6, n + 1, f"srsconf{n}", reset=0xBFEFFBFE if n < 4 else 0x3FEFFBFE, needs="mt"
        )
        for n in range(5)
    ),
    ControlRegister(7, 0, "hwrena", _hwrena, needs=_R2),
    ControlRegister(8, 0, "badvaddr"),
    ControlRegister(9, 0, "count", read=timer.count, write=timer.write_count, constant=True),
    ControlRegister(10, 0, "entryhi", write=_write_entryhi),
    ControlRegister(11, 0, "compare", write=timer.write_compare),
    ControlRegister(12, 0, "status", reset=c.STATUS_RESET, write=_write_status),
    ControlRegister(12, 1, "intctl", 0x3E0, reset=0xE0000000, needs=_R2),
    ControlRegister(
        *(12, 2, "srsctl", 0xF3C0), reset=lambda m: (m.shadow_sets - 1) << 26, needs=_R2
    ),
    ControlRegister(12, 3, "srsmap", ALL, needs=_R2),
    ControlRegister(13, 0, "cause", read=interrupts.cause, write=_write_cause),
    ControlRegister(14, 0, "epc", ALL),
    ControlRegister(15, 0, "prid", reset=lambda m: m.model.prid, constant=True),
    ControlRegister(15, 1, "ebase", 0x3FFFF000, reset=0x80000000, needs=_R2),
    ControlRegister(16, 0, "config", reset=_config(0), write=_write_config),
    *(
        ControlRegister(16, n, f"config{n}", reset=_config(n), needs=_R1, constant=True)
        for n in range(1, 8)
    ),
    ControlRegister(17, 0, "lladdr", read=_read_lladdr),
    ControlRegister(18, None, "watchlo", ~7, needs=_R1),
    ControlRegister(19, None, "watchhi", 0x40FF0FF8, reset=0x80000000, needs=_R1),
    ControlRegister(20, 0, "xcontext", _xcontext, needs="mips3"),
    ControlRegister(23, 0, "debug", 0x13300120, reset=0x02008000, needs=_R1),
    ControlRegister(24, 0, "depc", ALL, needs=_R1),
    ControlRegister(25, 0, "perfctl", 0x7FF, needs=_R1),
    ControlRegister(26, 0, "errctl", 0x30000000),
    ControlRegister(27, 0, "cacheerr", constant=True),
    ControlRegister(28, None, "taglo", ALL),
    ControlRegister(29, None, "taghi", ALL),
    ControlRegister(30, 0, "errorepc", ALL),
    ControlRegister(31, 0, "desave", ALL, needs=_R1),
)
"""Every register, in the order of the numbers."""


# The moves.


def _state_value(cpu: SystemCpu, register: ControlRegister, sel: Value | None) -> Value:
    if sel is not None:
        value: Value = getattr(cpu, register.name)[sel]
    elif register.read is not None:
        value = register.read(cpu)
    elif register.constant:
        value = cpu.const(of_model(register.reset, c.control_of(cpu)), 32)
    else:
        value = getattr(cpu, register.name)
    return value


def _store(cpu: SystemCpu, register: ControlRegister, sel: Value | None, value: Value) -> None:
    """Write what a general register holds."""
    if register.write is not None:
        register.write(cpu, value)
        return
    mask = of_model(register.mask, c.control_of(cpu))
    if register.constant or not mask:
        return
    old = _state_value(cpu, register, sel)
    new = value.trunc(old.width)
    if mask != ALL:
        new = (old & ~mask) | (new & mask)
    if sel is None:
        setattr(cpu, register.name, new)
    else:
        getattr(cpu, register.name)[sel] = new


def _state_value_of(register: ControlRegister) -> Read:
    return lambda cpu: _state_value(cpu, register, None)


def _store_to(register: ControlRegister) -> Write:
    return lambda cpu, value: _store(cpu, register, None, value)


def _declare_moves(register: ControlRegister) -> None:
    """Declare what moves from and to a register, with 32 and with 64 bits."""
    number, select, name = register.number, register.select, register.name
    selection = "sel:3" if select is None else f"{select:03b}"
    text = f"c0_{name}" + (",{sel:u}" if select is None else "")

    def from_word(cpu: SystemCpu, rt: Value, sel: Value | None) -> None:
        set_word(cpu, rt, _state_value(cpu, register, sel).trunc(32))

    def from_long(cpu: SystemCpu, rt: Value, sel: Value | None) -> None:
        cpu.gpr[rt] = _state_value(cpu, register, sel).sext(cpu.arch.xlen)

    def to_word(cpu: SystemCpu, rt: Value, sel: Value | None) -> None:
        _store(cpu, register, sel, cpu.gpr[rt].trunc(32).sext(cpu.arch.xlen))

    def to_long(cpu: SystemCpu, rt: Value, sel: Value | None) -> None:
        _store(cpu, register, sel, cpu.gpr[rt])

    if select is not None:
        threads.declare_moves(
            number, select, name, register.needs, _state_value_of(register), _store_to(register)
        )
    for mnemonic, code, move, needs in (
        ("mfc0", "00000", from_word, ""),
        ("dmfc0", "00001", from_long, "mips3"),
        ("mtc0", "00100", to_word, ""),
        ("dmtc0", "00101", to_long, "mips3"),
    ):
        privileged(
            f"010000 {code} rt:5 {number:05b} 00000000 {selection}",
            f"{mnemonic} {{rt}}, {text}",
            name=f"{mnemonic}_{name}",
            needs=f"{register.needs} {needs}",
            overrides=f"{mnemonic}_system",
        )(_with_fields(move, select is None))


def _with_fields(
    move: Callable[[SystemCpu, Value, Value | None], None], selected: bool
) -> Callable[..., None]:
    """The meaning whose parameters are the fields of the pattern."""
    if selected:
        return lambda cpu, rt, sel: move(cpu, rt, sel)
    return lambda cpu, rt: move(cpu, rt, None)


def _no_selection(cpu: SystemCpu, sel: Value) -> None:
    """Before Release 1 there is one register for each number."""
    if "mips32" not in cpu.features:
        cpu.trap(RESERVED_INSTRUCTION, sel.ne(0))


def _from_nothing(cpu: SystemCpu, rt: Value, sel: Value) -> None:
    _no_selection(cpu, sel)
    cpu.gpr[rt] = cpu.const(ALL, cpu.arch.xlen)


def _to_nothing(cpu: SystemCpu, sel: Value) -> None:
    _no_selection(cpu, sel)


for _mnemonic, _code, _meaning, _needs in (
    ("mfc0", "00000", _from_nothing, ""),
    ("dmfc0", "00001", _from_nothing, "mips3"),
    ("mtc0", "00100", _to_nothing, ""),
    ("dmtc0", "00101", _to_nothing, "mips3"),
):
    privileged(
        f"010000 {_code} rt:5 rd:5 00000000 sel:3",
        f"{_mnemonic} {{rt}}, {{rd:c0}}{{sel:c0sel}}",
        name=f"{_mnemonic}_system",
        needs=_needs,
    )(_meaning)

for _register in REGISTERS:
    _declare_moves(_register)
