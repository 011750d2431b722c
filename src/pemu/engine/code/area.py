"""The host memory that an engine's generated code lies in."""

from __future__ import annotations

import ctypes
import mmap
import os

from pemu.engine.host.memory import MAP_FIXED, host_map, host_protect, reserve

BYTES = 1 << 29
"""Host address space reserved for generated code. One range, so that the fault handler can tell
with two comparisons whether generated code faulted; code reaches its data within +-2 GiB."""

_PAGE = 4096

_READ, _WRITE, _EXECUTE = mmap.PROT_READ, mmap.PROT_WRITE, mmap.PROT_EXEC


class CodeArea:
    """Code is added from `start` on, each piece at `next`; none of it is ever writable.

    What is to stay whatever comes is added from the end backwards: `end` moves. `limit`: bytes of
    what does not stay.
    """

    __slots__ = ("_kept", "end", "limit", "next", "start")

    def __init__(self) -> None:
        self.start = reserve(BYTES, 0)
        self.end = self.start + BYTES
        self.next = self._kept = self.start
        self.limit = BYTES

    def _take(self, size: int, last: bool) -> int:
        size = (size + _PAGE - 1) // _PAGE * _PAGE
        most = self.end if last else min(self.end, self._kept + self.limit)
        if self.next + size > most:
            raise MemoryError("code area full")
        if last:
            self.end -= size
            return self.end
        self.next += size
        return self.next - size

    def map(
        self,
        fd: int,
        offset: int,
        size: int,
        writable: list[tuple[int, int]],
        *,
        last: bool = False,
    ) -> int:
        """Map code of a file, from `offset` on; return its host address.

        `writable`: (offset, bytes) of what in it is data. `last`: at the end, to stay. Raises
        MemoryError when the area is full, OSError.
        """
        base = self._take(size, last)
        flags = mmap.MAP_PRIVATE | MAP_FIXED
        try:
            host_map(base, size, _READ | _EXECUTE, flags, fd, offset)
        except PermissionError:  # from a file system that is mounted "noexec"
            host_map(base, size, _READ | _WRITE, flags | mmap.MAP_ANONYMOUS)
            os.preadv(fd, [(ctypes.c_ubyte * size).from_address(base)], offset)
            host_protect(base, size, _READ | _EXECUTE)
        for start, length in writable:
            host_protect(base + start, length, _READ | _WRITE)
        return base

    def place(self, code: bytes, data: bytes, *, last: bool = False) -> int:
        """Copy code (whole pages) and, directly behind, its data; return their host address.

        `last`: at the end, to stay. Raises MemoryError when the area is full.
        """
        base = self._take(len(code) + len(data), last)
        for address, content, wanted in (
            (base, code, _READ | _EXECUTE),
            (base + len(code), data, _READ | _WRITE),
        ):
            if content:
                host_protect(address, len(content), _READ | _WRITE)
                ctypes.memmove(address, content, len(content))
                host_protect(address, len(content), wanted)
        return base

    def keep(self) -> None:
        """What is in the area now stays there."""
        self._kept = self.next

    def empty(self, end: int | None = None) -> None:
        """Let new code take the place of what is not kept; or of all from address `end` on."""
        if end is not None:
            self._kept = end
        self.next = self._kept
