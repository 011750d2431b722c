"""A processor of a machine: an engine's cpu, the machine's memory and devices around it.

What differs between instruction sets (interrupt lines, timers, what their instructions ask of the
machine) is in subclasses, such as `pemu.machine.mips`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

from pemu.engine.engine import Engine
from pemu.engine.layout import context as c
from pemu.engine.layout.exits import EXIT_BUDGET, EXIT_HOOK, EXIT_INTERRUPT, EXIT_SYSTEM, EXIT_WATCH
from pemu.engine.machinecpu import MachineCpu, PhysicalMap, Watches
from pemu.engine.memory.machine import MachineMemory
from pemu.machine.deviceaccess import DeviceAccess
from pemu.machine.icount import InstructionTime
from pemu.machine.native import Cells
from pemu.machine.region import Ram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.engine.code.cache import CodeCache
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.variable import Variable
    from pemu.machine.control import State
    from pemu.machine.deviceaccess import SpecialDevice
    from pemu.machine.machine import Machine


_MASK = (1 << 64) - 1


class Debugger(Protocol):
    """What a debugger has a processor do; called by the processor's thread."""

    @property
    def stepping(self) -> bool:
        """Whether the processor calls `step` instead of running."""

    def step(self) -> None:
        """Run one instruction, and pause the machine if it is to stand then."""

    def at_hook(self) -> None:
        """The processor has come to a breakpoint."""

    def at_watch(self, address: int) -> None:
        """The next instruction accesses a watched range, `address` being the first it accesses."""


class Processor(ABC):
    """A `pemu.machine.control.Vcpu`.

    cpu: the engine's cpu, whose registers are attributes by their declared names. `cache`, `mode`:
    as `Engine` takes them.
    """

    def __init__(
        self,
        machine: Machine,
        arch: Architecture,
        *,
        cache: CodeCache | None = None,
        mode: str = "auto",
    ) -> None:
        self.machine = machine
        self._memory = MachineMemory(arch.big_endian)
        self.engine = Engine(arch, self._memory, cache=cache, mode=mode)
        cpu = self.engine.new_cpu()
        assert isinstance(cpu, MachineCpu)
        self.cpu: Any = cpu
        DeviceAccess(machine, cpu, self.special_device)
        self._physical = PhysicalMap(self.engine)
        self.watches = Watches(self.engine)
        self._places: dict[Ram, int] = {}
        self._wake = threading.Event()
        self.awake = Cells(1)
        """Not 0 where native code has done what `wake` does."""
        self._attached_to = 0
        self._breakpoints: set[int] = set()
        self._own_hooks: set[int] = set()
        self.debugger: Debugger | None = None
        self.sleeps = True
        """Whether it waits where the guest does; a debugger's steps do not."""
        self._counted: InstructionTime | None = None
        if machine.icount is not None:
            self._counted = InstructionTime(
                machine, self.cpu, machine.icount, self._set_clock_offset, self._wake
            )
        machine.memory.listen(self._memory_changed)
        machine.control.listeners.append(self._state_changed)

    # Memory

    def _memory_changed(self) -> None:
        """Give the engine the machine's map of memory. While the guest stands, or on its thread."""
        ranges = []
        for one in self.machine.memory.ram_ranges():
            place = self._place(one.ram) + one.offset
            ranges.append((one.start, one.end, place, one.writable))
        self._physical.set(ranges)

    def _place(self, ram: Ram) -> int:
        """Where a region lies in the engine's memory; it is mapped there when first seen."""
        place = self._places.get(ram)
        if place is None:
            size = (ram.size + 4095) // 4096 * 4096
            place = self._places[ram] = self._memory.allocate(size, ram.fd)
            at = place
            ram.written = lambda offset, length: self._memory.changed(at + offset, length)
        return place

    def special_device(self, address: int) -> SpecialDevice | None:
        """What of the processor's own answers at a guest-physical address instead of the bus."""
        return None

    # Running

    def _state_changed(self, state: State) -> None:
        if state == "running":
            self._set_clock_offset(self.machine.clocks.virtual.offset)
            if self._counted is not None:
                self._counted.started()

    def _set_clock_offset(self, offset: int) -> None:
        self.engine.context[c.CLOCK_OFFSET >> 3] = offset & _MASK

    def run(self) -> None:
        """Run the guest until `kick` is called."""
        cpu = self.cpu
        thread = threading.get_ident()
        if self._attached_to != thread:
            cpu.attach()
            self._attached_to = thread
        if self.debugger is not None and self.debugger.stepping:
            self.debugger.step()
            return
        while True:
            cpu.run()
            if cpu.exit_reason == EXIT_INTERRUPT:
                return
            if cpu.exit_reason == EXIT_HOOK:
                self.at_block()
                if self.debugger is not None and cpu.pc in self._breakpoints:
                    self.debugger.at_hook()
                    return
                if not self.at_own_hook():
                    cpu.skip_hook()
                continue
            if cpu.exit_reason == EXIT_WATCH and self.debugger is not None:
                self.debugger.at_watch(cpu.exit_addr)
                return
            self.settle_exit()

    def at_block(self) -> None:
        """Log the block that begins at the present pc, if that is wanted."""

    def choose_log(self) -> None:
        """Have logged of the processor what the machine's log wants by now. While it stands."""

    def step(self, interrupts: bool) -> None:
        """Run one instruction, with its delay slot; `interrupts`: unless one is taken before.

        What is watched does not matter.
        """
        cpu = self.cpu
        if interrupts and cpu.take_interrupt() or self.at_own_hook():
            return
        cpu.skip_hook()
        self.watches.enable(False)
        cpu.step()
        self.watches.enable(True)
        cpu.look_for_interrupts()
        self.settle_exit()

    def set_breakpoints(self, addresses: set[int]) -> None:
        """Have the debugger's `at_hook` called before the instructions at guest-virtual addresses.

        While the processors stand.
        """
        self._breakpoints = set(addresses)
        self.engine.set_hooks(self._breakpoints | self._own_hooks)

    def set_own_hooks(self, addresses: set[int]) -> None:
        """Have `at_own_hook` called there. On the processor's thread, or while it stands."""
        if addresses != self._own_hooks:
            self._own_hooks = addresses
            self.engine.set_hooks(self._breakpoints | addresses)

    def at_own_hook(self) -> bool:
        """Do what the guest wants at the present pc; whether it goes on elsewhere."""
        return False

    def settle_exit(self) -> None:
        """Do what the cpu has left native code for."""
        cpu = self.cpu
        if cpu.exit_reason == EXIT_SYSTEM:
            self.settle(cpu.exit_code, cpu.exit_addr)
        elif cpu.exit_reason == EXIT_BUDGET and self._counted is not None:
            self._counted.run_timers()

    @abstractmethod
    def settle(self, number: int, argument: int) -> None:
        """Do what an instruction has asked of the machine by `cpu.exit(number, argument)`."""

    def kick(self) -> None:
        """Make `run` return soon."""
        self.cpu.kick()
        self._wake.set()

    def wake(self) -> None:
        """Something may have become pending: look, and sleep no longer. From any thread."""
        self.cpu.look_for_interrupts()
        if not self._wake.is_set():  # whoever clears it looks for interrupts afterwards
            self._wake.set()

    def sleep(self) -> None:
        """Wait for `wake` or `kick`, or return at once if one came since the last time."""
        if not self.sleeps:
            return
        if self.awake.view[0]:
            self.awake.view[0] = 0
            self._wake.set()
        if self._counted is None:
            self._wake.wait()
        elif not self._wake.is_set():
            self._counted.idle()
        self._wake.clear()

    @abstractmethod
    def reset(self) -> None:
        """Be as after power-on."""

    # For monitors and debuggers, while the processor stands

    @property
    def address_digits(self) -> int:
        """Hexadecimal digits of guest-virtual addresses."""
        return self.engine.arch.xlen // 4

    @property
    def instruction_bytes(self) -> int:
        """The size of an instruction."""
        return self.engine.arch.insn_bytes

    def read_virtual(self, address: int, size: int) -> bytes | None:
        """Bytes at a guest-virtual address, as the present mode has it; None where nothing is."""
        data = b""
        while len(data) < size:
            place = self._piece(address + len(data), size - len(data))
            if place is None:
                return None
            data += self.machine.memory.dma_read(*place)
        return data

    def write_virtual(self, address: int, data: bytes) -> bool:
        """Write to a guest-virtual address, also where the guest may not; False if nothing is."""
        while data:
            place = self._piece(address, len(data))
            if place is None:
                return False
            physical, size = place
            self.machine.memory.dma_write(physical, data[:size])
            address, data = address + size, data[size:]
        return True

    def translate(self, address: int) -> int | None:
        """The guest-physical address of a guest-virtual one; None where there is none."""
        found: int | None = self.cpu.translate(address & (1 << 4 * self.address_digits) - 1)
        return found

    def _piece(self, address: int, size: int) -> tuple[int, int] | None:
        """Where the first of so many bytes are, and how many are there in one piece."""
        physical = self.translate(address)
        if physical is None:
            return None
        seen = self.machine.memory.find(physical)
        if seen is None:
            return None
        return physical, min(size, 4096 - (address & 4095), seen.end - physical)

    debug_architecture = ""
    """gdb's name of the architecture."""

    variables: Sequence[Variable] = ()
    """The registers, in the order of gdb's numbers."""

    @abstractmethod
    def accesses(self) -> list[tuple[int, int, bool]]:
        """What the next instruction will access: addresses, bytes, whether it stores."""

    @abstractmethod
    def registers_text(self) -> str:
        """What `info registers` shows."""

    @abstractmethod
    def tlb_text(self) -> str:
        """What `info tlb` shows."""

    @abstractmethod
    def named_register(self, name: str) -> int | None:
        """The value of a register by the name that the assembler or gdb has for it."""

    @abstractmethod
    def disassemble(self, address: int, data: bytes) -> str:
        """The instruction `data` at a guest-virtual address."""

    def close(self) -> None:
        """Keep what the next run can use, at the end of the machine."""
        self.engine.close()
