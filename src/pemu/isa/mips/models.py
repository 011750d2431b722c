"""Processor models: what `-cpu` names mean.

A model's features decide which instructions exist (`needs` and `unless` in the tables). The list
of a model's features is closed: a later revision has the names of all that it includes.

Names, processor identifications and FIR values are those that QEMU 7.2 shows for its models; what
the kernel prints is that of Linux's arch/mips/kernel (cpu-probe.c, fpu-probe.c, proc.c).
"""

from __future__ import annotations

_INCLUDES = {
    "mips1": (),
    "mips2": ("mips1",),
    "mips3": ("mips2",),
    "mips4": ("mips3",),
    "mips5": ("mips4",),
    "mips32": ("mips2",),
    "mips32r2": ("mips32",),
    "mips64": ("mips5", "mips32"),
    "mips64r2": ("mips64", "mips32r2"),
    "dspr2": ("dsp",),
    "dsp64": ("dsp",),
}
"""What each feature brings with it."""

_EITHER = {
    "mips3_32": ("mips3", "mips32"),
    "mips3_32r2": ("mips3", "mips32r2"),
    "mips4_32": ("mips4", "mips32"),
    "mips4_32r2": ("mips4", "mips32r2"),
    "mips5_32r2": ("mips5", "mips32r2"),
    "rotate": ("mips32r2", "vr5400"),
}
"""Features that any one of the listed gives: instructions of a 64-bit level that a 32-bit one took
over. `mips4_32` reads "MIPS IV or MIPS32"."""

ISA_LEVELS = (
    *("mips1", "mips2", "mips3", "mips4", "mips5"),
    *("mips32", "mips32r2", "mips64", "mips64r2"),
)
_KERNEL_NAMES = {"mips32": "mips32r1", "mips64": "mips64r1"}

_HWCAP = (("mips3d", 1 << 5), ("dsp", 1 << 7), ("dspr2", 1 << 8))
"""Bits of AT_HWCAP (asm/hwcap.h) for extensions that exist here."""

_ASES = (("mips3d", "mips3d"), ("dsp", "dsp"), ("dspr2", "dsp2"), ("mt", "mt"))
"""Words of the line "ASEs implemented" in /proc/cpuinfo."""

# Bits of FIR, the floating-point implementation register.
FIR_S, FIR_D, FIR_PS, FIR_3D = 1 << 16, 1 << 17, 1 << 18, 1 << 19
FIR_W, FIR_L, FIR_F64 = 1 << 20, 1 << 21, 1 << 22


class UnknownModel(Exception):
    """A `-cpu` name that is not in the list."""


class UnsupportedModel(Exception):
    """A model that needs instructions which do not exist yet."""


def closure(names: str) -> frozenset[str]:
    """Return the features that the space-separated `names` imply, with themselves."""
    found: set[str] = set()
    pending = names.split()
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(_INCLUDES.get(name, ()))
    found.update(either for either, of in _EITHER.items() if found.intersection(of))
    return frozenset(found)


class Model:
    """One processor model.

    `bits`: 32 or 64, the width of its registers. `prid`: its CP0 processor identification.
    `fir`: what FIR reads as; 0 for a model without floating-point unit. `kernel_name`: how Linux
    names the core. `tlb`: its TLB entries. `lacks`: what is missing for it to run, "" if nothing
    is.
    """

    __slots__ = (
        "_features",
        "bits",
        "fir",
        "isa",
        "kernel_name",
        "lacks",
        "name",
        "prid",
        "tlb",
    )

    def __init__(
        self,
        name: str,
        isa: str,
        extensions: str,
        prid: int,
        fir: int,
        kernel_name: str,
        *,
        tlb: int = 16,
        lacks: str = "",
    ) -> None:
        self.name = name
        self.isa = isa
        self.bits = 32 if isa in ("mips1", "mips2", "mips32", "mips32r2") else 64
        self.prid = prid
        self.kernel_name = kernel_name
        self.tlb = tlb
        self.lacks = lacks
        self.fir = fir
        self._features = f"{isa} {extensions}"

    @property
    def features(self) -> frozenset[str]:
        """Names that decide which instructions exist.

        Without "fpu" those of the floating-point unit are illegal for programs, as under QEMU;
        a kernel may emulate them.
        """
        names = self._features
        if self.fir:
            names += " fpu"
        if self.fir & FIR_PS:
            names += " ps"
        return closure(names)

    @property
    def hwcap(self) -> int:
        """AT_HWCAP of the auxiliary vector."""
        return sum(bit for name, bit in _HWCAP if name in self.features)

    @property
    def base_platform(self) -> str:
        """AT_BASE_PLATFORM of the auxiliary vector."""
        return self.isa

    @property
    def isa_line(self) -> str:
        """Levels listed under "isa" in /proc/cpuinfo."""
        levels = (level for level in ISA_LEVELS if level in self.features)
        return " ".join(_KERNEL_NAMES.get(level, level) for level in levels)

    @property
    def ases_line(self) -> str:
        """Extensions listed under "ASEs implemented" in /proc/cpuinfo."""
        return " ".join(word for name, word in _ASES if name in self.features)


# FIR of the 32-bit cores with floating-point unit, less the core's number.
_FIR_32 = FIR_F64 | FIR_L | FIR_W | FIR_D | FIR_S
_FIR_ALL = _FIR_32 | FIR_PS | FIR_3D

MODELS = (
    Model("4Kc", "mips32", "", 0x00018000, 0, "MIPS 4Kc"),
    Model("4Km", "mips32", "", 0x00018300, 0, "MIPS 4KSc", tlb=0),
    Model("4KEcR1", "mips32", "", 0x00018400, 0, "MIPS 4Kc"),
    Model("4KEmR1", "mips32", "", 0x00018500, 0, "MIPS 4Kc", tlb=0),
    Model("4KEc", "mips32r2", "", 0x00019000, 0, "MIPS 4KEc"),
    Model("4KEm", "mips32r2", "", 0x00019100, 0, "MIPS 4KEc", tlb=0),
    Model("24Kc", "mips32r2", "", 0x00019300, 0, "MIPS 24Kc"),
    Model("24KEc", "mips32r2", "dsp", 0x00019600, 0, "MIPS 24KEc"),
    Model("24Kf", "mips32r2", "", 0x00019300, _FIR_32 | 0x9300, "MIPS 24Kc"),
    Model("34Kf", "mips32r2", "dsp mt", 0x00019500, _FIR_32 | 0x9500, "MIPS 34Kc"),
    Model("74Kf", "mips32r2", "dspr2", 0x00019700, _FIR_32 | 0x9300, "MIPS 74Kc"),
    Model("M14K", "mips32r2", "", 0x00019B00, 0, "MIPS M14Kc", tlb=0),
    Model("M14Kc", "mips32r2", "", 0x00019C00, 0, "MIPS M14KEc"),
    Model("P5600", "mips32r2", "", 0x0001A800, 0, "MIPS P5600", lacks="MIPS32 Release 5 and MSA"),
    Model("mips32r6-generic", "mips32r2", "", 0x00010000, 0, "", lacks="MIPS32 Release 6"),
    Model("I7200", "mips32r2", "", 0x00010000, 0, "", lacks="nanoMIPS"),
    Model("R4000", "mips3", "", 0x00000400, 0x00000500, "R4000PC", tlb=48),
    Model("VR5432", "mips4", "vr5400", 0x00005400, 0x00005400, "R5432", tlb=48),
    Model("5Kc", "mips64", "", 0x00018100, 0, "MIPS 5Kc", tlb=32),
    Model("5Kf", "mips64", "", 0x00018100, FIR_D | FIR_S | 0x8100, "MIPS 5Kc", tlb=32),
    Model(
        *("20Kc", "mips64", "mips3d", 0x000182A0),
        *(FIR_3D | FIR_PS | FIR_D | FIR_S | 0x8200, "MIPS 20Kc"),
        tlb=48,
    ),
    Model("MIPS64R2-generic", "mips64r2", "mips3d", 0x00010000, _FIR_ALL, "MIPS GENERIC QEMU"),
    Model("5KEc", "mips64r2", "", 0x00018900, 0, "MIPS 5KE", tlb=32),
    Model("5KEf", "mips64r2", "", 0x00018900, _FIR_32 | 0x8900, "MIPS 5KE", tlb=32),
    Model("I6400", "mips64r2", "", 0x0001A900, 0, "", lacks="MIPS64 Release 6"),
    Model("I6500", "mips64r2", "", 0x0001B000, 0, "", lacks="MIPS64 Release 6"),
    Model("Loongson-2E", "mips3", "", 0x00006302, 0, "", lacks="the Loongson extensions"),
    Model("Loongson-2F", "mips3", "", 0x00006303, 0, "", lacks="the Loongson extensions"),
    Model("Loongson-3A1000", "mips64r2", "", 0x00006305, 0, "", lacks="the Loongson extensions"),
    Model("Loongson-3A4000", "mips64r2", "", 0x0014C000, 0, "", lacks="the Loongson extensions"),
    Model(
        *("mips64dspr2", "mips64r2", "dspr2 dsp64", 0x00010000),
        *(_FIR_ALL, "MIPS GENERIC QEMU"),
    ),
    Model("Octeon68XX", "mips64r2", "", 0x000D9100, 0, "", lacks="the Octeon extensions"),
)


def models(xlen: int) -> tuple[Model, ...]:
    """Return the models that a target with `xlen` bits a register (32 or 64) can choose from."""
    return MODELS if xlen == 64 else tuple(model for model in MODELS if model.bits == 32)


def model(name: str, xlen: int) -> Model:
    """Return the model called `name` (the case of letters does not matter).

    Raises UnknownModel or UnsupportedModel with a sentence for the user.
    """
    for found in models(xlen):
        if found.name.lower() == name.lower():
            if found.lacks:
                raise UnsupportedModel(
                    f"CPU model {found.name} is not supported yet: it needs {found.lacks}"
                )
            return found
    if xlen == 32 and any(found.name.lower() == name.lower() for found in MODELS):
        raise UnknownModel(
            f"CPU model {name} is a 64-bit processor: it runs programs of the mips64 and mipsn32"
            " targets"
        )
    from difflib import get_close_matches

    near = get_close_matches(name, [found.name for found in models(xlen)], 1, 0.4)
    hint = f"did you mean {near[0]}?" if near else "'-cpu help' lists the models"
    raise UnknownModel(f"CPU model {name!r} is not known: {hint}")


def help_text(xlen: int) -> str:
    """Return the list that `-cpu help` prints."""
    lines = []
    for listed in models(xlen):
        suffix = f"  (not supported yet: needs {listed.lacks})" if listed.lacks else ""
        lines.append(f"MIPS '{listed.name}'{suffix}\n")
    return "".join(lines)
