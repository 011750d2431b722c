"""A whole processor with memory and nothing else, and words for it to run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from pemu.engine.code.cache import CodeCache
from pemu.engine.engine import Engine
from pemu.engine.layout.exits import EXIT_SYSTEM
from pemu.engine.machinecpu import PhysicalMap
from pemu.engine.memory.machine import MachineMemory
from pemu.isa.mips.cp0.exits import EXIT_CACHE, EXIT_COMPARE, EXIT_WAIT, NEVER
from pemu.isa.mips.cp0.models import Control
from pemu.isa.mips.cp0.reset import reset
from pemu.isa.mips.cpu import architecture_with, system_architecture
from tests.isa.mips.machines import encode

RAM_BYTES = 16 << 20
ROM, ROM_BYTES = 0x1FC00000, 0x40000


class BareMachine:
    """One processor, RAM from address 0 on, and writable memory at the reset vector."""

    def __init__(
        self, model: str | Control, *, big_endian: bool = True, mode: str = "auto"
    ) -> None:
        if isinstance(model, Control):
            self.arch = architecture_with(model, big_endian)
        else:
            self.arch = system_architecture(model, big_endian, 64)
        self.memory = MachineMemory(big_endian)
        self.ram = self.memory.allocate(RAM_BYTES)
        self.rom = self.memory.allocate(ROM_BYTES)
        cache = CodeCache(os.environ["PEMU_TEST_CACHE"])
        self.engine = Engine(self.arch, self.memory, cache=cache, mode=mode)
        self.cpu: Any = self.engine.new_cpu()
        self.cpu.set_devices(self._no_device, self._no_device)
        PhysicalMap(self.engine).set(
            [(0, RAM_BYTES, self.ram, True), (ROM, ROM + ROM_BYTES, self.rom, True)]
        )
        self.exits: list[tuple[int, int]] = []
        self._timer = threading.Timer(0, self.cpu.look_for_interrupts)

    def _no_device(self, key: int, value: int = 0) -> int:
        """There is no device: a bus error."""
        self.cpu.bus_error()
        return 0

    def place(self, address: int) -> int:
        """The place in memory of a guest-physical address."""
        return self.rom + address - ROM if address >= ROM else self.ram + address

    def write(self, address: int, words: Sequence[int]) -> None:
        """Write words at a guest-physical address."""
        data = encode(words, self.arch.big_endian)
        place = self.place(address)
        self.memory.changed(place, len(data))
        self.memory.view(place, len(data))[:] = data

    def word(self, address: int) -> int:
        """Read a word at a guest-physical address."""
        data = self.memory.read(self.place(address), 4)
        return int.from_bytes(data, "big" if self.arch.big_endian else "little")

    def reset(self) -> None:
        """Reset the processor."""
        reset(self.cpu)
        self.exits.clear()

    def run(self) -> None:
        """Run until WAIT; notes what is asked of the machine before."""
        cpu = self.cpu
        cpu.attach()
        try:
            while True:
                cpu.run()
                if cpu.exit_reason != EXIT_SYSTEM:
                    continue  # somebody's kick
                if cpu.exit_code == EXIT_WAIT:
                    return
                if cpu.exit_code == EXIT_CACHE:
                    self.memory.drop_volatile()
                elif cpu.exit_code == EXIT_COMPARE and cpu.exit_addr != NEVER:
                    self._look_at(cpu.exit_addr)
                self.exits.append((cpu.exit_code, cpu.exit_addr))
        finally:
            self._timer.cancel()
            cpu.detach()

    def _look_at(self, deadline: int) -> None:
        """Have the processor look for interrupts when virtual time reaches `deadline` (ns)."""
        self._timer.cancel()
        delay = max(deadline - time.monotonic_ns(), 0) / 1e9
        self._timer = threading.Timer(delay, self.cpu.look_for_interrupts)
        self._timer.daemon = True
        self._timer.start()
