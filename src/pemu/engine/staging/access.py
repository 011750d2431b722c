"""How the code of an instruction reaches guest memory.

A program's memory lies at a fixed distance, and accesses need no look-up; a whole processor's goes
through the soft TLB (`softmmu`).
"""

from __future__ import annotations

from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.layout.pages import PAGE
from pemu.engine.layout.tlb_table import (
    ADDEND,
    BEYOND_SHIFT,
    MAPPED_BYTES,
    READ_MAP,
    READ_TAG,
    WRITE_MAP,
    WRITE_TAG,
)
from pemu.engine.staging.flow import Code
from pemu.engine.staging.softmmu import entry_offset, has_maps, mapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.layout.state import Field
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.values import Value


class AccessBuilder(Code):
    """The accesses to guest memory that a builder has. Its tier says how they stay precise."""

    __slots__ = ("arch",)

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch

    def field(self, field: Field) -> str:
        """Pointer operand of one of the engine's fields in the state."""
        return self.offset("%state", field.offset)

    def runtime_function(self, name: str) -> str:
        """Return the operand to call a runtime function by (`context.SYSTEM_FUNCTION_NAMES`)."""
        context = self.op(f"load ptr, ptr {self.field(s.CONTEXT)}, align 8")
        at = self.offset(context, c.FUNCTIONS + 8 * c.SYSTEM_FUNCTION_NAMES.index(name))
        return self.op(f"load ptr, ptr {at}, align 8")

    def tell(self, code: int, argument: Value | int) -> None:
        """Store what is told of an exception or exit: its code, and an argument of 64 bits."""
        if isinstance(argument, int):
            argument = self.const(argument, 64)
        self.do(f"store i64 {code}, ptr {self.field(s.EXIT_CODE)}, align 8")
        self.raw_store(self.field(s.EXIT_ADDRESS), argument.zext(64), align=8)

    def _call_runtime(self, name: str, arguments: str = "") -> None:
        self.do(f"call preserve_mostcc void {self.runtime_function(name)}(ptr %state{arguments})")

    # What the tiers provide.

    def guest_pointer(self, address: Value, size: int) -> str:
        """Return the host pointer operand for a guest-virtual address, before an access.

        Whatever keeps a fault of the access precise has been emitted when this returns.
        """
        raise NotImplementedError

    def before_access(self) -> None:
        """Emit what must be stored before an access, as it may raise an exception."""

    def blame(self) -> None:
        """Store which instruction is at work, for what may raise an exception or leave."""
        raise NotImplementedError

    def slow_access(
        self,
        what: str,
        address: Value,
        size: int,
        more: str = "",
        beyond: Value | None = None,
    ) -> str:
        """Text of the call that prepares an access which the soft TLB does not serve.

        It yields what to add to the address (64 bits) for a host address.

        `what`: "load", "store", "pointer"; `more`: operands behind address (64 bits) and size.
        """
        self.blame()
        function = self.runtime_function(f"pemu_slow_{what}")
        arguments = f"ptr %state, i64 {address.ir}, i64 {self.access(size, beyond)}{more}"
        return f"call preserve_mostcc i64 {function}({arguments})"

    def access(self, flags: int, beyond: Value | None) -> str:
        """The operand that tells a slow access its size, and how far `beyond` exceptions are."""
        if beyond is None:
            return str(flags)
        return ((beyond.zext(64) << BEYOND_SHIFT) | flags).ir

    # Accesses.

    def swap(self, value: Value) -> Value:
        """Turn a value between the guest's byte order and the host's."""
        return value.bswap() if self.arch.big_endian else value

    def load(self, address: Value, size: int, beyond: Value | None = None) -> Value:
        """Load `size` bytes (1, 2, 4, 8) from a guest-virtual address, in guest byte order.

        A whole processor's must be a multiple of `size`. beyond: how much further (0 to 7) the
        address is that its exceptions tell.
        """
        if self.arch.system is None:
            pointer, align = self.guest_pointer(address, size), 1
        else:
            pointer, align = self._look_up("load", address, size, beyond=beyond), size
        return self.swap(self.raw_load(pointer, size * 8, volatile=True, align=align))

    def store(self, address: Value, value: Value, beyond: Value | None = None) -> None:
        """Store `value` (8, 16, 32 or 64 bits) at a guest-virtual address, guest byte order.

        beyond: as `load` has it.
        """
        size = value.width // 8
        if self.arch.system is None:
            value = self.swap(value)
            self.raw_store(self.guest_pointer(address, size), value, volatile=True)
            return
        more = f", i64 {value.zext(64).ir}"
        pointer = self._look_up("store", address, size, more, beyond)
        self.raw_store(pointer, self.swap(value), volatile=True, align=size)

    def compare_exchange(self, address: Value, expected: Value, new: Value) -> Value:
        """Atomically store `new` where memory equals `expected`; return one bit, 1 if stored.

        The address must be aligned to the operands' size. Sequentially consistent.
        """
        expected, new = self.swap(expected), self.swap(new)
        size = new.width // 8
        if self.arch.system is None:
            pointer = self.guest_pointer(address, size)
        else:
            pointer = self._look_up("pointer", address, size)
        kind = f"i{new.width}"
        pair = self.op(
            f"cmpxchg volatile ptr {pointer}, {kind} {expected.ir}, {kind} {new.ir} "
            f"seq_cst seq_cst, align {size}"
        )
        return self.name(self.op(f"extractvalue {{ {kind}, i1 }} {pair}, 1"), 1)

    def fence(self) -> None:
        """Order all earlier accesses before all later ones."""
        self.do("fence seq_cst")

    # The soft TLB.

    def _look_up(
        self,
        what: str,
        address: Value,
        size: int,
        more: str = "",
        beyond: Value | None = None,
    ) -> str:
        """Emit a look-up, and the slow way where it fails; the host pointer operand for the access.

        Arguments: as `slow_access` has them. That makes accesses to devices itself, and has them
        made once more to a place that does not matter.
        """
        self.before_access()
        wide = address.zext(64)
        tag_at, map_at = (READ_TAG, READ_MAP) if what == "load" else (WRITE_TAG, WRITE_MAP)
        if has_maps(self.arch) and size <= MAPPED_BYTES:
            page = address.rotr(12) & (size << 20) - 1
            addend = self.raw_load(mapped(self, "%mem", map_at, page.zext(64)), 64, align=8)
            missed = addend.eq(0)
        else:
            entry = self.offset("%mem", entry_offset(wide))
            tag = self.raw_load(self.offset(entry, tag_at), 64, align=8)
            missed = tag.ne(wide & (-PAGE | size - 1))
            addend = self.raw_load(self.offset(entry, ADDEND), 64, align=8)
        slow, done, before = self.label("slow"), self.label("done"), self.here
        self.do(f"br i1 {missed.ir}, label %{slow}, label %{done}, !prof !0")
        self.go_on(slow)
        got = self.op(self.slow_access(what, wide, size, more, beyond))
        self.do(f"br label %{done}")
        self.go_on(done)
        text = f"phi i64 [ {addend.ir}, %{before} ], [ {got}, %{slow} ]"
        return self.op(f"inttoptr i64 {(wide + self.name(self.op(text), 64)).ir} to ptr")

    def flush_tlb(self) -> None:
        """Forget all translated addresses; they are translated again when next used."""
        self._call_runtime("pemu_flush_tlb")

    def flush_page(self, address: Value) -> None:
        """Forget what the 4 KiB page at a guest-virtual address was translated to."""
        self._call_runtime("pemu_flush_page", f", i64 {address.zext(64).ir}")

    def set_context(self, number: Value) -> None:
        """Use the soft TLB of address space `number` (below 1024); others keep their entries."""
        self._call_runtime("pemu_set_context", f", i64 {number.zext(64).ir}")
