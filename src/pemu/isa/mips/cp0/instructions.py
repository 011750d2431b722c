"""Privileged instructions that have no module of their own, and hardware registers.

There are no caches, and no tags to be read. But translations of code in pages that change all the
time are dropped only when the guest says so, by CACHE or SYNCI.
"""

from __future__ import annotations

from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0 import timer
from pemu.isa.mips.cp0.exits import EXIT_CACHE, EXIT_SEMIHOSTING, EXIT_WAIT
from pemu.isa.mips.cp0.usable import privileged, unprivileged
from pemu.isa.mips.exceptions import DEBUG_BREAKPOINT, RESERVED_INSTRUCTION
from pemu.isa.mips.memory_access import effective_address
from pemu.isa.mips.state import set_word
from pemu.isa.mips.system import SYNCI_STEP
from pemu.isa.mips.table import MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.state import SystemCpu

COUNT_RESOLUTION = 2
"""RDHWR CCRes: Count goes up every second cycle."""


@privileged("010000 --------------------------", ".word", name="cop0_system")
def cop0(cpu: SystemCpu) -> None:
    """What has no name of its own."""
    cpu.trap(RESERVED_INSTRUCTION)


for _name, _code in (("dmfc0", "00001"), ("dmtc0", "00101")):
    privileged(
        f"010000 {_code} ---------------------",
        ".word",
        name=f"{_name}_reserved",
        unless="mips3",
    )(cop0)


def _declare_interrupt_switch(name: str, bit: int, enable: bool) -> None:
    """Declare DI or EI."""

    def meaning(cpu: SystemCpu, rt: Value) -> None:
        status = cpu.status
        set_word(cpu, rt, status)
        cpu.status = status | c.IE if enable else status & ~c.IE
        if enable:
            cpu.update_mode()

    privileged(
        f"010000 01011 rt:5 01100 00000 {bit}00000",
        f"{name} {{rt}}",
        name=f"{name}_system",
        needs="mips32r2",
    )(meaning)


_declare_interrupt_switch("di", 0, enable=False)
_declare_interrupt_switch("ei", 1, enable=True)


@privileged(
    "010000 1 code:19 100000",
    "wait {code:x}",
    name="wait_system",
    needs="mips3_32",
)
def wait(cpu: SystemCpu) -> None:
    cpu.exit(EXIT_WAIT)


@MIPS.insn(
    "011100 00000000000000000001 111111",
    "sdbbp 0x1",
    name="sdbbp_semihosting",
    needs="system mips32 semihosting",
    overrides="sdbbp",
)
def semihosting(cpu: SystemCpu) -> None:
    if "semihosting_user" not in cpu.features:
        cpu.trap(DEBUG_BREAKPOINT, unprivileged(cpu))
    cpu.exit(EXIT_SEMIHOSTING)


def cache(cpu: SystemCpu, base: Value, offset: Value) -> None:
    """Other operations: nothing to be seen of them."""


def hit_invalidate_i(cpu: SystemCpu, base: Value, offset: Value) -> None:
    """The line of an address: the code that has been translated from there."""
    cpu.flush_code(effective_address(cpu, base, offset))


def index_invalidate_i(cpu: SystemCpu, base: Value, offset: Value) -> None:
    """Guests go through all lines of at least a page: one of them stands for the others."""
    address = effective_address(cpu, base, offset)
    with cpu.if_((address & 0xFE0).eq(0), unlikely=True):
        cpu.exit(EXIT_CACHE)


for _op, _written, _name, _meaning in (
    ("op:5", "{op:x}", "cache_system", cache),
    ("10000", "0x10", "cache_hit_invalidate_i", hit_invalidate_i),
    ("00000", "0", "cache_index_invalidate_i", index_invalidate_i),
):
    privileged(
        f"101111 base:5 {_op} offset:16",
        f"cache {_written}, {{offset:d}}({{base}})",
        name=_name,
        needs="mips3_32",
        overrides="" if _meaning is cache else "cache_system",
    )(_meaning)


# Hardware registers: HWREna says which of them programs may read.


def _hardware_register(
    number: int, name: str, read: Callable[[SystemCpu], Value], needs: str = ""
) -> None:
    def meaning(cpu: SystemCpu, rt: Value) -> None:
        allowed = ~unprivileged(cpu) | (cpu.status & c.CU0).ne(0)
        allowed = allowed | cpu.hwrena.bit(number)
        cpu.trap(RESERVED_INSTRUCTION, ~allowed)
        cpu.gpr[rt] = read(cpu).sext(cpu.arch.xlen)

    MIPS.insn(
        f"011111 00000 rt:5 {number:05b} 00000 111011",
        f"rdhwr {{rt}}, {name}",
        name=f"rdhwr_{number}_system",
        needs=f"system mips32r2 {needs}",
        overrides="rdhwr",
    )(meaning)


_hardware_register(0, "hwr_cpunum", lambda cpu: cpu.ebase.trunc(32) & 0x3FF)
_hardware_register(1, "hwr_synci_step", lambda cpu: cpu.const(SYNCI_STEP, 32))
_hardware_register(2, "hwr_cc", timer.count)
_hardware_register(3, "hwr_ccres", lambda cpu: cpu.const(COUNT_RESOLUTION, 32))
_hardware_register(29, "$29", lambda cpu: cpu.userlocal, "ulri")
