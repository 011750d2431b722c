"""Watchpoints of a Linux process: pages with watched bytes are closed to the guest on the host.

An access to such a page faults exactly, and is looked at before it happens. What touches only
other bytes of the page is let through one instruction at a time.
"""

from __future__ import annotations

from contextlib import contextmanager

from pemu.engine.host.memory import host_protect
from pemu.engine.layout.exits import FAULT_FETCH, FAULT_WRITE
from pemu.engine.layout.pages import EXEC, MAPPED, PAGE, READ, TRACK, WRITE
from pemu.isa.mips.access import accessed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pemu.engine.memory.process import AddressSpace
    from pemu.engine.vcpu import Cpu

KINDS = {"watch": (False, True), "rwatch": (True, False), "awatch": (True, True)}
"""Whether loads and stores count."""


class Watchpoints:
    """The watched ranges of an address space.

    `set` only notes them: they count from the next `close` on.
    """

    def __init__(self, mem: AddressSpace) -> None:
        self._mem = mem
        self._ranges: list[tuple[str, int, int]] = []
        self._closed: dict[int, int] = {}
        self._open = 0

    @property
    def active(self) -> bool:
        """True while any page is watched."""
        return bool(self._closed)

    def set(self, kind: str, address: int, size: int, on: bool) -> None:
        """Watch a range of guest-virtual addresses, or no longer."""
        entry = (kind, address, size)
        if on:
            self._ranges.append(entry)
        elif entry in self._ranges:
            self._ranges.remove(entry)

    def clear(self) -> None:
        """Watch nothing, from the next `close` on."""
        self._ranges.clear()

    def close(self) -> None:
        """Make the pages' protection fit what is watched, also after the guest has changed it."""
        wanted: dict[int, int] = {}
        for kind, address, size in self._ranges:
            left = 0 if KINDS[kind][0] else READ
            for page in range(address >> 12, (address + size - 1 >> 12) + 1):
                wanted[page] = wanted.get(page, READ) & left
        for page in self._closed.keys() - wanted.keys():
            self._protect(page, READ | WRITE)
        self._closed = wanted
        self._mem.retry = self._retry if wanted else None
        if not self._open:
            for page, left in wanted.items():
                self._protect(page, left)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Let accesses pass meanwhile, of all threads."""
        self._open += 1
        try:
            for page in self._closed:
                self._protect(page, READ | WRITE)
            yield
        finally:
            self._open -= 1
            self.close()

    def _retry(self, copy: Callable[[], int]) -> int:
        with self.opened():
            return copy()

    def _natural(self, page: int) -> int:
        """The protection of a page on the host without watchpoints."""
        flags = self._mem.flags[page]
        protection = READ if flags & (READ | EXEC) else 0
        return protection | (WRITE if flags & WRITE and not flags & TRACK else 0)

    def _protect(self, page: int, left: int) -> None:
        if page < len(self._mem.flags) and self._mem.flags[page] & MAPPED:
            host_protect(self._mem.base + page * PAGE, PAGE, self._natural(page) & left)

    def concerned(self, cpu: Cpu) -> bool:
        """True if a cpu's fault may be due to a watched page."""
        page = cpu.exit_addr >> 12
        if page not in self._closed:
            return False
        flags = self._mem.flags[page]
        if cpu.exit_code & FAULT_WRITE:
            return bool(flags & WRITE)
        return bool(flags & (READ | EXEC)) and self._closed[page] == 0

    def hit(self, cpu: Cpu) -> tuple[str, int] | None:
        """(kind, address) of the watchpoint that a cpu's faulting access touches, if any."""
        if cpu.exit_code & FAULT_FETCH:
            return None
        mem = self._mem
        size = cpu.engine.arch.insn_bytes
        access = None
        # A fault in a delay slot leaves the pc at the branch, which makes no access itself.
        for pc in (cpu.pc, cpu.pc + size):
            access = accessed(mem.u32(pc), cpu.gpr, mem.order == "big")
            if access is not None:
                break
        if access is None:
            return None
        address, count, store = access
        address &= mem.size - 1
        for kind, start, length in self._ranges:
            if KINDS[kind][store] and address < start + length and start < address + count:
                return kind, max(address, start)
        return None
