"""Random programs of floating-point instructions, on Pemu and on unicorn."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from functools import lru_cache

from pemu.engine.staging.architecture import Architecture
from pemu.engine.staging.insn import Insn
from pemu.isa.mips.fpu import control as fpu_control
from tests.isa.mips.machines import (
    DATA,
    DATA_BYTES,
    PemuMachine,
    State,
    Trap,
    UnicornMachine,
    const,
)
from tests.isa.mips.streams import assemble, random_value

BASE, INDEX, SCRATCH, COUNTER = 28, 27, 26, 18
CONTROL = (20, 21, 22, 23)
"""Registers with values for FCSR; random instructions write none of them."""
PARTS = {25: (24, 0x000000FF), 26: (25, 0x0003F07C), 28: (19, 0x00000F87)}
"""The parts of FCSR by number: a register with values for it, and the bits that it has."""
FREE = [
    number
    for number in range(32)
    if number not in (BASE, INDEX, SCRATCH, COUNTER, *CONTROL, *(at for at, _ in PARTS.values()))
]

_LOADS = ("lwc1", "ldc1", "lwxc1", "ldxc1", "luxc1")
_STORES = ("swc1", "sdc1", "swxc1", "sdxc1", "suxc1")
_MOVES_IN = ("mtc1", "dmtc1", "mthc1")
_BRANCHES = (
    *(f"bc1{kind}{suffix}" for kind in ("f", "t", "fl", "tl") for suffix in ("", "_cc")),
    *(f"bc1any{codes}{kind}" for codes in (2, 4) for kind in ("f", "t")),
)
_CONTROL = ("cfc1", "ctc1")

CAUSE = 0x3F << 12

TAIL = 9
"""Words at the end of a program that are no random ones: nops and the store of FCSR."""

_DEFAULT_SINGLES = (0x7FBFFFFF, 0xFFBFFFFF)
_DEFAULT_DOUBLES = (0x7FF7FFFFFFFFFFFF, 0xFFF7FFFFFFFFFFFF)


@lru_cache
def float_instructions(arch: Architecture, features: frozenset[str]) -> dict[str, Insn]:
    """Return the instructions of the floating-point modules by name, with those that move by cc.

    MIPS III has conversions from and to longs, but QEMU asks for MIPS IV.
    """
    return {
        insn.name: insn
        for insn in arch.source().select(features)
        if insn.meaning.__module__.startswith("pemu.isa.mips.fpu.")
        or insn.name in ("movf", "movt", "prefx")
        if "mips4_32" in features or not {"_l_", "_l"} & {insn.name[-4:-1], insn.name[-2:]}
    }


_SPECIAL_SINGLES = (
    *(0x00000000, 0x00000001, 0x007FFFFF, 0x00800000, 0x00800001, 0x3F800000, 0x3F800001),
    *(0x3F7FFFFF, 0x40000000, 0x4B000000, 0x4B7FFFFF, 0x4EFFFFFF, 0x4F000000, 0x5EFFFFFF),
    *(0x5F000000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FBFFFFF, 0x7FC00000, 0x7FFFFFFF),
)
_SPECIAL_DOUBLES = (
    *(0x0000000000000000, 0x0000000000000001, 0x000FFFFFFFFFFFFF, 0x0010000000000000),
    *(0x0010000000000001, 0x3FF0000000000000, 0x3FF0000000000001, 0x3FEFFFFFFFFFFFFF),
    *(0x4330000000000000, 0x433FFFFFFFFFFFFF, 0x41DFFFFFFFC00000, 0x41DFFFFFFFE00000),
    *(0x41E0000000000000, 0x43DFFFFFFFFFFFFF, 0x43E0000000000000, 0x7FEFFFFFFFFFFFFF),
    *(0x7FF0000000000000, 0x7FF0000000000001, 0x7FF7FFFFFFFFFFFF, 0x7FF8000000000000),
    *(0x7FFFFFFFFFFFFFFF, 0x47EFFFFFE0000000, 0x47EFFFFFF0000000, 0x3810000000000000),
    *(0x380FFFFFFFFFFFFF, 0x36A0000000000000, 0x369FFFFFFFFFFFFF, 0x36A0000000000001),
)


def random_single(chance: random.Random) -> int:
    """Return the bits of a single, often one near a border."""
    sign = chance.getrandbits(1) << 31
    kind = chance.randrange(8)
    if kind < 3:
        return sign | chance.choice(_SPECIAL_SINGLES)
    if kind == 3:
        return (
            sign
            | chance.choice((0, 1, 2, 126, 127, 128, 253, 254, 255)) << 23
            | (chance.getrandbits(23))
        )
    if kind == 4:  # an integer or half of one
        value = random_value(chance, 32) / chance.choice((1, 2))
        return sign | int.from_bytes(struct.pack(">f", value))
    if kind == 5:  # near one, so that sums cancel
        return sign | (0x3F800000 + chance.randrange(-9, 9))
    return sign | chance.getrandbits(31)


def random_double(chance: random.Random) -> int:
    """Return the bits of a double, often one near a border (also a border of singles)."""
    sign = chance.getrandbits(1) << 63
    kind = chance.randrange(9)
    if kind < 3:
        return sign | chance.choice(_SPECIAL_DOUBLES)
    if kind == 3:
        exponent = chance.choice((0, 1, 2, 870, 895, 896, 897, 1022, 1023, 1054, 1086, 1150, 2046))
        return sign | exponent << 52 | chance.getrandbits(52)
    if kind == 4:
        value = random_value(chance, 64) / chance.choice((1, 2, 4))
        return sign | int.from_bytes(struct.pack(">d", value))
    if kind == 5:
        return sign | (0x3FF0000000000000 + chance.randrange(-9, 9))
    if kind == 6:  # exact as a single, or nearly
        return sign | (chance.randrange(860, 1160) << 52) | chance.getrandbits(24) << 28
    return sign | chance.getrandbits(63)


def random_slot(chance: random.Random) -> int:
    """Return 64 bits for an FPU register or memory: a double, two singles, or an integer."""
    kind = chance.randrange(5)
    if kind < 2:
        return random_double(chance)
    if kind < 4:
        return random_single(chance) << 32 | random_single(chance)
    return random_value(chance, 64)


@lru_cache
def _slots() -> list[int]:
    """Contents for memory to choose from: to make each anew takes longer than the programs run."""
    chance = random.Random(0)
    return [random_slot(chance) for _ in range(10_000)]


SPECIAL_SLOTS = (*_SPECIAL_DOUBLES, *(high << 32 | high for high in _SPECIAL_SINGLES))
"""FPU registers with special values, less their signs."""


@lru_cache
def _ends(arch: Architecture) -> tuple[int, int]:
    """The words that load FCSR from a general register and store it in one."""
    insns = {insn.name: insn for insn in arch.source().select(arch.features)}
    load, store = insns["ctc1"], insns["cfc1"]
    return assemble(load, rt=CONTROL[0], fs=31), assemble(store, rt=SCRATCH, fs=31)


def frame(arch: Architecture, words: Sequence[int]) -> list[int]:
    """Return a program that loads FCSR, runs `words`, and stores FCSR in a general register.

    A branch near the end may skip up to five words.
    """
    load, store = _ends(arch)
    return [load, *words, *[0] * 6, store, 0, 0]


class FloatState(State):
    """A state with FPU registers (64 bits each, as with FR=1) and FCSR."""

    def __init__(self, base: State, fpr: Sequence[int], fcsr: int) -> None:
        super().__init__(base.gpr, base.hi, base.lo, base.data)
        self.fpr = list(fpr)
        self.fcsr = fcsr

    def differences(self, other: State) -> list[str]:
        assert isinstance(other, FloatState)
        found = super().differences(other)
        found += [
            f"$f{number}: {ours:#x}, unicorn {theirs:#x}"
            for number, (ours, theirs) in enumerate(zip(self.fpr, other.fpr, strict=True))
            if ours != theirs
        ]
        if self.fcsr != other.fcsr:
            found.append(f"fcsr: {self.fcsr:#x}, unicorn {other.fcsr:#x}")
        return found

    def only_nans_differ(self, other: State, word: int) -> bool:
        """Whether, after instruction `word`, only NaNs differ that unicorn passes on.

        The manual lets an operand that is a quiet NaN pass on "when possible". The QEMU that
        unicorn was made from does so, and has cvt.s.d make an infinity of a NaN whose upper bits
        are zero; in QEMU 7.2 each such result is the default NaN.
        """
        assert isinstance(other, FloatState)
        narrowed = word & 0xFFFF003F == 0x46200020
        alike = [
            ours if _default_instead(ours, theirs, narrowed) else theirs
            for ours, theirs in zip(self.fpr, other.fpr, strict=True)
        ]
        return not self.differences(FloatState(other, alike, other.fcsr))


def _default_instead(ours: int, theirs: int, narrowed: bool) -> bool:
    """Whether `ours` has default NaNs (a double, or singles) where `theirs` has quiet ones.

    `narrowed`: or an infinity.
    """
    if ours in _DEFAULT_DOUBLES and 0x7FF << 52 < theirs & ~(1 << 63) < 0xFFF << 51:
        return True
    least = 0x7F800000 if narrowed else 0x7F800001
    halves = [((ours >> at) & 0xFFFFFFFF, (theirs >> at) & 0xFFFFFFFF) for at in (0, 32)]
    return all(
        a == b or (a in _DEFAULT_SINGLES and least <= b & 0x7FFFFFFF < 0x7FC00000)
        for a, b in halves
    )


class FloatPemu(PemuMachine):
    """Pemu; `fr1`: the FPU register mode. FCSR is meaningful after a trap only."""

    def __init__(self, arch: Architecture, mode: str, fr1: bool) -> None:
        super().__init__(arch, mode)
        self.fr1 = fr1

    def run(self, words: Sequence[int], state: State) -> State:
        assert isinstance(state, FloatState)
        for number in range(32):
            self.cpu.fpr[number] = state.fpr[number]
        self.cpu.mode = int(self.fr1)
        fpu_control.set_fcsr(self.cpu, 0)
        ended = super().run(words, state)
        return FloatState(ended, self._fpr(), 0)

    def state_now(self) -> FloatState:
        return FloatState(super().state_now(), self._fpr(), fpu_control.fcsr_value(self.cpu))

    def _fpr(self) -> list[int]:
        return [self.cpu.fpr[number] for number in range(0, 32, 1 if self.fr1 else 2)]


class FloatUnicorn(UnicornMachine):
    """Unicorn. With FR=0 it keeps a double's upper word in the odd register."""

    def __init__(self, arch: Architecture, model: str, fr1: bool) -> None:
        super().__init__(arch, model)
        self.fr1 = fr1
        status = self.uc.reg_read(const.UC_MIPS_REG_CP0_STATUS) & ~(1 << 26)
        status |= 1 << 29 | int(fr1) << 26 | 1 << 31  # CU1, FR, COP1X on MIPS IV
        self.uc.reg_write(const.UC_MIPS_REG_CP0_STATUS, status)
        self._fprs = [getattr(const, f"UC_MIPS_REG_F{number}") for number in range(32)]

    def run(self, words: Sequence[int], state: State) -> State:
        assert isinstance(state, FloatState)
        for number in range(0, 32, 1 if self.fr1 else 2):
            value = state.fpr[number]
            if self.fr1:
                self.uc.reg_write(self._fprs[number], value)
            else:
                self.uc.reg_write(self._fprs[number], value & 0xFFFFFFFF)
                self.uc.reg_write(self._fprs[number + 1], value >> 32)
        ended = super().run(words, state)
        return FloatState(ended, self._fpr(), 0)

    def state_now(self) -> FloatState:
        return FloatState(
            super().state_now(), self._fpr(), self.uc.reg_read(const.UC_MIPS_REG_FCSR)
        )

    def _fpr(self) -> list[int]:
        values = [self.uc.reg_read(register) for register in self._fprs]
        if self.fr1:
            return values
        return [
            values[n] & 0xFFFFFFFF | (values[n + 1] & 0xFFFFFFFF) << 32 for n in range(0, 32, 2)
        ]


class FloatGenerator:
    """Makes random programs for one model and FPU register mode."""

    def __init__(self, arch: Architecture, chance: random.Random, fr1: bool, enables: bool) -> None:
        self.arch = arch
        self.chance = chance
        self.fr1 = fr1
        self.enables = enables
        features = arch.features | ({"fr1"} if fr1 else set())
        self.insns = float_instructions(arch, features)
        named = (*_LOADS, *_STORES, *_MOVES_IN, *_BRANCHES, *_CONTROL)
        self.refills = [self.insns[n] for n in (*_LOADS, *_MOVES_IN) if n in self.insns]
        self.branches = [self.insns[n] for n in _BRANCHES if n in self.insns]
        self.others = [
            insn for name, insn in self.insns.items() if name not in named or name in _STORES
        ]

    def control_value(self) -> int:
        """Return a value for FCSR: seldom with a cause that traps at once."""
        chance = self.chance
        value = chance.getrandbits(2) | chance.getrandbits(32) & 0xFE800000
        if chance.random() < 0.3:
            value |= 1 << 24
        if chance.random() < 0.5:
            value |= chance.getrandbits(5) << 2
        if self.enables:
            value |= (chance.getrandbits(5) & chance.getrandbits(5)) << 7
        if chance.random() < 0.1:
            value |= chance.getrandbits(5) << 12
        if chance.random() < 0.05:
            value |= chance.getrandbits(6) << 17  # an unimplemented operation, reserved bits
        return value

    def state(self) -> FloatState:
        chance, xlen = self.chance, self.arch.xlen
        gpr = [0, *(random_value(chance, xlen) for _ in range(31))]
        gpr[BASE], gpr[INDEX] = DATA, 8 * chance.randrange(64)
        for register in CONTROL:
            value = self.control_value()
            if xlen == 64 and value >> 31:
                value |= 0xFFFFFFFF00000000
            gpr[register] = value
        for register, bits in PARTS.values():
            value = chance.getrandbits(32) & chance.getrandbits(32) & bits
            gpr[register] = value if self.enables else value & ~0xF80
        order = ">" if self.arch.big_endian else "<"
        slots = chance.choices(_slots(), k=DATA_BYTES // 8)
        data = struct.pack(f"{order}{len(slots)}Q", *slots)
        return FloatState(State(gpr, 0, 0, data), [random_slot(chance) for _ in range(32)], 0)

    def _register(self, name: str, insn: Insn) -> int:
        """A register for an operand; with FR=0 mostly an even one where doubles take pairs."""
        register = self.chance.randrange(32)
        last = insn.mnemonic.rpartition(".")[2]
        wide = insn.mnemonic in ("ldc1", "sdc1", "ldxc1", "sdxc1", "dmfc1", "dmtc1", "luxc1")
        if not self.fr1 and (wide or ".d" in insn.mnemonic or last in ("l", "ps")):
            return register & 30 if self.chance.random() < 0.99 else register
        return register

    def word(self, insn: Insn) -> int:
        chance = self.chance
        fields: dict[str, int] = {}
        for field in insn.fields:
            if field.name in ("fs", "ft", "fd", "fr"):
                fields[field.name] = self._register(field.name, insn)
            elif field.name in ("rt", "rs", "rd"):
                fields[field.name] = chance.choice(FREE)
            elif field.name == "base":
                fields["base"] = BASE
            elif field.name == "index":
                fields["index"] = INDEX
            elif field.name == "offset":
                fields["offset"] = 8 * chance.randrange(DATA_BYTES // 8)
                if insn.mnemonic in ("lwc1", "swc1"):
                    fields["offset"] |= 4 * chance.getrandbits(1)
            elif field.name == "cc" and ".ps" in insn.mnemonic:
                fields["cc"] = 2 * chance.randrange(4)
            else:
                fields[field.name] = chance.getrandbits(field.width)
        return assemble(insn, **fields)

    def _control(self) -> int:
        chance = self.chance
        numbers = (31, 31, 31, 25, 26, 28) if "mips32" in self.arch.features else (31,)
        number = chance.choice(numbers)
        if chance.random() < 0.5:
            return assemble(self.insns["cfc1"], rt=chance.choice(FREE), fs=number)
        source = PARTS[number][0] if number in PARTS else chance.choice(CONTROL)
        return assemble(self.insns["ctc1"], rt=source, fs=number)

    def plain(self) -> int:
        chance = self.chance
        kind = chance.random()
        if kind < 0.25:
            return self.word(chance.choice(self.refills))
        return self._control() if kind < 0.3 else self.word(chance.choice(self.others))

    def loop(self, length: int, rounds: int) -> list[int]:
        """Return a program that is run so often (a multiple of 65536 times)."""
        insns = {insn.name: insn for insn in self.arch.source().select(self.arch.features)}
        body = [
            *self._body(length),
            *[0] * 5,
            assemble(insns["addiu"], rs=COUNTER, rt=COUNTER, imm=-1),
        ]
        back = assemble(insns["bgtz"], rs=COUNTER, offset=-len(body) - 1)
        first = assemble(insns["lui"], rt=COUNTER, imm=rounds >> 16)
        return frame(self.arch, [first, *body, back])

    def program(self, length: int) -> list[int]:
        return frame(self.arch, self._body(length))

    def _body(self, length: int) -> list[int]:
        chance = self.chance
        words: list[int] = []
        while len(words) < length:
            if chance.random() < 0.06:
                insn = chance.choice(self.branches)
                fields = {"offset": chance.randrange(1, 6)}
                if insn.name.endswith("_cc"):
                    fields["cc"] = chance.getrandbits(3)
                elif "any" in insn.name:
                    fields["cc"] = chance.choice((0, 4))
                delay = self.word(chance.choice(self.others))
                words += [assemble(insn, **fields), delay]
            else:
                words.append(self.plain())
        return words


def outcome(
    machine: PemuMachine | UnicornMachine, words: list[int], state: State
) -> tuple[int, State]:
    """Run a program; return the exception that ended it (0: none) and the state."""
    try:
        return 0, machine.run(words, state)
    except Trap as trap:
        return trap.code, machine.state_now()
