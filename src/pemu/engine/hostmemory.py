"""The host's mmap(2) and its relatives, by address."""

from __future__ import annotations

import ctypes
import mmap
import os

_libc = ctypes.PyDLL(None, use_errno=True)
"""With Python's lock held: these calls take less time than to get it back from a busy thread."""
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
    *(ctypes.c_int, ctypes.c_int, ctypes.c_long),
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

MAP_FIXED, MAP_NORESERVE = 0x10, 0x4000

FAILED = (1 << 64) - 1


def host_map(
    address: int, size: int, protection: int, flags: int, fd: int = -1, offset: int = 0
) -> int:
    """Call the host's mmap(2); raises OSError."""
    result: int | None = _libc.mmap(address or None, size, protection, flags, fd, offset)
    if result is None or result == FAILED:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def host_unmap(address: int, size: int) -> None:
    """Call the host's munmap(2)."""
    _libc.munmap(address, size)


def host_protect(address: int, size: int, protection: int) -> None:
    """Call the host's mprotect(2); raises OSError."""
    if _libc.mprotect(address, size, protection):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def reserve(size: int, protection: int) -> int:
    """Map memory anywhere that takes no room before it is used; raises OSError."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    return host_map(0, size, protection, flags)
