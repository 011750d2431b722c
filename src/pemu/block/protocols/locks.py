"""The locks by which QEMU keeps others away from an image, and who holds one.

Locks are open file description locks on bytes of the file, one for each permission: from 100 on
that it is used, from 200 on that others must not use it. So QEMU's tools and Pemu's see each other.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from pemu.block.error import ImageError

_OFD_GETLK, _OFD_SETLK = 36, 37
_FLOCK = "hhqqi4x"
_USED, _UNSHARED = 100, 200
_PERMISSIONS = {"consistent read": 0, "write": 1, "resize": 3}


def lock(fd: int, name: str, *, readonly: bool, grows: bool) -> None:
    """Lock the open file `name` for reading, writing and growing.

    Locks that were held by `fd` and are not needed any more are given up. Raises ImageError where
    somebody else is using the file.
    """
    used = ["consistent read"]
    unshared = ["write", "resize"]
    if not readonly:
        used += ["write", "resize"] if grows else ["write"]
        unshared = ["write", "resize"] if grows else ["write"]
    try:
        for base, wanted in ((_USED, used), (_UNSHARED, unshared)):
            for permission, offset in _PERMISSIONS.items():
                kind = fcntl.F_RDLCK if permission in wanted else fcntl.F_UNLCK
                fcntl.fcntl(fd, _OFD_SETLK, _flock(kind, base + offset))
        for permission in used:
            _expect_free(fd, _UNSHARED + _PERMISSIONS[permission], f'"{permission}" lock', name)
        for permission in unshared:
            _expect_free(fd, _USED + _PERMISSIONS[permission], f'shared "{permission}" lock', name)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
            raise ImageError(f"Failed to lock '{name}': {error.strerror}") from None


def unlock(fd: int) -> None:
    """Give up all locks of `fd`."""
    try:
        fcntl.fcntl(fd, _OFD_SETLK, _flock(fcntl.F_UNLCK, _USED, 2 * (_UNSHARED - _USED)))
    except OSError:
        pass  # a file system without locks


def _expect_free(fd: int, offset: int, what: str, name: str) -> None:
    answer = fcntl.fcntl(fd, _OFD_GETLK, _flock(fcntl.F_WRLCK, offset))
    if struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK:
        who = _holder(fd)
        raise ImageError(
            f"Failed to get {what}\nIs another process using the image [{name}]?"
            + (f" It is locked by {who}." if who else "")
        )


def _holder(fd: int) -> str:
    """A process with locks on the file that `fd` is of, other than by `fd`; '' if none is found.

    The kernel names no owner of an open file description's lock; /proc tells who has such a file
    open.
    """
    here = os.fstat(fd)
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            for number in os.listdir(f"/proc/{process}/fd"):
                if (int(process), int(number)) == (os.getpid(), fd):
                    continue
                there = os.stat(f"/proc/{process}/fd/{number}")
                if (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev):
                    with open(f"/proc/{process}/fdinfo/{number}") as info:
                        if "\nlock:" in info.read():
                            return _said(process)
        except OSError:
            continue  # it has ended, or is another user's
    return ""


def _said(process: str) -> str:
    if int(process) == os.getpid():
        return "this process"
    with open(f"/proc/{process}/comm") as file:
        return f"process {process} ({file.read().strip()})"


def _flock(kind: int, offset: int, length: int = 1) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, offset, length, 0)
