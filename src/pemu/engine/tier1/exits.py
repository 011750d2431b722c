"""How control leaves a staged block: to another of the region, to other code, to Python."""

from __future__ import annotations

from pemu.engine.code.regionstore import FLOATING_PAGE
from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.layout import tlb_table
from pemu.engine.layout.exits import (
    EXIT_BUDGET,
    EXIT_EXCEPTION,
    EXIT_FLUSH,
    EXIT_INTERRUPT,
    EXIT_SYSTEM,
)
from pemu.engine.layout.pages import PAGE
from pemu.engine.staging import softmmu
from pemu.engine.staging.blocktable import block_slot
from pemu.engine.staging.values import Value
from pemu.engine.tier1.registers import PagePc, RegionRegisters
from pemu.engine.tier1.text import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.tier1.guestblock import GuestBlock

SLOT_BYTES = 16
"""A way out to a known address: the block there, once it has been found; the guest address."""


class _Tail:
    """Where a region's ways out of one kind meet; `variable` tells the tail which one it was."""

    __slots__ = ("kind", "label", "variable")

    def __init__(self, label: str, kind: str) -> None:
        self.label = label
        self.kind = kind
        self.variable = f"%{label}.what"


_LINK = _Tail("link", "ptr")
_LINK_PAGE = _Tail("link_page", "ptr")
"""To the page of the region's own code, which may have copies."""
_LINK_FAR = _Tail("link_far", "ptr")
"""To an address that may be mapped elsewhere by now."""
_LOOK_UP = _Tail("look_up", "i64")
_INTERRUPT = _Tail("interrupt", "i64")
_BUDGET = _Tail("budget", "i64")


class RegionExits(RegionRegisters):
    """Emits what ends a block, and what may end it."""

    __slots__ = ("_mode", "_name", "_page", "_slots", "_tails")

    def __init__(self, arch: Architecture, features: frozenset[str]) -> None:
        super().__init__(arch, features)
        self._slots: list[int] = []
        self._tails: set[_Tail] = set()
        self._mode = 0
        self._page: int | None = None
        self._name = ""

    def branch(self, condition: Value, target: Value, *, likely: bool = False) -> None:
        self._pending = ("branch", condition, self._settled(target), likely)

    def jump(self, target: Value) -> None:
        self._pending = ("jump", self.const(1, 1), self._settled(target), False)

    def _settled(self, target: Value) -> Value:
        """Where a branch leads, as the addresses of the region's blocks are counted."""
        if isinstance(target, PagePc):
            return self.const(FLOATING_PAGE + target.distance, self.arch.xlen)
        return target

    def trap(self, code: int, when: Value | None = None, argument: Value | int = 0) -> None:
        if when is None:
            self._raise(code, argument)
            self._stop()
            return
        if when.known == 0:
            return
        trap, fine = self.label("trap"), self.label("fine")
        self.do(f"br i1 {when.ir}, label %{trap}, label %{fine}, !prof !0")
        self.go_on(trap)
        self._raise(code, argument)
        self.go_on(fine)

    def require(
        self, what: str, code: int, missing: Callable[[], Value], argument: int = 0
    ) -> None:
        if what in self._required:
            return
        if not self._unsure:
            self._required.add(what)
        super().require(what, code, missing, argument)

    def _raise(self, code: int, argument: Value | int) -> None:
        self._flush()
        self.tell(code, argument)
        if self.arch.system is not None:
            self.blame()
            self._runtime("pemu_raise_here")
            return
        self._leave(EXIT_EXCEPTION, self._address)

    # Whole processors.

    def blame(self) -> None:
        self.do(f"store i64 {self._shown(self._address)}, ptr {self.field(s.PC)}, align 8")
        self.do(f"store i32 {int(self._in_slot)}, ptr {self.field(s.IN_SLOT)}, align 4")

    def slow_access(
        self,
        what: str,
        address: Value,
        size: int,
        more: str = "",
        beyond: Value | None = None,
    ) -> str:
        if self._block.loops:
            self._flush()
        function = self.runtime_function(f"pemu_region_{what}")
        flags = size | (tlb_table.IN_SLOT if self._in_slot else 0)
        pc = self._address
        if self._floats:
            flags |= tlb_table.FLOATS
            pc -= FLOATING_PAGE
        arguments = (
            f"ptr %state, i64 {address.ir}, i64 {self.access(flags, beyond)}{more}, i64 {pc}"
        )
        return f"call preserve_mostcc i64 {function}({arguments})"

    def resume_at(self, target: Value) -> None:
        self._flush()
        self.raw_store(self.field(s.PC), target.zext(64), align=8)
        self._call_runtime("pemu_update_mode")
        self._runtime("pemu_dispatch")
        self._stop()

    def update_mode(self) -> None:
        self._call_runtime("pemu_update_mode")
        self.end_block()

    def exit(self, number: int, argument: Value | int = 0) -> None:
        self._flush()
        self.tell(number, argument)
        self._leave(EXIT_SYSTEM, self._after())
        self._stop()

    def _stop(self) -> None:
        """Control does not come out of what has just been emitted."""
        self._ended = not self._unsure
        self.place(self.label("dead"))

    def _shown(self, pc: int) -> str:
        """Operand of 64 bits: the address that the guest knows an address by."""
        return (self.page_base() + (pc - FLOATING_PAGE)).ir if self._floats else str(pc)

    def _from_page(self, target: Value) -> Value:
        """The same for one that is known only when running, of 64 bits."""
        wide = target.zext(64)
        return wide + (self.page_base() - FLOATING_PAGE) if self._floats else wide

    def _leave(self, reason: int, pc: int | str) -> None:
        if isinstance(pc, int):
            pc = self._shown(pc)
        self.do(f"store i64 {pc}, ptr {self.field(s.PC)}, align 8")
        self.do(f"store i32 {reason}, ptr {self.field(s.EXIT_REASON)}, align 4")
        self.do("ret void")

    def _runtime(self, name: str, carry: str = "poison", op: str = "%op") -> None:
        """Go on in a runtime function; everything is in the state structure."""
        self.hand_over(self.runtime_function(name), op, carry)

    def _after(self) -> int:
        return self._address + self.arch.insn_bytes

    def syscall(self) -> None:
        self._flush()
        self.do(f"store i64 {self._after()}, ptr {self.field(s.PC)}, align 8")
        self._runtime("pemu_native_call")
        self._ended = True
        self.place(self.label("dead"))

    def end_block(self) -> None:
        self._pending = ("next", self.const(1, 1), self.const(0, 1), False)

    def flush_code(self, address: Value) -> None:
        if self.arch.system is not None:
            function = self.runtime_function("pemu_flush_line")
            text = f"call preserve_mostcc i1 {function}(ptr %state, i64 {address.zext(64).ir})"
            with self.if_(self.name(self.op(text), 1), unlikely=True):
                self._flush()
                self._leave(EXIT_FLUSH, self._after())
                self._stop()
            return
        self._flush()
        self.raw_store(self.field(s.EXIT_ADDRESS), address.zext(64), align=8)
        self._leave(EXIT_FLUSH, self._after())
        self._ended = True
        self.place(self.label("dead"))

    # Blocks and edges.

    def _hot_words(self) -> list[str]:
        """Operands of 64 bits: the hot registers, as they are now."""
        words = []
        for key in self._hot:
            register = self._registers[key]
            self._temporaries += 1
            name = f"%t{self._temporaries}"
            kind = f"i{register.stride * 8}"
            self.lines.append((READ, name, key, 0, kind))
            words.append(self.name(name, register.stride * 8).zext(64).ir)
        return words

    def _enter_block(self, block: str) -> None:
        """Go on in the block at pointer operand `block`, hot registers in host registers."""
        entry = self.op(f"load ptr, ptr {self.offset(block, c.FAST_ENTRY)}, align 8")
        self.hand_over(entry, block, *self._hot_words())

    def _inside(self, target: int) -> GuestBlock | None:
        """The block at an address, if the way there stays in the region."""
        return self._blocks.get(target) if target in self._block.successors else None

    def _stores(self, target: int) -> bool:
        """True if dirty registers are stored on the way to an address."""
        inside = self._inside(target)
        return inside is None or (inside.is_loop_head and target not in self._block.loops)

    def _edge(self, target: int) -> None:
        """Go to guest address `target`, inside the region or not; ends the basic block."""
        inside = self._inside(target)
        if inside is not None:
            dirty = frozenset(self._dirty)
            if self._stores(target):
                self._flush()
                dirty = frozenset()
            self._block.edges.append((target, dirty))
            self.do(f"br label %B{target:x}")
            return
        self._flush()
        number = len(self._slots)
        self._slots.append(target - FLOATING_PAGE if self._floats else target)
        tail = self._link_to(target)
        self._go(tail, f"getelementptr (i8, ptr @{self._name}_slots, i64 {SLOT_BYTES * number})")

    def _link_to(self, target: int) -> _Tail:
        """What looks if an address leads where it has led to when a block was found there."""
        system = self.arch.system
        if system is None:
            return _LINK
        if (target ^ self._block.pc) < PAGE:
            return _LINK if self._is_fixed else _LINK_PAGE
        is_fixed = system.fixed(self, self.const(target, self.arch.xlen)).known
        return _LINK if self._is_fixed and is_fixed else _LINK_FAR

    @property
    def _is_fixed(self) -> bool:
        """Whether each of the region's addresses always leads to the same memory."""
        return not self._floats and self._page is None

    def _guard(self) -> list[str]:
        """What a region for one page begins with: at other addresses tier 0 runs."""
        if self._page is None:
            return []
        before, self.lines = self.lines, []
        here, elsewhere = self.label("here"), self.label("elsewhere")
        same = self.page_base().eq(self._page)
        self.do(f"br i1 {same.ir}, label %{here}, label %{elsewhere}, !prof !1")
        self.place(elsewhere)
        self._runtime("pemu_enter_block", op=self.offset("%op", c.HEADER))
        self.place(here)
        guard, self.lines = self.lines, before
        return guard

    def _indirect(self, target: Value) -> None:
        """Go to an address that a register holds; ends the basic block.

        The successors, if any, are where calls inside the region return to. They and what was
        seen before are compared with.
        """
        likely = list(self._block.successors)
        if self._block.guess is not None and self._block.guess not in likely:
            likely.append(self._block.guess)
        if all(self._stores(pc) for pc in likely):
            self._flush()
            self._dirty = set()
        dirty = set(self._dirty)
        for pc in likely:
            here, elsewhere = self.label("here"), self.label("elsewhere")
            there = self._from_page(self.const(pc, self.arch.xlen)).trunc(self.arch.xlen)
            self.do(f"br i1 {target.eq(there).ir}, label %{here}, label %{elsewhere}")
            values = dict(self._values)
            self.go_on(here)
            self._edge(pc)
            self.go_on(elsewhere)
            self._dirty, self._values = set(dirty), values
        self._flush()
        self._go(_LOOK_UP, target.zext(64).ir)

    def _go(self, tail: _Tail, operand: str) -> None:
        """Leave through a tail that all the region's ways out of this kind share."""
        self._tails.add(tail)
        self.do(f"store {tail.kind} {operand}, ptr {tail.variable}")
        self.do(f"br label %{tail.label}")

    def _place_tails(self) -> None:
        """Emit the tails that have been used; everything is in the state structure there."""
        for tail in (_LINK, _LINK_PAGE, _LINK_FAR, _LOOK_UP, _INTERRUPT, _BUDGET):
            if tail not in self._tails:
                continue
            self.entry_lines.append(f"  {tail.variable} = alloca {tail.kind}")
            self.place(tail.label)
            operand = self.op(f"load {tail.kind}, ptr {tail.variable}")
            if tail.kind == "ptr":
                self._link_tail(operand, tail)
            elif tail is _LOOK_UP:
                self._look_up_tail(self.name(operand, 64))
            elif tail is _BUDGET:
                self._leave(EXIT_BUDGET, operand)
            elif self.arch.system is not None:
                self.do(f"store i64 {operand}, ptr {self.field(s.PC)}, align 8")
                self._runtime("pemu_poll")
            else:
                self._leave(EXIT_INTERRUPT, operand)

    def _link_tail(self, slot: str, tail: _Tail) -> None:
        """Go to the block of a slot, or have `pemu_link` find it."""
        block = self.op(f"load ptr, ptr {slot}, align 8")
        missing = self.op(f"icmp eq ptr {block}, null")
        miss, known = self.label("miss"), self.label("known")
        self.do(f"br i1 {missing}, label %{miss}, label %{known}, !prof !0")
        self.place(miss)
        self.raw_store(self.field(s.PC), self._slot_target(slot), align=8)
        self.do(f"store ptr {slot}, ptr {self.field(s.LINK_SLOT)}, align 8")
        self._runtime("pemu_link")
        self.place(known)
        if tail is not _LINK:
            there = self.label("there")
            target = self._slot_target(slot)
            if tail is _LINK_FAR:
                same = softmmu.arrives(self, block, target)
            else:
                place = self.raw_load(self.offset(block, c.CODE_AT), 64, align=8)
                own = self.raw_load(self.offset("%op", c.CODE_AT), 64, align=8)
                same = (place ^ own).ult(PAGE)
            self.do(f"br i1 {same.ir}, label %{there}, label %{miss}, !prof !1")
            self.place(there)
            if tail is _LINK_FAR:
                softmmu.arrive(self, block, target)
        self._enter_block(block)

    def _slot_target(self, slot: str) -> Value:
        """The guest address (64 bits) that a slot leads to."""
        target = self.raw_load(self.offset(slot, 8), 64, align=8)
        return target + self.page_base() if self._floats else target

    def _look_up_tail(self, target: Value) -> None:
        """Go to the block at `target`, found in the table of blocks or by `pemu_jump_miss`."""
        miss = self.label("miss")
        tag = target ^ (self._mode << c.MODE_SHIFT)
        if not self._is_fixed and self.arch.system is not None:
            mapped, place = softmmu.fetched_from(self, target)
            seen = self.label("seen")
            self.do(f"br i1 {mapped.ir}, label %{seen}, label %{miss}, !prof !1")
            self.place(seen)
            tag = (place | c.PLACE_TAG) ^ (self._mode << c.MODE_SHIFT)
        table = self.op(f"load ptr, ptr {self.field(s.BLOCK_TABLE)}, align 8")
        machine = self.arch.system is not None
        slot = block_slot(self, tag, c.BLOCK_TABLE_ENTRIES - 1, machine=machine)
        block = self.op(f"load ptr, ptr {self.offset(table, slot)}, align 8")
        empty = self.op(f"icmp eq ptr {block}, null")
        check, known = self.label("check"), self.label("known")
        self.do(f"br i1 {empty}, label %{miss}, label %{check}, !prof !0")
        self.place(check)
        found = self.raw_load(block, 64, align=8).eq(tag)
        self.do(f"br i1 {found.ir}, label %{known}, label %{miss}, !prof !1")
        self.place(known)
        if not self._is_fixed and self.arch.system is not None:
            softmmu.arrive(self, block, target)
        self._enter_block(block)
        self.place(miss)
        self._runtime("pemu_jump_miss", target.ir)

    def _poll(self, block: GuestBlock) -> None:
        flag = self.raw_load(self.field(s.EXIT_FLAG), 32, volatile=True, align=4)
        asked = flag.ne(0)
        leave, stay = self.label("leave"), self.label("stay")
        self.do(f"br i1 {asked.ir}, label %{leave}, label %{stay}, !prof !0")
        self.go_on(leave)
        self._flush()
        self._go(_INTERRUPT, self._shown(block.pc))
        self.go_on(stay)

    def _count(self, block: GuestBlock) -> None:
        """Count the block's instructions, or leave where no more may be run."""
        budget = self.raw_load(self.field(s.BUDGET), 64, align=8)
        leave, stay = self.label("leave"), self.label("stay")
        self.do(f"br i1 {budget.sle(0).ir}, label %{leave}, label %{stay}, !prof !0")
        self.go_on(leave)
        self._flush()
        self._go(_BUDGET, self._shown(block.pc))
        self.go_on(stay)
        self.raw_store(self.field(s.BUDGET), budget - len(block.words), align=8)
