"""The ISA bus: I/O ports, memory below 16 MiB and interrupt lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from pemu.machine.device import Bus, Device
from pemu.machine.irq import Irq
from pemu.machine.region import Region, Terminal
from pemu.options.error import OptionError

if TYPE_CHECKING:
    from pemu.machine.device import Surroundings

LINES = 16


class DmaChannel(Protocol):
    """A channel of a DMA controller, for its device.

    ended: whether the last transfer has come to the terminal count.
    """

    ended: bool

    def when_ready(self, callback: Callable[[], object]) -> None:
        """Call `callback()` once, when the guest has made the channel ready; at once if it is."""

    def to_memory(self, data: bytes | bytearray) -> int:
        """Bring bytes to where the guest wants them; returns how many it takes."""

    def from_memory(self, length: int) -> bytes:
        """Take at most `length` bytes from where the guest has them."""


class IsaBus(Bus):
    """An ISA bus, made by its bridge or the board.

    memory, io: regions in which devices place theirs, by address and port. irqs: the 16 inputs of
    the interrupt controller, which is made before the devices that interrupt. dma: channels by
    number, none where there is no DMA controller.
    """

    kind: ClassVar[str] = "ISA"

    def __init__(
        self,
        machine: Surroundings,
        name: str,
        owner: Device | None,
        memory: Region,
        io: Region,
        irqs: list[Irq] | None = None,
    ) -> None:
        super().__init__(machine, name, owner)
        self.memory = memory
        self.io = io
        self.irqs = irqs or [Irq() for _ in range(LINES)]
        self.dma: Sequence[DmaChannel] = ()

    def connect(self, output: Irq, number: int) -> None:
        """Connect a device's line to interrupt `number`. Raises OptionError."""
        if not 0 <= number < LINES:
            raise OptionError(f"interrupt {number} is not on bus {self.name}; give 0 to 15")
        output.connect(self.irqs[number])


class IsaDevice(Device):
    """Base of devices on an ISA bus; `self.bus` is it."""

    plugs_into: ClassVar[type[Bus]] = IsaBus
    bus: IsaBus

    def ports(self, region: Terminal, port: int) -> None:
        """Let `region` answer I/O ports from `port` on."""
        self.own(region)
        if port + region.size > self.bus.io.size:
            raise OptionError(f"{self.driver}: I/O ports from {port:#x} on do not fit the bus")
        self.bus.io.add(region, port)
