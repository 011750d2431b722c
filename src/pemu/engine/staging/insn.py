"""Instruction sets as tables: bit pattern, assembly text and staged meaning of each instruction.

    isa = InstructionSet("mips", unit=32)

    @isa.insn("000000 rs:5 rt:5 rd:5 00000 100001", "addu {rd}, {rs}, {rt}")
    def addu(cpu, rs, rt, rd):
        cpu.gpr[rd] = cpu.gpr[rs] + cpu.gpr[rt]

A pattern is a sequence of tokens from the most significant bit down: bits (`0`, `1`, and `-` for a
bit that does not matter) and fields `name:width`. The function's parameters after `cpu` are the
fields, in any order; it is run while translating, once to make the instruction's tier 0 handler
(fields not known yet) and once for each instruction that is compiled (fields known).

Everything that can be checked is checked when the module that declares is imported; the checks of
one pattern against another run when a decoder is built (`InstructionSet.select`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from pemu.engine.staging.helper import Helper

    Meaning = Callable[..., None]


class PatternError(Exception):
    """A declaration that cannot be right; the message names the instruction."""


class BitField:
    """A field of an instruction: `width` bits from bit `low` on."""

    __slots__ = ("low", "name", "width")

    def __init__(self, name: str, low: int, width: int) -> None:
        self.name = name
        self.low = low
        self.width = width

    def of(self, word: int) -> int:
        """Extract the field from an instruction word."""
        return (word >> self.low) & ((1 << self.width) - 1)


class Insn:
    """One declared instruction.

    `mask` has the bits that must equal `match`. `module`: name of the module that declares it,
    without its package's.
    """

    __slots__ = (
        "assembly",
        "before",
        "fields",
        "mask",
        "match",
        "meaning",
        "mnemonic",
        "module",
        "name",
        "needs",
        "overrides",
        "pattern",
        "unless",
        "width",
    )

    def __init__(
        self,
        name: str,
        pattern: str,
        assembly: str,
        meaning: Meaning,
        needs: frozenset[str],
        unless: frozenset[str],
        overrides: tuple[str, ...],
        before: Callable[[Any], None] | None,
        module: str,
    ) -> None:
        self.name = name
        self.pattern = pattern
        self.assembly = assembly
        self.mnemonic = assembly.split()[0]
        self.meaning = meaning
        self.module = module
        self.needs = needs
        self.unless = unless
        self.overrides = overrides
        self.before = before
        self.width, self.mask, self.match, self.fields = _parse_pattern(name, pattern)

    def __repr__(self) -> str:
        return f"{self.name} [{self.pattern}]"


def _parse_pattern(name: str, pattern: str) -> tuple[int, int, int, tuple[BitField, ...]]:
    tokens: list[tuple[str, int]] = []
    for token in pattern.split():
        if not token.strip("01-"):
            tokens.append((token, len(token)))
            continue
        field, colon, width = token.partition(":")
        if not colon or not field.isidentifier() or not width.isdigit() or not int(width):
            raise PatternError(f"{name}: {token!r} is neither bits (0 1 -) nor name:width")
        tokens.append((field, int(width)))
    total = sum(width for _, width in tokens)
    mask = match = 0
    fields: list[BitField] = []
    low = total
    for text, bits in tokens:
        low -= bits
        if not text.strip("01-"):
            mask |= int(text.replace("0", "1").replace("-", "0"), 2) << low
            match |= int(text.replace("-", "0"), 2) << low
        else:
            if any(known.name == text for known in fields):
                raise PatternError(f"{name}: field {text} stands twice in the pattern")
            fields.append(BitField(text, low, bits))
    return total, mask, match, tuple(fields)


def _assembly_fields(name: str, assembly: str) -> set[str]:
    names: set[str] = set()
    rest = assembly
    while "{" in rest:
        inside, brace, rest = rest.partition("{")[2].partition("}")
        if not brace:
            raise PatternError(f"{name}: unclosed brace in assembly text {assembly!r}")
        names.add(inside.partition(":")[0])
    return names


class InstructionSet:
    """A table of instructions; `unit` is the width in bits of one instruction word.

    `package`: the Python package whose modules declare them; `Insn.module` is relative to it.
    """

    def __init__(self, name: str, unit: int, package: str = "") -> None:
        self.name = name
        self.unit = unit
        self.package = package
        self.insns: list[Insn] = []
        self.queries: dict[str, dict[str, Callable[[int], Helper]]] = {}
        """Helpers without arguments that Python code calls on a stopped cpu, by the part of tier 0
        that they are compiled with (`Architecture.parts`) and by symbol; made for `xlen`."""
        self._names: set[str] = set()

    def insn(
        self,
        pattern: str,
        assembly: str,
        *,
        name: str = "",
        needs: str = "",
        unless: str = "",
        overrides: str = "",
        before: Callable[[Any], None] | None = None,
    ) -> Callable[[Meaning], Meaning]:
        """Declare an instruction; decorates the function that gives its meaning.

        `needs`: features, all of which a model must have. `unless`: features none of which it may
        have. `overrides`: names of instructions that this one is a special case of; where both
        patterns match, this one is meant. `name` tells apart instructions whose mnemonics are
        the same (default: the function's name). `before(cpu)` is staged before the meaning: a test
        that many instructions share.
        """

        def declare(meaning: Meaning) -> Meaning:
            code = meaning.__code__
            insn = Insn(
                name or code.co_name.strip("_"),
                pattern,
                assembly,
                meaning,
                frozenset(needs.split()),
                frozenset(unless.split()),
                tuple(overrides.split()),
                before,
                meaning.__module__.removeprefix(self.package + "."),
            )
            if insn.width != self.unit:
                raise PatternError(f"{insn.name}: {insn.width} bits, expected {self.unit}")
            fields = {field.name for field in insn.fields}
            parameters = set(code.co_varnames[1 : code.co_argcount])
            if parameters - fields:
                unknown = ", ".join(sorted(parameters - fields))
                raise PatternError(f"{insn.name}: parameter {unknown} is no field of {pattern!r}")
            unknown_in_text = _assembly_fields(insn.name, assembly) - fields
            if unknown_in_text:
                listed = ", ".join(sorted(unknown_in_text))
                raise PatternError(f"{insn.name}: {listed} in {assembly!r} is no field")
            unused = fields - parameters - _assembly_fields(insn.name, assembly)
            if unused:
                listed = ", ".join(sorted(unused))
                raise PatternError(f"{insn.name}: field {listed} is never used, write - bits")
            if insn.name in self._names:
                raise PatternError(f"{insn.name} is declared twice")
            self._names.add(insn.name)
            self.insns.append(insn)
            return meaning

        return declare

    def select(self, features: Iterable[str]) -> list[Insn]:
        """Return the instructions of a model with `features`, checked for overlaps.

        Special cases come before the instructions that they override.
        Raises PatternError, naming both, where two patterns match the same word.
        """
        have = frozenset(features)
        chosen = [i for i in self.insns if i.needs <= have and not (i.unless & have)]
        by_name = {insn.name: insn for insn in self.insns}
        for insn in chosen:
            for other in insn.overrides:
                if other not in by_name:
                    raise PatternError(f"{insn.name} overrides {other}, which does not exist")
        for index, insn in enumerate(chosen):
            for other_insn in chosen[index + 1 :]:
                common = insn.mask & other_insn.mask
                if (insn.match ^ other_insn.match) & common:
                    continue
                if other_insn.name in insn.overrides or insn.name in other_insn.overrides:
                    continue
                raise PatternError(f"{insn} and {other_insn} match the same words")
        depth: dict[str, int] = {}

        def rank(insn: Insn) -> int:
            if insn.name not in depth:
                depth[insn.name] = 1 + max(
                    (rank(by_name[other]) for other in insn.overrides), default=0
                )
            return depth[insn.name]

        return sorted(chosen, key=lambda insn: -rank(insn))


def bind(insn: Insn, builder: Any, values: dict[str, Any]) -> None:
    """Run an instruction's meaning against `builder` with the given field values."""
    if insn.before is not None:
        insn.before(builder)
    code = insn.meaning.__code__
    arguments = [values[name] for name in code.co_varnames[1 : code.co_argcount]]
    insn.meaning(builder, *arguments)
