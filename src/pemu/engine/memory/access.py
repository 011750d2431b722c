"""Guest memory as Python reads and writes it."""

from __future__ import annotations

import ctypes
import os
from _thread import RLock

from pemu.engine.host.memory import host_protect
from pemu.engine.layout.pages import CODE, MOST_CHANGES, PAGE, READ, TRACK, VOLATILE, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

_libc = ctypes.PyDLL(None, use_errno=True)


class GuestFault(Exception):
    """A guest-virtual address (`address`) that cannot be read or written."""

    def __init__(self, address: int) -> None:
        super().__init__(f"no access to guest address {address:#x}")
        self.address = address


class Exclusion:
    """Keeps other threads' Python code and native code from changing mappings. It can be nested.

    `busy`: the word by which native code is told.
    """

    __slots__ = ("_busy", "_depth", "_lock", "wait")

    def __init__(self, busy: ctypes.Array[ctypes.c_uint64]) -> None:
        self._lock = RLock()
        self._busy = busy
        self._depth = 0
        self.wait: Callable[[], None] | None = None
        """Waits until native code that has begun a change is done."""

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1
        if self._depth == 1:
            self._busy[0] = 1
            if self.wait is not None:
                self.wait()

    def __exit__(self, *unused: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._busy[0] = 0
        self._lock.release()


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


_libc.process_vm_readv.restype = ctypes.c_ssize_t
_libc.process_vm_readv.argtypes = [
    ctypes.c_int,
    ctypes.POINTER(_Vector),
    ctypes.c_ulong,
    ctypes.POINTER(_Vector),
    ctypes.c_ulong,
    ctypes.c_ulong,
]


def _kernel_copy(target: int, source: int, size: int) -> int:
    """Copy bytes between host addresses; returns how many were left at a missing page."""
    near, far = _Vector(target, size), _Vector(source, size)
    done: int = _libc.process_vm_readv(os.getpid(), near, 1, far, 1, 0)
    return size - max(done, 0)


_copy: Callable[[int, int, int], int] = _kernel_copy
"""The kernel's copy until there is a native one, which takes a quarter of its time."""


def use_native_copy(address: int) -> None:
    """Have guest memory copied by the function at a host address: `pemu_copy` of an engine.

    Python keeps its lock meanwhile: to give it away takes longer than most copies.
    """
    global _copy
    prototype = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64)
    _copy = prototype(address)


_BYTES_HEADER = bytes.__basicsize__ - 1
"""From the address of a bytes object to that of its content."""


class GuestAccess:
    """The bytes of guest memory; writes to translated code are noticed. See `AddressSpace`."""

    base: int
    """Host address of guest address 0."""
    size: int
    """Bytes from there that the guest can name."""
    order: Literal["big", "little"]
    """The guest's byte order."""
    word_size: int
    """Bytes of a pointer."""
    flags: memoryview
    """A byte a page."""

    def __init__(self, changing: Exclusion) -> None:
        self.changing = changing
        """Held while mappings or protections change."""
        self.on_code_change: Callable[[int, int], None] | None = None
        """Told before translated code in a range of guest addresses changes."""
        self.retry: Callable[[Callable[[], int]], int] | None = None
        """Makes a copy that was refused once more, with the pages open that a debugger closed."""
        self._changes: dict[int, int] = {}
        self._tracked: set[int] = set()
        """Addresses of pages with TRACK, and of some that had it once."""

    def host(self, address: int) -> int:
        """Host address of a guest-virtual address."""
        return self.base + (address & (self.size - 1))

    def read(self, address: int, size: int) -> bytes:
        """Read guest memory; raises GuestFault where it cannot be read."""
        if not 0 <= address <= self.size - size:
            raise GuestFault(address)
        # A new object that nobody else has seen yet may be filled like any memory.
        data = bytes(size)
        target, source = id(data) + _BYTES_HEADER, self.base + address
        left = _copy(target, source, size)
        if left and self.retry is not None:
            left = self.retry(lambda: _copy(target, source, size))
        if left:
            raise GuestFault(address + size - left)
        return data

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write guest memory; raises GuestFault where it cannot be written."""
        size = len(data)
        if not 0 <= address <= self.size - size:
            raise GuestFault(address)
        data = bytes(data)
        source = id(data) + _BYTES_HEADER
        left = _copy(self.base + address, source, size)
        if left and self.untrack_range(address, size):
            left = _copy(self.base + address, source, size)
        if left and self.retry is not None:
            left = self.retry(lambda: _copy(self.base + address, source, size))
        if left:
            raise GuestFault(address + size - left)

    def read_cstr(self, address: int, limit: int = 1 << 20) -> bytes:
        """Read up to a NUL byte, which is left out; at most `limit` bytes."""
        parts = b""
        while len(parts) < limit:
            piece = self.read(address, min(256, PAGE - address % PAGE))
            end = piece.find(b"\0")
            if end >= 0:
                return parts + piece[:end]
            parts += piece
            address += len(piece)
        return parts[:limit]

    def _get(self, address: int, size: int) -> int:
        return int.from_bytes(self.read(address, size), self.order)

    def _put(self, address: int, value: int, size: int) -> None:
        value &= (1 << 8 * size) - 1
        self.write(address, value.to_bytes(size, self.order))

    def u8(self, address: int) -> int:
        """Read a byte."""
        return self._get(address, 1)

    def u16(self, address: int) -> int:
        """Read 16 bits in guest byte order."""
        return self._get(address, 2)

    def u32(self, address: int) -> int:
        """Read 32 bits in guest byte order."""
        return self._get(address, 4)

    def u64(self, address: int) -> int:
        """Read 64 bits in guest byte order."""
        return self._get(address, 8)

    def word(self, address: int) -> int:
        """Read as many bits as a pointer has (`word_size` bytes) in guest byte order."""
        return self._get(address, self.word_size)

    def put_u8(self, address: int, value: int) -> None:
        """Write a byte."""
        self._put(address, value, 1)

    def put_u16(self, address: int, value: int) -> None:
        """Write 16 bits in guest byte order."""
        self._put(address, value, 2)

    def put_u32(self, address: int, value: int) -> None:
        """Write 32 bits in guest byte order."""
        self._put(address, value, 4)

    def put_u64(self, address: int, value: int) -> None:
        """Write 64 bits in guest byte order."""
        self._put(address, value, 8)

    def put_word(self, address: int, value: int) -> None:
        """Write as many bits as a pointer has in guest byte order."""
        self._put(address, value, self.word_size)

    def _all(self, address: int, size: int, flag: int) -> bool:
        if address < 0 or address + size > self.size:
            return False
        pages = self.flags[address >> 12 : (address + max(size, 1) - 1 >> 12) + 1]
        return all(page & flag for page in pages)

    def readable(self, address: int, size: int) -> bool:
        """True if the guest may read all of a range."""
        return self._all(address, size, READ)

    def writable(self, address: int, size: int) -> bool:
        """True if the guest may write all of a range."""
        return self._all(address, size, WRITE)

    # Pages that hold translated code.

    def track(self, address: int) -> None:
        """Make a guest-writable page read-only on the host, as it holds translated code."""
        with self.changing:
            page = address & -PAGE
            host_protect(self.base + page, PAGE, READ)
            self.flags[page >> 12] |= TRACK
            self._tracked.add(page)

    def untrack(self, address: int, *, by_itself: bool = False) -> None:
        """Make a tracked page writable again; translations of its code are dropped.

        `by_itself`: the write comes from code on that very page, which could not be translated
        and go on if the page were tracked again.
        """
        with self.changing:
            page = address & -PAGE
            self._tracked.discard(page)
            if not self.flags[page >> 12] & TRACK:
                return
            if self.on_code_change is not None:
                self.on_code_change(page, page + PAGE)
            self.flags[page >> 12] &= ~(TRACK | CODE)
            changes = self._changes.get(page, 0) + 1
            self._changes[page] = changes
            if by_itself or changes > MOST_CHANGES:
                self.flags[page >> 12] |= VOLATILE
            host_protect(self.base + page, PAGE, READ | WRITE)

    def untrack_range(self, address: int, size: int) -> bool:
        """Untrack the tracked pages of a range, however long; True if there were any."""
        first, end = address & -PAGE, min(address + size, self.size)
        if first >= end:
            return False
        if end - first <= 2 * PAGE:
            pages = [page for page in (first, end - 1 & -PAGE) if self.flags[page >> 12] & TRACK]
        else:
            with self.changing:
                pages = [page for page in self._tracked if first <= page < end]
        for page in pages:
            self.untrack(page)
        return bool(pages)
