"""Jumps and branches. All have a delay slot; the likely ones skip it where they do not branch.

Targets count from the delay slot. A linking instruction writes the address after the delay slot;
what decides the branch is read before, so that a condition on ra sees the old value.
"""

from __future__ import annotations

from pemu.isa.mips.exceptions import RESERVED_INSTRUCTION
from pemu.isa.mips.table import MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.values import Value
    from pemu.isa.mips.state import Cpu

RA = 31


def branch_target(cpu: Cpu, offset: Value) -> Value:
    """Return the target of a branch with the 16-bit word offset `offset`."""
    return cpu.pc + 4 + (offset.sext(cpu.arch.xlen) << 2)


def jump_target(cpu: Cpu, index: Value) -> Value:
    """Return the target of a jump to word `index` of the delay slot's 256 MiB segment."""
    return ((cpu.pc + 4) & ~0x0FFFFFFF) | (index.zext(cpu.arch.xlen) << 2)


@MIPS.insn("000010 index:26", "j {index:jump}")
def j(cpu: Cpu, index: Value) -> None:
    cpu.jump(jump_target(cpu, index))


@MIPS.insn("000011 index:26", "jal {index:jump}")
def jal(cpu: Cpu, index: Value) -> None:
    cpu.gpr[RA] = cpu.pc + 8
    cpu.jump(jump_target(cpu, index))


@MIPS.insn("011101 index:26", "jalx {index:jumpx}")
def jalx(cpu: Cpu, index: Value) -> None:
    """Call in another instruction encoding; no model here has one."""
    cpu.trap(RESERVED_INSTRUCTION)


# The hazard barriers of jr.hb and jalr.hb (bit 10) matter to no program: instructions are
# executed in order.


@MIPS.insn("000000 rs:5 0000000000 00000 001000", "jr {rs}")
def jr(cpu: Cpu, rs: Value) -> None:
    cpu.jump(cpu.gpr[rs])


@MIPS.insn("000000 rs:5 0000000000 10000 001000", "jr.hb {rs}")
def jr_hb(cpu: Cpu, rs: Value) -> None:
    cpu.jump(cpu.gpr[rs])


def jump_and_link(cpu: Cpu, rs: Value, rd: Value) -> None:
    """Go to the address in rs, which is read before rd is written."""
    target = cpu.gpr[rs]
    cpu.gpr[rd] = cpu.pc + 8
    cpu.jump(target)


@MIPS.insn("000000 rs:5 00000 rd:5 00000 001001", "jalr {rd}, {rs}")
def jalr(cpu: Cpu, rs: Value, rd: Value) -> None:
    jump_and_link(cpu, rs, rd)


@MIPS.insn("000000 rs:5 00000 rd:5 10000 001001", "jalr.hb {rd}, {rs}")
def jalr_hb(cpu: Cpu, rs: Value, rd: Value) -> None:
    jump_and_link(cpu, rs, rd)


# Branches on two registers, and their likely twins.


def branch_equal(cpu: Cpu, rs: Value, rt: Value, offset: Value, *, likely: bool) -> None:
    """Branch if rs equals rt."""
    cpu.branch(cpu.gpr[rs].eq(cpu.gpr[rt]), branch_target(cpu, offset), likely=likely)


def branch_unequal(cpu: Cpu, rs: Value, rt: Value, offset: Value, *, likely: bool) -> None:
    """Branch if rs and rt differ."""
    cpu.branch(cpu.gpr[rs].ne(cpu.gpr[rt]), branch_target(cpu, offset), likely=likely)


@MIPS.insn("000100 rs:5 rt:5 offset:16", "beq {rs}, {rt}, {offset:branch}")
def beq(cpu: Cpu, rs: Value, rt: Value, offset: Value) -> None:
    branch_equal(cpu, rs, rt, offset, likely=False)


@MIPS.insn("010100 rs:5 rt:5 offset:16", "beql {rs}, {rt}, {offset:branch}", needs="mips2")
def beql(cpu: Cpu, rs: Value, rt: Value, offset: Value) -> None:
    branch_equal(cpu, rs, rt, offset, likely=True)


@MIPS.insn("000101 rs:5 rt:5 offset:16", "bne {rs}, {rt}, {offset:branch}")
def bne(cpu: Cpu, rs: Value, rt: Value, offset: Value) -> None:
    branch_unequal(cpu, rs, rt, offset, likely=False)


@MIPS.insn("010101 rs:5 rt:5 offset:16", "bnel {rs}, {rt}, {offset:branch}", needs="mips2")
def bnel(cpu: Cpu, rs: Value, rt: Value, offset: Value) -> None:
    branch_unequal(cpu, rs, rt, offset, likely=True)


# Branches on a register's sign: one declaration for the plain, likely, and linking forms.


def _negative(value: Value) -> Value:
    return value.slt(0)


def _not_negative(value: Value) -> Value:
    return value.sge(0)


def _positive(value: Value) -> Value:
    return value.sgt(0)


def _not_positive(value: Value) -> Value:
    return value.sle(0)


def _branch_on_sign(
    name: str, pattern: str, condition: Callable[[Value], Value], *, likely: bool, link: bool
) -> None:
    def meaning(cpu: Cpu, rs: Value, offset: Value) -> None:
        taken = condition(cpu.gpr[rs])
        if link:
            cpu.gpr[RA] = cpu.pc + 8
        cpu.branch(taken, branch_target(cpu, offset), likely=likely)

    MIPS.insn(pattern, f"{name} {{rs}}, {{offset:branch}}", name=name, needs="mips2" * likely)(
        meaning
    )


for _name, _opcode, _rt, _condition, _likely, _link in (
    ("bltz", "000001", "00000", _negative, False, False),
    ("bgez", "000001", "00001", _not_negative, False, False),
    ("bltzl", "000001", "00010", _negative, True, False),
    ("bgezl", "000001", "00011", _not_negative, True, False),
    ("bltzal", "000001", "10000", _negative, False, True),
    ("bgezal", "000001", "10001", _not_negative, False, True),
    ("bltzall", "000001", "10010", _negative, True, True),
    ("bgezall", "000001", "10011", _not_negative, True, True),
    ("blez", "000110", "00000", _not_positive, False, False),
    ("bgtz", "000111", "00000", _positive, False, False),
    ("blezl", "010110", "00000", _not_positive, True, False),
    ("bgtzl", "010111", "00000", _positive, True, False),
):
    _branch_on_sign(
        _name, f"{_opcode} rs:5 {_rt} offset:16", _condition, likely=_likely, link=_link
    )
