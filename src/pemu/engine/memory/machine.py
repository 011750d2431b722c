"""The memory of a guest machine: RAM and ROM in one range of host addresses.

All memory of a machine is allocated here, one block after the other; a *place* is a byte offset
from the start of the range. Guest-physical addresses are no concern of this module: the machine's
memory map says where a block appears (`machinecpu.PhysicalMap`). `flags` holds one byte a page of
4 KiB, as that of `memory.process.AddressSpace` does; only CODE and VOLATILE are used.
"""

from __future__ import annotations

import ctypes
import mmap

from pemu.engine.host.memory import MAP_FIXED, host_map, reserve
from pemu.engine.layout.pages import CODE, MOST_CHANGES, PAGE, VOLATILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SPAN = 1 << 40
"""Bytes of host addresses that are reserved: room for every size of memory that `-m` takes."""


class MachineMemory:
    """Host memory for a machine."""

    def __init__(self, big_endian: bool) -> None:
        self.order = "big" if big_endian else "little"
        self.size = SPAN
        self.base = reserve(SPAN, 0)
        self.flags_addr = reserve(SPAN >> 12, mmap.PROT_READ | mmap.PROT_WRITE)
        pages = (ctypes.c_ubyte * (SPAN >> 12)).from_address(self.flags_addr)
        self.flags = memoryview(pages).cast("B")
        self.on_code_change: Callable[[int, int], None] | None = None
        self.on_growth: Callable[[int], None] = lambda end: None
        """Told of the end of what has been allocated."""
        self._next = 0
        self._changes: dict[int, int] = {}
        self._volatile: set[int] = set()

    def allocate(self, size: int, fd: int = -1, offset: int = 0) -> int:
        """Return the place of `size` bytes (a multiple of 4096) of new memory.

        `fd`, `offset`: the file behind it, shared; else it is the process's own. Raises OSError
        where the host has not that much.
        """
        place = self._next
        if size <= 0 or size % PAGE or place + size > SPAN:
            raise ValueError(f"{size} bytes of memory: not a multiple of {PAGE}, or too much")
        kind = mmap.MAP_SHARED if fd >= 0 else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        host_map(self.base + place, size, protection, kind | MAP_FIXED, fd, offset)
        self._next = place + size
        self.on_growth(self._next)
        return place

    def view(self, place: int, size: int) -> memoryview:
        """The bytes of allocated memory, to be read and written directly.

        Whoever writes tells `changed`.
        """
        return memoryview((ctypes.c_ubyte * size).from_address(self.base + place)).cast("B")

    def read(self, place: int, size: int) -> bytes:
        """Read allocated memory."""
        return ctypes.string_at(self.base + place, size)

    def changed(self, place: int, size: int) -> None:
        """Memory is about to be written by others than the cpu: drop code translated from it."""
        first, last = place >> 12, place + max(size, 1) - 1 >> 12
        for page in range(first, last + 1):
            if self.flags[page] & CODE:
                self.drop_code(page << 12)

    def drop_code(self, place: int) -> None:
        """Drop the code translated from the page at a place, so that it can be written.

        A page that changes too often becomes VOLATILE: it can be written freely, and the guest's
        cache instructions tell when the code has changed. CODE says of it, too, that there is some.
        """
        page = place >> 12
        count = self._changes.get(page, 0) + 1
        self._changes[page] = count
        self.flags[page] = VOLATILE if count > MOST_CHANGES else 0
        if count > MOST_CHANGES:
            self._volatile.add(page)
        if self.on_code_change is not None:
            self.on_code_change(page << 12, (page + 1) << 12)

    def drop_volatile(self) -> None:
        """Drop the code translated from all VOLATILE pages: the guest makes changes visible."""
        for page in self._volatile:
            if self.flags[page] & CODE:
                self.drop_code(page << 12)
