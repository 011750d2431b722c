"""The DSP extension, revisions 1 and 2: its control register, accumulators, and declarations.

Source: MIPS Architecture for Programmers, volume IV-e, "The MIPS DSP Module", for MIPS32 and for
MIPS64. The instructions stand in the other modules of this folder, one or two of the manual's
encoding tables (function fields of major opcode SPECIAL3) each.

Most instructions exist twice: for the 32 low bits of registers and, on processors with 64-bit DSP
(feature "dsp64"), for all 64, under another function field and with twice the lanes (`.qb` becomes
`.ob`, `.ph` `.qh`, `.w` `.pw`). Their meaning is written once, for operands of either size: a
table's row has both mnemonics, "-" where there is no such form. 32-bit results are sign-extended.

Where the manual says UNPREDICTABLE the result is QEMU's.
"""

from __future__ import annotations

from pemu.isa.mips.table import MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pemu.engine.staging.values import Value
    from pemu.isa.mips.dsp.lanes import Lanes
    from pemu.isa.mips.state import Cpu

    Operation = Callable[[Cpu, Value, Value], Value]
    Meaning = Callable[..., None]
    Row = tuple[str, str, str, Operation]

# Fields of DSPControl: lowest bits.
POS, SCOUNT, CARRY, EFI, OUFLAG, CCOND = 0, 7, 13, 14, 16, 24
SCOUNT_BITS = 6

# Bits of the field ouflag: overflow or saturation in ... The accumulators' are OUFLAG + ac.
OVERFLOW_ADD = 20  # addition, subtraction, magnitude
OVERFLOW_MULTIPLY = 21
OVERFLOW_SHIFT = 22  # left shifts and precision reduction
OVERFLOW_EXTRACT = 23


def position_bits(cpu: Cpu) -> int:
    """Return the width of the field pos: it counts the bits of an accumulator."""
    return 6 if cpu.arch.xlen == 32 else 7


def condition_bits(cpu: Cpu) -> int:
    """Return the width of the field ccond: one bit a byte of a register."""
    return cpu.arch.xlen // 8


def position(cpu: Cpu) -> Value:
    """Return the field pos."""
    return cpu.dspctl.bits(POS, position_bits(cpu))


def set_control(cpu: Cpu, low: int, field: Value) -> None:
    """Write a field of DSPControl."""
    cpu.dspctl = cpu.dspctl.insert(low, field)


def set_overflow(cpu: Cpu, bit: int | Value, happened: Value) -> None:
    """Set bit number `bit` of DSPControl if `happened`; it stays set until a program clears it."""
    if isinstance(bit, int):
        bit = cpu.const(bit, 32)
    cpu.dspctl = cpu.dspctl | (happened.zext(32) << bit)


def accumulator_flag(ac: Value) -> Value:
    """Return the number of the ouflag bit of accumulator `ac`."""
    return ac.zext(32) + OUFLAG


def accumulator(cpu: Cpu, ac: Value | int, size: int) -> Value:
    """Return HI:LO of accumulator `ac`, `size` bits of each."""
    return cpu.hi[ac].trunc(size).concat(cpu.lo[ac].trunc(size))


def set_accumulator(cpu: Cpu, ac: Value | int, value: Value) -> None:
    """Write a value to accumulator `ac`, its upper half to HI; both halves sign-extended."""
    half = value.width // 2
    cpu.hi[ac] = value.bits(half, half).sext(cpu.arch.xlen)
    cpu.lo[ac] = value.trunc(half).sext(cpu.arch.xlen)


def operand(cpu: Cpu, register: Value, size: int) -> Value:
    """Return the low `size` bits of a general register."""
    return cpu.gpr[register].trunc(size)


def set_register(cpu: Cpu, register: Value, result: Value) -> None:
    """Write a result to a general register, sign-extended."""
    cpu.gpr[register] = result.sext(cpu.arch.xlen)


def saturate(cpu: Cpu, exact: Value, width: int, flag: int | Value) -> Value:
    """Limit a signed value to `width` bits and narrow it; where it did not fit set bit `flag`."""
    low, high = -1 << (width - 1), (1 << (width - 1)) - 1
    set_overflow(cpu, flag, exact.trunc(width).sext(exact.width).ne(exact))
    return exact.smax(low).smin(high).trunc(width)


def settle(cpu: Cpu, exact: Lanes, signed: bool, saturating: bool, flag: int) -> Value:
    """Narrow lanes to half their width, saturating or not, and join them.

    `exact` holds signed numbers; where one does not fit, bit `flag` is set.
    """
    set_overflow(cpu, flag, exact.exceeds(signed))
    return (exact.clamp(signed) if saturating else exact.narrow()).join()


# Declarations. `functions` are the function fields of the 32-bit and of the 64-bit form.

SIZES = (32, 64)


def declare(
    functions: str,
    op: str,
    mnemonics: str,
    needs: str,
    fields: str,
    operands: str,
    meaning: Callable[[int], Meaning],
) -> None:
    """Declare the forms of an instruction; `meaning` makes the meaning for operands of a size.

    `fields`: the pattern between the major opcode and `op`, bits 10 to 6.
    """
    for size, function, mnemonic in zip(SIZES, functions.split(), mnemonics.split(), strict=True):
        if mnemonic == "-":
            continue
        MIPS.insn(
            f"011111 {fields} {op} {function}",
            f"{mnemonic} {operands}",
            name=f"dsp_{mnemonic.replace('.', '_')}",
            needs=needs if size == 32 else f"{needs} dsp64",
        )(meaning(size))


def _rd_rs_rt(operation: Operation) -> Callable[[int], Meaning]:
    def sized(size: int) -> Meaning:
        def meaning(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
            result = operation(cpu, operand(cpu, rs, size), operand(cpu, rt, size))
            set_register(cpu, rd, result)

        return meaning

    return sized


def declare_rd_rs_rt(functions: str, rows: Iterable[Row]) -> None:
    """Declare instructions `rd, rs, rt`; each row has op, mnemonics, features, operation."""
    for op, mnemonics, needs, operation in rows:
        declare(
            *(functions, op, mnemonics, needs, "rs:5 rt:5 rd:5", "{rd}, {rs}, {rt}"),
            _rd_rs_rt(operation),
        )
