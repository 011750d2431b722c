"""The log items of -d about code, of programs and machines: in_asm, op, exec, cpu and so on.

Imported only where one of them is wanted. What is translated is told by the engine's reports of
new blocks and of compiled modules, what is run by a hook at the beginning of every block.
"""

from __future__ import annotations

import re

from pemu.engine.tier0.blocks import BlockReader
from pemu.isa.mips import dump
from pemu.isa.mips.disassembler import disassemble
from pemu.isa.mips.undefined import undefined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pemu.engine.engine import Engine
    from pemu.engine.tier0.blocks import Op
    from pemu.engine.tier1.guestblock import GuestBlock
    from pemu.engine.vcpu import Cpu
    from pemu.log import Log

TRANSLATED = frozenset(("in_asm", "op", "guest_errors"))
COMPILED = frozenset(("in_asm", "op", "op_opt", "out_asm"))
RUN = frozenset(("exec", "cpu", "fpu"))
ITEMS = TRANSLATED | COMPILED | RUN | {"nochain"}


class CodeLog:
    """Writes the log of an engine's code.

    name: the function around a guest-virtual address, empty if nothing tells. digits: hexadecimal
    digits of addresses. general, floating_point: the registers of a cpu as text. items: those of
    `ITEMS` that can be shown.
    """

    def __init__(
        self,
        engine: Engine,
        log: Log,
        name: Callable[[int], str],
        digits: int,
        general: Callable[[Cpu], str] = dump.general,
        floating_point: Callable[[Cpu], str] = dump.floating_point,
        items: frozenset[str] = ITEMS,
    ) -> None:
        self._engine = engine
        self._log = log
        self._arch = engine.arch
        self._find_name = name
        self._names: dict[int, str] = {}
        self._blocks = BlockReader(engine.arch, engine.symbols, engine.memory)
        self._digits = digits
        self._general = general
        self._floating_point = floating_point
        self._possible = items
        self._items = frozenset[str]()
        self.choose()

    def choose(self) -> None:
        """Show what the log wants by now. Before the first block, or while the cpus stand."""
        engine = self._engine
        items = self._items = self._log.items & self._possible
        engine.set_options(
            chain="nochain" not in items,
            report_blocks=bool(items - {"nochain"}),
            hook_blocks=bool(items & RUN),
        )
        engine.on_new_block = self._translated
        engine.on_compiled = self._compiled if items & COMPILED else None

    def _interesting(self, pc: int) -> bool:
        ranges = self._log.ranges
        return not ranges or any(first <= pc <= last for first, last in ranges)

    def _name(self, pc: int) -> str:
        name = self._names.get(pc)
        if name is None:
            name = self._names[pc] = self._find_name(pc)
        return name

    def _write(self, parts: list[str]) -> None:
        if parts:
            self._log.write("".join(parts))

    # Translation.

    def _translated(self, cpu: Cpu, block: int) -> None:
        items = self._items
        pc, mode = self._blocks.place(block)
        self._names.pop(pc, None)  # another file may be mapped there now
        if not items & TRANSLATED or not self._interesting(pc):
            return
        parts = []
        ops = self._blocks.ops(block)
        if "in_asm" in items:
            words = [(op.pc, op.word) for op in ops if op.is_instruction]
            parts.append(self._instructions(pc, words))
        if "op" in items:
            parts.append(self._ops(block, ops))
        if "guest_errors" in items:
            parts += self._errors(ops, mode)
        self._write(parts)

    def _instructions(self, pc: int, words: Iterable[tuple[int, int]]) -> str:
        lines = [f"----------------\nIN: {self._name(pc)}\n"]
        for address, word in words:
            text = disassemble(self._arch, word, address)
            lines.append(f"0x{address:0{self._digits}x}:  {text}\n")
        return "".join([*lines, "\n"])

    def _ops(self, block: int, ops: list[Op]) -> str:
        lines = [f"OP: {block:#x} [size={self._blocks.size(block)}]"]
        for op in ops:
            if op.is_instruction:
                slot = " (delay slot)" if op.in_slot else ""
                lines.append(f"\n ---- {op.pc:0{self._digits}x}{slot}")
            lines.append(f" {op.text}")
        return "\n".join([*lines, "\n"])

    def _errors(self, ops: list[Op], mode: int) -> Iterable[str]:
        for op in ops:
            insn = self._blocks.decode(op.word, mode) if op.is_instruction else None
            problem = undefined(insn, op.word, op.in_slot) if insn is not None else ""
            if problem:
                yield f"unpredictable: {problem} at pc 0x{op.pc:0{self._digits}x}\n"

    def _compiled(self, text: str, regions: dict[int, list[GuestBlock]], end: int) -> None:
        items = self._items
        if not any(self._interesting(blocks[0].pc) for blocks in regions.values()):
            return
        size = self._arch.insn_bytes
        parts = []
        if "in_asm" in items:
            for blocks in regions.values():
                for block in blocks:
                    if not block.header:  # compiled before it was ever run
                        words = [(block.pc + size * i, word) for i, word in enumerate(block.words)]
                        parts.append(self._instructions(block.pc, words))
        if "op" in items:
            parts.append(f"OP: regions {self._places(regions)}\n{_without_metadata(text)}\n")
        if "op_opt" in items:
            from pemu.engine.code.llvm import optimized

            text_of = _without_metadata(optimized(text))
            parts.append(f"OP after optimization: regions {self._places(regions)}\n{text_of}\n")
        if "out_asm" in items:
            parts.append(self._host_code(text, regions, end))
        self._write(parts)

    def _places(self, regions: dict[int, list[GuestBlock]]) -> str:
        return ", ".join(f"0x{blocks[0].pc:0{self._digits}x}" for blocks in regions.values())

    def _host_code(self, text: str, regions: dict[int, list[GuestBlock]], end: int) -> str:
        """The assembly that LLVM makes of a module, by region."""
        from pemu.engine.code.llvm import assembly

        functions = _functions(assembly(text))
        starts = sorted(regions)
        lines = []
        for (name, code), start in zip(functions.items(), starts, strict=False):
            index = starts.index(start)
            size = (starts[index + 1] if index + 1 < len(starts) else end) - start
            blocks = regions[start]
            base = min(block.pc for block in blocks)
            lines.append(f"OUT: {name} at {start:#x} [size={size}]")
            for block in blocks:
                last = block.pc + self._arch.insn_bytes * len(block.words)
                lines.append(
                    f"  -- guest block 0x{block.pc:0{self._digits}x}-0x{last:0{self._digits}x} "
                    f"{self._name(block.pc)}".rstrip()
                )
            for line in code:
                place = _LINE.match(line)
                if place is None:
                    lines.append(line)
                elif place[1] != "0":
                    pc = base + (int(place[1]) - 1) * self._arch.insn_bytes
                    lines.append(f"  -- guest addr 0x{pc:0{self._digits}x}")
            lines.append("")
        return "\n".join([*lines, ""])

    # Execution.

    def run(self, cpu: Cpu, number: int) -> None:
        """A cpu has come to the hook at the beginning of a block. number: what the log calls it."""
        items = self._items
        if not items & RUN or not self._interesting(cpu.pc):
            return
        parts = []
        if "exec" in items:
            pc = f"{cpu.pc:0{self._digits}x}"
            zero = "0" * self._digits
            parts.append(
                f"Trace {number}: {cpu.exit_block:#x} [{zero}/{pc}/{cpu.mode:08x}/00000000] "
                f"{self._name(cpu.pc)}\n"
            )
        if "cpu" in items:
            parts.append(self._general(cpu))
        if "fpu" in items:
            parts.append(self._floating_point(cpu))
        self._write(parts)


_LINE = re.compile(r"\s*\.loc\s+\d+\s+(\d+)")
_LABEL = re.compile(r"([\w.$]+):")


def _functions(text: str) -> dict[str, list[str]]:
    """The functions of assembly source: their labels, instructions and .loc lines."""
    functions: dict[str, list[str]] = {}
    names = set(re.findall(r"\.type\s+([\w.$]+),@function", text))
    lines: list[str] | None = None
    for line in text.splitlines():
        label = _LABEL.match(line)
        if label is not None and label[1] in names:
            lines = functions.setdefault(label[1], [])
        elif line.lstrip().startswith((".Lfunc_end", ".size")):
            lines = None
        elif lines is not None:
            code = line.split("#", 1)[0].rstrip()
            if _LINE.match(code) or (code and not code.lstrip().startswith((".", "#"))):
                lines.append(code)
            elif code.startswith(".L") and not code.startswith((".Ltmp", ".Lfunc")):
                lines.append(code)
    return functions


def _without_metadata(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("!"))
