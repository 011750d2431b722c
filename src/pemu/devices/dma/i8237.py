"""The 8237A DMA controller, with the page registers that PCs have beside it.

Intel 8237A data sheet, order number 231466; two of them and their pages as in the 82371AB (PIIX4)
data sheet, April 1997. The second one transfers words. Transfers are made at once when a device has
data and its channel is unmasked. Left out: transfers without a device, which PCs do not make,
and timing, extended writes and priorities, which make no difference here.
"""

from __future__ import annotations

from collections.abc import Callable

from pemu.machine import prop, state
from pemu.machine.isa import IsaBus, IsaDevice
from pemu.machine.region import Mmio
from pemu.machine.registers import RegisterBank, Registers

CHANNELS = 4
PAGE_PORTS = (7, 3, 1, 2)
"""Which of the page registers belongs to each channel."""

COMMAND, REQUEST, MASK, MODE, FLIP_FLOP, CLEAR, CLEAR_MASK, ALL_MASKS = range(8, 16)
"""Ports after those of the channels; COMMAND is read as the status, CLEAR as the temporary."""

DISABLED = 0x04
"""In the command register."""

VERIFY, TO_MEMORY, FROM_MEMORY = 0, 1, 2
"""Bits 2 and 3 of a channel's mode."""
AUTO_INITIALIZE, DECREMENT = 0x10, 0x20
CASCADE = 0xC0


class Channel:
    """One channel, as its device uses it; `pemu.machine.isa.DmaChannel`."""

    def __init__(self, chip: I8237, number: int) -> None:
        self._chip = chip
        self._number = number
        self.ended = False

    def when_ready(self, callback: Callable[[], object]) -> None:
        self._chip.wait(self._number, callback)

    def to_memory(self, data: bytes | bytearray) -> int:
        moved = 0
        for address, length in self._spans(len(data)):
            if self._chip.kind(self._number) == TO_MEMORY:
                self._chip.move_in(self._number, address, data[moved : moved + length])
            moved += length
        return moved

    def from_memory(self, length: int) -> bytes:
        moved = bytearray()
        for address, piece in self._spans(length):
            if self._chip.kind(self._number) == FROM_MEMORY:
                moved += self._chip.move_out(self._number, address, piece)
            else:
                moved += b"\xff" * piece  # nobody drives the bus
        return bytes(moved)

    def _spans(self, length: int) -> list[tuple[int, int]]:
        spans, self.ended = self._chip.advance(self._number, length)
        return spans


class I8237(IsaDevice):
    """One controller; `channels` are for the bus."""

    driver = "i8257"
    description = "8237A DMA controller"
    category = "misc"
    user_creatable = False

    base = prop.uint(32, 0, "first I/O port")
    page_base = prop.uint(32, 0x80, "first I/O port of the page registers")
    dshift = prop.uint(8, 0, "1 where words are transferred, and ports are two bytes apart")

    pages = Registers(0, 8, bank="pages", help="address bits 16 to 23")

    base_addresses = state.array(16, CHANNELS)
    base_counts = state.array(16, CHANNELS, help="units to transfer, less one")
    addresses = state.array(16, CHANNELS)
    counts = state.array(16, CHANNELS)
    modes = state.array(8, CHANNELS)
    command = state.uint(8)
    mask = state.uint(4, reset=0xF)
    requests = state.uint(4, help="of software")
    ends = state.uint(4, help="channels that have come to their terminal count")
    high_byte = state.flag(help="the next access to an address or count is to its upper byte")

    def realize(self) -> None:
        self.channels = [Channel(self, number) for number in range(CHANNELS)]
        self._waiting: dict[int, Callable[[], object]] = {}
        ports = Mmio("dma", 16 << self.dshift, self._read, self._write, self, maximum=1)
        self.ports(ports, self.base)
        self.ports(RegisterBank(self, "dma-page", 8, "pages"), self.page_base)

    def reset(self) -> None:
        self._waiting = {}

    # Transfers

    def kind(self, number: int) -> int:
        """VERIFY, TO_MEMORY or FROM_MEMORY."""
        return self.modes[number] >> 2 & 3

    def _ready(self, number: int) -> bool:
        free = not self.command & DISABLED and not self.mask >> number & 1
        return free and self.modes[number] & CASCADE != CASCADE

    def wait(self, number: int, callback: Callable[[], object]) -> None:
        """Call `callback` when the channel can transfer, at once if it can; see `Channel`."""
        if self._ready(number):
            callback()
        else:
            self._waiting[number] = callback

    def _go_on(self) -> None:
        """Let those have their transfer that the guest has made ready."""
        for number in [one for one in self._waiting if self._ready(one)]:
            self._waiting.pop(number)()

    def advance(self, number: int, length: int) -> tuple[list[tuple[int, int]], bool]:
        """Count a transfer of at most `length` bytes.

        Returns where it goes, as (lowest address, bytes), in its order, and whether it has come to
        the terminal count.
        """
        if not self._ready(number):
            return [], False
        unit = 1 << self.dshift
        units = min(length >> self.dshift, self.counts[number] + 1)
        page = self.pages[PAGE_PORTS[number]] & ~self.dshift
        spans = []
        left, at = units, self.addresses[number]
        down = bool(self.modes[number] & DECREMENT)
        while left:
            many = min(left, at + 1 if down else 0x1_0000 - at)
            lowest = at - many + 1 if down else at
            spans.append(((page << 16) + lowest * unit, many * unit))
            at = (at - many if down else at + many) & 0xFFFF
            left -= many
        self.addresses[number] = at
        ended = units == self.counts[number] + 1
        self.counts[number] = (self.counts[number] - units) & 0xFFFF
        if ended:
            self._end(number)
        return spans, ended

    def _end(self, number: int) -> None:
        """Note the terminal count."""
        self.ends |= 1 << number
        self.requests &= ~(1 << number)
        if self.modes[number] & AUTO_INITIALIZE:
            self.addresses[number] = self.base_addresses[number]
            self.counts[number] = self.base_counts[number]
        else:
            self.mask |= 1 << number

    def move_in(self, number: int, address: int, data: bytes | bytearray) -> None:
        """Write what a device has brought for a span."""
        self.dma_write(address, self._turned(number, bytes(data)))

    def move_out(self, number: int, address: int, length: int) -> bytes:
        """Read a span for a device."""
        return self._turned(number, self.dma_read(address, length))

    def _turned(self, number: int, data: bytes) -> bytes:
        """`data` with the last unit first, where addresses are counted down."""
        if not self.modes[number] & DECREMENT:
            return data
        if not self.dshift:
            return data[::-1]
        return b"".join(data[at : at + 2] for at in range(len(data) - 2, -1, -2))

    # Ports

    def _read(self, offset: int, size: int) -> int:
        port = offset >> self.dshift
        if port < COMMAND:
            values = self.counts if port & 1 else self.addresses
            return values[port >> 1] >> 8 * self._next_byte() & 0xFF
        if port == COMMAND:
            status = self.requests << 4 | self.ends
            self.ends = 0
            return status
        if port == ALL_MASKS:
            return 0xF0 | self.mask
        return 0

    def _write(self, offset: int, value: int, size: int) -> None:
        port = offset >> self.dshift
        number, bit = value & 3, 1 << (value & 3)
        if port < COMMAND:
            self._write_channel(port >> 1, bool(port & 1), value)
        elif port == COMMAND:
            self.command = value
            if value & 1:
                self.unimplemented("transfers from memory to memory")
        elif port == REQUEST:
            self.requests = self.requests | bit if value & 4 else self.requests & ~bit
        elif port == MASK:
            self.mask = self.mask | bit if value & 4 else self.mask & ~bit
        elif port == MODE:
            self.modes[number] = value
        elif port == FLIP_FLOP:
            self.high_byte = False
        elif port == CLEAR:
            self.command = self.requests = self.ends = 0
            self.high_byte = False
            self.mask = 0xF
        elif port == CLEAR_MASK:
            self.mask = 0
        else:
            self.mask = value & 0xF
        self._go_on()

    def _next_byte(self) -> int:
        """Which byte of a channel's register is meant; the next access means the other one."""
        now = int(self.high_byte)
        self.high_byte = not self.high_byte
        return now

    def _write_channel(self, number: int, is_count: bool, value: int) -> None:
        base = self.base_counts if is_count else self.base_addresses
        current = self.counts if is_count else self.addresses
        if self._next_byte():
            base[number] = base[number] & 0x00FF | value << 8
        else:
            base[number] = base[number] & 0xFF00 | value
        current[number] = base[number]


def pair(bus: IsaBus) -> None:
    """Give `bus` the two controllers of a PC."""
    create = bus.machine.create
    chips = (
        create(I8237, bus, base=0x00, page_base=0x80),
        create(I8237, bus, base=0xC0, page_base=0x88, dshift=1),
    )
    bus.dma = [channel for chip in chips for channel in chip.channels]
