"""Random programs of integer instructions: straight code, forward branches, loops, memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache

from pemu.engine.staging.architecture import Architecture
from pemu.engine.staging.insn import Insn
from pemu.isa.mips.disassembler import disassemble
from tests.isa.mips.machines import CODE, DATA, DATA_BYTES, State, Trap

JUMP_REGISTER, COUNTER, BASE = 26, 27, 28
"""Registers with a task of their own; random instructions write the others only."""

PROLOGUE = 1
"""Words before the body of a program, which is run in a loop."""

FREE = [number for number in range(32) if number not in (JUMP_REGISTER, COUNTER, BASE)]

_BRANCHES_ON_TWO = ("beq", "bne", "beql", "bnel")
_BRANCHES_ON_ONE = (
    *("bltz", "bgez", "blez", "bgtz", "bltzal", "bgezal"),
    *("bltzl", "bgezl", "blezl", "bgtzl", "bltzall", "bgezall"),
)
_JUMPS_TO_REGISTER = ("jr", "jr_hb", "jalr", "jalr_hb")
_JUMPS = ("j", "jal", *_JUMPS_TO_REGISTER)

_SIZES = {
    **dict.fromkeys(("lb", "lbu", "sb", "lwl", "lwr", "swl", "swr", "ldl", "ldr", "sdl", "sdr"), 1),
    **dict.fromkeys(("lh", "lhu", "sh"), 2),
    **dict.fromkeys(("lw", "lwu", "sw", "ll", "sc"), 4),
    **dict.fromkeys(("ld", "sd", "lld", "scd"), 8),
}

TRAPPING = (
    *("add", "addi", "sub", "dadd", "daddi", "dsub"),
    *("tge", "tgeu", "tlt", "tltu", "teq", "tne"),
    *("tgei", "tgeiu", "tlti", "tltiu", "teqi", "tnei"),
    *("ext", "ins", "dext", "dextm", "dextu", "dins", "dinsm", "dinsu"),
)
"""Instructions that may raise an exception, by their operands."""

_BIT_FIELDS = TRAPPING[-8:]

_WORD_ARITHMETIC = (
    *("addu", "subu", "addiu", "sll", "srl", "sra", "sllv", "srlv", "srav", "rotr", "rotrv"),
    *("clz", "clo", "wsbh", "ext", "ins", "mult", "multu", "div", "divu", "mul"),
    *("madd", "maddu", "msub", "msubu"),
)
_DOUBLEWORD = frozenset(("mips3", "mips64", "mips64r2"))

_MODULES = tuple(
    f"pemu.isa.mips.{name}" for name in ("integer", "multiply", "branch", "memory_access", "atomic")
)

# Float condition codes (movf, movt) have a test of their own.
_LEFT_OUT = ("movf", "movt", "jalx", "synci", "pref", "prefx")

_ATOMIC = {"sc": "ll", "scd": "lld"}

# Unicorn's VR5432 lacks these.
_LEFT_OUT_VR5400 = (
    *("mul_vr5400", "mulu_vr5400"),
    *("rotr", "rotrv", "drotr", "drotr32", "drotrv"),
)


@lru_cache
def integer_instructions(arch: Architecture) -> dict[str, Insn]:
    """Return the integer instructions of a model by name."""
    left_out = _LEFT_OUT + (_LEFT_OUT_VR5400 if "vr5400" in arch.features else ())
    return {
        insn.name: insn
        for insn in arch.source().select(arch.features)
        if insn.meaning.__module__ in (*_MODULES, "pemu.isa.mips.traps")
        and insn.name not in left_out
    }


def assemble(insn: Insn, **fields: int) -> int:
    """Return the word of an instruction with the given fields."""
    word = insn.match
    for field in insn.fields:
        word |= (fields.pop(field.name) & ((1 << field.width) - 1)) << field.low
    assert not fields
    return word


def random_value(chance: random.Random, width: int) -> int:
    """Return a number of `width` bits, often one near a border."""
    kind = chance.randrange(6)
    if kind == 0:
        value = chance.randrange(-4, 5)
    elif kind == 1:
        value = (1 << chance.randrange(width)) + chance.randrange(-2, 3)
    elif kind == 2:
        value = -(1 << chance.randrange(width)) + chance.randrange(-2, 3)
    elif kind == 3:
        value = int.from_bytes(chance.choice(b"\0\x7f\x80\xff").to_bytes(1) * (width // 8))
    else:
        value = chance.getrandbits(width)
    return value & ((1 << width) - 1)


def random_register(chance: random.Random, xlen: int, words_only: bool) -> int:
    """Return contents for a register; `words_only`: a sign-extended 32-bit value."""
    if xlen == 32 or not words_only:
        return random_value(chance, xlen)
    value = random_value(chance, 32)
    return value | (0xFFFFFFFF00000000 if value >> 31 else 0)


def random_state(chance: random.Random, xlen: int, words_only: bool = False) -> State:
    """Return random registers and data. The base register points to the data."""
    gpr = [0, *(random_register(chance, xlen, words_only) for _ in range(31))]
    gpr[BASE] = DATA
    hi, lo = (random_register(chance, xlen, words_only) for _ in range(2))
    return State(gpr, hi, lo, chance.randbytes(DATA_BYTES))


def random_fields(chance: random.Random, insn: Insn) -> dict[str, int]:
    """Return operands for an instruction that is no branch; never ones with a reserved effect."""
    fields: dict[str, int] = {}
    for field in insn.fields:
        if field.name in ("rs", "rt", "rd"):
            fields[field.name] = chance.choice(FREE)
        elif field.width == 16:
            fields[field.name] = random_value(chance, 16)
        else:
            fields[field.name] = chance.getrandbits(field.width)
    if "base" in fields:
        size = _SIZES[insn.name]
        fields["base"] = BASE
        fields["offset"] = chance.randrange(0, DATA_BYTES // size) * size
        if chance.random() < 0.7:
            # Few places, so that what is stored is also loaded.
            fields["offset"] = fields["offset"] % 64 // size * size
    if insn.name in ("ext", "dext", "dextm", "dextu"):
        base = 32 if insn.name == "dextu" else 0
        least = 32 if insn.name == "dextm" else 0
        width = 32 if insn.name == "ext" else 64
        room = width - base - least - fields["lsb"]
        fields["msbd"] = chance.randrange(min(room, 32)) if room > 0 else 0
        if room <= 0:
            fields["lsb"] = 0
    if insn.name in ("ins", "dins", "dinsu"):
        fields["lsb"], fields["msb"] = sorted((fields["lsb"], fields["msb"]))
    return fields


class Generator:
    """Makes random programs for one model.

    32-bit arithmetic on 64-bit registers asks for sign-extended operands; else the result is
    unpredictable. So a program has either that and no doublewords (`words_only`), or everything
    but that. `traps`: with instructions that may raise an exception.
    """

    def __init__(
        self, arch: Architecture, chance: random.Random, words_only: bool, traps: bool = False
    ) -> None:
        self.arch = arch
        self.chance = chance
        self.insns = integer_instructions(arch)
        control = (*_BRANCHES_ON_TWO, *_BRANCHES_ON_ONE, *_JUMPS)
        unwanted = {*control, *TRAPPING, *_ATOMIC, *_ATOMIC.values()} - set(_BIT_FIELDS)
        if words_only:
            unwanted |= {name for name, insn in self.insns.items() if insn.needs & _DOUBLEWORD}
        elif arch.xlen == 64:
            unwanted |= {*_WORD_ARITHMETIC, *(name for name in self.insns if "vr5400" in name)}
        self.straight = [
            insn
            for name, insn in self.insns.items()
            if name not in unwanted and insn.meaning.__module__ in _MODULES
        ]
        self.trapping = [
            insn
            for name, insn in self.insns.items()
            if traps
            and name in TRAPPING
            and (words_only or arch.xlen == 32 or name not in ("add", "addi", "sub"))
            and not (words_only and insn.needs & _DOUBLEWORD)
        ]
        self.control = [self.insns[name] for name in control if name in self.insns]
        self.atomic = [
            self.insns[name]
            for name in _ATOMIC
            if name == "sc" or arch.xlen > 32 and not words_only
        ]

    def plain(self) -> int:
        """Return an instruction that does not branch, and traps if it may at all."""
        trapping = self.trapping and self.chance.random() < 0.03
        insn = self.chance.choice(self.trapping if trapping else self.straight)
        return assemble(insn, **random_fields(self.chance, insn))

    def _branch(self, insn: Insn, here: int, target: int) -> list[int]:
        """Return a branch at word `here` to word `target`, with its delay slot."""
        chance = self.chance
        prefix = []
        if insn.name in _JUMPS_TO_REGISTER:
            lui, ori = self.insns["lui"], self.insns["ori"]
            address = CODE + 4 * target
            prefix = [
                assemble(lui, rt=JUMP_REGISTER, imm=address >> 16),
                assemble(ori, rs=JUMP_REGISTER, rt=JUMP_REGISTER, imm=address & 0xFFFF),
            ]
            fields = {"rs": JUMP_REGISTER}
            if insn.name.startswith("jalr"):
                fields["rd"] = chance.choice([*FREE, JUMP_REGISTER])
        elif insn.name in ("j", "jal"):
            fields = {"index": CODE // 4 + target}
        else:
            fields = {"offset": target - here - 1, "rs": chance.choice(FREE)}
            if insn.name in _BRANCHES_ON_TWO:
                fields["rt"] = chance.choice([*FREE, fields["rs"]])
            elif "al" in insn.name and fields["rs"] == 31:
                fields["rs"] = 2  # a linking branch on ra is unpredictable
        return [*prefix, assemble(insn, **fields), self.plain()]

    def _read_modify_write(self, store: Insn) -> list[int]:
        """Return LL, another instruction, and SC; it fails if the other one stores there.

        What an SC alone does is unpredictable.
        """
        fields = random_fields(self.chance, store)
        load = self.insns[_ATOMIC[store.name]]
        linked = assemble(load, **{**fields, "rt": self.chance.choice(FREE)})
        return [linked, self.plain(), assemble(store, **fields)]

    def program(self, length: int, rounds: int) -> list[int]:
        """Return a program whose body of about `length` words is run `rounds` times.

        All branches but the last go forward, to any word that is not inside a jump to a register
        or an atomic sequence; also to delay slots.
        """
        chance = self.chance
        kinds = chance.choices((None, self.control, self.atomic), (85, 12, 3), k=length)
        plan = [chance.choice(kind) if kind else None for kind in kinds]
        targets = []
        size = PROLOGUE
        for insn in plan:
            targets.append(size)
            if insn is None:
                size += 1
            elif insn.name in _JUMPS_TO_REGISTER:
                size += 4
            elif insn.name in _ATOMIC:
                size += 3
            else:
                targets.append(size + 1)
                size += 2
        targets.append(size)
        addiu, bgtz = self.insns["addiu"], self.insns["bgtz"]
        words = [assemble(addiu, rs=0, rt=COUNTER, imm=rounds)]
        for insn in plan:
            if insn is None:
                words.append(self.plain())
            elif insn.name in _ATOMIC:
                words += self._read_modify_write(insn)
            else:
                after = len(words) + (4 if insn.name in _JUMPS_TO_REGISTER else 2)
                target = chance.choice([t for t in targets if t >= after][:8])
                words += self._branch(insn, len(words), target)
        words.append(assemble(addiu, rs=COUNTER, rt=COUNTER, imm=-1))
        words.append(assemble(bgtz, rs=COUNTER, offset=PROLOGUE - 1 - len(words)))
        words.append(0)
        return words


def listing(arch: Architecture, words: Sequence[int]) -> str:
    """Return a program as text, without what has been replaced by nops."""
    lines = (
        f"  {CODE + 4 * index:#x}: {word:08x} {disassemble(arch, word, CODE + 4 * index)}"
        for index, word in enumerate(words)
        if word
    )
    return "\n".join(lines)


def reduce(words: list[int], differs: Callable[[list[int]], bool]) -> list[int]:
    """Replace by nops whatever a difference does not need; the loop at the end stays."""
    size = 32
    while size:
        for start in range(PROLOGUE, len(words) - 3, size):
            end = min(start + size, len(words) - 3)
            tried = [*words[:start], *([0] * (end - start)), *words[end:]]
            try:
                if tried != words and differs(tried):
                    words = tried
            except (Trap, AssertionError):
                continue
        size //= 2
    return words
