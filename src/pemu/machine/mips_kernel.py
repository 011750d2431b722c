"""A MIPS kernel for a board that has no firmware to load it: what of its file goes where."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from pemu.machine import elf
from pemu.machine.irq import Sink
from pemu.machine.memory import Rom
from pemu.machine.region import Order
from pemu.machine.yamon import physical
from pemu.options.error import OptionError, quoted


class MipsCpu(Protocol):
    """What boards need of their processor.

    count_ns: virtual time between two values of Count from the next reset on.
    """

    bits: int
    count_ns: int

    def line(self, number: int) -> Sink:
        """Interrupt input `number`, 0 for IP2: a function of its level."""

    def leave_reset(self) -> None:
        """Be as firmware leaves it to kernels: no longer in an error (Status.ERL)."""

    def start_at(self, address: int) -> None:
        """Begin at a virtual address, of which the processor takes its bits; after a reset."""


class Kernel(NamedTuple):
    """A kernel as it is put into memory.

    roms: its segments. entry: virtual address, sign-extended to 64 bits. end: physical address
    after it. function_name: the function around a guest-virtual address.
    """

    roms: list[Rom]
    entry: int
    end: int
    function_name: Callable[[int], str]


def load_kernel(path: str, order: Order, bits: int, room: int) -> Kernel:
    """Read -kernel for a processor of `bits` bits and `room` bytes of memory from address 0 on.

    Raises OptionError.
    """
    program = elf.load(path, elf.EM_MIPS, order, bits)
    roms: list[Rom] = []
    end = 0
    for segment in program.segments:
        try:
            start = physical(segment.address)
        except ValueError as error:
            raise OptionError(f"-kernel: {quoted(path)}: {error}") from None
        if start + segment.size > room:
            raise OptionError(
                f"-kernel: {quoted(path)} ends at {start + segment.size:#x}, past {room >> 20} "
                "MiB of memory; give more (-m)"
            )
        roms.append(Rom(f"{path} {segment.name}", start, segment.data.ljust(segment.size, b"\0")))
        end = max(end, start + segment.size)
    entry = program.entry - (1 << 32) if program.entry >> 31 == 1 else program.entry
    return Kernel(roms, entry, end, elf.Names(path))
