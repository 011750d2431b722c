"""Declaration of a processor's registers, and the memory layout derived from it.

A state is declared once, as a tuple of `Register`. From it derive the structure that native code
works on, the views that Python code uses, register lists for debuggers and logs.

The state pointer of native code points at the first declared register, so that the registers used
most have the shortest displacements. The engine's own fields lie below it, at negative offsets.
"""

from __future__ import annotations


class Register:
    """One register or a file of equal registers.

    `width`: bits of one register (1 to 128; storage is rounded up to 8, 16, 32, 64, 128 bits).
    `count`: number of registers in a file, 0 for a single one.
    `zero`: index in the file that always reads as zero, or -1.
    `group`: "general", "float", "system", "vector" (debuggers, logs) or "hidden" (not shown).
    `names`: one name for each register of a file, for display.
    `memory`: True if it always lives in the state structure, also in compiled regions, so that
    helpers may touch it (for registers that are written rarely, or only out of line).
    """

    __slots__ = ("count", "group", "memory", "name", "names", "offset", "width", "zero")

    def __init__(
        self,
        name: str,
        width: int,
        count: int = 0,
        *,
        zero: int = -1,
        group: str = "general",
        names: tuple[str, ...] = (),
        memory: bool = False,
    ) -> None:
        self.name = name
        self.width = width
        self.count = count
        self.zero = zero
        self.group = group
        self.names = names
        self.memory = memory
        self.offset = 0

    @property
    def stride(self) -> int:
        """Bytes from one register of the file to the next."""
        return next(size for size in (1, 2, 4, 8, 16) if size * 8 >= self.width)


class Field:
    """One of the engine's own fields: a byte offset from the state pointer and a size in bytes."""

    __slots__ = ("offset", "size")

    def __init__(self, offset: int, size: int) -> None:
        self.offset = offset
        self.size = size


ENGINE_BYTES = 512
"""Bytes below the state pointer that belong to the engine."""

SIGINFO_BYTES = 128

# The fields native code touches most are nearest to the state pointer.
EXIT_FLAG = Field(-8, 4)  # not zero: leave native code soon
IRQ_FLAG = Field(-7, 1)  # the second byte of it: look for interrupts (whole processors)
EXIT_REASON = Field(-4, 4)
PC = Field(-16, 8)  # guest program counter, exact whenever native code is left
MODE_TAG = Field(-24, 8)  # combined with the pc to make a block's tag
CONTEXT = Field(-32, 8)  # host address of the engine's shared context
CURRENT_OP = Field(-40, 8)  # tier 0: the op that makes a memory access
HOST_SP = Field(-48, 8)  # host stack pointer to leave native code with
EXIT_CODE = Field(-56, 8)
EXIT_ADDRESS = Field(-64, 8)
FAULT_HOST_PC = Field(-72, 8)  # host address of the access that faulted, in compiled regions
GUEST_MXCSR = Field(-76, 4)  # floating-point control of generated code (host's encoding)
HOST_MXCSR = Field(-80, 4)
STEP = Field(-84, 4)  # 1: run one instruction although EXIT_FLAG is set
SIGNAL_PENDING = Field(-88, 4)
MEMORY_BASE = Field(-96, 8)
EXIT_BLOCK = Field(-104, 8)  # block that an exit belongs to (hot, hook)
SYSCALL_ERROR = Field(-112, 8)
HOST_STOPPED = Field(-116, 4)
CODE_EPOCH = Field(-128, 8)  # code generation this thread saw when it entered native code
SIGINFO = Field(-128 - SIGINFO_BYTES, SIGINFO_BYTES)
LINK_SLOT = Field(-264, 8)  # region exit that wants to be linked
BLOCK_TABLE = Field(-272, 8)  # host address of the hash table of blocks
SIGNAL_MASK = Field(-288, 16)  # what the guest has masked: bit n-1 for its signal n
SIGNALS_HELD = Field(-292, 4)  # not 0: Python holds signals back that the mask keeps from the guest
SKIP_HOOK = Field(-280, 8)  # complement of the pc whose hook is passed once
IN_SLOT = Field(-296, 4)  # not 0: pc is a branch's, and what happens happens in its delay slot
TLB_CONTEXT = Field(-300, 4)  # whole processors: the soft TLB in use (tlb_table)
TLB_TABLES = Field(-312, 8)  # host address of the soft TLBs
BUS_ERROR = Field(-316, 4)  # not 0: the access that a device was asked for has failed
CALL_BEGUN = Field(-344, 4)  # not 0: the host system call that a signal ended had begun
BUDGET = Field(-328, 8)  # where instructions are counted: how many may still be run
BUDGET_END = Field(-336, 8)  # instructions run in all when it is used up
COUNT_SHIFT = Field(-340, 4)  # virtual time in ns that an instruction takes, as a power of two
TLB_NEXT = Field(-320, 4)  # the soft TLB that is given away next
CODE_BASE = Field(-376, 8)  # whole processors: what the running block's BLOCK_PC counts from
DEVICE_DATA = Field(-384, 8)  # whole processors: what has been read from a device, as in memory
ALTERNATE_STACK = Field(-368, 24)  # for handlers of signals: guest address, bytes, flags


class Layout:
    """Offsets of all registers of a declared state, relative to the state pointer."""

    __slots__ = ("by_name", "registers", "size")

    def __init__(self, registers: tuple[Register, ...]) -> None:
        offset = 0
        self.by_name: dict[str, Register] = {}
        for register in registers:
            if register.name in self.by_name:
                raise ValueError(f"register {register.name} is declared twice")
            stride = register.stride
            offset = (offset + stride - 1) // stride * stride
            register.offset = offset
            offset += stride * max(register.count, 1)
            self.by_name[register.name] = register
        self.registers = registers
        self.size = (offset + 63) // 64 * 64
