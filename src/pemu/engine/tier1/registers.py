"""Guest registers in a region that is being staged: which are in SSA, which differ from the state.

Before each guest access, and wherever the region is left, those that differ from the state
structure ("dirty") are stored, so that the state is exact at every point where control can leave.
The accesses of a whole processor leave only where the soft TLB does not serve them: in tight loops
registers are stored there.
"""

from __future__ import annotations

from contextlib import contextmanager

from pemu.engine.code.regionstore import FLOATING_PAGE
from pemu.engine.layout import state as s
from pemu.engine.staging.builder import InsnBuilder
from pemu.engine.staging.values import StagingError, Value, signed
from pemu.engine.tier0.handlers import guest_offset
from pemu.engine.tier1.guestblock import INHERITED, GuestBlock
from pemu.engine.tier1.text import FLUSH, INHERIT, READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pemu.engine.layout.state import Register
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.tier1.guestblock import Key


class PagePc(Value):
    """A guest address at a known distance from where the region's page appears."""

    __slots__ = ("distance",)

    def __init__(self, builder: RegionRegisters, distance: int) -> None:
        super().__init__(builder, builder.arch.xlen, None, None)
        self.distance = distance

    @property
    def symbol(self) -> str | None:
        builder = self.emitter
        assert isinstance(builder, RegionRegisters)
        return (builder.page_base().trunc(self.width) + self.distance).ir

    @symbol.setter
    def symbol(self, symbol: str | None) -> None:
        """It is computed where it is used."""

    def __add__(self, other: Value | int) -> Value:
        known = other if isinstance(other, int) else other.known
        assert known is not None
        builder = self.emitter
        assert isinstance(builder, RegionRegisters)
        return PagePc(builder, self.distance + signed(known, self.width))


class RegionRegisters(InsnBuilder):
    """What staging a region knows of registers and memory."""

    __slots__ = (
        "_address",
        "_base",
        "_block",
        "_blocks",
        "_debug",
        "_dirty",
        "_ended",
        "_floats",
        "_has_loaded",
        "_hot",
        "_in_slot",
        "_kinds",
        "_pending",
        "_registers",
        "_required",
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
        self._address = 0
        self._base = 0
        self._values: dict[Key, tuple[int, str, str]] = {}
        self._debug = ""
        self._has_loaded = False
        self._in_slot = False
        self._ended = False
        self._floats = False
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
            self._flush()
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
        for key in sorted(self._dirty - {INHERITED}):
            self._flush_one(key)
        if INHERITED in self._dirty:
            written = frozenset(self._dirty)
            self._block.stores_inherited.append(written)
            self.lines.append((INHERIT, self._block, written))

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
        if self._floats:
            return PagePc(self, self._address - FLOATING_PAGE)
        return self.const(self._address, self.arch.xlen)

    def page_base(self) -> Value:
        """Guest-virtual address (64 bits) of the page where the region now runs; it floats."""
        return self.raw_load(self.field(s.CODE_BASE), 64, align=8)

    def before_access(self) -> None:
        if self._block.loops:
            return
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
