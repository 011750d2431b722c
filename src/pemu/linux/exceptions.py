"""Faults and exceptions of guest code become the signals that a MIPS kernel sends for them.

Source: Linux arch/mips/kernel/traps.c, arch/mips/mm/fault.c.
"""

from __future__ import annotations

from pemu.engine.layout.exits import FAULT_BUS, FAULT_FETCH, FAULT_MISALIGNED
from pemu.engine.layout.pages import MAPPED
from pemu.engine.memory.access import GuestFault
from pemu.isa.mips import exceptions
from pemu.isa.mips.fpu import control as fpu_control
from pemu.linux import signals
from pemu.linux.mips import signals as ms
from pemu.linux.mips.signals import SigInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

_SEGV_MAPERR, _SEGV_ACCERR, _BUS_ADRALN, _BUS_ADRERR = 1, 2, 1, 2
_FPE_INTDIV, _FPE_INTOVF = 1, 2
_TRAP_BRKPT = 1


def raise_fault(t: Thread) -> None:
    """Turn an access that the host refused into the signal a MIPS kernel gives."""
    cpu = t.cpu
    address = cpu.exit_addr
    if t.process.log.enabled("int"):
        t.process.log.write(f"fault at pc {cpu.pc:#x}, address {address & (1 << 64) - 1:#x}")
    limit = 0x80000000 if t.target.word == 4 else 1 << 40
    found = None if cpu.exit_code & FAULT_FETCH else _accessed(t)
    address, size = found or (address, 1)
    if cpu.exit_code & FAULT_MISALIGNED or not 0 <= address <= limit - size:
        info = SigInfo(ms.SIGBUS, ms.SI_KERNEL, "kill")
        if cpu.exit_code & FAULT_MISALIGNED:
            info = SigInfo(ms.SIGBUS, _BUS_ADRALN, "fault")
            info.address = address
        signals.raise_signal(t, info)
        return
    if address % size:
        # The kernel makes such accesses itself, and where it fails it tells no address.
        signals.raise_signal(t, SigInfo(ms.SIGSEGV, ms.SI_KERNEL, "kill"))
        return
    if cpu.exit_code & FAULT_BUS:
        info = SigInfo(ms.SIGBUS, _BUS_ADRERR, "fault")
    else:
        mapped = t.mem.flags[address >> 12] & MAPPED
        info = SigInfo(ms.SIGSEGV, _SEGV_ACCERR if mapped else _SEGV_MAPERR, "fault")
    info.address = address
    signals.raise_signal(t, info)


def _accessed(t: Thread) -> tuple[int, int] | None:
    """The address that the faulting instruction has, and to how many bytes it should be aligned."""
    from pemu.isa.mips.access import addressed

    pc = t.cpu.pc + 4 * t.cpu.in_delay_slot
    try:
        code = t.mem.read(pc, 4)
    except GuestFault:  # another thread has changed the code
        return None
    word = int.from_bytes(code, "big" if t.target.big_endian else "little")
    found = addressed(word, t.cpu.gpr)
    if found is None:
        return None
    return found[0] & (1 << t.process.engine.arch.address_bits) - 1, found[1]


def raise_exception(t: Thread) -> None:
    """Turn a processor exception into the signal a MIPS kernel gives (arch/mips/kernel/traps)."""
    cpu = t.cpu
    code, argument = cpu.exit_code, cpu.exit_addr
    pc = cpu.pc
    if t.process.log.enabled("int"):
        name = exceptions.NAMES.get(code, "unknown")
        t.process.log.write(f"exception {code} ({name}, argument {argument:#x}) at pc {pc:#x}")
    info = SigInfo(ms.SIGILL, ms.SI_KERNEL, "kill")
    if code == exceptions.BREAKPOINT:
        # Assemblers put a break's code into the upper half of the field.
        number = (argument & 0x3FF) << 10 | argument >> 10 if argument >> 10 else argument
        info = _breakpoint(pc, number, SigInfo(ms.SIGTRAP, _TRAP_BRKPT, "fault"))
    elif code == exceptions.TRAP:
        info = _breakpoint(pc, argument, SigInfo(ms.SIGTRAP, ms.SI_KERNEL, "kill"))
    elif code == exceptions.OVERFLOW:
        info = SigInfo(ms.SIGFPE, _FPE_INTOVF, "fault")
        info.address = pc
    elif code == exceptions.FLOATING_POINT:
        info = SigInfo(ms.SIGFPE, fpu_control.take_exception(cpu), "fault")
        info.address = pc
    elif code in (exceptions.ADDRESS_LOAD, exceptions.ADDRESS_STORE):
        info = SigInfo(ms.SIGBUS, ms.SI_KERNEL, "kill")
    signals.raise_signal(t, info)


def _breakpoint(pc: int, code: int, other: SigInfo) -> SigInfo:
    """A break or trap instruction with this code: 6 overflow, 7 division by zero, or `other`."""
    if code in (6, 7):
        info = SigInfo(ms.SIGFPE, _FPE_INTOVF if code == 6 else _FPE_INTDIV, "fault")
        info.address = pc
        return info
    if other.kind == "fault":
        other.address = pc
    return other
