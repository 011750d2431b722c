"""Address spaces: a tree of regions seen flat, by the processor and by DMA.

The processor's native code accesses RAM by itself (`AddressSpace.ram_ranges`); everything else goes
through `read` and `write`, under the machine's lock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from pemu.log import Log
from pemu.machine.region import (
    MASKS,
    Alias,
    BusError,
    Load,
    Mmio,
    Order,
    Ram,
    Read,
    Region,
    RomDevice,
    Store,
    Terminal,
    Write,
)

MOST_NESTED = 3
"""DMA into registers of a device that thereupon does DMA into registers, and so on."""

MOST_REGISTER_DMA = 1 << 20
"""Bytes of one DMA transfer that may go to registers, a call for each word; to RAM all may."""


class FlatRange(NamedTuple):
    """From `start` to before `end`, `region` is seen from its `offset` on.

    `readonly`: the region, if it is RAM, cannot be written here. `direct`: RAM is read as memory.
    """

    start: int
    end: int
    region: Terminal
    offset: int
    readonly: bool
    direct: bool


class RamRange(NamedTuple):
    """From `start` to before `end`, memory lies at `host` and further on, `offset` of `ram`.

    Where it is not writable, writes go to `AddressSpace.write`.
    """

    start: int
    end: int
    host: int
    writable: bool
    ram: Ram
    offset: int


class Rom(NamedTuple):
    """What each reset puts into memory at a guest-physical address; `name` is for users."""

    name: str
    address: int
    data: bytes


class AddressSpace:
    """What one bus sees at which address.

    root: the region that holds all; `order`: the byte order of the processor, in which values of
        `read` and `write` are. log: where accesses to nothing are noted.
    unassigned: called for those with (address, size, is_write); returns the value that is read, and
        may raise `BusError`. The default reads 0.
    """

    def __init__(self, name: str, root: Region, order: Order, log: Log | None = None) -> None:
        self.name = name
        self.root = root
        self.order: Order = order
        self.log = log or Log()
        self.unassigned: Callable[[int, int, bool], int] = lambda address, size, is_write: 0
        self.view: list[FlatRange] = []
        self._listeners: list[Callable[[], object]] = []
        self._busy: list[object] = []
        root.spaces.append(self)
        self.rebuild()

    # The tree, flat

    def listen(self, listener: Callable[[], object]) -> None:
        """Call `listener()` now and after each change of what is seen."""
        self._listeners.append(listener)
        listener()

    def ram_ranges(self) -> list[RamRange]:
        """Where memory is that can be read without a call, in order of addresses."""
        return [
            RamRange(
                one.start,
                one.end,
                one.region.host + one.offset,
                not one.readonly and not isinstance(one.region, RomDevice),
                one.region,
                one.offset,
            )
            for one in self.view
            if isinstance(one.region, Ram) and one.direct
        ]

    def rebuild(self) -> None:
        """Make the flat view anew; regions call this when they have changed."""
        view = flatten(self.root)
        if view == self.view and view:
            return
        self.view = view
        self._starts: list[int] = []
        self._entries: list[tuple[int, int, Read, Write]] = []
        at = 0
        for one in view:
            self._gap(at, one.start)
            read, write = one.region.bus(self.order)
            if one.readonly and isinstance(one.region, Ram):
                write = self._readonly_write(one)
            self._starts.append(one.start)
            self._entries.append((one.end, one.start - one.offset, read, write))
            at = one.end
        self._gap(at, 1 << 64)
        for listener in self._listeners:
            listener()

    def _gap(self, start: int, end: int) -> None:
        if start < end:
            self._starts.append(start)
            self._entries.append((end, 0, self._unassigned_read, self._unassigned_write))

    # The processor's accesses

    def read(self, address: int, size: int) -> int:
        """The value of `size` (1, 2, 4 or 8) bytes at `address`. Raises `BusError`."""
        end, base, read, _ = self._entries[bisect_right(self._starts, address) - 1]
        if address + size > end:
            return int.from_bytes(self._transfer(address, size, b""), self.order)
        return read(address - base, size)

    def write(self, address: int, value: int, size: int) -> None:
        """Write the low `size` (1, 2, 4 or 8) bytes of `value` to `address`. Raises `BusError`."""
        end, base, _, write = self._entries[bisect_right(self._starts, address) - 1]
        if address + size > end:
            self._transfer(address, size, (value & MASKS[size]).to_bytes(size, self.order))
        else:
            write(address - base, value, size)

    def load(self, address: int, size: int) -> Load:
        """A function that reads there as `read` does, until the view changes."""
        one = self.find(address)
        if one and isinstance(one.region, Mmio) and address + size <= one.end:
            return one.region.load(address - one.start + one.offset, size, self.order)
        return partial(self.read, address, size)

    def store(self, address: int, size: int) -> Store:
        """A function that writes there as `write` does, until the view changes."""
        one = self.find(address)
        if one and isinstance(one.region, Mmio) and address + size <= one.end:
            return one.region.store(address - one.start + one.offset, size, self.order)
        return lambda value: self.write(address, value, size)

    def find(self, address: int) -> FlatRange | None:
        """What is seen at `address`, if anything."""
        index = bisect_right(self.view, address, key=lambda one: one.start) - 1
        if index >= 0 and address < self.view[index].end:
            return self.view[index]
        return None

    # DMA

    def dma_read(self, address: int, length: int, device: object = None) -> bytes:
        """`length` bytes at `address`, as `device` reads them; zeros where there is nothing.

        Registers of `device` itself, and of devices that wait for DMA of their own, read as zeros.
        """
        one = self.find(address)
        if one and isinstance(one.region, Ram) and one.direct and address + length <= one.end:
            at = address - one.start + one.offset
            return one.region.memory[at : at + length]
        return self._dma(address, length, b"", device)

    def dma_write(self, address: int, data: bytes, device: object = None) -> None:
        """Write `data` to `address`, as `device` does; nowhere where there is nothing."""
        one = self.find(address)
        if one and type(one.region) is Ram and not one.readonly and address + len(data) <= one.end:
            one.region.write_bytes(address - one.start + one.offset, data)
        elif data:
            self._dma(address, len(data), data, device)

    def fill(self, address: int, data: bytes) -> None:
        """Write `data` to memory, also to that which guests cannot write; nowhere else."""
        at = 0
        while at < len(data):
            one = self.find(address + at)
            if one is None:
                return
            part = data[at : at + one.end - address - at]
            if isinstance(one.region, Ram):
                one.region.write_bytes(address + at - one.start + one.offset, part)
            at += len(part)

    def dma_view(self, address: int, length: int) -> memoryview | None:
        """The memory itself, if all of it is one piece of writable RAM.

        For transfers by other threads. Call `dma_written` after writing to it.
        """
        one = self.find(address)
        if one is None or type(one.region) is not Ram or one.readonly or address + length > one.end:
            return None
        at = address - one.start + one.offset
        return memoryview(one.region.memory)[at : at + length]

    def dma_written(self, address: int, length: int) -> None:
        """The `dma_view` of the same place has been written to."""
        one = self.find(address)
        if one and isinstance(one.region, Ram) and one.region.written:
            at = address - one.start + one.offset
            one.region.written(at, min(length, one.end - address))

    def _dma(self, address: int, length: int, data: bytes, device: object) -> bytes:
        if len(self._busy) >= MOST_NESTED:
            self.note(f"DMA by {device} at {address:#x} nests too deep; refused")
            return bytes(length)
        self._busy.append(device)
        try:
            return self._transfer(address, length, data, dma=True)
        finally:
            self._busy.pop()

    def _transfer(self, address: int, length: int, data: bytes, dma: bool = False) -> bytes:
        """Read `length` bytes, or write `data`, across ranges."""
        result = bytearray()
        at, end = address, address + length
        budget = MOST_REGISTER_DMA
        while at < end:
            here = at & (1 << 64) - 1
            entry = bisect_right(self._starts, here) - 1
            stop = min(end - at, self._entries[entry][0] - here)
            piece = data[at - address : at - address + stop]
            one = self.find(here)
            at += stop
            if one is None:
                if dma:
                    self._note_unassigned(here, stop, bool(data))
                    result += bytes(stop)
                else:
                    value = self._unassigned(here, stop, bool(data))
                    result += (value & MASKS[stop]).to_bytes(stop, self.order)
                continue
            if not isinstance(one.region, Ram) and dma:
                budget -= stop
                owner = one.region.owner
                if budget < 0 or (owner is not None and any(owner is d for d in self._busy)):
                    self.note(f"DMA to registers at {here:#x} ({one.region.name}) refused")
                    result += bytes(stop)
                    continue
            try:
                result += self._piece(one, here - one.start + one.offset, stop, piece)
            except BusError:
                if not dma:
                    raise
                result += bytes(stop)
        return bytes(result)

    def _piece(self, one: FlatRange, offset: int, length: int, data: bytes) -> bytes:
        region = one.region
        if isinstance(region, RomDevice) and (data or not one.direct):
            region = region.registers
        if not data:
            return region.read_bytes(offset, length, self.order)
        if one.readonly and isinstance(region, Ram):
            self.note(f"write of {len(data)} bytes to ROM {region.name}+{offset:#x} ignored")
        else:
            region.write_bytes(offset, data, self.order)
        return b""

    # What goes nowhere

    def note(self, text: str) -> None:
        """Log what the guest did wrong."""
        if self.log.enabled("guest_errors"):
            self.log.write(f"{self.name}: {text}")

    def _note_unassigned(self, address: int, size: int, is_write: bool) -> None:
        if self.log.enabled("guest_errors"):
            what = "write" if is_write else "read"
            self.log.write(f"{self.name}: {what} of {size} bytes at {address:#x}, where nothing is")

    def _unassigned(self, address: int, size: int, is_write: bool) -> int:
        self._note_unassigned(address, size, is_write)
        return self.unassigned(address, size, is_write)

    def _unassigned_read(self, address: int, size: int) -> int:
        return self._unassigned(address, size, False) & MASKS[size]

    def _unassigned_write(self, address: int, value: int, size: int) -> None:
        self._unassigned(address, size, True)

    def _readonly_write(self, one: FlatRange) -> Write:
        def write(offset: int, value: int, size: int) -> None:
            self.note(f"write of {size} bytes to ROM {one.region.name}+{offset:#x} ignored")

        return write


def flatten(root: Region) -> list[FlatRange]:
    """What is seen of `root` and what it holds, in order of addresses."""
    ranges: list[FlatRange] = []
    _render(ranges, root, 0, 0, root.size, False)
    return _merged(ranges)


def _render(
    ranges: list[FlatRange], region: Region, base: int, low: int, high: int, readonly: bool
) -> None:
    """Add what `region`, whose offset 0 lies at `base`, shows from `low` to before `high`."""
    if not region.enabled:
        return
    low = max(low, base)
    high = min(high, base + region.size)
    if low >= high:
        return
    readonly = readonly or region.readonly
    if isinstance(region, Alias):
        _render(ranges, region.target, base - region.offset, low, high, readonly)
    for child in region.children:
        _render(ranges, child, base + child.address, low, high, readonly)
    if isinstance(region, Terminal):
        _fill(ranges, region, base, low, high, readonly)


def _fill(
    ranges: list[FlatRange], region: Terminal, base: int, low: int, high: int, readonly: bool
) -> None:
    """Add `region` wherever nothing is seen yet."""
    direct = not isinstance(region, RomDevice) or region.direct
    index = bisect_right(ranges, low, key=lambda one: one.start)
    if index and ranges[index - 1].end > low:
        low = ranges[index - 1].end
    while low < high:
        end = min(high, ranges[index].start) if index < len(ranges) else high
        if low < end:
            ranges.insert(index, FlatRange(low, end, region, low - base, readonly, direct))
            index += 1
        if index == len(ranges):
            return
        low = ranges[index].end
        index += 1


def _merged(ranges: list[FlatRange]) -> list[FlatRange]:
    merged: list[FlatRange] = []
    for one in ranges:
        last = merged[-1] if merged else None
        if (
            last
            and last.end == one.start
            and last.region is one.region
            and last.offset + last.end - last.start == one.offset
            and last[4:] == one[4:]
        ):
            merged[-1] = last._replace(end=one.end)
        else:
            merged.append(one)
    return merged
