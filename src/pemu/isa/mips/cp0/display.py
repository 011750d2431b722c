"""The registers of coprocessor 0 and the TLB of a stopped processor, for people and debuggers."""

from __future__ import annotations

import time

from pemu.engine.layout import context
from pemu.isa.mips.cp0 import performance, watch
from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0.registers import REGISTERS, ControlRegister, of_model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pemu.engine.machinecpu import MachineCpu
    from pemu.engine.staging.architecture import Architecture
    from pemu.isa.mips.cp0.models import Control


def control_of(arch: Architecture) -> Control:
    """The coprocessor 0 of an architecture."""
    assert isinstance(arch.system, c.MipsSystem)
    return arch.system.control


def virtual_time(cpu: MachineCpu) -> int:
    """Virtual time in ns as the processor has it."""
    offset = cpu.engine.context[context.CLOCK_OFFSET >> 3]
    return time.monotonic_ns() + offset & (1 << 64) - 1


def _count(cpu: MachineCpu) -> int:
    value: int = cpu.count_base
    if not cpu.cause & c.DC and cpu.count_begun:
        value += virtual_time(cpu) // cpu.count_ns
    return value & 0xFFFFFFFF


def cause_value(cpu: MachineCpu) -> int:
    """Cause as a guest would read it now, with the interrupts that are pending."""
    value: int = cpu.cause | (cpu.irq_lines & 0x3F) << c.IP_SHIFT + 2
    if cpu.timer_deadline <= virtual_time(cpu):
        value |= 1 << c.IP_SHIFT + c.TIMER_LINE
        if "mips32r2" in cpu.engine.arch.features:
            value |= c.TI
    if performance.interrupts(cpu):
        value |= 1 << c.IP_SHIFT + c.TIMER_LINE
        if "mips32r2" in cpu.engine.arch.features:
            value |= performance.PCI
    return value


def _linked(cpu: MachineCpu) -> int:
    """The guest-physical address that the last LL read, 0 where that is no longer mapped."""
    return cpu.lladdr and cpu.translate(cpu.lladdr) or 0


_COMPUTED: dict[str, Callable[[MachineCpu], int]] = {
    "count": _count,
    "cause": cause_value,
    "lladdr": lambda cpu: _linked(cpu) >> control_of(cpu.engine.arch).lladdr_shift,
}


class Shown:
    """A register that a model has: its name, width in bits, and how it is read and changed."""

    __slots__ = ("_index", "_register", "bits", "name")

    def __init__(self, register: ControlRegister, arch: Architecture, index: int | None) -> None:
        self._register = register
        self._index = index
        self.name = register.name if index is None else f"{register.name}{index}"
        declared = arch.layout.by_name.get(register.name)
        self.bits = declared.width if declared is not None else 32

    def read(self, cpu: MachineCpu) -> int:
        """Its value."""
        register = self._register
        if register.name in _COMPUTED:
            return _COMPUTED[register.name](cpu)
        if register.constant:
            return of_model(register.reset, control_of(cpu.engine.arch)) & 0xFFFFFFFF
        value: int = getattr(cpu, register.name)
        return value if self._index is None else getattr(cpu, register.name)[self._index]

    def write(self, cpu: MachineCpu, value: int) -> None:
        """Change it, if it has a place in the state; what depends on it follows."""
        register = self._register
        if register.constant or register.name in _COMPUTED and register.name != "cause":
            return
        value &= (1 << self.bits) - 1
        if self._index is not None:
            getattr(cpu, register.name)[self._index] = value
            if register.name in ("watchlo", "watchhi"):
                watch.registers_changed(cpu)
            return
        setattr(cpu, register.name, value)
        if register.name == "entryhi":
            cpu.set_context(value & 0xFF)
        cpu.update_mode()


def shown(arch: Architecture) -> Iterator[Shown]:
    """All registers of coprocessor 0 that an architecture has, in the order of the manual."""
    for register in REGISTERS:
        if not register.exists(control_of(arch)):
            continue
        for index in (None,) if register.select is not None else range(8):
            yield Shown(register, arch, index)


def status_lines(cpu: MachineCpu) -> str:
    """Status, Cause, EPC and the configuration, as QEMU's `info registers` has them."""
    arch = cpu.engine.arch
    digits = arch.xlen // 4
    value = {one.name: one.read(cpu) for one in shown(arch)}
    return (
        f"CP0 Status  0x{value['status']:08x} Cause   0x{value['cause']:08x} "
        f"EPC    0x{value['epc']:0{digits}x}\n"
        f"    Config0 0x{value['config']:08x} Config1 0x{value.get('config1', 0):08x} "
        f"LLAddr 0x{_linked(cpu):016x}\n"
        f"    Config2 0x{value.get('config2', 0):08x} Config3 0x{value.get('config3', 0):08x}\n"
        f"    Config4 0x{value.get('config4', 0):08x} Config5 0x{value.get('config5', 0):08x}\n"
    )


def tlb_lines(cpu: MachineCpu) -> str:
    """The TLB, one line an entry: addresses, whose, and for the even and odd page where and how."""
    arch = cpu.engine.arch
    control = control_of(arch)
    if not control.tlb:
        return "There is no TLB: addresses are mapped in one way for good.\n"
    digits = arch.xlen // 4
    lines = []
    for number in range(control.tlb):
        asid = cpu.tlb_asid[number]
        if asid == c.UNUSED:
            continue
        pages = []
        for low in (cpu.tlb_lo0[number], cpu.tlb_lo1[number]):
            rights = f"{'D' if low & 4 else '-'}{'V' if low & 2 else '-'}"
            pages.append(f"{(low >> 6) << 12:#011x} c{low >> 3 & 7} {rights}")
        whose = "global" if asid & c.GLOBAL else f"asid {asid & 0xFF:02x}"
        size = (cpu.tlb_mask[number] + 1 >> 1) // 1024
        lines.append(
            f"{number:2} {cpu.tlb_hi[number]:0{digits}x} {size:6}K {whose}  {'  '.join(pages)}\n"
        )
    return "".join(lines) or "No TLB entry has been written.\n"
