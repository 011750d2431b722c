"""From patterns to decoders: a decision tree as LLVM IR, and the same as a Python function.

The tree tests, at each node, bits that every remaining pattern fixes; patterns that are special
cases of others come first (`InstructionSet.select` orders them).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.insn import Insn


def _lowest_run(mask: int) -> tuple[int, int]:
    """Return (low, width) of the longest run of ones in `mask`."""
    best = (0, 0)
    bit = 0
    while mask >> bit:
        if not mask >> bit & 1:
            bit += 1
            continue
        end = bit
        while mask >> end & 1:
            end += 1
        if end - bit > best[1]:
            best = (bit, end - bit)
        bit = end
    return best


class TreeText:
    """Emits the decision tree; `leaf(insn)` gives the lines that end in a `ret`.

    `group(insn)`: instructions of the same group need not be told apart; "" stands for none.
    """

    def __init__(
        self,
        unit: int,
        leaf: Callable[[Insn | None], list[str]],
        group: Callable[[Insn], str],
    ) -> None:
        self._unit = unit
        self._leaf = leaf
        self._group = group
        self._labels = 0
        self.lines: list[str] = []

    def _label(self) -> str:
        self._labels += 1
        return f"n{self._labels}"

    def build(self, insns: list[Insn], known: int = 0) -> None:
        """Emit code that decides among `insns`, given that the bits of `known` are tested."""
        if not insns:
            self.lines += self._leaf(None)
            return
        first = insns[0]
        group = self._group(first)
        if not first.mask & ~known or (group and all(group == self._group(i) for i in insns)):
            self.lines += self._leaf(first)
            return
        common = ~known & ((1 << self._unit) - 1)
        for insn in insns:
            common &= insn.mask
        if not common or len(insns) == 1:
            self._test(first, insns[1:], known)
            return
        low, width = _lowest_run(common)
        field = ((1 << width) - 1) << low
        groups: dict[int, list[Insn]] = {}
        for insn in insns:
            groups.setdefault((insn.match & field) >> low, []).append(insn)
        name = self._label()
        self.lines.append(f"  %{name}s = lshr i{self._unit} %word, {low}")
        self.lines.append(f"  %{name}m = and i{self._unit} %{name}s, {(1 << width) - 1}")
        targets = {value: self._label() for value in groups}
        cases = " ".join(f"i{self._unit} {value}, label %{to}" for value, to in targets.items())
        self.lines.append(f"  switch i{self._unit} %{name}m, label %{name}d [ {cases} ]")
        for value, to in targets.items():
            self.lines.append(f"{to}:")
            self.build(groups[value], known | field)
        self.lines.append(f"{name}d:")
        self.lines += self._leaf(None)

    def _test(self, insn: Insn, rest: list[Insn], known: int) -> None:
        name = self._label()
        mask = insn.mask & ~known
        self.lines.append(f"  %{name}m = and i{self._unit} %word, {mask}")
        self.lines.append(f"  %{name}c = icmp eq i{self._unit} %{name}m, {insn.match & mask}")
        self.lines.append(f"  br i1 %{name}c, label %{name}y, label %{name}n")
        self.lines.append(f"{name}y:")
        self.lines += self._leaf(insn)
        self.lines.append(f"{name}n:")
        self.build(rest, known)


class PythonDecoder:
    """Finds the instruction that a word encodes; for compiling regions and for logs."""

    __slots__ = ("_buckets", "_seen", "_shift")

    def __init__(self, insns: list[Insn], unit: int) -> None:
        self._shift = unit - 6
        self._buckets: list[list[Insn]] = [[] for _ in range(64)]
        top = 63 << self._shift
        for insn in insns:
            for value in range(64):
                if not ((value << self._shift) ^ insn.match) & insn.mask & top:
                    self._buckets[value].append(insn)
        self._seen: dict[int, Insn | None] = {}

    def __call__(self, word: int) -> Insn | None:
        """Return the instruction, or None for a reserved word."""
        try:
            return self._seen[word]
        except KeyError:
            pass
        found = None
        for insn in self._buckets[word >> self._shift]:
            if word & insn.mask == insn.match:
                found = insn
                break
        if len(self._seen) < 65536:
            self._seen[word] = found
        return found


class ModeDecoders:
    """A decoder for each translation mode of an architecture, made when it is first wanted."""

    __slots__ = ("_arch", "_made")

    def __init__(self, arch: Architecture) -> None:
        self._arch = arch
        self._made: dict[int, PythonDecoder] = {}

    def __getitem__(self, mode: int) -> PythonDecoder:
        made = self._made.get(mode)
        if made is None:
            arch = self._arch
            insns = arch.source().select(arch.features | arch.modes[mode])
            made = self._made[mode] = PythonDecoder(insns, arch.insn_bytes * 8)
        return made
