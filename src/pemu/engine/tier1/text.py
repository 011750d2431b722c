"""From a staged region to the IR text of its function.

Registers become `alloca`s that LLVM promotes. Which type an alloca has (a double, two singles, an
integer) is known only when the whole region has been staged; so accesses are kept as small tuples
among the lines, and turned into text here.
"""

from __future__ import annotations

from pemu.engine.layout import context as c
from pemu.engine.staging.function import ATTRIBUTES, PARAMETER_LIST, PASSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pemu.engine.layout.state import Register
    from pemu.engine.tier1.guestblock import GuestBlock, Key

READ, WRITE, FLUSH, INHERIT = 0, 1, 2, 3
"""Kinds of accesses: (READ, name of the result, register, byte offset, LLVM type), (WRITE, operand,
register, byte offset, LLVM type), (FLUSH, register, (byte offset, LLVM type, operand) or None),
(INHERIT, block, registers): store what differed from the state when the block began, but for some
registers."""


class RegionText:
    """Writes the function `name`. `kinds`: (byte offset, LLVM type) of a register's accesses.

    `hot`: registers that are passed from region to region as arguments.
    """

    def __init__(
        self,
        name: str,
        scope: int,
        kinds: dict[Key, set[tuple[int, str]]],
        registers: dict[Key, Register],
        hot: list[Key],
    ) -> None:
        self._name = name
        self._scope = scope
        self._kinds = kinds
        self._registers = registers
        self._hot = hot
        self._pieces: dict[Key, list[tuple[str, str, int]]] = {}
        self._serial = 0  # of the next name that is made here
        self._out: list[str] = []

    def _type(self, key: Key) -> str:
        """LLVM type of a register's alloca: one scalar, or "halves"."""
        kinds = self._kinds.get(key, set())
        size = self._registers[key].stride
        whole = {kind for at, kind in kinds if kind in ("double", f"i{size * 8}") and at == 0}
        if not whole and kinds and all(kind in ("float", "i32") for _, kind in kinds) and size == 8:
            return "halves"
        return "double" if "double" in whole else f"i{size * 8}"

    def _half_type(self, key: Key, at: int) -> str:
        kinds = {kind for where, kind in self._kinds[key] if where == at}
        return "float" if "float" in kinds else "i32"

    def _pieces_of(self, key: Key) -> list[tuple[str, str, int]]:
        """(alloca, type, byte offset in the register) of what must move to or from the state."""
        name = f"%r.{key[0]}.{key[1]}"
        kind = self._type(key)
        if kind != "halves":
            return [(name, kind, 0)]
        halves = sorted({at for at, _ in self._kinds[key]})
        return [(f"{name}.{at}", self._half_type(key, at), at) for at in halves]

    def render(
        self,
        blocks: list[GuestBlock],
        entry_lines: list[str],
        guard: list[str],
        lines: list[Any],
        slots: list[int],
    ) -> str:
        """Return the function's text.

        `entry_lines`: what its entry begins with. `guard`: what may lead elsewhere from there.
        `lines`: the rest, with accesses to registers as tuples. `slots`: guest addresses that its
        ways out lead to.
        """
        marked = f" !dbg !{self._scope}" if self._scope else ""
        self._out = [
            f"define hidden preserve_nonecc void @{self._name}({PARAMETER_LIST}) "
            f"{ATTRIBUTES}{marked} {{",
            "entry:",
            *entry_lines,
        ]
        self._allocate()
        self._take_arguments()
        self._out += guard
        entries = [block for block in blocks if block.is_entry]
        self._choose_entry(entries)
        for block in entries:
            self._load_registers(block)
        for line in _spelt_out(lines):
            if isinstance(line, str):
                self._out.append(line)
                continue
            self._serial += 1
            if line[0] == FLUSH:
                self._flush(line[1], line[2])
            else:
                self._access(*line)
        self._out.append("}")
        return "\n".join([self._slots(slots), *self._out, ""])

    def _slots(self, targets: list[int]) -> str:
        values = ", ".join(f"{{ ptr, i64 }} {{ ptr null, i64 {target} }}" for target in targets)
        kind = f"[{len(targets)} x {{ ptr, i64 }}]"
        return f"@{self._name}_slots = internal global {kind} [{values}]"

    # The entry.

    def _allocate(self) -> None:
        for key in sorted(self._kinds):
            self._pieces[key] = self._pieces_of(key)
            self._out += [f"  {pointer} = alloca {kind}" for pointer, kind, _ in self._pieces[key]]

    def _take_arguments(self) -> None:
        """Store the registers that are passed as arguments."""
        for position, key in enumerate(self._hot):
            passed = ("%carry", *(f"%h{i}" for i in range(PASSED)))[position]
            bits = self._registers[key].stride * 8
            pointer = self._pieces[key][0][0]
            if bits == 64:
                self._out.append(f"  store i64 {passed}, ptr {pointer}")
            else:
                self._out.append(f"  %hot{position} = trunc i64 {passed} to i{bits}")
                self._out.append(f"  store i{bits} %hot{position}, ptr {pointer}")

    def _choose_entry(self, entries: list[GuestBlock]) -> None:
        if len(entries) == 1:
            self._out.append(f"  br label %E{entries[0].pc:x}")
            return
        cases = " ".join(
            f"i64 {number}, label %E{block.pc:x}" for number, block in enumerate(entries)
        )
        self._out += [
            f"  %which_at = getelementptr i8, ptr %op, i64 {c.ENTRY}",
            "  %which = load i64, ptr %which_at, align 8",
            f"  switch i64 %which, label %E{entries[0].pc:x} [ {cases} ]",
        ]

    def _load_registers(self, block: GuestBlock) -> None:
        """Load what a block that control enters by reads, from the state."""
        self._out.append(f"E{block.pc:x}:")
        for key in sorted(block.live_in - set(self._hot)):
            for pointer, kind, at in self._pieces[key]:
                self._serial += 1
                value = f"%l{self._serial}"
                self._out += [
                    f"  {value}p = getelementptr i8, ptr %state, i64 {self._place(key) + at}",
                    f"  {value} = load {kind}, ptr {value}p, align 1",
                    f"  store {kind} {value}, ptr {pointer}",
                ]
        self._out.append(f"  br label %B{block.pc:x}")

    # Accesses to registers.

    def _place(self, key: Key) -> int:
        """Offset of a register in the state."""
        register = self._registers[key]
        return register.offset + key[1] * register.stride

    def _flush(self, key: Key, known: tuple[int, str, str] | None) -> None:
        """Store a register in the state. `known`: what has just been written to it, if that is."""
        start, serial = self._place(key), self._serial
        if known is not None and _bytes(known[1]) == self._registers[key].stride:
            _, kind, operand = known
            self._out += [
                f"  %f{serial}p = getelementptr i8, ptr %state, i64 {start}",
                f"  store {kind} {operand}, ptr %f{serial}p, align 1",
            ]
            return
        for number, (pointer, kind, at) in enumerate(self._pieces[key]):
            mark = f"%f{serial}_{number}"
            self._out += [
                f"  {mark} = load {kind}, ptr {pointer}",
                f"  {mark}p = getelementptr i8, ptr %state, i64 {start + at}",
                f"  store {kind} {mark}, ptr {mark}p, align 1",
            ]

    def _access(self, what: int, operand: str, key: Key, at: int, kind: str) -> None:
        """Read or write `kind` at byte `at` of a register in its alloca."""
        where = self._pieces[key][0][0]
        if self._type(key) == "halves":
            where = f"%r.{key[0]}.{key[1]}.{at}"
        elif at:
            self._out.append(f"  %a{self._serial} = getelementptr i8, ptr {where}, i64 {at}")
            where = f"%a{self._serial}"
        if what == READ:
            self._out.append(f"  {operand} = load {kind}, ptr {where}")
        else:
            self._out.append(f"  store {kind} {operand}, ptr {where}")


def _spelt_out(lines: list[Any]) -> Iterator[Any]:
    """The lines with each INHERIT as the FLUSHes that it stands for."""
    for line in lines:
        if not isinstance(line, str) and line[0] == INHERIT:
            for key in sorted(line[1].dirty_in - line[2]):
                yield FLUSH, key, None
        else:
            yield line


def _bytes(kind: str) -> int:
    """Size of a scalar LLVM type."""
    return {"float": 4, "double": 8}.get(kind) or int(kind[1:]) // 8
