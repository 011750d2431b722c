"""MIPS processors of machines: interrupt lines, the Count/Compare timer, WAIT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pemu.isa.mips import debug, dump
from pemu.isa.mips.access import accessed, is_branch
from pemu.isa.mips.cp0 import performance, watch
from pemu.isa.mips.cp0 import state as c
from pemu.isa.mips.cp0.debug_unit import debug_unit_access
from pemu.isa.mips.cp0.display import status_lines, tlb_lines
from pemu.isa.mips.cp0.exits import (
    EXIT_CACHE,
    EXIT_COMPARE,
    EXIT_COUNTERS,
    EXIT_HOOKS,
    EXIT_SEMIHOSTING,
    EXIT_STEP,
    EXIT_WAIT,
    NEVER,
)
from pemu.isa.mips.cp0.reset import COUNT_NS, reset
from pemu.isa.mips.cp0.translate import DEBUG_PHYSICAL
from pemu.isa.mips.cpu import system_architecture
from pemu.isa.mips.disassembler import disassemble
from pemu.isa.mips.exceptions import DEBUG_STEP, WATCH
from pemu.machine.irq import ProcessorInput
from pemu.machine.processor import Processor
from pemu.machine.region import BusError

if TYPE_CHECKING:
    from pemu.engine.code.cache import CodeCache
    from pemu.machine.deviceaccess import SpecialDevice
    from pemu.machine.machine import Machine
    from pemu.machine.mips_log import ProcessorLog

LEAST_COUNTED = 100_000
"""Virtual time in ns by which the interrupt of a performance counter may come late."""

HARDWARE_LINES = 6
"""Interrupt inputs: IP2 to IP7 of the Cause register."""


class MipsProcessor(Processor):
    """One processor.

    model: a name of `pemu.isa.mips.models`; raises what that does for one that is not there.
    bits: 32 or 64, of the target. count_ns: virtual time between two values of Count, from the
    next reset on.
    """

    def __init__(
        self,
        machine: Machine,
        model: str,
        *,
        bits: int,
        cache: CodeCache | None = None,
        mode: str = "auto",
    ) -> None:
        counts = machine.icount is not None
        more = machine.semihosting.features if machine.semihosting else frozenset[str]()
        big = machine.order == "big"
        arch = system_architecture(model, big, bits, counts=counts, more=more)
        super().__init__(machine, arch, cache=cache, mode=mode)
        self.bits = bits
        self.count_ns = COUNT_NS
        self.debug_architecture = debug.architecture_name(arch)
        self.variables = debug.variables(arch)
        self._timer = machine.clocks.virtual.timer(self.wake)
        self._counters = machine.clocks.virtual.timer(self._watch_counters)
        self._log: ProcessorLog | None = None

    def line(self, number: int) -> ProcessorInput:
        """Interrupt input `number`, 0 for IP2: a function of its level."""
        if not 0 <= number < HARDWARE_LINES:
            raise ValueError(f"interrupt input {number}: a MIPS processor has 0 to 5")
        bit = 1 << number
        cpu = self.cpu

        def set_level(level: int) -> None:
            # Under the machine's lock, as all that changes lines.
            lines = cpu.irq_lines
            cpu.irq_lines = lines | bit if level else lines & ~bit
            if level:
                self.wake()

        levels = cpu.address_of("irq_lines")
        return ProcessorInput(set_level, levels, cpu.look_address, self.awake.address, bit)

    def reset(self) -> None:
        """Be as after power-on."""
        log = self.machine.log
        if log.enabled("cpu_reset"):
            number = self.machine.cpus.index(self)
            log.write(f"CPU Reset (CPU {number})\n{self.registers_text()}")
        self._timer.cancel()
        self._counters.cancel()
        lines = self.cpu.irq_lines
        reset(self.cpu, self.count_ns)
        self.set_own_hooks(set())
        self.cpu.irq_lines = lines

    def leave_reset(self) -> None:
        """Be as firmware leaves it to kernels: no longer in an error (Status.ERL)."""
        self.cpu.status &= ~c.ERL
        self.cpu.update_mode()

    def start_at(self, address: int) -> None:
        """Begin at a virtual address, of which the processor takes its bits; after a reset.

        An address of 32 bits is one in the segments of 32 bits.
        """
        if address >> 31 == 1:
            address -= 1 << 32
        self.cpu.pc = address & (1 << self.engine.arch.xlen) - 1
        self.cpu.update_mode()

    def settle(self, number: int, argument: int) -> None:
        if number == EXIT_WAIT:
            self.sleep()
        elif number == EXIT_COMPARE:
            with self.machine.lock:
                if argument == NEVER:
                    self._timer.cancel()
                else:
                    self._timer.arm(argument)
        elif number == EXIT_CACHE:
            self._memory.drop_volatile()
        elif number == EXIT_COUNTERS:
            self._watch_counters()
        elif number == EXIT_HOOKS:
            self._hook_watched()
            if argument:
                self.cpu.pc -= 4
        elif number == EXIT_STEP:
            self._step_once()
        elif number == EXIT_SEMIHOSTING and self.machine.semihosting is not None:
            self.machine.semihosting.call(self)

    def _watch_counters(self) -> None:
        """Look again for interrupts by performance counters until all that may come have."""
        self.wake()
        with self.machine.lock:
            delay = performance.overflow_in(self.cpu)
            if delay is not None:
                self._counters.arm_in(max(delay // 2, LEAST_COUNTED))

    def at_own_hook(self) -> bool:
        cpu = self.cpu
        if watch.fetches(cpu, cpu.pc):
            cpu.enter_exception(WATCH)
            return True
        if cpu.watch_active and is_branch(self._word(cpu.pc)) and watch.fetches(cpu, cpu.pc + 4):
            cpu.enter_exception(WATCH, in_slot=True)
            return True
        return False

    def _hook_watched(self) -> None:
        """Put hooks where fetches are watched."""
        self.cpu.watch_hooks = 0
        found = watch.watched_instructions(self.cpu)
        # A hook in a delay slot is not seen: the branch before it has one, too.
        self.set_own_hooks(found | {address - 4 for address in found})

    def _step_once(self) -> None:
        """Go back from debug mode for one instruction, or an interrupt and one instruction."""
        cpu = self.cpu
        cpu.pc = cpu.depc
        cpu.update_mode()
        cpu.take_interrupt()
        self.step(False)
        if not cpu.debug & c.DM:
            cpu.enter_exception(DEBUG_STEP)
        cpu.kick()  # a step forgets that others may want it to stop

    def special_device(self, address: int) -> SpecialDevice | None:
        return self._debug_unit if address >= DEBUG_PHYSICAL else None

    def _debug_unit(self, address: int, value: int | None) -> int:
        found = debug_unit_access(address, value, self.machine.order == "big")
        if found is None:
            raise BusError
        return found

    # Logs

    def choose_log(self) -> None:
        items = self.machine.log.items
        if self._log is None and items:
            from pemu.machine import mips_log

            if not items.isdisjoint(mips_log.ITEMS):
                self._log = mips_log.ProcessorLog(self)
        if self._log is not None:
            self._log.choose()

    def at_block(self) -> None:
        if self._log is not None:
            self._log.run(self.cpu)

    # For monitors and debuggers

    def registers_text(self) -> str:
        text = dump.general(self.cpu) + status_lines(self.cpu)
        has_fpu = self.cpu.status >> 29 & 1
        return text + (dump.floating_point(self.cpu) if has_fpu else "")

    def tlb_text(self) -> str:
        return tlb_lines(self.cpu)

    def named_register(self, name: str) -> int | None:
        arch = self.engine.arch
        names = arch.layout.by_name[arch.general].names
        if name in names:
            value: int = self.cpu.gpr[names.index(name)]
            return value
        for variable in self.variables:
            if variable.name == name:
                return variable.read(self.cpu)
        return None

    def disassemble(self, address: int, data: bytes) -> str:
        return disassemble(self.engine.arch, int.from_bytes(data, self.machine.order), address)

    def _word(self, address: int) -> int:
        """The instruction at a guest-virtual address, 0 where nothing is."""
        return int.from_bytes(self.read_virtual(address, 4) or b"", self.machine.order)

    def accesses(self) -> list[tuple[int, int, bool]]:
        found = []
        gpr = self.cpu.gpr
        address = self.cpu.pc
        big = self.machine.order == "big"
        for _ in range(2):
            word = self._word(address)
            access = accessed(word, gpr, big)
            if access is not None:
                found.append(access)
            if not is_branch(word):
                break
            address += 4  # its delay slot belongs to it
        return found
