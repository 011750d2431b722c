"""Tier 1: a region of hot blocks as one native function.

Guest registers live in SSA inside a region. Before each guest access, and wherever the region is
left, those that differ from the state structure ("dirty") are stored, so that the state is exact
at every point where control can leave. A register that may be dirty at a loop's head is stored on
the edges into it instead, or it would be stored again in every iteration.

`regiontext` turns what has been staged into text.
"""

from __future__ import annotations

from contextlib import contextmanager

from pemu.engine import context as c
from pemu.engine import runtime, softmmu
from pemu.engine import state as s
from pemu.engine.builder import InsnBuilder
from pemu.engine.exits import (
    EXIT_BUDGET,
    EXIT_EXCEPTION,
    EXIT_FLUSH,
    EXIT_INTERRUPT,
    EXIT_SYSTEM,
)
from pemu.engine.guestblock import GuestBlock, liveness, region_base
from pemu.engine.handlers import guest_offset
from pemu.engine.insn import bind
from pemu.engine.regiontext import FLUSH, READ, WRITE, RegionText
from pemu.engine.tier0 import RESERVED_INSTRUCTION
from pemu.engine.values import StagingError, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pemu.engine.architecture import Architecture
    from pemu.engine.guestblock import Key
    from pemu.engine.insn import Insn
    from pemu.engine.state import Register

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
_LINK_FAR = _Tail("link_far", "ptr")
"""To an address that may be mapped elsewhere by now."""
_LOOK_UP = _Tail("look_up", "i64")
_INTERRUPT = _Tail("interrupt", "i64")
_BUDGET = _Tail("budget", "i64")


class RegionBuilder(InsnBuilder):
    """Stages guest blocks into one function."""

    __slots__ = (
        "_address",
        "_base",
        "_block",
        "_blocks",
        "_debug",
        "_dirty",
        "_ended",
        "_has_loaded",
        "_hot",
        "_in_slot",
        "_kinds",
        "_mode",
        "_name",
        "_pending",
        "_registers",
        "_required",
        "_scope",
        "_slot_changes",
        "_slots",
        "_tails",
        "_unsure",
        "_values",
        "call_target",
        "lines",
    )

    lines: list[Any]

    def __init__(self, arch: Architecture, features: frozenset[str]) -> None:
        super().__init__(arch, features)
        self._dirty: set[Key] = set()
        self._kinds: dict[Key, set[tuple[int, str]]] = {}
        self._registers: dict[Key, Register] = {}
        self._required: set[str] = set()  # what the block has been tested for
        self._hot: list[Key] = list(arch.hot_registers)
        self._unsure = 0
        self._slot_changes = False
        self._slots: list[int] = []
        self._tails: set[_Tail] = set()
        self._address = 0
        self._base = 0
        self._mode = 0
        self._values: dict[Key, tuple[int, str, str]] = {}
        self._debug = ""
        self._has_loaded = False
        self._in_slot = False
        self._name = ""
        self._scope = 0
        self._ended = False
        self._pending: tuple[str, Value, Value, bool] | None = None
        self._blocks: dict[int, GuestBlock] = {}
        self._block = GuestBlock(0, 0, [], None, None)
        self.call_target = False
        for name, index in self._hot:
            register = arch.layout.by_name[name]
            key = (name, index)
            self._registers[key] = register
            self._kinds[key] = {(0, f"i{register.stride * 8}")}

    # Emission that marks guest accesses with their instruction.

    def op(self, text: str) -> str:
        # The accesses of a whole processor do not fault on the host.
        self._has_loaded |= " volatile " in text and self.arch.system is None
        # What the instruction does with a loaded value may become one host instruction with the
        # load, which has the mark of what uses it then.
        return super().op(text + self._debug if self._has_loaded else text)

    def _hold(self, kind: str, operand: str) -> str:
        """Keep a loaded value from being loaded by a later instruction's host instruction.

        That would fault with the later one's mark.
        """
        constraint = "=x,0" if kind == "double" else "=r,0"
        return self.op(f'call {kind} asm "", "{constraint}"({kind} {operand})')

    def do(self, text: str) -> None:
        if text.startswith("store volatile ") and self.arch.system is None:
            text += self._debug
        super().do(text)

    def place(self, label: str) -> None:
        """Start a basic block that may be entered from several places."""
        super().place(label)
        self._values = {}

    def go_on(self, label: str) -> None:
        super().place(label)

    # Registers.

    def _key(
        self, register: Register, index: Value | int, byte: Value | int
    ) -> tuple[Key, int] | None:
        if isinstance(index, Value):
            if index.known is None:
                return None
            index = index.known
        if isinstance(byte, Value):
            if byte.known is None:
                return None
            byte = byte.known
        key = (register.name, index)
        self._registers[key] = register
        return key, byte

    def _in_memory(self, register: Register, index: Value | int, byte: Value | int) -> str:
        pointer = "%state"
        known = register.offset
        for part, scale in ((index, register.stride), (byte, 1)):
            if isinstance(part, int):
                known += part * scale
            elif part.known is not None:
                known += part.known * scale
            else:
                pointer = self.offset(pointer, part.zext(64) * scale)
        return self.offset(pointer, known)

    def read_register(
        self, register: Register, index: Value | int, byte: Value | int, kind: str
    ) -> str | int:
        if register.memory:
            return self.op(f"load {kind}, ptr {self._in_memory(register, index, byte)}, align 1")
        where = self._key(register, index, byte)
        if where is None:
            for key in sorted(self._dirty):
                if key[0] == register.name:
                    self._flush_one(key)
            return self.op(f"load {kind}, ptr {self._in_memory(register, index, byte)}, align 1")
        key, at = where
        if key[1] == register.zero:
            return 0
        known = self._values.get(key)
        if known is not None and known[:2] == (at, kind):
            operand = known[2]
            return int(operand) if operand.isdecimal() else operand
        self._kinds.setdefault(key, set()).add((at, kind))
        if key not in self._block.defs:
            self._block.uses.add(key)
        self._temporaries += 1
        name = f"%t{self._temporaries}"
        self.lines.append((READ, name, key, at, kind))
        self._values[key] = (at, kind, name)
        return name

    def write_register(
        self, register: Register, index: Value | int, byte: Value | int, kind: str, operand: str
    ) -> None:
        if register.memory:
            self.do(
                f"store {kind} {operand}, ptr {self._in_memory(register, index, byte)}, align 1"
            )
            return
        where = self._key(register, index, byte)
        if where is None:
            raise StagingError(f"write to {register.name} at an index known only when running")
        key, at = where
        if key[1] == register.zero:
            return
        if self._has_loaded and not operand.isdecimal():
            operand = self._hold(kind, operand)
        self._kinds.setdefault(key, set()).add((at, kind))
        whole = kind in ("double", f"i{register.stride * 8}")
        if not whole and key not in self._block.defs:
            self._block.uses.add(key)
        if whole and not self._unsure:
            self._block.defs.add(key)
        self._dirty.add(key)
        self._values[key] = (at, kind, operand)
        if operand == str(self._address + 2 * self.arch.insn_bytes):
            self.call_target = True
        self.lines.append((WRITE, operand, key, at, kind))

    def _flush_one(self, key: Key) -> None:
        if key not in self._block.defs:
            self._block.uses.add(key)
        self.lines.append((FLUSH, key, self._values.get(key)))

    def _flush(self) -> None:
        """Store all dirty registers, without forgetting that they are."""
        for key in sorted(self._dirty):
            self._flush_one(key)

    # Control inside an instruction.

    @contextmanager
    def _if(self, condition: Value, unlikely: bool) -> Iterator[Any]:
        before = set(self._dirty)
        self._unsure += 1
        with super()._if(condition, unlikely) as arm:
            yield arm
        self._unsure -= 1
        self._dirty |= before

    @contextmanager
    def while_(self, condition: Callable[[], Value]) -> Iterator[None]:
        self._flush()
        self._dirty = set()
        self._unsure += 1
        with super().while_(condition):
            yield
            self._flush()
        self._unsure -= 1

    @property
    def pc(self) -> Value:
        return self.const(self._address, self.arch.xlen)

    def before_access(self) -> None:
        self._flush()
        if not self._unsure:
            self._dirty = set()

    def guest_pointer(self, address: Value, size: int) -> str:
        self.before_access()
        if self.arch.address_bits == 32 and address.sum is not None and address.width == 32:
            base, distance = address.sum
            if base.known is None and -32768 <= distance < 32768:
                # Guard pages on both sides make up for the missing wrap-around at 2**32.
                wide = base.zext(64).ir
                pointer = self.op(f"getelementptr i8, ptr %mem, i64 {wide}")
                return self.op(f"getelementptr i8, ptr {pointer}, i64 {distance}")
        return self.offset("%mem", guest_offset(self.arch, address))

    def branch(self, condition: Value, target: Value, *, likely: bool = False) -> None:
        self._pending = ("branch", condition, target, likely)

    def jump(self, target: Value) -> None:
        self._pending = ("jump", self.const(1, 1), target, False)

    def trap(self, code: int, when: Value | None = None, argument: Value | int = 0) -> None:
        if isinstance(argument, int):
            argument = self.const(argument, 64)
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

    def _raise(self, code: int, argument: Value) -> None:
        self._flush()
        self.do(f"store i64 {code}, ptr {self.field(s.EXIT_CODE)}, align 8")
        self.raw_store(self.field(s.EXIT_ADDRESS), argument.zext(64), align=8)
        if self.arch.system is not None:
            self.blame()
            self._runtime("pemu_raise_here")
            return
        self._leave(EXIT_EXCEPTION, self._address)

    # Whole processors.

    def blame(self) -> None:
        self.do(f"store i64 {self._address}, ptr {self.field(s.PC)}, align 8")
        self.do(f"store i32 {int(self._in_slot)}, ptr {self.field(s.IN_SLOT)}, align 4")

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
        if isinstance(argument, int):
            argument = self.const(argument, 64)
        self._flush()
        self.do(f"store i64 {number}, ptr {self.field(s.EXIT_CODE)}, align 8")
        self.raw_store(self.field(s.EXIT_ADDRESS), argument.zext(64), align=8)
        self._leave(EXIT_SYSTEM, self._after())
        self._stop()

    def _stop(self) -> None:
        """Control does not come out of what has just been emitted."""
        self._ended = not self._unsure
        self.place(self.label("dead"))

    def _leave(self, reason: int, pc: int | str) -> None:
        self.do(f"store i64 {pc}, ptr {self.field(s.PC)}, align 8")
        self.do(f"store i32 {reason}, ptr {self.field(s.EXIT_REASON)}, align 4")
        self.do("ret void")

    def _runtime(self, name: str, carry: str = "poison") -> None:
        """Go on in a runtime function; everything is in the state structure."""
        function = self.runtime_function(name)
        poison = ", ".join(["i64 poison"] * runtime.PASSED)
        self.do(
            f"musttail call preserve_nonecc void {function}(ptr %op, ptr %state, ptr %mem, "
            f"i64 {carry}, {poison})"
        )
        self.do("ret void")

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

    def set_mode(self, mode: Value | int) -> None:
        if self.arch.system is not None:
            self.update_mode()
            return
        if isinstance(mode, int):
            mode = self.const(mode, 32)
        self.raw_store(self.field(s.MODE_TAG), mode.zext(64) << c.MODE_SHIFT, align=8)
        self.end_block()

    # Blocks and edges.

    def _hot_arguments(self) -> str:
        arguments = []
        for key in self._hot:
            register = self._registers[key]
            self._temporaries += 1
            name = f"%t{self._temporaries}"
            kind = f"i{register.stride * 8}"
            self.lines.append((READ, name, key, 0, kind))
            arguments.append(f"i64 {self.name(name, register.stride * 8).zext(64).ir}")
        arguments += ["i64 poison"] * (runtime.PASSED + 1 - len(arguments))
        return ", ".join(arguments)

    def _enter_block(self, block: str) -> None:
        """Go on in the block at pointer operand `block`, hot registers in host registers."""
        entry = self.op(f"load ptr, ptr {self.offset(block, c.FAST_ENTRY)}, align 8")
        self.do(
            f"musttail call preserve_nonecc void {entry}(ptr {block}, ptr %state, ptr %mem, "
            f"{self._hot_arguments()})"
        )
        self.do("ret void")

    def _inside(self, target: int) -> GuestBlock | None:
        """The block at an address, if the way there stays in the region."""
        return self._blocks.get(target) if target in self._block.successors else None

    def _stores(self, target: int) -> bool:
        """True if dirty registers are stored on the way to an address."""
        inside = self._inside(target)
        return inside is None or inside.is_loop_head

    def _edge(self, target: int) -> None:
        """Go to guest address `target`, inside the region or not; ends the basic block."""
        inside = self._inside(target)
        if inside is not None:
            self._block.edges.append(target)
            if inside.is_loop_head:
                self._flush()
            else:
                inside.dirty_in |= self._dirty
            self.do(f"br label %B{target:x}")
            return
        self._flush()
        number = len(self._slots)
        self._slots.append(target)
        tail = _LINK if self._is_near(target) else _LINK_FAR
        self._go(tail, f"getelementptr (i8, ptr @{self._name}_slots, i64 {SLOT_BYTES * number})")

    def _is_near(self, target: int) -> bool:
        """True if an address leads where it has led to when a block was found there."""
        system = self.arch.system
        if system is None or (target ^ self._block.pc) < softmmu.PAGE:
            return True
        return bool(system.fixed(self, self.const(target, self.arch.xlen)).known)

    def _indirect(self, target: Value) -> None:
        """Go to an address that a register holds; ends the basic block.

        The successors, if any, are where calls inside the region return to. They and what was
        seen before are compared with.
        """
        dirty = set(self._dirty)
        likely = list(self._block.successors)
        if self._block.guess is not None and self._block.guess not in likely:
            likely.append(self._block.guess)
        for pc in likely:
            here, elsewhere = self.label("here"), self.label("elsewhere")
            self.do(f"br i1 {target.eq(pc).ir}, label %{here}, label %{elsewhere}")
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
        for tail in (_LINK, _LINK_FAR, _LOOK_UP, _INTERRUPT, _BUDGET):
            if tail not in self._tails:
                continue
            self.entry_lines.append(f"  {tail.variable} = alloca {tail.kind}")
            self.place(tail.label)
            operand = self.op(f"load {tail.kind}, ptr {tail.variable}")
            if tail.kind == "ptr":
                self._link_tail(operand, tail is _LINK_FAR)
            elif tail is _LOOK_UP:
                self._look_up_tail(self.name(operand, 64))
            elif tail is _BUDGET:
                self._leave(EXIT_BUDGET, operand)
            elif self.arch.system is not None:
                self.do(f"store i64 {operand}, ptr {self.field(s.PC)}, align 8")
                self._runtime("pemu_poll")
            else:
                self._leave(EXIT_INTERRUPT, operand)

    def _link_tail(self, slot: str, far: bool) -> None:
        """Go to the block of a slot, or have `pemu_link` find it. `far`: look if it is there."""
        block = self.op(f"load ptr, ptr {slot}, align 8")
        missing = self.op(f"icmp eq ptr {block}, null")
        miss, known = self.label("miss"), self.label("known")
        self.do(f"br i1 {missing}, label %{miss}, label %{known}, !prof !0")
        self.place(miss)
        target = self.raw_load(self.offset(slot, 8), 64, align=8)
        self.raw_store(self.field(s.PC), target, align=8)
        self.do(f"store ptr {slot}, ptr {self.field(s.LINK_SLOT)}, align 8")
        self._runtime("pemu_link")
        self.place(known)
        if far:
            there = self.label("there")
            same = softmmu.still_there(self, block)
            self.do(f"br i1 {same.ir}, label %{there}, label %{miss}, !prof !1")
            self.place(there)
        self._enter_block(block)

    def _look_up_tail(self, target: Value) -> None:
        """Go to the block at `target`, found in the table of blocks or by `pemu_jump_miss`."""
        tag = target ^ (self._mode << c.MODE_SHIFT)
        table = self.op(f"load ptr, ptr {self.field(s.BLOCK_TABLE)}, align 8")
        slot = (tag.lshr(2) & (c.BLOCK_TABLE_ENTRIES - 1)) << 3
        block = self.op(f"load ptr, ptr {self.offset(table, slot)}, align 8")
        empty = self.op(f"icmp eq ptr {block}, null")
        check, known, miss = self.label("check"), self.label("known"), self.label("miss")
        self.do(f"br i1 {empty}, label %{miss}, label %{check}, !prof !0")
        self.place(check)
        found = self.raw_load(block, 64, align=8).eq(tag)
        if self.arch.system is not None:
            found = found & softmmu.still_there(self, block)
        self.do(f"br i1 {found.ir}, label %{known}, label %{miss}, !prof !1")
        self.place(known)
        self._enter_block(block)
        self.place(miss)
        self._runtime("pemu_jump_miss", target.ir)

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
        self._dirty = set() if block.is_loop_head else set(block.dirty_in)
        self._ended = False
        self._pending = None
        self.place(f"B{block.pc:x}")
        # Where instructions are counted, interrupts are taken at the same ones as in tier 0.
        if block.is_loop_head or block.is_entry or self.arch.counts:
            self._poll(block)
        if self.arch.counts:
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
                self._go_by_dispatch(self.const(pc + size, self.arch.xlen))
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
        size = self.arch.insn_bytes
        after = pc + size
        not_taken = ""
        before: set[Key] = set()
        values: dict[Key, tuple[int, str, str]] = {}
        if likely:
            taken, not_taken = self.label("taken"), self.label("nottaken")
            before = set(self._dirty)
            values = dict(self._values)
            self.do(f"br i1 {condition.ir}, label %{taken}, label %{not_taken}")
            self.go_on(taken)
            self._unsure += 1
        if self.arch.delay_slots:
            after += size
            assert slot is not None
            insn = decode(slot)
            # An access that faults in a delay slot restarts at the branch.
            if self._stage_slot(insn, slot, pc):
                if likely:
                    self._unsure -= 1
                    self.lines.append("  unreachable")
                    self.go_on(not_taken)
                    self._dirty, self._values = before, values
                    self._edge(after)
                else:
                    self.lines.append("  unreachable")
                return
        if self._slot_changes:
            self._slot_changes = False
            # A likely branch is taken where its slot has run.
            certain = kind == "jump" or likely
            self._go_by_dispatch(target if certain else condition.select(target, after))
            if likely:
                self._unsure -= 1
                self.go_on(not_taken)
                self._dirty, self._values = before, values
                self._edge(after)
            return
        if kind == "jump":
            if target.known is None:
                self._indirect(target)
            else:
                self._edge(target.known)
            return
        assert target.known is not None
        if likely:
            self._edge(target.known)
            self._unsure -= 1
            self.go_on(not_taken)
            self._dirty, self._values = before, values
            self._edge(after)
            return
        if self._stores(target.known) and self._stores(after):
            self._flush()
            self._dirty = set()
        taken, fall = self.label("taken"), self.label("fall")
        self.do(f"br i1 {condition.ir}, label %{taken}, label %{fall}")
        self.go_on(taken)
        self._edge(target.known)
        self.go_on(fall)
        self._edge(after)

    def _go_by_dispatch(self, target: Value) -> None:
        """Go to an address in the translation mode that is now in the state."""
        self._flush()
        self.raw_store(self.field(s.PC), target.zext(64), align=8)
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

    def _poll(self, block: GuestBlock) -> None:
        flag = self.raw_load(self.field(s.EXIT_FLAG), 32, volatile=True, align=4)
        asked = flag.ne(0)
        leave, stay = self.label("leave"), self.label("stay")
        self.do(f"br i1 {asked.ir}, label %{leave}, label %{stay}, !prof !0")
        self.go_on(leave)
        self._flush()
        self._go(_INTERRUPT, str(block.pc))
        self.go_on(stay)

    def _count(self, block: GuestBlock) -> None:
        """Count the block's instructions, or leave where no more may be run."""
        budget = self.raw_load(self.field(s.BUDGET), 64, align=8)
        leave, stay = self.label("leave"), self.label("stay")
        self.do(f"br i1 {budget.sle(0).ir}, label %{leave}, label %{stay}, !prof !0")
        self.go_on(leave)
        self._flush()
        self._go(_BUDGET, str(block.pc))
        self.go_on(stay)
        self.raw_store(self.field(s.BUDGET), budget - len(block.words), align=8)

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
        mode: int,
        blocks: list[GuestBlock],
        decode: Callable[[int], Insn | None],
    ) -> str:
        """Stage `blocks` (in reverse post-order) and return the function's IR text.

        `scope`: number of the metadata node of the function's DISubprogram.
        """
        self._name = name
        self._scope = scope
        self._mode = mode
        self._base = region_base(blocks)
        self._blocks = {block.pc: block for block in blocks}
        for block in blocks:
            self._stage_block(block, decode)
        self._place_tails()
        liveness(blocks, self._blocks)
        text = RegionText(name, scope, self._kinds, self._registers, self._hot)
        return text.render(blocks, self.entry_lines, self.lines, self._slots)
