"""The log items of -d about code: in_asm, op, out_asm, exec, cpu, fpu and guest_errors.

Imported only where one of them is wanted. What is translated is told by the engine's reports of
new blocks and of compiled modules, what is run by a hook at the beginning of every block.
"""

from __future__ import annotations

import re

from pemu.engine.blocks import BlockReader
from pemu.isa.mips import dump
from pemu.isa.mips.disassembler import disassemble
from pemu.isa.mips.undefined import undefined
from pemu.linux.symbols import Symbols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pemu.engine.blocks import Op
    from pemu.engine.guestblock import GuestBlock
    from pemu.engine.vcpu import Cpu
    from pemu.linux.process import Process, Thread

TRANSLATED = frozenset(("in_asm", "op", "guest_errors"))
COMPILED = frozenset(("in_asm", "op", "out_asm"))
RUN = frozenset(("exec", "cpu", "fpu"))


class CodeLog:
    """Writes a process's log of code. Make it before the first block is translated."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._log = process.log
        self._arch = process.engine.arch
        self._symbols = Symbols(process.mem, process.target)
        self._names: dict[int, str] = {}
        self._blocks = BlockReader(process.engine)
        self._digits = 2 * process.target.word
        self._numbers: dict[int, int] = {}
        engine = process.engine
        items = self._log.items
        engine.set_options(
            chain="nochain" not in items, report_blocks=True, hook_blocks=bool(items & RUN)
        )
        engine.on_new_block = self._translated
        if items & COMPILED:
            engine.on_compiled = self._compiled
        if items & RUN:
            process.hooks.append(self._run)

    def _name(self, pc: int) -> str:
        name = self._names.get(pc)
        if name is None:
            name = self._names[pc] = self._symbols.function(pc)
        return name

    def _write(self, parts: list[str]) -> None:
        if parts:
            self._log.write("".join(parts))

    # Translation.

    def _translated(self, cpu: Cpu, block: int) -> None:
        items = self._log.items
        pc, mode = self._blocks.place(block)
        self._names.pop(pc, None)  # another file may be mapped there now
        if not items & TRANSLATED:
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
        items = self._log.items
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
        if "out_asm" in items:
            parts.append(self._host_code(text, regions, end))
        self._write(parts)

    def _places(self, regions: dict[int, list[GuestBlock]]) -> str:
        return ", ".join(f"0x{blocks[0].pc:0{self._digits}x}" for blocks in regions.values())

    def _host_code(self, text: str, regions: dict[int, list[GuestBlock]], end: int) -> str:
        """The assembly that LLVM makes of a module, by region."""
        from pemu.engine.llvm import assembly

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

    def _run(self, t: Thread) -> None:
        items = self._log.items
        cpu = t.cpu
        parts = []
        if "exec" in items:
            number = self._numbers.setdefault(t.tid, len(self._numbers))
            pc = f"{cpu.pc:0{self._digits}x}"
            zero = "0" * self._digits
            parts.append(
                f"Trace {number}: {cpu.exit_block:#x} [{zero}/{pc}/{cpu.mode:08x}/00000000] "
                f"{self._name(cpu.pc)}\n"
            )
        if "cpu" in items:
            parts.append(dump.general(cpu))
        if "fpu" in items:
            parts.append(dump.floating_point(cpu))
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
