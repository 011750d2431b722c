"""Floating point on the host's SSE unit, for any instruction set.

The guest's rounding mode stands in MXCSR while generated code runs, and MXCSR collects the sticky
exceptions: inexact, underflow, overflow, division by zero. The invalid exception is never left
set there, because NaNs of the guest need not be coded as the host's: whoever emits an operation
tests for a NaN result and lets a helper decide.

LLVM must neither fold nor move these operations: they are constrained intrinsics.
Source: Intel SDM volume 1, 10.2.3 (MXCSR); LLVM language reference, constrained intrinsics.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.values import Emitter, Value

INVALID, DENORMAL, ZERO_DIVIDE, OVERFLOW, UNDERFLOW, INEXACT = 1, 2, 4, 8, 16, 32
"""Exception bits of MXCSR."""

EXCEPTIONS = 0x3F
ROUNDING_SHIFT = 13
FLUSH_TO_ZERO = 1 << 15

WIDTH = {"float": 32, "double": 64}
_SUFFIX = {"float": "f32", "double": "f64", "i32": "i32", "i64": "i64"}
_ENVIRONMENT = 'metadata !"round.dynamic", metadata !"fpexcept.strict"'
_STRICT = 'metadata !"fpexcept.strict"'

NEAREST, DOWN, UP, ZERO = 0, 1, 2, 3
"""Rounding as MXCSR and ROUNDSD have it."""


def operation(emitter: Emitter, name: str, kind: str, *operands: str) -> str:
    """Emit fadd, fsub, fmul, fdiv or sqrt on operands of LLVM type `kind`."""
    function = f"@llvm.experimental.constrained.{name}.{_SUFFIX[kind]}"
    types = ", ".join([kind] * len(operands))
    emitter.declarations.add(f"declare {kind} {function}({types}, metadata, metadata)")
    listed = ", ".join(f"{kind} {operand}" for operand in operands)
    return emitter.op(f"call {kind} {function}({listed}, {_ENVIRONMENT}) strictfp")


def convert(emitter: Emitter, name: str, source: str, target: str, operand: str) -> str:
    """Emit fptrunc, fpext or sitofp from LLVM type `source` to `target`."""
    function = f"@llvm.experimental.constrained.{name}.{_SUFFIX[target]}.{_SUFFIX[source]}"
    rounds = "" if name == "fpext" else ", metadata"
    emitter.declarations.add(f"declare {target} {function}({source}{rounds}, metadata)")
    how = _STRICT if name == "fpext" else _ENVIRONMENT
    return emitter.op(f"call {target} {function}({source} {operand}, {how}) strictfp")


def unordered(emitter: Emitter, kind: str, a: str, b: str) -> Value:
    """One if either operand is a NaN."""
    return compare(emitter, "uno", kind, a, b)


def compare(emitter: Emitter, predicate: str, kind: str, a: str, b: str) -> Value:
    """Compare quietly by an LLVM predicate (oeq, olt, uno, ...)."""
    function = f"@llvm.experimental.constrained.fcmp.{_SUFFIX[kind]}"
    emitter.declarations.add(f"declare i1 {function}({kind}, {kind}, metadata, metadata)")
    text = (
        f'call i1 {function}({kind} {a}, {kind} {b}, metadata !"{predicate}", {_STRICT}) strictfp'
    )
    return emitter.name(emitter.op(text), 1)


def bits(emitter: Emitter, kind: str, operand: str) -> Value:
    """The bit pattern of a floating-point operand."""
    width = WIDTH[kind]
    return emitter.name(emitter.op(f"bitcast {kind} {operand} to i{width}"), width)


def from_bits(emitter: Emitter, kind: str, value: Value) -> str:
    """A floating-point operand with this bit pattern."""
    return emitter.op(f"bitcast i{value.width} {value.ir} to {kind}")


def _vector(emitter: Emitter, kind: str, operand: str) -> tuple[str, str]:
    lanes = 4 if kind == "float" else 2
    vector = f"<{lanes} x {kind}>"
    return vector, emitter.op(f"insertelement {vector} zeroinitializer, {kind} {operand}, i32 0")


def to_integer(emitter: Emitter, kind: str, width: int, operand: str, *, truncate: bool) -> Value:
    """Convert to a signed integer by MXCSR's rounding mode, or towards zero.

    What does not fit gives the most negative number and sets the invalid exception.
    """
    vector, value = _vector(emitter, kind, operand)
    unit = "sse" if kind == "float" else "sse2"
    source = "ss" if kind == "float" else "sd"
    function = (
        f"@llvm.x86.{unit}.cvt{'t' if truncate else ''}{source}2si{'64' if width == 64 else ''}"
    )
    return emitter.call(width, function, f"{vector} {value}", vector)


def round_to(emitter: Emitter, kind: str, operand: str, mode: int) -> str:
    """Round to an integral value in a direction (NEAREST, DOWN, ...), without exceptions."""
    vector, value = _vector(emitter, kind, operand)
    suffix = "ss" if kind == "float" else "sd"
    function = f"@llvm.x86.sse41.round.{suffix}"
    emitter.declarations.add(f"declare {vector} {function}({vector}, {vector}, i32 immarg)")
    call = f"call {vector} {function}({vector} {value}, {vector} {value}, i32 {mode | 8})"
    return emitter.op(f"extractelement {vector} {emitter.op(call)}, i32 0")


def read_mxcsr(emitter: Emitter, scratch: str) -> Value:
    """Read MXCSR; `scratch` is a pointer operand to 4 bytes."""
    emitter.declarations.add("declare void @llvm.x86.sse.stmxcsr(ptr)")
    emitter.do(f"call void @llvm.x86.sse.stmxcsr(ptr {scratch})")
    return emitter.raw_load(scratch, 32, volatile=True, align=4)


def write_mxcsr(emitter: Emitter, scratch: str, value: Value) -> None:
    """Write MXCSR."""
    emitter.declarations.add("declare void @llvm.x86.sse.ldmxcsr(ptr)")
    emitter.raw_store(scratch, value, volatile=True, align=4)
    emitter.do(f"call void @llvm.x86.sse.ldmxcsr(ptr {scratch})")
