"""Moves between general registers and those of coprocessor 0: `mfc0`, `mtc0`, `dmfc0`, `dmtc0`.

What a model has not implemented reads as all ones, as under QEMU (the manual has it undefined);
some numbers are reserved instead.
"""

from __future__ import annotations

from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0.registers import ALL, REGISTERS, ControlRegister, of_model
from pemu.isa.mips.cp0.usable import privileged
from pemu.isa.mips.exceptions import RESERVED_INSTRUCTION
from pemu.isa.mips.state import set_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.state import SystemCpu

    Selection = Value | None

_RESERVED = {5: 0b11100010, 6: 0b01111110, 7: 0b00000001, 12: 0b00001110, 15: 0b00001010}
"""Registers of later revisions, by number: the selections (bits) that are reserved where they are
not there."""

_PRID = 15
"""Release 2 has nothing reserved beside it."""

_DIAGNOSTIC = 22
"""For implementations: reads as 0."""


def read(cpu: SystemCpu, register: ControlRegister, sel: Selection = None) -> Value:
    """The value of a register; `sel`: where it is a file, which one of it."""
    if register.read is not None:
        return register.read(cpu) if sel is None else register.read(cpu, sel)
    if register.constant:
        return cpu.const(of_model(register.reset, c.control_of(cpu)), 32)
    value: Value = getattr(cpu, register.name) if sel is None else getattr(cpu, register.name)[sel]
    return value


def write(cpu: SystemCpu, register: ControlRegister, value: Value, sel: Selection = None) -> None:
    """Write what a general register holds."""
    if register.write is not None:
        register.write(cpu, value) if sel is None else register.write(cpu, value, sel)
        return
    mask = of_model(register.mask, c.control_of(cpu))
    if register.constant or not mask:
        return
    old = read(cpu, register, sel)
    new = value.trunc(old.width)
    if mask != ALL:
        new = (old & ~mask) | (new & mask)
    if sel is None:
        setattr(cpu, register.name, new)
    else:
        getattr(cpu, register.name)[sel] = new


def _no_selection(cpu: SystemCpu, sel: Selection) -> None:
    """Before Release 1 there is one register for each number."""
    if sel is not None and "mips32" not in cpu.features:
        cpu.trap(RESERVED_INSTRUCTION, sel.ne(0))


def _declare(
    meaning_of: Callable[[bool, bool], Callable[..., None]],
    pattern: str,
    text: str,
    name: str,
    needs: str = "",
    overrides: str = "",
) -> None:
    """Declare the four moves of a register: `meaning_of(to, wide)`, by direction and width."""
    for mnemonic, code, to, wide in (
        ("mfc0", "00000", False, False),
        ("dmfc0", "00001", False, True),
        ("mtc0", "00100", True, False),
        ("dmtc0", "00101", True, True),
    ):
        privileged(
            f"010000 {code} rt:5 {pattern}",
            f"{mnemonic} {{rt}}, {text}",
            name=f"{mnemonic}_{name}",
            needs=f"{needs} mips3" if wide else needs,
            overrides=overrides and f"{mnemonic}_{overrides}",
        )(meaning_of(to, wide))


def _declare_moves(register: ControlRegister) -> None:
    """Declare what moves from and to a register."""

    def move(cpu: SystemCpu, rt: Value, sel: Selection, to: bool, wide: bool) -> None:
        _no_selection(cpu, sel)
        if to:
            value = cpu.gpr[rt]
            write(cpu, register, value if wide else value.trunc(32).sext(cpu.arch.xlen), sel)
        elif wide:
            cpu.gpr[rt] = read(cpu, register, sel).sext(cpu.arch.xlen)
        else:
            set_word(cpu, rt, read(cpu, register, sel).trunc(32))

    def meaning_of(to: bool, wide: bool) -> Callable[..., None]:
        if register.select is None:
            return lambda cpu, rt, sel: move(cpu, rt, sel, to, wide)
        return lambda cpu, rt: move(cpu, rt, None, to, wide)

    one = register.select is not None
    selection = f"{register.select:03b}" if one else "sel:3"
    text = f"c0_{register.name}" + ("" if one else ",{sel:u}")
    pattern = f"{register.number:05b} 00000000 {selection}"
    _declare(meaning_of, pattern, text, register.name, register.needs, "system")


def _nothing(to: bool, wide: bool) -> Callable[..., None]:
    """The moves of a register that does not exist."""

    def meaning(cpu: SystemCpu, rt: Value, rd: Value, sel: Value) -> None:
        _no_selection(cpu, sel)
        for number, selections in _RESERVED.items():
            if number == _PRID and "mips32r2" in cpu.features:
                continue
            reserved = cpu.const(selections, 8).lshr(sel.zext(8)).bit(0)
            cpu.trap(RESERVED_INSTRUCTION, rd.eq(number) & reserved)
        if not to:
            nothing = rd.eq(_DIAGNOSTIC).select(cpu.const(0, cpu.arch.xlen), ALL)
            cpu.gpr[rt] = nothing

    return meaning


_declare(_nothing, "rd:5 00000000 sel:3", "{rd:c0}{sel:c0sel}", "system")

for _register in REGISTERS:
    _declare_moves(_register)
