"""What the engine is told about a processor: one `Architecture` a model and byte order."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.insn import InstructionSet
    from pemu.engine.state import Layout


class SystemCall:
    """Where a system call's number, arguments and results live, for calls made natively.

    All are indices in the general register file. `error`: register that is set to 1 on error with
    the positive error number in `result`, else to 0. `stack`: register that points to arguments
    for which there are no registers, 32 bits each, from `stack_offset` bytes on.
    """

    __slots__ = ("arguments", "error", "number", "result", "stack", "stack_offset")

    def __init__(
        self,
        number: int,
        arguments: tuple[int, ...],
        result: int,
        error: int,
        stack: int | None = None,
        stack_offset: int = 0,
    ) -> None:
        self.number = number
        self.arguments = arguments
        self.result = result
        self.error = error
        self.stack = stack
        self.stack_offset = stack_offset


class Architecture:
    """A processor model as the translator sees it.

    `name`: unique for everything that generated code depends on, except the sources themselves
    (part of the code cache's key). `xlen`: bits of a general register and of the program counter.
    `address_bits`: bits of a guest-virtual address that reach memory: 32 or 41 (see
    `memory.AddressSpace`). `insn_bytes`: bytes of an instruction. `delay_slots`: branches take
    effect after the next instruction. `modes`: for each translation mode the feature names it adds;
    the mode number is part of a block's key (MIPS: FPU register modes). `hot_registers`: (file,
    index) of the registers that compiled regions pass to each other in host registers, at most 6.
    """

    __slots__ = (
        "address_bits",
        "big_endian",
        "delay_slots",
        "features",
        "general",
        "hot_registers",
        "insn_bytes",
        "insns",
        "layout",
        "modes",
        "name",
        "source",
        "system_call",
        "xlen",
    )

    def __init__(
        self,
        name: str,
        *,
        source: Callable[[], InstructionSet],
        layout: Layout,
        xlen: int,
        address_bits: int,
        big_endian: bool,
        features: frozenset[str],
        modes: tuple[frozenset[str], ...] = (frozenset(),),
        insn_bytes: int = 4,
        delay_slots: bool = False,
        hot_registers: tuple[tuple[str, int], ...] = (),
        general: str = "gpr",
        system_call: SystemCall | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self.layout = layout
        self.xlen = xlen
        self.address_bits = address_bits
        self.big_endian = big_endian
        self.features = features
        self.modes = modes
        self.insn_bytes = insn_bytes
        self.delay_slots = delay_slots
        self.hot_registers = hot_registers
        self.general = general
        self.system_call = system_call
