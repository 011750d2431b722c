"""Tier 1: a region of hot blocks as one native function.

Guest registers live in SSA inside a region (`registers`). A register that may be dirty at a
loop's head is stored on the edges into it instead, or it would be stored again in every iteration.
Ways out of blocks are `exits`'; `text` turns what has been staged into text.
"""

from __future__ import annotations

from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.staging.architecture import COUNTED
from pemu.engine.staging.insn import bind
from pemu.engine.staging.values import Value
from pemu.engine.tier0.modules import RESERVED_INSTRUCTION
from pemu.engine.tier1.exits import RegionExits
from pemu.engine.tier1.guestblock import INHERITED, GuestBlock, find_dirty, liveness, region_base
from pemu.engine.tier1.text import RegionText

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.insn import Insn
    from pemu.engine.tier1.guestblock import Shape


class RegionBuilder(RegionExits):
    """Stages guest blocks into one function."""

    __slots__ = ("_scope", "_slot_changes")

    def __init__(self, arch: Architecture, features: frozenset[str]) -> None:
        super().__init__(arch, features)
        self._slot_changes = False
        self._scope = 0

    def _debug_at(self, pc: int) -> None:
        line = (pc - self._base) // self.arch.insn_bytes + 1
        self._debug = f", !dbg !DILocation(line: {line}, scope: !{self._scope})"

    def _stage(self, insn: Insn | None, word: int, pc: int, blame: int) -> None:
        self._address = blame
        self._has_loaded = False
        self._debug_at(blame)
        if insn is None:
            self.trap(RESERVED_INSTRUCTION)
            return
        values = {field.name: self.const(field.of(word), field.width) for field in insn.fields}
        self._address = pc
        bind(insn, self, values)

    def _stage_block(self, block: GuestBlock, decode: Callable[[int], Insn | None]) -> None:
        self._block = block
        self._required.clear()
        self._dirty = {INHERITED}
        self._ended = False
        self._pending = None
        self.place(f"B{block.pc:x}")
        # Where instructions are counted, interrupts are taken at the same ones as in tier 0.
        if block.is_loop_head or block.is_entry or self.arch.counts:
            self._poll(block)
        decoded = self._mode & (1 << c.MMU_SHIFT) - 1
        if self.arch.counts or COUNTED in self.arch.modes[decoded]:
            self._count(block)
        size = self.arch.insn_bytes
        pc = block.pc
        words = iter(block.words)
        for word in words:
            self._stage(decode(word), word, pc, pc)
            if self._finished():
                self.do("unreachable")
                return
            pending = self._take_pending()
            if pending is None:
                pc += size
                continue
            if pending[0] == "next":
                self._go_by_dispatch(self._from_page(self.const(pc + size, self.arch.xlen)))
                return
            self._stage_branch(pending, pc, next(words, None), decode)
            return
        self._edge(pc)

    def _stage_branch(
        self,
        pending: tuple[str, Value, Value, bool],
        pc: int,
        slot: int | None,
        decode: Callable[[int], Insn | None],
    ) -> None:
        kind, condition, target, likely = pending
        after = pc + self.arch.insn_bytes * (2 if self.arch.delay_slots else 1)
        if likely:
            self._stage_likely(condition, target, after, lambda: self._slot_ends(pc, slot, decode))
        elif self._slot_ends(pc, slot, decode):
            return
        elif kind == "jump":
            self._go_on_to(target, by_register=target.known is None)
        elif self._slot_changes:
            self._go_on_to(condition.select(target, after))
        else:
            assert target.known is not None
            self._fork(condition, target.known, after)

    def _slot_ends(self, pc: int, slot: int | None, decode: Callable[[int], Insn | None]) -> bool:
        """Stage the delay slot of the branch at `pc`; True if nothing comes after it."""
        if not self.arch.delay_slots:
            return False
        assert slot is not None
        # An access that faults in a delay slot restarts at the branch.
        if not self._stage_slot(decode(slot), slot, pc):
            return False
        self.lines.append("  unreachable")
        return True

    def _stage_likely(
        self, condition: Value, target: Value, after: int, slot_ends: Callable[[], bool]
    ) -> None:
        """A branch whose slot runs only where it is taken, which is certain from there on."""
        taken, not_taken = self.label("taken"), self.label("nottaken")
        before, values = set(self._dirty), dict(self._values)
        self.do(f"br i1 {condition.ir}, label %{taken}, label %{not_taken}")
        self.go_on(taken)
        self._unsure += 1
        if not slot_ends():
            self._go_on_to(target)
        self._unsure -= 1
        self.go_on(not_taken)
        self._dirty, self._values = before, values
        self._edge(after)

    def _go_on_to(self, target: Value, *, by_register: bool = False) -> None:
        """Go to what is certain to come next."""
        if self._slot_changes:
            self._slot_changes = False
            self._go_by_dispatch(target.zext(64) if by_register else self._from_page(target))
        elif target.known is None:
            self._indirect(target)
        else:
            self._edge(target.known)

    def _fork(self, condition: Value, target: int, after: int) -> None:
        """Go to one of two addresses."""
        if self._stores(target) and self._stores(after):
            self._flush()
            self._dirty = set()
        taken, fall = self.label("taken"), self.label("fall")
        self.do(f"br i1 {condition.ir}, label %{taken}, label %{fall}")
        self.go_on(taken)
        self._edge(target)
        self.go_on(fall)
        self._edge(after)

    def _go_by_dispatch(self, target: Value) -> None:
        """Go to an address (64 bits) in the translation mode that is now in the state."""
        self._flush()
        self.raw_store(self.field(s.PC), target, align=8)
        self._runtime("pemu_dispatch")

    def _take_pending(self) -> tuple[str, Value, Value, bool] | None:
        """The branch that the last instruction asked for, once."""
        pending, self._pending = self._pending, None
        return pending

    def _finished(self) -> bool:
        """True if control never comes out of what has just been staged."""
        return self._ended

    def _stage_slot(self, insn: Insn | None, word: int, branch: int) -> bool:
        """Stage a delay slot; True if control never comes out of it."""
        self._in_slot = True
        self._stage(insn, word, branch, branch)
        pending = self._take_pending()
        self._slot_changes = pending is not None and pending[0] == "next"
        if pending is not None and not self._slot_changes:  # a branch
            self.trap(RESERVED_INSTRUCTION)
        self._in_slot = False
        return self._ended

    # Instructions looked at alone.

    def probe(self, insn: Insn, fields: dict[str, int], pc: int) -> None:
        """Stage one instruction to learn how it ends: `branch_kind` and what follows here."""
        self._address = pc
        values = {f.name: self.const(fields[f.name], f.width) for f in insn.fields}
        bind(insn, self, values)

    @property
    def branch_kind(self) -> str:
        """After `probe`: "branch", "jump", "next" (the block ends), or nothing."""
        return "" if self._pending is None else self._pending[0]

    @property
    def branch_target(self) -> int | None:
        """After `probe`: where it branches to, if that does not depend on registers."""
        return None if self._pending is None else self._pending[2].known

    @property
    def leaves(self) -> bool:
        """After `probe`: whether control never comes out of the instruction."""
        return self._ended

    def is_call(self, insn: Insn, fields: dict[str, int]) -> bool:
        """True if the instruction, with these field values, leaves its return address behind."""
        self.probe(insn, fields, 0x1000)
        return self._pending is not None and self.call_target

    # The whole function.

    def build(
        self,
        name: str,
        scope: int,
        shape: Shape,
        blocks: list[GuestBlock],
        decode: Callable[[int], Insn | None],
    ) -> str:
        """Stage the blocks of `shape` (in reverse post-order) and return the function's IR text.

        `scope`: number of the metadata node of the function's DISubprogram, 0 for none.
        """
        self._name = name
        self._scope = scope
        self._mode = shape.mode
        self._floats = shape.floats
        self._page = shape.page
        self._base = region_base(blocks)
        self._blocks = {block.pc: block for block in blocks}
        guard = self._guard()
        for block in blocks:
            self._stage_block(block, decode)
        self._place_tails()
        find_dirty(blocks, self._blocks)
        liveness(blocks, self._blocks)
        text = RegionText(name, scope, self._kinds, self._registers, self._hot)
        return text.render(blocks, self.entry_lines, guard, self.lines, self._slots)
