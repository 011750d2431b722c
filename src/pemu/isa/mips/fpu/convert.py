"""Conversions between singles, doubles, words and longs."""

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

_INTEGER = {"w": 32, "l": 64}
_INTEGER_FORMATS = {"w": "10100", "l": "10101"}
_TARGETS = {"s": "100000", "d": "100001", "w": "100100", "l": "100101"}
_LEAST = {
    ("s", 32): 0xCF000000,
    ("s", 64): 0xDF000000,
    ("d", 32): 0xC1E0000000000000,
    ("d", 64): 0xC3E0000000000000,
}
"""Bits of -2**31 and -2**63."""

_ROUNDINGS = {"round": (fp.NEAREST, "00"), "ceil": (fp.UP, "10"), "floor": (fp.DOWN, "11")}


def _needs(source: str, target: str) -> str:
    return "mips3_32r2 fr1" if "l" in (source, target) else ""


def _declare(
    name: str, source: str, target: str, pattern: str, needs: str, compute: object
) -> None:
    operation = fpu.define(f"{name}.{target}.{source}", source, target, compute)  # type: ignore[arg-type]

    def meaning(cpu: Cpu, fs: Value, fd: Value) -> None:
        fpu.check(cpu, source, fs)
        fpu.check(cpu, target, fd)
        operand = fpu.read(cpu, fs, fpu.LLVM_TYPE[source])
        result = fpu.perform(cpu, operation, [operand])
        fpu.write(cpu, fd, fpu.LLVM_TYPE[target], result)

    fpu.insn(
        pattern,
        f"{name}.{target}.{source} {{fd}}, {{fs}}",
        name=f"{name}_{target}_{source}",
        needs=needs,
    )(meaning)


def _between_floats(source: str, target: str) -> None:
    kind, wide = fpu.KINDS[source], fpu.KINDS[target]
    how = "fpext" if source == "s" else "fptrunc"

    def emit(e: Emitter, operand: str) -> str:
        return fp.convert(e, how, kind, wide, operand)

    host_operation = fpu.HostOperation(how, source, target, 1, emit)

    def compute(e: Emitter, o: list[str], nans: Nans) -> str:
        # A double is never tiny where the single was none.
        result = nans.step(host_operation, o[0]) if target == "s" else emit(e, o[0])
        return nans.settle(host_operation, result, o[0])

    _declare(
        "cvt",
        source,
        target,
        f"010001 {FORMATS[source]} 00000 fs:5 fd:5 {_TARGETS[target]}",
        "",
        compute,
    )


def from_integer(e: Emitter, source: str, target: str, operand: str) -> str:
    """Convert a word or long ("w", "l") to a single or double."""
    return fp.convert(e, "sitofp", fpu.LLVM_TYPE[source], fpu.KINDS[target], operand)


def _from_integer(source: str, target: str) -> None:
    def compute(e: Emitter, o: list[str], nans: Nans) -> str:
        return from_integer(e, source, target, o[0])

    _declare(
        "cvt",
        source,
        target,
        f"010001 {_INTEGER_FORMATS[source]} 00000 fs:5 fd:5 {_TARGETS[target]}",
        _needs(source, target),
        compute,
    )


def _integer_helper(source: str, width: int, xlen: int) -> Helper:
    """Decide about a conversion that gave the most negative number: that, or invalid."""
    kind = fpu.KINDS[source]

    def body(f: Function, operand: str) -> None:
        f.entry_lines.append("  %mx = alloca i32, align 4")
        mxcsr = fp.read_mxcsr(f, "%mx")
        fp.write_mxcsr(f, "%mx", mxcsr & ~(fp.INVALID | fp.DENORMAL))
        invalid = (mxcsr & fp.INVALID).ne(0)
        with f.if_(invalid):
            fpu.raise_invalid(f, xlen)
        result = invalid.select(
            f.const(fpu.LARGEST[width], width), f.const(1 << (width - 1), width)
        )
        f.do(f"ret i{width} {result.ir}")

    return Helper(f"fp_int{width}_{source}_{xlen}", (kind,), f"i{width}", body)


_INTEGER_HELPERS = {
    (source, width, xlen): _integer_helper(source, width, xlen)
    for source in FORMATS
    for width in (32, 64)
    for xlen in (32, 64)
}


def to_integer(e: Emitter, nans: Nans, name: str, source: str, width: int, operand: str) -> Value:
    """Convert to a signed integer; `name` says how to round (cvt: by FCSR)."""
    kind = fpu.KINDS[source]
    changed = e.const(0, 1)
    rounded = operand
    if name in _ROUNDINGS:
        # Rounded without a word from the host: what does not fit is invalid, not inexact.
        rounded = fp.round_to(e, kind, operand, _ROUNDINGS[name][0])
        changed = fp.compare(e, "une", kind, operand, rounded)
    result = fp.to_integer(e, kind, width, rounded, truncate=name == "trunc")
    doubtful = result.eq(1 << (width - 1))
    if name in _ROUNDINGS:
        least = fp.from_bits(e, kind, e.const(_LEAST[source, width], fpu.WIDTHS[source]))
        too_large = doubtful & fp.compare(e, "une", kind, rounded, least)
        nans.inexact(changed & ~too_large)
    if not isinstance(nans, fpu.Direct):
        nans.invalid_by_host(doubtful)
        return result
    cpu = nans.cpu
    final = cpu.var(width)
    final.value = result
    with cpu.if_(doubtful, unlikely=True):
        helper = _INTEGER_HELPERS[source, width, cpu.arch.xlen]
        final.value = cpu.name(cpu.helper(helper, rounded), width)
    return final.value


def _to_integer(name: str, source: str, target: str, function: str) -> None:
    def compute(e: Emitter, o: list[str], nans: Nans) -> str:
        return to_integer(e, nans, name, source, _INTEGER[target], o[0]).ir

    needs = _needs(source, target) or ("mips2" if name != "cvt" else "")
    _declare(
        name,
        source,
        target,
        f"010001 {FORMATS[source]} 00000 fs:5 fd:5 {function}",
        needs,
        compute,
    )


for _source in FORMATS:
    for _target, _bit in (("w", "1"), ("l", "0")):
        _to_integer("cvt", _source, _target, _TARGETS[_target])
        _to_integer("round", _source, _target, f"001{_bit}00")
        _to_integer("trunc", _source, _target, f"001{_bit}01")
        _to_integer("ceil", _source, _target, f"001{_bit}10")
        _to_integer("floor", _source, _target, f"001{_bit}11")
_between_floats("s", "d")
_between_floats("d", "s")
for _source in _INTEGER:
    for _target in FORMATS:
        _from_integer(_source, _target)
