"""What coprocessor 0 of each processor model has: configuration, writable Status bits, TLB.

The values are those that QEMU 7.2's models show to a program that reads them after reset, and the
bits that it finds to keep what it writes.
"""

from __future__ import annotations

from pemu.isa.mips.models import MODELS, Model

CONFIG_MT_TLB, CONFIG_MT_FIXED = 1, 3
"""Config.MT: what translates addresses."""

CONFIG1_WATCH, CONFIG1_PERFORMANCE = 1 << 3, 1 << 4
CONFIG3_MT, CONFIG3_VEIC, CONFIG3_ULRI = 1 << 2, 1 << 6, 1 << 13


class Control:
    """Coprocessor 0 of one model.

    `configs`: Config, Config1, ... as they read after reset, big-endian. `status_mask`: bits of
    Status that can be written. `shadow_sets`: sets of general registers, the normal one included.
    `virtual_bits`, `physical_bits`: how wide addresses are (of each 64-bit segment, and of memory).
    """

    __slots__ = (
        "configs",
        "model",
        "physical_bits",
        "shadow_sets",
        "status_mask",
        "tlb",
        "virtual_bits",
    )

    def __init__(
        self,
        model: Model,
        configs: tuple[int, ...],
        status_mask: int,
        virtual_bits: int = 0,
        shadow_sets: int = 1,
    ) -> None:
        self.model = model
        self.configs = configs
        self.status_mask = status_mask
        self.virtual_bits = virtual_bits or 32
        self.physical_bits = 36 if virtual_bits else 32
        self.shadow_sets = shadow_sets
        self.tlb = 0
        if len(configs) == 1:
            self.tlb = model.tlb
        elif configs[0] >> 7 & 7 == CONFIG_MT_TLB:
            self.tlb = (configs[1] >> 25 & 63) + 1

    def config(self, number: int) -> int:
        """Register Config`number`; 0 where there is none."""
        return self.configs[number] if number < len(self.configs) else 0

    @property
    def fixed_mapping(self) -> bool:
        """Whether there is no TLB: addresses are mapped in one way for good."""
        return len(self.configs) > 1 and self.configs[0] >> 7 & 7 == CONFIG_MT_FIXED

    @property
    def counters(self) -> int:
        """How many performance counters there are."""
        if not self.config(1) & CONFIG1_PERFORMANCE:
            return 0
        return 1 if self.model.name == "20Kc" else 2

    @property
    def lladdr_shift(self) -> int:
        """By how much LLAddr is an address shifted down."""
        return 0 if self.model.name in _WHOLE_LLADDR else 4

    @property
    def features(self) -> frozenset[str]:
        """Names that decide which registers and instructions of coprocessor 0 there are."""
        config1, config3 = self.config(1), self.config(3)
        return frozenset(
            name
            for name, there in (
                ("system", True),
                ("tlb", self.tlb != 0),
                ("veic", config3 & CONFIG3_VEIC),
                ("ulri", config3 & CONFIG3_ULRI),
                ("performance", self.counters),
                ("watch", config1 & CONFIG1_WATCH),
                ("shadow", self.shadow_sets > 1),
                ("ebase_wg", self.model.name in _WIDE_BASES),
            )
            if there
        )


_NONE = 0x80000000  # Config2: no further caches, but a Config3

_CONTROLS: dict[str, tuple[tuple[int, ...], int, int, int]] = {
    # name: (Config0 ..., Status, virtual bits, shadow sets)
    "4Kc": ((0x80008082, 0x9E190C8A, _NONE), 0x1278FF17, 0, 1),
    "4Km": ((0x80008182, 0x80190C8E, _NONE), 0x1258FF17, 0, 1),
    "4KEcR1": ((0x80008082, 0x9E190C8A, _NONE), 0x1278FF17, 0, 1),
    "4KEmR1": ((0x80008182, 0x80190C8E, _NONE), 0x1258FF17, 0, 1),
    "4KEc": ((0x80008482, 0x9E190C8A, _NONE), 0x1278FF17, 0, 1),
    "4KEm": ((0x80008582, 0x80190C8E, _NONE), 0x1258FF17, 0, 1),
    "24Kc": ((0x80008482, 0x9E190C8E, _NONE), 0x1278FF1F, 0, 1),
    "24KEc": ((0x80008482, 0x9E190C8E, _NONE, 0x0400), 0x1378FF1F, 0, 1),
    "24Kf": ((0x80008482, 0x9E190C8F, _NONE), 0x3678FF1F, 0, 1),
    "34Kf": ((0x80008482, 0xFE190C8F, _NONE, 0x0424), 0x3778FF1F, 0, 16),
    "74Kf": ((0x80008482, 0x9E190C8F, _NONE, 0x0C20), 0x3778FF1F, 0, 1),
    "M14K": ((0xA4008582, 0x8000000A, _NONE, 0x8020), 0x1258FF17, 0, 1),
    "M14Kc": ((0x80008482, 0x9E190C8A, _NONE, 0x8000), 0x1278FF17, 0, 1),
    "R4000": ((0x00028242,), 0x3678FFFF, 40, 1),
    "VR5432": ((0x00028242,), 0x3678FFFF, 40, 1),
    "5Kc": ((0x8000C082, 0xBE61309A, _NONE), 0x12F8FFFF, 42, 1),
    "5Kf": ((0x8000C082, 0xBE61309B, _NONE), 0x36F8FFFF, 42, 1),
    "20Kc": ((0x8000C08A, 0xDEA3519B, _NONE), 0x36FBFFFF, 40, 1),
    "MIPS64R2-generic": ((0x8000C482, 0xFEA3519B, _NONE, 0x0080), 0x36FBFFFF, 42, 1),
    "5KEc": ((0x8000C482, 0xBE61309A, _NONE), 0x12F8FFFF, 42, 1),
    "5KEf": ((0x8000C482, 0xBE61309B, _NONE), 0x36F8FFFF, 42, 1),
    "mips64dspr2": ((0x8000C482, 0xFEA3519B, _NONE, 0x80000C80), 0x37FBFFFF, 42, 1),
}


def control(model: Model) -> Control:
    """Return coprocessor 0 of a model that is not `lacks` anything."""
    return Control(model, *_CONTROLS[model.name])


_WIDE_BASES = frozenset({"MIPS64R2-generic"})
"""Models that have exception vectors anywhere (EBase.WG)."""

_WHOLE_LLADDR = frozenset({"34Kf", "20Kc", "MIPS64R2-generic", "mips64dspr2"})
"""Models whose LLAddr has all bits of an address; that of the others begins with bit 4."""

BY_NAME = {model.name: control(model) for model in MODELS if model.name in _CONTROLS}
"""Coprocessor 0 of every model that exists."""
