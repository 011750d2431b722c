"""Comparisons, branches on condition codes, and the control registers."""

from __future__ import annotations

from pemu.engine import fp
from pemu.engine import state as s
from pemu.engine.builder import Helper
from pemu.isa.mips import fpu
from pemu.isa.mips.exceptions import FLOATING_POINT
from pemu.isa.mips.fpu_arithmetic import FORMATS
from pemu.isa.mips.state import set_word, word
from pemu.isa.mips.table import MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.runtime import Function
    from pemu.engine.values import Emitter, Value
    from pemu.isa.mips.fpu import Nans
    from pemu.isa.mips.state import Cpu

CONDITIONS = "f un eq ueq olt ult ole ule sf ngle seq ngl lt nge le ngt".split()
"""Conditions by number: bit 0 unordered, 1 equal, 2 less, 3 signals on every NaN."""

_PREDICATES = {0: "", 1: "uno", 2: "oeq", 3: "ueq", 4: "olt", 5: "ult", 6: "ole", 7: "ule"}


def _nan_helper(fmt: str, signals: bool, xlen: int) -> Helper:
    """For operands that are unordered: clear the host's flag, raise the guest's."""
    kind = fpu.KINDS[fmt]

    def body(f: Function, a: str, b: str) -> None:
        fpu.clear_invalid(f)
        if signals:
            fpu.raise_invalid(f, xlen)
        else:
            first, second = fp.bits(f, kind, a), fp.bits(f, kind, b)
            invalid = fpu.is_signalling(first, fmt) | fpu.is_signalling(second, fmt)
            with f.if_(invalid):
                fpu.raise_invalid(f, xlen)
        f.do("ret void")

    return Helper(f"fp_compare_{fmt}_{int(signals)}_{xlen}", (kind, kind), "void", body)


_NANS = {
    (fmt, signals, xlen): _nan_helper(fmt, signals, xlen)
    for fmt in FORMATS
    for signals in (False, True)
    for xlen in (32, 64)
}


def _declare(fmt: str, number: int) -> None:
    kind = fpu.KINDS[fmt]
    signals = number >= 8
    name = CONDITIONS[number]

    def compute(e: Emitter, o: list[str], nans: Nans) -> str:
        unordered = fp.unordered(e, kind, o[0], o[1])
        if not isinstance(nans, fpu.Direct):
            if signals:
                nans.invalid(unordered)
            else:
                first, second = fp.bits(e, kind, o[0]), fp.bits(e, kind, o[1])
                nans.invalid(fpu.is_signalling(first, fmt) | fpu.is_signalling(second, fmt))
            return ""
        cpu = nans.cpu
        with cpu.if_(unordered, unlikely=True):
            cpu.helper(_NANS[fmt, signals, cpu.arch.xlen], o[0], o[1])
        predicate = _PREDICATES[number & 7]
        if not predicate:
            return "0"
        return fp.compare(e, predicate, kind, o[0], o[1]).ir

    operation = fpu.define(f"c.{name}.{fmt}", fmt * 2, "", compute)

    def compare(cpu: Cpu, ft: Value, fs: Value, cc: Value | int) -> None:
        fpu.check(cpu, fmt, ft, fs)
        a, b = fpu.read(cpu, fs, kind), fpu.read(cpu, ft, kind)
        result = fpu.perform(cpu, operation, [a, b])
        cpu.fcc[cc] = cpu.name(result, 1).zext(8)

    def with_code(cpu: Cpu, ft: Value, fs: Value, cc: Value) -> None:
        compare(cpu, ft, fs, cc)

    def without_code(cpu: Cpu, ft: Value, fs: Value) -> None:
        compare(cpu, ft, fs, 0)

    bits = f"{number:04b}"
    MIPS.insn(
        f"010001 {FORMATS[fmt]} ft:5 fs:5 cc:3 00 11 {bits}",
        f"c.{name}.{fmt} {{cc}}, {{fs}}, {{ft}}",
        name=f"c_{name}_{fmt}_cc",
        needs="mips4_32",
    )(with_code)
    MIPS.insn(
        f"010001 {FORMATS[fmt]} ft:5 fs:5 000 00 11 {bits}",
        f"c.{name}.{fmt} {{fs}}, {{ft}}",
        name=f"c_{name}_{fmt}",
        overrides=f"c_{name}_{fmt}_cc",
    )(without_code)


for _fmt in FORMATS:
    for _number in range(16):
        _declare(_fmt, _number)


def _declare_branch(wanted: int, likely: bool) -> None:
    name = f"bc1{'ft'[wanted]}{'l' if likely else ''}"
    code = f"{int(likely)}{wanted}"

    def branch(cpu: Cpu, cc: Value | int, offset: Value) -> None:
        condition = cpu.fcc[cc].trunc(1).eq(wanted)
        target = cpu.pc + cpu.arch.insn_bytes + (offset.sext(cpu.arch.xlen) << 2)
        cpu.branch(condition, target, likely=likely)

    def with_code(cpu: Cpu, cc: Value, offset: Value) -> None:
        branch(cpu, cc, offset)

    def without_code(cpu: Cpu, offset: Value) -> None:
        branch(cpu, 0, offset)

    MIPS.insn(
        f"010001 01000 cc:3 {code} offset:16",
        f"{name} {{cc}}, {{offset:branch}}",
        name=f"{name}_cc",
        needs="mips4_32",
    )(with_code)
    MIPS.insn(
        f"010001 01000 000 {code} offset:16",
        f"{name} {{offset:branch}}",
        name=name,
        needs="mips2" if likely else "",
        overrides=f"{name}_cc",
    )(without_code)


for _wanted in (0, 1):
    for _likely in (False, True):
        _declare_branch(_wanted, _likely)


# Control registers

_OWN = 0x01000F83
"""Bits of FCSR that the register `fcsr` holds: FS, enables, rounding mode."""


def _codes(cpu: Cpu) -> Value:
    """The condition codes as FCCR's byte."""
    value = cpu.const(0, 32)
    for index in range(8):
        value = value | (cpu.fcc[index].zext(32) << index)
    return value


def _set_codes(cpu: Cpu, value: Value) -> None:
    for index in range(8):
        cpu.fcc[index] = value.bit(index).zext(8)


def _flags(cpu: Cpu) -> Value:
    mxcsr = fp.read_mxcsr(cpu, fpu.mxcsr_scratch(cpu))
    return fpu.guest_flags(mxcsr) | cpu.fp_flags.zext(32)


def _cause(cpu: Cpu) -> Value:
    return cpu.name(cpu.helper(fpu.cause_helper(cpu.arch.xlen)), 32)


def _fcsr(cpu: Cpu) -> Value:
    codes = _codes(cpu)
    placed = ((codes & 1) << 23) | ((codes & 0xFE) << 24)
    return placed | cpu.fcsr | (_flags(cpu) << 2) | (_cause(cpu) << 12)


@MIPS.insn("010001 00010 rt:5 fs:5 00000 000000", "cfc1 {rt}, {fs:c1}")
def cfc1(cpu: Cpu, rt: Value, fs: Value) -> None:
    result = cpu.var(32, 0)
    with cpu.if_(fs.eq(31)):
        result.value = _fcsr(cpu)
    with cpu.if_(fs.eq(0)):
        result.value = cpu.fcr0
    if "mips32" in cpu.features:
        with cpu.if_(fs.eq(25)):
            result.value = _codes(cpu)
        with cpu.if_(fs.eq(26)):
            result.value = (_cause(cpu) << 12) | (_flags(cpu) << 2)
        with cpu.if_(fs.eq(28)):
            value = cpu.fcsr
            result.value = (value & 0xF83) | (value.lshr(22) & 4)
    set_word(cpu, rt, result.value)


def _set_fcsr(cpu: Cpu, value: Value, *, codes: bool) -> Value:
    """Take over an FCSR; returns one if it has an enabled exception in Cause."""
    cpu.fcsr = value & _OWN
    cpu.fp_flags = value.lshr(2).trunc(5).zext(8)
    cause = value.lshr(12) & 0x3F
    cpu.fp_cause = cause.trunc(8)
    cpu.fp_op = 0
    if codes:
        _set_codes(cpu, value.bit(23).zext(32) | (value.lshr(24) & 0xFE))
    # Guest: nearest, zero, up, down; host: nearest, down, up, zero.
    mode = value & 3
    host = mode.eq(1).select(cpu.const(3, 32), mode.eq(3).select(cpu.const(1, 32), mode))
    flush = value.bit(24).zext(32) << 15
    mxcsr = flush | (host << fp.ROUNDING_SHIFT) | 0x1F80
    fp.write_mxcsr(cpu, cpu.offset("%state", s.GUEST_MXCSR.offset), mxcsr)
    enables = value.lshr(7) & 0x1F
    exact = enables.ne(0).zext(32)
    cpu.set_mode((exact << 1) | int("fr1" in cpu.features))
    return (cause & (enables | 0x20)).ne(0)


@MIPS.insn("010001 00110 rt:5 fs:5 00000 000000", "ctc1 {rt}, {fs:c1}")
def ctc1(cpu: Cpu, rt: Value, fs: Value) -> None:
    given = word(cpu, rt)
    pending = cpu.var(1, 0)
    # Writes to registers that do not exist, or to FIR, do nothing.
    with cpu.if_(fs.eq(31)):
        pending.value = _set_fcsr(cpu, given, codes=True)
    if "mips32" in cpu.features:
        with cpu.if_(fs.eq(25)):
            _set_codes(cpu, given)
        with cpu.if_(fs.eq(26)):
            mask = 0x0003F07C
            value = (_fcsr(cpu) & ~mask) | (given & mask)
            pending.value = _set_fcsr(cpu, value, codes=False)
        with cpu.if_(fs.eq(28)):
            new = (given & 0xF83) | ((given & 4) << 22)
            value = (_fcsr(cpu) & ~_OWN) | new
            pending.value = _set_fcsr(cpu, value, codes=False)
    cpu.trap(FLOATING_POINT, pending.value)
