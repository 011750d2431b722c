"""Files that gdb reads on the debuggee's side: programs, libraries, /proc. Nothing is written.

Source: "Debugging with GDB", appendix E.7, "Host I/O Packets", and E.13.6, "Protocol-specific
Representation of Datatypes" (struct stat, errno).
"""

from __future__ import annotations

import errno
import os
import struct

from pemu.monitor.gdb.packet import MAX_PACKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.monitor.gdb.target import Target

MOST_OPEN = 32
"""gdb has the program and a library or two open at a time."""

_STAT = struct.Struct(">7I3Q3I")
_KNOWN_ERRORS = frozenset(
    {
        *(errno.EPERM, errno.ENOENT, errno.EINTR, errno.EBADF, errno.EACCES, errno.EFAULT),
        *(errno.EBUSY, errno.EEXIST, errno.ENODEV, errno.ENOTDIR, errno.EISDIR, errno.EINVAL),
        *(errno.ENFILE, errno.EMFILE, errno.EFBIG, errno.ENOSPC, errno.ESPIPE, errno.EROFS),
    }
)
_UNKNOWN_ERROR, _NAME_TOO_LONG = 9999, 91
_ACCESS = 3
"""The bits of an open's flags that say read, write or both."""


class Files:
    """The files that one gdb has open."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._open: set[int] = set()

    def answer(self, operation: bytes, arguments: list[bytes]) -> bytes | None:
        """The reply to `vFile:operation:arguments`; None where there is no such operation.

        Raises ValueError for arguments that are none.
        """
        try:
            if operation == b"setfs":
                return b"F0"
            if operation == b"open":
                path, flags, _mode = arguments
                return b"F%x" % self._open_file(_path(path), int(flags, 16))
            if operation == b"close":
                self._close(self._descriptor(arguments[0]))
                return b"F0"
            if operation == b"pread":
                fd, count, offset = arguments
                size = min(int(count, 16), MAX_PACKET // 2 - 32)
                data = os.pread(self._descriptor(fd), size, int(offset, 16))
                return b"F%x;" % len(data) + data
            if operation == b"fstat":
                data = _pack(os.fstat(self._descriptor(arguments[0])))
                return b"F%x;" % len(data) + data
            if operation == b"readlink":
                data = self._target.read_link(_path(arguments[0]))
                return b"F%x;" % len(data) + data
        except OSError as error:
            return b"F-1,%x" % _error_number(error)
        except (IndexError, OverflowError) as error:
            raise ValueError(str(error)) from error
        return None

    def close(self) -> None:
        """Close all files."""
        for fd in list(self._open):
            self._close(fd)

    def _open_file(self, path: bytes, flags: int) -> int:
        if flags & _ACCESS:
            raise OSError(errno.EROFS, "files are not written")
        if len(self._open) >= MOST_OPEN:
            raise OSError(errno.EMFILE, "too many files")
        fd = self._target.open_file(path)
        self._open.add(fd)
        return fd

    def _descriptor(self, text: bytes) -> int:
        fd = int(text, 16)
        if fd not in self._open:
            raise OSError(errno.EBADF, "not a file that is open")
        return fd

    def _close(self, fd: int) -> None:
        self._open.discard(fd)
        self._target.close_file(fd)


def _path(text: bytes) -> bytes:
    path = bytes.fromhex(text.decode("ascii"))
    if b"\0" in path:
        raise ValueError("NUL in a path")
    return path


def _error_number(error: OSError) -> int:
    if error.errno in _KNOWN_ERRORS:
        return error.errno or _UNKNOWN_ERROR
    return _NAME_TOO_LONG if error.errno == errno.ENAMETOOLONG else _UNKNOWN_ERROR


def _pack(status: os.stat_result) -> bytes:
    short = (
        *(status.st_dev, status.st_ino, status.st_mode, status.st_nlink),
        *(status.st_uid, status.st_gid, status.st_rdev),
    )
    times = (int(time) & 0xFFFFFFFF for time in (status.st_atime, status.st_mtime, status.st_ctime))
    return _STAT.pack(
        *(value & 0xFFFFFFFF for value in short),
        status.st_size,
        status.st_blksize,
        status.st_blocks,
        *times,
    )
