"""A MIPS processor as the engine sees it. Imports no instruction: the table comes when asked."""

from __future__ import annotations

from pemu.engine.staging.architecture import COUNTED, Architecture, SystemCall
from pemu.isa.mips.models import model
from pemu.isa.mips.names import A0, A1, A2, A3, SP, V0, V1
from pemu.isa.mips.state import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.insn import InstructionSet
    from pemu.isa.mips.cp0.models import Control

MODE_FR0, MODE_FR1 = 0, 1
"""Translation modes: indices into the modes of the architecture."""


def _instructions() -> InstructionSet:
    from pemu.isa.mips.table import instructions

    return instructions()


_FPU_MODES: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({"fr1"}),
    frozenset({"fpexact"}),
    frozenset({"fr1", "fpexact"}),
)

_PARTS = {
    "dsp": frozenset[str](),
    "fpu.memory": frozenset({"fr1"}),
    "fpu.status": frozenset({"fr1"}),
    "fpu.paired": frozenset({"fr1", "fpexact"}),
    "fpu.mips3d": frozenset({"fr1", "fpexact"}),
    "fpu": frozenset({"fr1", "fpexact"}),
}

_HOT_REGISTERS = tuple(("gpr", number) for number in (SP, V0, V1, A0, A1, A2))


def _system_instructions() -> InstructionSet:
    from pemu.isa.mips.cp0.system import system_instructions

    return system_instructions()


def architecture(model_name: str, big_endian: bool, abi: str) -> Architecture:
    """Return the description of processor `model_name` running programs of `abi`.

    `abi`: "o32" (32-bit registers), "n32" or "n64" (64-bit registers). Raises
    `models.UnknownModel` for a name that is not in the list, `models.UnsupportedModel` for one
    that needs instructions which do not exist yet.
    """
    xlen = 32 if abi == "o32" else 64
    chosen = model(model_name, xlen)
    registers_for_arguments = range(A0, A0 + (4 if abi == "o32" else 8))
    return Architecture(
        f"mips-{chosen.name}-{'be' if big_endian else 'le'}-{abi}",
        source=_instructions,
        layout=layout(xlen, abi),
        xlen=xlen,
        address_bits=41 if abi == "n64" else 32,
        big_endian=big_endian,
        features=chosen.features,
        modes=_FPU_MODES,
        parts=_PARTS,
        delay_slots=True,
        hot_registers=_HOT_REGISTERS,
        # Linux: number in v0, arguments from a0 on, result in v0, error mark in a3.
        system_call=SystemCall(
            V0, tuple(registers_for_arguments), V0, A3, SP if abi == "o32" else None, 16
        ),
    )


def system_architecture(
    model_name: str,
    big_endian: bool,
    xlen: int,
    *,
    counts: bool = False,
    more: frozenset[str] = frozenset(),
) -> Architecture:
    """Return the description of processor `model_name` as a whole.

    `counts`: it counts its instructions. `more`: features beside the model's, `semihosting` and,
    also for programs in user mode, `semihosting_user`.
    `xlen`: 32 or 64, the width of the target's registers; a 32-bit model stays one also on a
    64-bit target. Raises `models.UnknownModel`, `models.UnsupportedModel`.
    """
    from pemu.isa.mips.cp0.models import BY_NAME

    control = BY_NAME[model(model_name, xlen).name]
    return architecture_with(control, big_endian, counts=counts, more=more)


def architecture_with(
    control: Control,
    big_endian: bool,
    *,
    counts: bool = False,
    more: frozenset[str] = frozenset(),
) -> Architecture:
    """Return the description of a processor that is a coprocessor 0 and its model."""
    from pemu.isa.mips.cp0.state import system_layout
    from pemu.isa.mips.cp0.system import system_of
    from pemu.isa.mips.cp0.usable import WIDE, WIDE_PART

    chosen = control.model
    features = chosen.features | control.features | more
    modes = _FPU_MODES if chosen.fir else (frozenset[str](),)
    parts = _PARTS
    if chosen.bits == 64:
        # Programs may have instructions of 64 bits or not.
        wide = features & WIDE
        features -= wide
        modes = (*(mode | wide for mode in modes), *modes)
        parts = {name: of_modes | wide for name, of_modes in _PARTS.items()}
        parts[WIDE_PART] = wide
    if control.counters and not counts:
        # While the guest counts instructions.
        modes = (*modes, *(mode | {COUNTED} for mode in modes))
    name = f"mips-{chosen.name}-{'be' if big_endian else 'le'}"
    return Architecture(
        "-".join((f"{name}-system", *("icount",) * counts, *sorted(more))),
        source=_system_instructions,
        layout=system_layout(chosen.bits, control),
        xlen=chosen.bits,
        address_bits=chosen.bits,
        big_endian=big_endian,
        features=features,
        modes=modes,
        parts=parts,
        delay_slots=True,
        hot_registers=_HOT_REGISTERS,
        system=system_of(control),
        counts=counts,
    )
