"""The host's mmap(2) and its relatives, by address."""

from __future__ import annotations

import ctypes
import errno
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
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.mremap.restype = ctypes.c_void_p
_libc.mremap.argtypes = [
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t),
    *(ctypes.c_int, ctypes.c_void_p),
]

MAP_FIXED, MAP_NORESERVE = 0x10, 0x4000
MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP = 1, 2, 4

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


def host_remap(address: int, old_size: int, size: int, flags: int, target: int = 0) -> int:
    """Call the host's mremap(2); raises OSError."""
    result: int | None = _libc.mremap(address, old_size, size, flags, target)
    if result is None or result == FAILED:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def move_memory(source: int, size: int, target: int) -> None:
    """Move what is mapped to other addresses; `source` stays in use. Raises OSError.

    Addresses in use by nobody, if only for a moment, the kernel gives to whatever other thread
    asks it for memory.
    """
    how = MREMAP_MAYMOVE | MREMAP_FIXED
    try:
        host_remap(source, size, size, how | MREMAP_DONTUNMAP, target)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # Linux before 5.7 (before 5.13 for files) cannot keep the addresses.
        host_remap(source, size, size, how, target)
        host_map(source, size, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED)


def grow_memory(source: int, old_size: int, size: int, target: int) -> None:
    """Move what is mapped and let it grow; `target` may be `source`. Raises OSError.

    It grows where nobody minds the addresses that become free meanwhile; see `move_memory`.
    """
    at, held = reserve(old_size, 0), old_size
    try:
        move_memory(source, old_size, at)
    except OSError:
        host_unmap(at, old_size)
        raise
    try:
        at, held = host_remap(at, old_size, size, MREMAP_MAYMOVE), size
        host_remap(at, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, target)
    except OSError:
        host_remap(at, held, old_size, MREMAP_MAYMOVE | MREMAP_FIXED, source)
        raise


def carry_memory(source: int, old_size: int, size: int, target: int) -> None:
    """Move what is mapped, and let it grow, or leave out its end. Raises OSError."""
    if size > old_size:
        grow_memory(source, old_size, size, target)
    elif target != source:
        move_memory(source, size, target)


def reserve(size: int, protection: int) -> int:
    """Map memory anywhere that takes no room before it is used; raises OSError."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    return host_map(0, size, protection, flags)


def use_sparsely(address: int, size: int) -> None:
    """Have each page of a range take room for itself only."""
    _libc.madvise(address, size, mmap.MADV_NOHUGEPAGE)
