"""What the engine is told about a processor: one `Architecture` a model and byte order."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pemu.engine.layout.state import Layout
    from pemu.engine.staging.insn import Insn, InstructionSet
    from pemu.engine.staging.values import Value


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


class System:
    """What a whole processor needs beside its instructions.

    Each function is written like an instruction's meaning, but is staged once, into native code
    of its own; all registers it uses are read and written in the state structure.

    `enter_exception(cpu, code, argument)`: the instruction at `cpu.pc` (the branch, where
    `cpu.in_delay_slot` holds) raises exception `code` (32 bits), to which it gave `argument` (64
    bits); ends with `cpu.resume_at`. `take_interrupt(cpu)`: enters a pending, enabled interrupt and
    yields one bit, 1 if there was one. `may_interrupt(cpu)`: one bit, 0 if `take_interrupt` would
    do nothing before somebody calls `MachineCpu.look_for_interrupts`.
    `translate(cpu, address, access, mmu_mode)`: 64 bits: the
    4 KiB page of guest-physical addresses that a guest-virtual address leads to, with the bits
    PAGE_READ, PAGE_WRITE, PAGE_EXECUTE for what is allowed there, and PAGE_ASK if each load and
    store there has to ask again; or PAGE_FAULT and above that (PAGE_FAULT_SHIFT) the code of the
    exception that the access (ACCESS_LOAD, ...; 32 bits) raises. With ACCESS_LOOK it changes
    nothing. `current_mode(cpu)`: 32 bits: the translation mode that the registers ask for, with the
    number of the `mmu_mode` from bit `context.MMU_SHIFT` on. `fixed(cpu, address)`: one bit: 1 if
    an address always leads to the same memory while the mode stays.

    `jump_bits`: a jump to what is no fixed distance away gives so many bits of the address; the
    others are the delay slot's. `common_modes`: the `mmu_mode`s in which most addresses are fixed,
    a bit for each; what is found there is kept for all address spaces together. `misaligned`:
    exception codes of misaligned loads, stores. `bus_error`: those of accesses to where nothing
    answers, and of instruction fetches from there.
    """

    __slots__ = (
        "bus_error",
        "common_modes",
        "current_mode",
        "enter_exception",
        "fixed",
        "jump_bits",
        "may_interrupt",
        "misaligned",
        "take_interrupt",
        "translate",
    )

    def __init__(
        self,
        *,
        enter_exception: Callable[[Any, Value, Value], None],
        take_interrupt: Callable[[Any], Value],
        may_interrupt: Callable[[Any], Value],
        translate: Callable[[Any, Value, Value, Value], Value],
        current_mode: Callable[[Any], Value],
        fixed: Callable[[Any, Value], Value],
        jump_bits: int,
        common_modes: int,
        misaligned: tuple[int, int],
        bus_error: tuple[int, int],
    ) -> None:
        self.enter_exception = enter_exception
        self.take_interrupt = take_interrupt
        self.may_interrupt = may_interrupt
        self.translate = translate
        self.current_mode = current_mode
        self.fixed = fixed
        self.jump_bits = jump_bits
        self.common_modes = common_modes
        self.misaligned = misaligned
        self.bus_error = bus_error


COUNTED = "counted"
"""Feature of a translation mode: native code counts the instructions that are run in it (see
`InsnBuilder.instructions`)."""

PAGE_READ, PAGE_WRITE, PAGE_EXECUTE, PAGE_FAULT, PAGE_ASK = 1, 2, 4, 8, 16
PAGE_FAULT_SHIFT = 16
ACCESS_LOAD, ACCESS_STORE, ACCESS_FETCH, ACCESS_LOOK = 0, 1, 2, 3
"""LOOK: nobody accesses anything; a debugger or cache instruction wants to know what is there."""


class Architecture:
    """A processor model as the translator sees it.

    `name`: unique for everything that generated code depends on, except the sources themselves
    (part of the code cache's key). `xlen`: bits of a general register and of the program counter.
    `address_bits`: bits of a guest-virtual address that reach memory: 32 or 41 (see
    `memory.process.AddressSpace`). `insn_bytes`: bytes of an instruction. `delay_slots`: branches
    take effect after the next instruction. `modes`: for each translation mode the feature names it
    adds; the mode number is part of a block's key (MIPS: FPU register modes). `parts`: tier 0 is
    made in parts, each when a program first needs it; by name, which of the modes' features the
    meanings of a part's instructions depend on. An instruction belongs to the first part that is
    its module (`Insn.module`) or a folder around that, or else to the base, which depends on none.
    `hot_registers`: (file, index) of the registers that compiled regions pass to each other in host
    registers, at most 6. `system`: what makes a whole processor of it; None where it runs programs
    only. `counts`: native code counts the instructions that it runs (see `MachineCpu.grant`).
    """

    __slots__ = (
        "address_bits",
        "big_endian",
        "counts",
        "delay_slots",
        "features",
        "general",
        "hot_registers",
        "insn_bytes",
        "insns",
        "layout",
        "modes",
        "name",
        "parts",
        "source",
        "system",
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
        parts: dict[str, frozenset[str]] | None = None,
        insn_bytes: int = 4,
        delay_slots: bool = False,
        hot_registers: tuple[tuple[str, int], ...] = (),
        general: str = "gpr",
        system_call: SystemCall | None = None,
        system: System | None = None,
        counts: bool = False,
    ) -> None:
        self.name = name
        self.source = source
        self.layout = layout
        self.xlen = xlen
        self.address_bits = address_bits
        self.big_endian = big_endian
        self.features = features
        self.modes = modes
        self.parts = parts or {}
        self.insn_bytes = insn_bytes
        self.delay_slots = delay_slots
        self.hot_registers = hot_registers
        self.general = general
        self.system_call = system_call
        self.counts = counts
        self.system = system

    def part(self, insn: Insn) -> str:
        """Return the part of tier 0 that an instruction belongs to, "" for the base."""
        module = insn.module + "."
        return next((part for part in self.parts if module.startswith(part + ".")), "")
