"""Comparisons, and branches on condition codes."""

from __future__ import annotations

from pemu.engine.staging import fp
from pemu.engine.staging.helper import Helper
from pemu.isa.mips.fpu import unit as fpu
from pemu.isa.mips.fpu.arithmetic import FORMATS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.function import Function
    from pemu.engine.staging.values import Emitter, Value
    from pemu.isa.mips.fpu.unit import Nans
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


def compare(e: Emitter, nans: Nans, fmt: str, number: int, a: str, b: str) -> Value:
    """Compare by condition `number` and return one bit; not meaningful where Cause is computed."""
    kind = fpu.KINDS[fmt]
    signals = number >= 8
    if not isinstance(nans, fpu.Direct):
        unordered = fp.unordered(e, kind, a, b)
        if signals:
            nans.invalid(unordered)
        else:
            first, second = fp.bits(e, kind, a), fp.bits(e, kind, b)
            nans.invalid(fpu.is_signalling(first, fmt) | fpu.is_signalling(second, fmt))
        return e.const(0, 1)
    cpu = nans.cpu
    predicate = _PREDICATES[number & 7]
    result = fp.compare(e, predicate, kind, a, b) if predicate else e.const(0, 1)
    # After every comparison of the host, as each may raise the flag that the helper clears.
    with cpu.if_(fp.unordered(e, kind, a, b), unlikely=True):
        cpu.helper(_NANS[fmt, signals, cpu.arch.xlen], a, b)
    return result


def _declare(fmt: str, number: int) -> None:
    kind = fpu.KINDS[fmt]
    name = CONDITIONS[number]

    def compute(e: Emitter, o: list[str], nans: Nans) -> str:
        return compare(e, nans, fmt, number, o[0], o[1]).ir

    operation = fpu.define(f"c.{name}.{fmt}", fmt * 2, "", compute)

    def meaning(cpu: Cpu, ft: Value, fs: Value, cc: Value | int) -> None:
        fpu.check(cpu, fmt, ft, fs)
        a, b = fpu.read(cpu, fs, kind), fpu.read(cpu, ft, kind)
        result = fpu.perform(cpu, operation, [a, b])
        cpu.fcc[cc] = cpu.name(result, 1).zext(8)

    def with_code(cpu: Cpu, ft: Value, fs: Value, cc: Value) -> None:
        meaning(cpu, ft, fs, cc)

    def without_code(cpu: Cpu, ft: Value, fs: Value) -> None:
        meaning(cpu, ft, fs, 0)

    bits = f"{number:04b}"
    fpu.insn(
        f"010001 {FORMATS[fmt]} ft:5 fs:5 cc:3 00 11 {bits}",
        f"c.{name}.{fmt} {{cc}}, {{fs}}, {{ft}}",
        name=f"c_{name}_{fmt}_cc",
        needs="mips4_32",
    )(with_code)
    fpu.insn(
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

    fpu.insn(
        f"010001 01000 cc:3 {code} offset:16",
        f"{name} {{cc}}, {{offset:branch}}",
        name=f"{name}_cc",
        needs="mips4_32",
    )(with_code)
    fpu.insn(
        f"010001 01000 000 {code} offset:16",
        f"{name} {{offset:branch}}",
        name=name,
        needs="mips2" if likely else "",
        overrides=f"{name}_cc",
    )(without_code)


for _wanted in (0, 1):
    for _likely in (False, True):
        _declare_branch(_wanted, _likely)
