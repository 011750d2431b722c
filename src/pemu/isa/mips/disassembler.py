"""Machine words as assembly text, in the way of GNU objdump.

The texts are those of the instruction tables; `ALIASES` lists the shorter or more telling forms
that objdump prefers for some operands. Not needed for running programs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from pemu.engine.staging.architecture import Architecture
from pemu.engine.staging.insn import Insn
from pemu.engine.staging.values import signed
from pemu.isa.mips.names import FLOAT_CONTROL, cp0_name

SymbolLookup = Callable[[int], str | None]

UNKNOWN = ".word"

# (instruction, field values that it needs, features it needs, text). Fields may stand in the text.
ALIASES: tuple[tuple[str, str, str, str], ...] = (
    ("sll", "rt=0 rd=0 sa=0", "", "nop"),
    ("sll", "rt=0 rd=0 sa=1", "mips32", "ssnop"),
    ("sll", "rt=0 rd=0 sa=3", "", "ehb"),
    ("sll", "rt=0 rd=0 sa=5", "mips32r2", "pause"),
    ("addiu", "rs=0", "", "li {rt}, {imm:d}"),
    ("ori", "rs=0", "", "li {rt}, {imm:x}"),
    ("addu", "rt=0", "", "move {rd}, {rs}"),
    ("daddu", "rt=0", "", "move {rd}, {rs}"),
    ("or", "rt=0", "", "move {rd}, {rs}"),
    ("sub", "rs=0", "", "neg {rd}, {rt}"),
    ("subu", "rs=0", "", "negu {rd}, {rt}"),
    ("dsub", "rs=0", "", "dneg {rd}, {rt}"),
    ("dsubu", "rs=0", "", "dnegu {rd}, {rt}"),
    ("beq", "rs=0 rt=0", "", "b {offset:branch}"),
    ("beq", "rt=0", "", "beqz {rs}, {offset:branch}"),
    ("beql", "rt=0", "", "beqzl {rs}, {offset:branch}"),
    ("bne", "rt=0", "", "bnez {rs}, {offset:branch}"),
    ("bnel", "rt=0", "", "bnezl {rs}, {offset:branch}"),
    ("bgez", "rs=0", "", "b {offset:branch}"),
    ("bgezal", "rs=0", "", "bal {offset:branch}"),
    ("jalr", "rd=31", "", "jalr {rs}"),
    ("jalr_hb", "rd=31", "", "jalr.hb {rs}"),
    ("sync", "stype=0", "", "sync"),
    ("sync", "stype=4", "mips32r2", "sync_wmb"),
    ("sync", "stype=16", "mips32r2", "sync_mb"),
    ("sync", "stype=17", "mips32r2", "sync_acquire"),
    ("sync", "stype=18", "mips32r2", "sync_release"),
    ("sync", "stype=19", "mips32r2", "sync_rmb"),
    ("sync", "stype=16", "mips32", "sync {stype:x}"),
    ("sync", "stype=16", "", "sync.p"),
    ("break", "high=0 low=0", "", "break"),
    ("break", "low=0", "", "break {high:x}"),
    ("syscall", "code=0", "", "syscall"),
    ("sdbbp", "code=0", "", "sdbbp"),
    ("wait", "code=0", "", "wait"),
    ("di", "rt=0", "", "di"),
    ("ei", "rt=0", "", "ei"),
    ("yield", "rd=0", "", "yield {rs}"),
    ("mfc2", "sel=0", "", "mfc2 {rt}, {rd:$}"),
    ("mtc2", "sel=0", "", "mtc2 {rt}, {rd:$}"),
    ("dmfc2", "sel=0", "", "dmfc2 {rt}, {rd:$}"),
    ("dmtc2", "sel=0", "", "dmtc2 {rt}, {rd:$}"),
    *(
        (name, "code=0", "", f"{name} {{rs}}, {{rt}}")
        for name in ("tge", "tgeu", "tlt", "tltu", "teq", "tne")
    ),
)

_KIND_OF_FIELD = {
    **dict.fromkeys(("rs", "rt", "rd", "base"), "g"),
    **dict.fromkeys(("fs", "ft", "fd", "fr"), "f"),
    "cc": "cc",
    "ac": "ac",
}


def _number_text(kind: str, value: int, width: int, fields: dict[str, int]) -> str | None:
    """Format a number, or a register that is known by number; None for another kind."""
    match kind:
        case "d":
            return str(signed(value, width))
        case "u":
            return str(value)
        case "$":
            return f"${value}"
        case "f":
            return f"$f{value}"
        case "cc":
            return f"$fcc{value}"
        case "cc2":
            return f"$cc{value}"
        case "ac":
            return f"$ac{value}"
        case "c1":
            return FLOAT_CONTROL.get(value, f"${value}")
        case "c0":
            return cp0_name(value, fields["sel"])
        case "c0sel":
            return ""
    return None


def _sum(value: int, terms: str, fields: dict[str, int]) -> int:
    """Evaluate `terms`, like "+1-lsb", on top of `value`."""
    for term in terms.replace("-", "+-").split("+")[1:]:
        name = term.lstrip("-")
        amount = int(name) if name.isdigit() else fields[name]
        value += -amount if term.startswith("-") else amount
    return value


class _Text:
    """An assembly text, cut into literals and fields."""

    def __init__(self, insn: Insn, assembly: str) -> None:
        self.mnemonic, _, operands = assembly.partition(" ")
        self.parts: list[tuple[str, str, str]] = []  # literal before, field, kind
        rest = operands.replace(", ", ",")
        while "{" in rest:
            literal, _, rest = rest.partition("{")
            inside, _, rest = rest.partition("}")
            name, _, kind = inside.partition(":")
            self.parts.append((literal, name, kind or _KIND_OF_FIELD.get(name, "x")))
        self.tail = rest
        self.widths = {field.name: field.width for field in insn.fields}


class Disassembler:
    """Disassembles for one processor model and the register names of one ABI."""

    def __init__(self, arch: Architecture) -> None:
        self._general = arch.layout.by_name[arch.general].names
        self._xlen = arch.xlen
        features = frozenset().union(arch.features, *arch.modes)
        aliases: dict[str, list[tuple[dict[str, int], str]]] = {}
        for name, values, needs, text in ALIASES:
            if features.issuperset(needs.split()):
                wanted = {
                    field: int(value)
                    for field, _, value in (item.partition("=") for item in values.split())
                }
                aliases.setdefault(name, []).append((wanted, text))
        self._by_opcode: list[list[tuple[Insn, list[tuple[dict[str, int], _Text]]]]] = [
            [] for _ in range(64)
        ]
        for insn in arch.source().select(features):
            forms = [(wanted, _Text(insn, text)) for wanted, text in aliases.get(insn.name, [])]
            if insn.assembly.partition(" ")[2].startswith(("{cc}", "{cc:cc2}")):
                # Condition code 0 is left out where it comes first.
                short = insn.assembly.partition(", ")[2]
                forms.append(({"cc": 0}, _Text(insn, f"{insn.mnemonic} {short}")))
            forms.append(({}, _Text(insn, insn.assembly)))
            for opcode in range(64):
                if not (insn.match ^ opcode << 26) & insn.mask & 0xFC000000:
                    self._by_opcode[opcode].append((insn, forms))

    def text(self, word: int, pc: int, symbol_lookup: SymbolLookup | None = None) -> str:
        """Return the text of the instruction `word` at address `pc`.

        A tab separates mnemonic and operands. `symbol_lookup` names an address ("main+0x10"), or
        returns None.
        """
        candidates = self._by_opcode[word >> 26]
        found = next((c for c in candidates if word & c[0].mask == c[0].match), None)
        if found is None or found[0].mnemonic == UNKNOWN:
            return f"{UNKNOWN}\t{word:#x}"
        insn, forms = found
        fields = {field.name: field.of(word) for field in insn.fields}
        text = next(
            text
            for wanted, text in forms
            if all(fields[name] == value for name, value in wanted.items())
        )
        operands = [
            literal + self._field(name, kind, text.widths[name], fields, pc, symbol_lookup)
            for literal, name, kind in text.parts
        ]
        joined = "".join(operands) + text.tail
        return f"{text.mnemonic}\t{joined}" if joined else text.mnemonic

    def _field(
        self,
        name: str,
        kind: str,
        width: int,
        fields: dict[str, int],
        pc: int,
        symbol_lookup: SymbolLookup | None,
    ) -> str:
        value = fields[name]
        if kind == "g":
            return self._general[value]
        if kind in ("branch", "jump", "jumpx"):
            if kind == "branch":
                target = pc + 4 + (signed(value, width) << 2)
            else:
                target = ((pc + 4) & ~0x0FFFFFFF) | value << 2
            target &= (1 << self._xlen) - 1
            if kind == "jumpx":
                target |= 1  # the bit that asks for the other instruction encoding
            symbol = symbol_lookup(target) if symbol_lookup else None
            return f"{target:x} <{symbol}>" if symbol else f"{target:#x}"
        number = _number_text(kind, value, width, fields)
        if number is not None:
            return number
        if kind.startswith("x"):
            return f"{_sum(value, kind[1:], fields) & 0xFFFFFFFF:#x}"
        raise ValueError(f"operand {{{name}:{kind}}} has an unknown kind")


@lru_cache(maxsize=8)
def _disassembler(arch: Architecture) -> Disassembler:
    return Disassembler(arch)


def disassemble(
    arch: Architecture, word: int, pc: int, symbol_lookup: SymbolLookup | None = None
) -> str:
    """Return the assembly text of `word` at `pc`, as `Disassembler.text` does."""
    return _disassembler(arch).text(word, pc, symbol_lookup)
