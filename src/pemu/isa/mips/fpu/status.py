"""The control registers of the FPU: FIR, FCSR, and the parts of FCSR with numbers of their own.

Where the parts of FCSR live is said in `state` and `fpu`. Writes to other registers do nothing.
Source: MIPS Architecture For Programmers, volume I-A, 5.6 (floating-point control registers).
"""

from __future__ import annotations

from pemu.engine.staging import fp
from pemu.isa.mips.exceptions import FLOATING_POINT
from pemu.isa.mips.fpu import unit as fpu
from pemu.isa.mips.fpu.control import CAUSE_QUERY
from pemu.isa.mips.state import set_word, word
from pemu.isa.mips.table import MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.state import Cpu

_OWN = 0x01000F83
"""Bits of FCSR that the register `fcsr` holds: FS, enables, rounding mode."""


MIPS.queries["fpu.status"] = {CAUSE_QUERY: fpu.cause_helper}


def _codes(cpu: Cpu) -> Value:
    """The condition codes as FCCR's byte."""
    value = cpu.const(0, 32)
    for index in range(8):
        value = value | (cpu.fcc[index].zext(32) << index)
    return value


def _set_codes(cpu: Cpu, value: Value) -> None:
    for index in range(8 if "mips4_32" in cpu.features else 1):
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


@fpu.insn("010001 00010 rt:5 fs:5 00000 000000", "cfc1 {rt}, {fs:c1}")
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
    mxcsr = (host << fp.ROUNDING_SHIFT) | 0x1F80
    fp.write_mxcsr(cpu, fpu.mxcsr_scratch(cpu), mxcsr)
    enables = value.lshr(7) & 0x1F
    exact = (enables.ne(0) | value.bit(fpu.FLUSH_BIT)).zext(32)
    cpu.set_mode((exact << 1) | int("fr1" in cpu.features))
    return (cause & (enables | 0x20)).ne(0)


@fpu.insn("010001 00110 rt:5 fs:5 00000 000000", "ctc1 {rt}, {fs:c1}")
def ctc1(cpu: Cpu, rt: Value, fs: Value) -> None:
    given = word(cpu, rt)
    pending = cpu.var(1, 0)
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
