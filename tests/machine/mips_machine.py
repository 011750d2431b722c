"""A machine that is a processor, RAM and a boot ROM, run by the test itself until WAIT."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence

from pemu.engine.code.cache import CodeCache
from pemu.machine.clock import InstructionCount
from pemu.machine.machine import Machine
from pemu.machine.mips import MipsProcessor
from pemu.machine.region import Ram
from tests.isa.mips.machines import encode
from tests.patience import LONG

ROM = 0x1FC00000
RAM_BYTES, ROM_BYTES = 1 << 20, 1 << 16


class _Stopping(MipsProcessor):
    """A processor that ends its run where it would sleep."""

    asleep = False

    def sleep(self) -> None:
        self.asleep = True
        self.cpu.kick()


class MipsMachine:
    """`run` starts at the reset vector; `icount` as -icount says."""

    def __init__(self, model: str, mode: str, icount: InstructionCount | None = None) -> None:
        self.machine = machine = Machine("big")
        machine.icount = icount
        cache = CodeCache(os.environ["PEMU_TEST_CACHE"])
        self.processor = _Stopping(machine, model, bits=64, cache=cache, mode=mode)
        self.cpu = self.processor.cpu
        self.parts = [(0, Ram("ram", RAM_BYTES)), (ROM, Ram("rom", ROM_BYTES))]
        for address, ram in self.parts:
            machine.memory.root.add(ram, address)

    def write(self, address: int, words: Sequence[int]) -> None:
        """Write words at a guest-physical address."""
        self.machine.memory.dma_write(address, encode(words, True))

    def run(self) -> None:
        """Reset, and run until WAIT."""
        processor = self.processor
        processor.asleep = False
        processor.reset()
        self.machine.clocks.virtual.start()
        guard = threading.Timer(LONG, processor.kick)
        guard.start()
        try:
            while not processor.asleep and guard.is_alive():
                processor.run()
        finally:
            guard.cancel()
            self.machine.clocks.virtual.stop()
            self.cpu.detach()
            processor._attached_to = 0
        assert processor.asleep, "the program did not come to its end"

    def gprs(self, numbers: Iterable[int]) -> list[int]:
        """General registers, 32 bits of them."""
        return [self.cpu.gpr[number] & 0xFFFFFFFF for number in numbers]

    def close(self) -> None:
        self.processor.close()
        self.machine.close()
