"""Loads and stores of FPU registers, and moves between them and general registers."""

from __future__ import annotations

from pemu.isa.mips.fpu import unit as fpu
from pemu.isa.mips.memory_access import effective_address
from pemu.isa.mips.state import set_word, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.state import Cpu


def _load(cpu: Cpu, address: Value, register: Value, size: int) -> None:
    value = cpu.load(address, size)
    fpu.write(cpu, register, f"i{8 * size}", value.ir)


def _store(cpu: Cpu, address: Value, register: Value, size: int) -> None:
    kind = f"i{8 * size}"
    cpu.store(address, cpu.name(fpu.read(cpu, register, kind), 8 * size))


@fpu.insn("110001 base:5 ft:5 offset:16", "lwc1 {ft}, {offset:d}({base})")
def lwc1(cpu: Cpu, base: Value, ft: Value, offset: Value) -> None:
    _load(cpu, effective_address(cpu, base, offset), ft, 4)


@fpu.insn("111001 base:5 ft:5 offset:16", "swc1 {ft}, {offset:d}({base})")
def swc1(cpu: Cpu, base: Value, ft: Value, offset: Value) -> None:
    _store(cpu, effective_address(cpu, base, offset), ft, 4)


@fpu.insn("110101 base:5 ft:5 offset:16", "ldc1 {ft}, {offset:d}({base})", needs="mips2")
def ldc1(cpu: Cpu, base: Value, ft: Value, offset: Value) -> None:
    _load(cpu, effective_address(cpu, base, offset), fpu.pair(cpu, ft), 8)


@fpu.insn("111101 base:5 ft:5 offset:16", "sdc1 {ft}, {offset:d}({base})", needs="mips2")
def sdc1(cpu: Cpu, base: Value, ft: Value, offset: Value) -> None:
    _store(cpu, effective_address(cpu, base, offset), fpu.pair(cpu, ft), 8)


@fpu.insn(
    "010011 base:5 index:5 00000 fd:5 000000", "lwxc1 {fd}, {index:g}({base})", needs="mips4_32r2"
)
def lwxc1(cpu: Cpu, base: Value, index: Value, fd: Value) -> None:
    _load(cpu, cpu.gpr[base] + cpu.gpr[index], fd, 4)


@fpu.insn(
    "010011 base:5 index:5 00000 fd:5 000001", "ldxc1 {fd}, {index:g}({base})", needs="mips4_32r2"
)
def ldxc1(cpu: Cpu, base: Value, index: Value, fd: Value) -> None:
    fpu.check(cpu, "d", fd)
    _load(cpu, cpu.gpr[base] + cpu.gpr[index], fd, 8)


@fpu.insn(
    "010011 base:5 index:5 00000 fd:5 000101",
    "luxc1 {fd}, {index:g}({base})",
    needs="mips5_32r2 fr1",
)
def luxc1(cpu: Cpu, base: Value, index: Value, fd: Value) -> None:
    _load(cpu, (cpu.gpr[base] + cpu.gpr[index]) & ~7, fd, 8)


@fpu.insn(
    "010011 base:5 index:5 fs:5 00000 001000", "swxc1 {fs}, {index:g}({base})", needs="mips4_32r2"
)
def swxc1(cpu: Cpu, base: Value, index: Value, fs: Value) -> None:
    _store(cpu, cpu.gpr[base] + cpu.gpr[index], fs, 4)


@fpu.insn(
    "010011 base:5 index:5 fs:5 00000 001001", "sdxc1 {fs}, {index:g}({base})", needs="mips4_32r2"
)
def sdxc1(cpu: Cpu, base: Value, index: Value, fs: Value) -> None:
    fpu.check(cpu, "d", fs)
    _store(cpu, cpu.gpr[base] + cpu.gpr[index], fs, 8)


@fpu.insn(
    "010011 base:5 index:5 fs:5 00000 001101",
    "suxc1 {fs}, {index:g}({base})",
    needs="mips5_32r2 fr1",
)
def suxc1(cpu: Cpu, base: Value, index: Value, fs: Value) -> None:
    _store(cpu, (cpu.gpr[base] + cpu.gpr[index]) & ~7, fs, 8)


@fpu.insn("010001 00000 rt:5 fs:5 00000 000000", "mfc1 {rt}, {fs}")
def mfc1(cpu: Cpu, rt: Value, fs: Value) -> None:
    set_word(cpu, rt, cpu.name(fpu.read(cpu, fs, "i32"), 32))


@fpu.insn("010001 00100 rt:5 fs:5 00000 000000", "mtc1 {rt}, {fs}")
def mtc1(cpu: Cpu, rt: Value, fs: Value) -> None:
    fpu.write(cpu, fs, "i32", word(cpu, rt).ir)


@fpu.insn("010001 00011 rt:5 fs:5 00000 000000", "mfhc1 {rt}, {fs}", needs="mips32r2")
def mfhc1(cpu: Cpu, rt: Value, fs: Value) -> None:
    set_word(cpu, rt, cpu.name(cpu.fpr.read(fpu.pair(cpu, fs), "i32", 4), 32))


@fpu.insn("010001 00111 rt:5 fs:5 00000 000000", "mthc1 {rt}, {fs}", needs="mips32r2")
def mthc1(cpu: Cpu, rt: Value, fs: Value) -> None:
    cpu.fpr.write(fpu.pair(cpu, fs), "i32", word(cpu, rt).ir, 4)


@fpu.insn("010001 00001 rt:5 fs:5 00000 000000", "dmfc1 {rt}, {fs}", needs="mips3")
def dmfc1(cpu: Cpu, rt: Value, fs: Value) -> None:
    cpu.gpr[rt] = cpu.name(fpu.read(cpu, fpu.pair(cpu, fs), "i64"), 64)


@fpu.insn("010001 00101 rt:5 fs:5 00000 000000", "dmtc1 {rt}, {fs}", needs="mips3")
def dmtc1(cpu: Cpu, rt: Value, fs: Value) -> None:
    fpu.write(cpu, fpu.pair(cpu, fs), "i64", cpu.gpr[rt].ir)
