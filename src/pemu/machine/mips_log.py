"""What logs show of a machine's MIPS processor: code, exceptions, translated addresses.

Imported only where one of these is wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pemu.engine.staging.architecture import PAGE_FAULT, PAGE_FAULT_SHIFT
from pemu.isa.mips import codelog, dump, exceptions
from pemu.isa.mips.codelog import CodeLog
from pemu.isa.mips.cp0.display import cause_value, status_lines

if TYPE_CHECKING:
    from pemu.engine.machinecpu import MachineCpu
    from pemu.engine.vcpu import Cpu
    from pemu.machine.processor import Processor

ITEMS = (codelog.ITEMS - {"guest_errors"}) | {"int", "mmu"}
"""Of guest_errors only devices tell: to look at all code of a kernel takes too long."""

CU1 = 1 << 29
"""Bit of Status: there is an FPU, and it may be used."""

_SHARED = 32
"""Exceptions from this number to its double have the code of another."""

_REASONS = {
    exceptions.SEGMENT_LOAD: -1,
    exceptions.SEGMENT_STORE: -1,
    exceptions.TLB_REFILL_LOAD: -2,
    exceptions.TLB_REFILL_STORE: -2,
    exceptions.TLB_LOAD: -3,
    exceptions.TLB_STORE: -3,
    exceptions.TLB_MODIFIED: -4,
}
"""QEMU's numbers of why an address is not translated, by the exception."""


class ProcessorLog:
    """Writes the log of a processor; made before its first block, or while it stands."""

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self._log = processor.machine.log
        self._digits = processor.address_digits
        self._code = CodeLog(
            processor.engine,
            self._log,
            lambda address: processor.machine.function_name(address),  # boards set it later
            self._digits,
            lambda cpu: dump.general(cpu) + status_lines(cast("MachineCpu", cpu)),
            lambda cpu: dump.floating_point(cpu) if cpu.status & CU1 else "",
            codelog.ITEMS & ITEMS,
        )

    def choose(self) -> None:
        """Show what the log wants by now."""
        cpu = self._processor.cpu
        self._code.choose()
        cpu.report(
            self._exception if self._log.enabled("int") else None,
            self._translated if self._log.enabled("mmu") else None,
        )
        self._processor.engine.flush()
        cpu.flush_tlb()

    def run(self, cpu: Cpu) -> None:
        """The processor has come to the beginning of a block."""
        self._code.run(cpu, 0)

    def _exception(self, code: int, entered: int) -> None:
        cpu, digits = self._processor.cpu, self._digits
        places = f"PC {cpu.pc:0{digits}x} EPC {cpu.epc:0{digits}x}"
        if not entered:
            shared = _SHARED <= code < 2 * _SHARED
            name = exceptions.NAMES.get(code - _SHARED if shared else code, str(code))
            self._log.write(f"mips_cpu_do_interrupt enter: {places} {name} exception\n")
            return
        cause = cause_value(cpu)
        self._log.write(
            f"mips_cpu_do_interrupt: {places} cause {cause >> 2 & 31}\n"
            f"    S {cpu.status:08x} C {cause:08x} A {cpu.badvaddr:0{digits}x} "
            f"D {cpu.depc:0{digits}x}\n"
        )

    def _translated(self, address: int, found: int) -> None:
        line = f"mips_cpu_tlb_fill address={address:x} "
        if found & PAGE_FAULT:
            line += f"ret {_REASONS.get(found >> PAGE_FAULT_SHIFT, -1)}"
        else:
            line += f"physical {found & -4096 | address & 4095:016x} prot {found & 7}"
        self._log.write(line)
