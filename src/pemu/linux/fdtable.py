"""What Pemu has to know about file descriptors.

Guest descriptors are host descriptors, and the host keeps the book. Two kinds are special: Pemu's
own, which a guest must not close, and those that carry a translator: data that depend on the byte
order or on signal numbers (signalfd; eventfd, timerfd, inotify, netlink for a big-endian guest),
directories whose offsets a 32-bit guest cannot hold, and those in /proc. A byte in `SPECIAL` tells
them, also native code, which leaves them to Python.
"""

from __future__ import annotations

import ctypes
import errno
import mmap

from pemu.engine.layout.call_table import DESCRIPTORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pemu.linux.process import Thread

SIZE = DESCRIPTORS
"""Descriptors that `SPECIAL` covers; higher ones always go through Python."""

CURRENT = SIZE
"""Place in `SPECIAL` of the current directory: not 0 where paths from there may lead into /proc."""

OWN = 1
TRANSLATED = 2

TRANSLATED_LIMIT = 1 << 20
"""Bytes that one call for a descriptor with a translator moves at most."""

SPECIAL = mmap.mmap(-1, SIZE + mmap.PAGESIZE, mmap.MAP_PRIVATE)
SPECIAL_ADDRESS = ctypes.addressof(ctypes.c_char.from_buffer(SPECIAL))
"""Host address of `SPECIAL`."""

_own: set[int] = set()
_translators: dict[int, Translator] = {}


class Translator:
    """Turns data between guest and host form for one descriptor; the base passes them as they are.

    One object serves all duplicates of a descriptor.
    """

    __slots__ = ()

    def from_host(self, t: Thread, data: bytes) -> bytes:
        """What the guest gets for `data` read or received."""
        return data

    def to_host(self, t: Thread, data: bytes) -> bytes:
        """What the host gets for `data` that the guest writes or sends."""
        return data


class DirectoryOffsets(Translator):
    """A directory whose 64-bit offsets a guest with 32-bit offsets gets the upper half of.

    ext4's are a 64-bit hash, of which the kernel gives 32-bit programs the upper half too.
    """

    __slots__ = ()

    SHIFT = 32


class ProcDirectory(Translator):
    """A directory in /proc, where some files differ for the guest."""

    __slots__ = ()


def special(fd: int) -> int:
    """0 for an ordinary descriptor, else OWN or TRANSLATED."""
    if 0 <= fd < SIZE:
        return SPECIAL[fd]
    return OWN if fd in _own else TRANSLATED if fd in _translators else 0


def own_fds() -> list[int]:
    """Pemu's own descriptors, sorted."""
    return sorted(_own)


def check(fd: int) -> int:
    """`fd`; raises OSError(EBADF) for one of Pemu's own, which does not exist for the guest."""
    if fd in _own:
        raise OSError(errno.EBADF, "Bad file descriptor")
    return fd


def claim(fd: int) -> int:
    """Declare `fd` Pemu's own, at its present number."""
    _own.add(fd)
    if 0 <= fd < SIZE:
        SPECIAL[fd] = OWN
    return fd


def release(fd: int) -> None:
    """Pemu has closed its own `fd`."""
    _own.discard(fd)
    if 0 <= fd < SIZE:
        SPECIAL[fd] = 0


def drop(fd: int) -> None:
    """Close a descriptor of Pemu's own."""
    import os

    release(fd)
    os.close(fd)


def reserve(fd: int) -> int:
    """Move a descriptor of Pemu's own out of the guest's way, close-on-exec; returns the new one.

    The new number is beyond the soft limit of open files where the hard limit allows that: a
    descriptor stays valid when the limit goes back, and the guest cannot name it.
    """
    return _beyond_limit(lambda: (fd,))[0]


def pipe() -> tuple[int, int]:
    """Make a pipe of Pemu's own: its reading and its writing end, placed as `reserve` does."""
    import os

    reader, writer = _beyond_limit(lambda: os.pipe2(os.O_CLOEXEC))
    return reader, writer


_ROOM = 64


def _beyond_limit(make: Callable[[], tuple[int, ...]]) -> list[int]:
    """Move the descriptors that `make` returns beyond the guest's, and claim them."""
    import fcntl
    import os
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = soft + _ROOM if hard == resource.RLIM_INFINITY else min(hard, soft + _ROOM)
    first = soft if top > soft else max(soft - _ROOM, 3)
    if top > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
    moved = []
    try:
        for fd in make():
            moved.append(claim(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, first)))
            os.close(fd)
    finally:
        if top > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return moved


def translator(fd: int) -> Translator | None:
    """What stands between the guest and descriptor `fd`; None for nothing."""
    return _translators.get(fd)


def set_translator(fd: int, translator: Translator) -> None:
    """Put `translator` between the guest and descriptor `fd`, until that is closed."""
    _translators[fd] = translator
    if 0 <= fd < SIZE:
        SPECIAL[fd] = TRANSLATED


def forget(fd: int) -> None:
    """The guest has closed `fd`, or something new is under that number."""
    if _translators.pop(fd, None) is not None and 0 <= fd < SIZE:
        SPECIAL[fd] = 0


def forget_range(first: int, last: int) -> None:
    """The guest has closed the descriptors from `first` to `last`."""
    for fd in [fd for fd in _translators if first <= fd <= last]:
        forget(fd)


def close_on_exec() -> None:
    """Close the guest's descriptors that an execve closes."""
    import fcntl
    import os

    for fd in _candidates():
        if fd in _own:
            continue
        try:
            if fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                os.close(fd)
                forget(fd)
        except OSError:
            continue  # the one that listed the others


def _candidates() -> Iterable[int]:
    """Numbers among which all open descriptors are."""
    import os

    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:  # a chroot without /proc
        return range(SIZE)


def duplicated(old: int, new: int) -> None:
    """`new` is a duplicate of `old` now."""
    forget(new)
    found = _translators.get(old)
    if found is not None:
        set_translator(new, found)
