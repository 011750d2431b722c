"""Instructions that raise exceptions: system calls, break points, conditional traps.

The code field of an instruction goes with its exception as the argument; `break` hands over all 20
bits as they stand in the instruction.
"""

from __future__ import annotations

from pemu.isa.mips.exceptions import BREAKPOINT, DEBUG_BREAKPOINT, SYSCALL, TRAP
from pemu.isa.mips.table import MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.values import Value
    from pemu.isa.mips.state import Cpu


@MIPS.insn("000000 code:20 001100", "syscall {code:x}")
def syscall(cpu: Cpu) -> None:
    if "system" in cpu.features:
        cpu.trap(SYSCALL)
    else:
        cpu.syscall()


@MIPS.insn("000000 high:10 low:10 001101", "break {high:x}, {low:x}")
def break_(cpu: Cpu, high: Value, low: Value) -> None:
    cpu.trap(BREAKPOINT, None, high.concat(low))


@MIPS.insn("011100 code:20 111111", "sdbbp {code:x}", needs="mips32")
def sdbbp(cpu: Cpu) -> None:
    """Debug break point: without a debug probe Linux skips it for programs."""
    if "system" in cpu.features:
        cpu.trap(DEBUG_BREAKPOINT)


def _trap(name: str, function: str, condition: Callable[[Value, Value], Value]) -> None:
    """Declare a trap on two registers."""

    def meaning(cpu: Cpu, rs: Value, rt: Value, code: Value) -> None:
        cpu.trap(TRAP, condition(cpu.gpr[rs], cpu.gpr[rt]), code)

    MIPS.insn(
        f"000000 rs:5 rt:5 code:10 {function}",
        f"{name} {{rs}}, {{rt}}, {{code:x}}",
        name=name,
        needs="mips2",
    )(meaning)


def _trap_immediate(name: str, rt: str, condition: Callable[[Value, Value], Value]) -> None:
    """Declare a trap on a register and a constant, which is sign-extended also for unsigned."""

    def meaning(cpu: Cpu, rs: Value, imm: Value) -> None:
        cpu.trap(TRAP, condition(cpu.gpr[rs], imm.sext(cpu.arch.xlen)))

    MIPS.insn(f"000001 rs:5 {rt} imm:16", f"{name} {{rs}}, {{imm:d}}", name=name, needs="mips2")(
        meaning
    )


def _greater_equal(a: Value, b: Value) -> Value:
    return a.sge(b)


def _greater_equal_unsigned(a: Value, b: Value) -> Value:
    return a.uge(b)


def _less(a: Value, b: Value) -> Value:
    return a.slt(b)


def _less_unsigned(a: Value, b: Value) -> Value:
    return a.ult(b)


def _equal(a: Value, b: Value) -> Value:
    return a.eq(b)


def _unequal(a: Value, b: Value) -> Value:
    return a.ne(b)


for _name, _function, _immediate_name, _rt, _condition in (
    ("tge", "110000", "tgei", "01000", _greater_equal),
    ("tgeu", "110001", "tgeiu", "01001", _greater_equal_unsigned),
    ("tlt", "110010", "tlti", "01010", _less),
    ("tltu", "110011", "tltiu", "01011", _less_unsigned),
    ("teq", "110100", "teqi", "01100", _equal),
    ("tne", "110110", "tnei", "01110", _unequal),
):
    _trap(_name, _function, _condition)
    _trap_immediate(_immediate_name, _rt, _condition)
