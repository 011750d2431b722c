"""fallocate(2), which Python has not: holes and zeros in files of the host."""

from __future__ import annotations

import ctypes
import errno
import os

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def fallocate(fd: int, mode: int, offset: int, length: int) -> bool:
    """As fallocate(2); False where the file system cannot do it. Raises OSError."""
    while _libc.fallocate(fd, mode, offset, length):
        number = ctypes.get_errno()
        if number in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV):
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True
