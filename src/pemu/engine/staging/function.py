"""The engine's own native functions, and the convention of those that end in tail calls.

A *handler* is a function of `PARAMETERS` arguments that ends in a tail call: op, state, memory
base, carry, then the registers that compiled regions hand to each other. `carry` is how a branch
tells the end of its block what it decided: 1 or 0, or the target address.
"""

from __future__ import annotations

from pemu.engine.host.x86_64 import PARAMETERS
from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.staging.flow import Code
from pemu.engine.staging.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.values import Emitter

PASSED = PARAMETERS - 4
HANDLER_TYPES = ("ptr", "ptr", "ptr", *["i64"] * (PARAMETERS - 3))
PARAMETER_NAMES = ("%op", "%state", "%mem", "%carry", *(f"%h{i}" for i in range(PASSED)))
PARAMETER_LIST = ", ".join(
    f"{kind} {name}" for kind, name in zip(HANDLER_TYPES, PARAMETER_NAMES, strict=True)
)
ATTRIBUTES = 'nounwind strictfp "frame-pointer"="none"'


class Function(Code):
    """A native function under construction."""

    __slots__ = ("_header", "mem")

    def __init__(self, header: str) -> None:
        super().__init__()
        self._header = header
        self.mem = "%mem"

    @property
    def text(self) -> str:
        """The whole definition as IR text."""
        body = "\n".join([*self.entry_lines, "  br label %start", "start:", *self.lines])
        return f"define {self._header} {{\nentry:\n{body}\n}}\n"

    # Fields of the engine's structures, as 64-bit (or narrower) values.

    def state_field(self, field: s.Field) -> str:
        """Pointer operand of a state field."""
        return self.offset("%state", field.offset)

    def get(self, field: s.Field) -> Value:
        """Read a state field."""
        return self.raw_load(self.state_field(field), field.size * 8, align=field.size)

    def put(self, field: s.Field, value: Value | int) -> None:
        """Write a state field."""
        if isinstance(value, int):
            value = self.const(value, field.size * 8)
        self.raw_store(self.state_field(field), value, align=field.size)

    def pointer(self, value: Value) -> str:
        """Turn a 64-bit value into a pointer operand."""
        return self.op(f"inttoptr i64 {value.ir} to ptr")

    def address(self, pointer: str) -> Value:
        """Turn a pointer operand into a 64-bit value."""
        return self.name(self.op(f"ptrtoint ptr {pointer} to i64"), 64)

    def context(self) -> str:
        """Pointer operand of the engine's context."""
        return self.pointer(self.get(s.CONTEXT))

    def at(self, pointer: str, offset: int, width: int = 64) -> Value:
        """Read `width` bits at a byte offset from a pointer operand."""
        return self.raw_load(self.offset(pointer, offset), width)

    def set_at(self, pointer: str, offset: int, value: Value) -> None:
        """Write a value at a byte offset from a pointer operand."""
        self.raw_store(self.offset(pointer, offset), value)

    def tail(self, target: str, op: str = "%op", carry: str = "%carry") -> None:
        """Go on in the handler `target` (an operand); ends the basic block."""
        self.hand_over(target, op, carry, mem=self.mem)

    def run_op(self, op: str, carry: str = "%carry") -> None:
        """Go on with the op at pointer operand `op`."""
        handler = self.op(f"load ptr, ptr {op}, align 8")
        self.tail(handler, op, carry)

    def run_block(self, block: str) -> None:
        """Go on with the first op of the block at pointer operand `block`."""
        self.run_op(self.offset(block, c.HEADER), "poison")

    def leave(self, reason: int) -> None:
        """Return to Python with an exit reason; all else has been stored."""
        self.put(s.EXIT_REASON, reason)
        self.do("ret void")

    def store_op_pc(self, arch: Architecture) -> Value:
        """Store the address of the present op's instruction in the state's pc; return `place`."""
        place = self.at("%op", c.PLACE, 8)
        index = (place & 0x7F).zext(64)
        self.put(s.PC, self.block_pc(arch, self.block_of_op()) + index * arch.insn_bytes)
        return place

    def block_pc(self, arch: Architecture, block: str) -> Value:
        """The guest-virtual address of a block that is about to run."""
        return based(self, arch, self.at(block, c.BLOCK_PC))

    def block_of_op(self) -> str:
        """Pointer operand of the present op's block."""
        slot = self.at("%op", c.SLOT, 8).zext(64)
        return self.offset("%op", -(slot << 4))


def based(e: Emitter, arch: Architecture, address: Value) -> Value:
    """The guest-virtual address that an address (64 bits) of the running block stands for."""
    if arch.system is None:
        return address
    return address + e.raw_load(e.offset("%state", s.CODE_BASE.offset), 64, align=8)


def handler(name: str, linkage: str = "internal ") -> Function:
    """Return a new handler function."""
    return Function(f"{linkage}preserve_nonecc void @{name}({PARAMETER_LIST}) {ATTRIBUTES}")
