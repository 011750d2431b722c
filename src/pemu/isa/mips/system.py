"""Hardware registers, privileged instructions and coprocessors, as a program sees them.

Privileged instructions raise Coprocessor Unusable for coprocessor 0, whatever their operands (what
they do on a whole processor is in `cp0`); those of coprocessor 2, which no model has, raise it
for 2.
"""

from __future__ import annotations

from pemu.isa.mips.exceptions import COPROCESSOR_UNUSABLE, RESERVED_INSTRUCTION, THREAD
from pemu.isa.mips.state import set_word
from pemu.isa.mips.table import MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.state import Cpu

SYNCI_STEP = 32
"""Bytes of a cache line: how far apart `synci` must be to cover a range."""

CYCLES_PER_COUNT = 2
"""The cycle counter counts every second cycle, as on most cores."""


# RDHWR. Linux enables these registers for programs and emulates them where a processor has none.


@MIPS.insn("011111 00000 rt:5 rd:5 00000 111011", "rdhwr {rt}, {rd:$}")
def rdhwr(cpu: Cpu) -> None:
    """A hardware register that does not exist or is not for programs."""
    cpu.trap(RESERVED_INSTRUCTION)


@MIPS.insn(
    "011111 00000 rt:5 00000 00000 111011",
    "rdhwr {rt}, hwr_cpunum",
    overrides="rdhwr",
    unless="system",
)
def rdhwr_cpu_number(cpu: Cpu, rt: Value) -> None:
    cpu.gpr[rt] = cpu.const(0, cpu.arch.xlen)


@MIPS.insn(
    "011111 00000 rt:5 00001 00000 111011",
    "rdhwr {rt}, hwr_synci_step",
    overrides="rdhwr",
    unless="system",
)
def rdhwr_synci_step(cpu: Cpu, rt: Value) -> None:
    cpu.gpr[rt] = cpu.const(SYNCI_STEP, cpu.arch.xlen)


@MIPS.insn(
    "011111 00000 rt:5 00010 00000 111011",
    "rdhwr {rt}, hwr_cc",
    overrides="rdhwr",
    unless="system",
)
def rdhwr_cycle_counter(cpu: Cpu, rt: Value) -> None:
    cycles = cpu.call(64, "@llvm.readcyclecounter", "", "")
    set_word(cpu, rt, cycles.udiv(CYCLES_PER_COUNT).trunc(32))


@MIPS.insn(
    "011111 00000 rt:5 00011 00000 111011",
    "rdhwr {rt}, hwr_ccres",
    overrides="rdhwr",
    unless="system",
)
def rdhwr_counter_resolution(cpu: Cpu, rt: Value) -> None:
    cpu.gpr[rt] = cpu.const(CYCLES_PER_COUNT, cpu.arch.xlen)


@MIPS.insn(
    "011111 00000 rt:5 11101 00000 111011",
    "rdhwr {rt}, $29",
    overrides="rdhwr",
    unless="system",
)
def rdhwr_user_local(cpu: Cpu, rt: Value) -> None:
    cpu.gpr[rt] = cpu.userlocal


# Coprocessor 0. `cop0` stands for everything that has no name of its own.


def _coprocessor_unusable(
    number: int,
    pattern: str,
    assembly: str,
    *,
    name: str,
    needs: str = "",
    unless: str = "",
    overrides: str = "",
) -> None:
    """Declare an instruction that a program cannot use."""

    def meaning(cpu: Cpu) -> None:
        cpu.trap(COPROCESSOR_UNUSABLE, None, number)

    if number == 0:
        unless = "system"
    MIPS.insn(pattern, assembly, name=name, needs=needs, unless=unless, overrides=overrides)(
        meaning
    )


_coprocessor_unusable(0, "010000 --------------------------", ".word", name="cop0")
_coprocessor_unusable(0, "010000 1 code:25", "c0 {code:x}", name="c0", overrides="cop0")

for _name, _pattern, _operands, _needs, _also in (
    ("mfc0", "00000 rt:5 rd:5 00000000 sel:3", "{rt}, {rd:c0}{sel:c0sel}", "", ""),
    ("mtc0", "00100 rt:5 rd:5 00000000 sel:3", "{rt}, {rd:c0}{sel:c0sel}", "", ""),
    ("dmfc0", "00001 rt:5 rd:5 00000000 sel:3", "{rt}, {rd:c0}{sel:c0sel}", "mips3", ""),
    ("dmtc0", "00101 rt:5 rd:5 00000000 sel:3", "{rt}, {rd:c0}{sel:c0sel}", "mips3", ""),
    ("rdpgpr", "01010 rt:5 rd:5 00000000000", "{rd}, {rt}", "mips32r2", ""),
    ("wrpgpr", "01110 rt:5 rd:5 00000000000", "{rd}, {rt}", "mips32r2", ""),
    ("di", "01011 rt:5 01100 00000 000000", "{rt}", "mips32r2", ""),
    ("ei", "01011 rt:5 01100 00000 100000", "{rt}", "mips32r2", ""),
    ("tlbr", "1 0000000000000000000 000001", "", "", "c0"),
    ("tlbwi", "1 0000000000000000000 000010", "", "", "c0"),
    ("tlbwr", "1 0000000000000000000 000110", "", "", "c0"),
    ("tlbp", "1 0000000000000000000 001000", "", "", "c0"),
    ("eret", "1 0000000000000000000 011000", "", "mips3_32", "c0"),
    ("deret", "1 0000000000000000000 011111", "", "mips32", "c0"),
    ("wait", "1 code:19 100000", "{code:x}", "mips3_32", "c0"),
):
    _coprocessor_unusable(
        0,
        f"010000 {_pattern}",
        f"{_name} {_operands}",
        name=_name,
        needs=_needs,
        overrides=f"cop0 {_also}",
    )

_coprocessor_unusable(
    0,
    "101111 base:5 op:5 offset:16",
    "cache {op:x}, {offset:d}({base})",
    name="cache",
    needs="mips3_32",
)


# Coprocessor 2.

_coprocessor_unusable(2, "010010 --------------------------", ".word", name="cop2")
_coprocessor_unusable(2, "010010 1 code:25", "c2 {code:x}", name="c2", overrides="cop2")

for _name, _pattern, _operands, _needs in (
    ("mfc2", "00000 rt:5 rd:5 00000000 sel:3", "{rt}, {rd:$}, {sel:u}", ""),
    ("mtc2", "00100 rt:5 rd:5 00000000 sel:3", "{rt}, {rd:$}, {sel:u}", ""),
    ("dmfc2", "00001 rt:5 rd:5 00000000 sel:3", "{rt}, {rd:$}, {sel:u}", "mips3"),
    ("dmtc2", "00101 rt:5 rd:5 00000000 sel:3", "{rt}, {rd:$}, {sel:u}", "mips3"),
    ("mfhc2", "00011 rt:5 rd:5 -----------", "{rt}, {rd:$}", "mips32r2"),
    ("mthc2", "00111 rt:5 rd:5 -----------", "{rt}, {rd:$}", "mips32r2"),
    ("cfc2", "00010 rt:5 rd:5 00000000000", "{rt}, {rd:$}", ""),
    ("ctc2", "00110 rt:5 rd:5 00000000000", "{rt}, {rd:$}", ""),
    ("bc2f", "01000 cc:3 00 offset:16", "{cc:cc2}, {offset:branch}", ""),
    ("bc2t", "01000 cc:3 01 offset:16", "{cc:cc2}, {offset:branch}", ""),
    ("bc2fl", "01000 cc:3 10 offset:16", "{cc:cc2}, {offset:branch}", "mips2"),
    ("bc2tl", "01000 cc:3 11 offset:16", "{cc:cc2}, {offset:branch}", "mips2"),
):
    _coprocessor_unusable(
        2, f"010010 {_pattern}", f"{_name} {_operands}", name=_name, needs=_needs, overrides="cop2"
    )

for _name, _opcode, _needs in (
    ("lwc2", "110010", ""),
    ("swc2", "111010", ""),
    ("ldc2", "110110", "mips2"),
    ("sdc2", "111110", "mips2"),
):
    _coprocessor_unusable(
        2,
        f"{_opcode} base:5 rt:5 offset:16",
        f"{_name} {{rt:$}}, {{offset:d}}({{base}})",
        name=_name,
        needs=_needs,
    )


# Coprocessor 1 where there is none: its opcodes, and the moves on its condition codes.

for _name, _pattern in (
    ("cop1", "010001 --------------------------"),
    ("cop1x", "010011 --------------------------"),
    ("movci", "000000 ----- --- 0- ----- 00000 000001"),
    ("cop1_lwc1", "110001 --------------------------"),
    ("cop1_ldc1", "110101 --------------------------"),
    ("cop1_swc1", "111001 --------------------------"),
    ("cop1_sdc1", "111101 --------------------------"),
):
    _coprocessor_unusable(1, _pattern, ".word", name=_name, unless="fpu")


# Multithreading extension (34K). A program has one thread context and no scheduler to ask.


@MIPS.insn("011111 rs:5 rt:5 rd:5 00000 001000", "fork {rd}, {rs}, {rt}", needs="mt")
def fork(cpu: Cpu) -> None:
    """Start a thread context: there is no free one."""
    cpu.trap(THREAD)


@MIPS.insn("011111 rs:5 00000 rd:5 00000 001001", "yield {rd}, {rs}", needs="mt")
def yield_(cpu: Cpu, rs: Value, rd: Value) -> None:
    """Reschedule (negative: nothing else runs), or wait for a signal that no qualifier has."""
    cpu.trap(THREAD, cpu.gpr[rs].sge(0))
    cpu.gpr[rd] = cpu.const(0, cpu.arch.xlen)


# A call of the PMON boot monitor. Not in the architecture: QEMU's processors take it as a way to
# a monitor that is not there, so that programs on them, also under a real kernel, see no exception.


@MIPS.insn("000000 -------------------- 000101", ".word")
def pmon(cpu: Cpu) -> None:
    pass
