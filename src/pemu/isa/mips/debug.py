"""A MIPS processor as gdb sees it: its registers, by the features of gdb's target descriptions.

Source: "Debugging with GDB", appendix G.5.8, "MIPS Features"; the order is that of gdb's own
numbers where these are fixed.
"""

from __future__ import annotations

from pemu.engine.variable import Variable
from pemu.isa.mips.fpu import control as fpu_control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.vcpu import Cpu

_CPU, _CP0, _FPU, _DSP = (f"org.gnu.gdb.mips.{name}" for name in ("cpu", "cp0", "fpu", "dsp"))
_PRIVILEGED = "org.pemu.mips.cp0"
"""Our own feature: what gdb has no place for."""

_IN_CP0 = ("status", "badvaddr", "cause")
_CU1, _FR, _USER = 1 << 29, 1 << 26, 0x10
"""Bits of Status: FPU usable, 64-bit FPU registers, user mode."""


def architecture_name(arch: Architecture) -> str:
    """gdb's name of the architecture."""
    return "mips" if arch.xlen == 32 else "mips:isa64r2"


def variables(arch: Architecture) -> tuple[Variable, ...]:
    """All registers of a processor, in the order of their numbers."""
    xlen = arch.xlen
    declared = arch.layout.by_name
    status, badvaddr, cause = _program_cp0(xlen) if arch.system is None else _machine_cp0(arch)
    # Without a program's ABI, gdb takes pointers to have 32 bits.
    pointer = "code_ptr" if xlen == 32 or arch.system is None else ""
    result = [
        _of_file(_CPU, f"r{index}", arch, "gpr", index) for index in range(declared["gpr"].count)
    ]
    result += [
        status,
        _of_file(_CPU, "lo", arch, "lo", 0),
        _of_file(_CPU, "hi", arch, "hi", 0),
        badvaddr,
        cause,
        Variable(_CPU, "pc", xlen, _read_pc, _write_pc, pointer),
    ]
    result += [_float(index, xlen) for index in range(declared["fpr"].count)]
    result += [
        Variable(*(_FPU, "fcsr", 32, fpu_control.fcsr_value, fpu_control.set_fcsr), group="float"),
        Variable(_FPU, "fir", 32, _read_fir, _keep, group="float"),
    ]
    if "dsp" in arch.features:
        for index in (1, 2, 3):
            result.append(_of_file(_DSP, f"hi{index}", arch, "hi", index))
            result.append(_of_file(_DSP, f"lo{index}", arch, "lo", index))
        result.append(Variable(_DSP, "dspctl", 32, _read_dspctl, _write_dspctl))
    if arch.system is not None:
        result += _privileged(arch)
    return tuple(result)


def _program_cp0(xlen: int) -> tuple[Variable, Variable, Variable]:
    """What a program has in place of Status, BadVAddr and Cause."""
    return (
        Variable(_CP0, "status", xlen, _status, _keep),
        Variable(_CP0, "badvaddr", xlen, _zero, _keep),
        Variable(_CP0, "cause", xlen, _zero, _keep),
    )


def _machine_cp0(arch: Architecture) -> tuple[Variable, Variable, Variable]:
    """Status, BadVAddr and Cause of a whole processor."""
    from pemu.isa.mips.cp0.display import shown

    named = {one.name: one for one in shown(arch)}
    status, badvaddr, cause = (
        Variable(_CP0, name, arch.xlen, named[name].read, named[name].write) for name in _IN_CP0
    )
    return status, badvaddr, cause


def _privileged(arch: Architecture) -> list[Variable]:
    """The other registers of coprocessor 0."""
    from pemu.isa.mips.cp0.display import shown

    return [
        Variable(_PRIVILEGED, one.name, one.bits, one.read, one.write, group="system")
        for one in shown(arch)
        if one.name not in _IN_CP0
    ]


def _of_file(feature: str, name: str, arch: Architecture, file: str, index: int) -> Variable:
    declared = arch.layout.by_name[file]

    def read(cpu: Cpu) -> int:
        value: int = getattr(cpu, file)[index]
        return value

    def write(cpu: Cpu, value: int) -> None:
        if index != declared.zero:
            getattr(cpu, file)[index] = value

    return Variable(feature, name, declared.width, read, write)


def _float(index: int, xlen: int) -> Variable:
    """An FPU register: 32 bits in a 32-bit processor, where pairs make doubles."""

    def place(cpu: Cpu) -> tuple[int, int]:
        """Which slot, and how far up in it (see `state`)."""
        return (index, 0) if cpu.mode & 1 else (index & ~1, 32 * (index & 1))

    def read(cpu: Cpu) -> int:
        slot, shift = place(cpu)
        value: int = cpu.fpr[slot]
        return value >> shift & (1 << xlen) - 1

    def write(cpu: Cpu, value: int) -> None:
        slot, shift = place(cpu)
        mask = (1 << xlen) - 1 << shift & (1 << 64) - 1
        cpu.fpr[slot] = cpu.fpr[slot] & ~mask | value << shift & mask

    kind = "ieee_single" if xlen == 32 else "ieee_double"
    return Variable(_FPU, f"f{index}", xlen, read, write, kind)


def _status(cpu: Cpu) -> int:
    return _CU1 | _USER | (_FR if cpu.mode & 1 else 0)


def _zero(cpu: Cpu) -> int:
    return 0


def _keep(cpu: Cpu, value: int) -> None:
    """What a program cannot change, gdb does not either."""


def _read_pc(cpu: Cpu) -> int:
    return cpu.pc


def _write_pc(cpu: Cpu, value: int) -> None:
    cpu.pc = value


def _read_fir(cpu: Cpu) -> int:
    value: int = cpu.fcr0
    return value


def _read_dspctl(cpu: Cpu) -> int:
    value: int = cpu.dspctl
    return value


def _write_dspctl(cpu: Cpu, value: int) -> None:
    cpu.dspctl = value
