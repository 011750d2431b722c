"""Descriptors that whoever started a command has opened for it, under names of files.

`-add-fd` puts copies of them into numbered sets. The path /dev/fdset/N stands for one of set N that
is open for reading, writing or both, as is wanted.
"""

from __future__ import annotations

import errno
import fcntl
import os

PREFIX = "/dev/fdset/"

_SETTABLE = os.O_APPEND | os.O_DIRECT | os.O_NONBLOCK
"""Flags of open(2) that an open file can be given."""

_sets: dict[int, list[int]] = {}


def add(number: int, fd: int) -> None:
    """Put a copy of a descriptor into a set. Raises OSError."""
    _sets.setdefault(number, []).append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3))


def names_one(path: str) -> bool:
    """Whether a path names a descriptor of a set."""
    return path.startswith(PREFIX)


def open_path(path: str, flags: int, mode: int = 0o666) -> int:
    """A new descriptor of a file, as os.open makes it, or one of a set. Raises OSError."""
    if not names_one(path):
        return os.open(path, flags | os.O_CLOEXEC, mode)
    number = path.removeprefix(PREFIX)
    if not (number.isascii() and number.isdigit()):
        raise _error(errno.EINVAL, path)
    if int(number) not in _sets:
        raise _error(errno.ENOENT, path)
    for fd in _sets[int(number)]:
        if not (fcntl.fcntl(fd, fcntl.F_GETFL) ^ flags) & os.O_ACCMODE:
            return _copy(fd, flags)
    raise _error(errno.EACCES, path)


def _copy(fd: int, flags: int) -> int:
    copy = os.dup(fd)
    try:
        fcntl.fcntl(copy, fcntl.F_SETFL, flags & _SETTABLE)
        if flags & os.O_TRUNC:
            os.ftruncate(copy, 0)
    except BaseException:
        os.close(copy)
        raise
    return copy


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
