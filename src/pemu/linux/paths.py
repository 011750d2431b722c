"""Paths of the guest that are not the host's: under -L, and the files in /proc about the guest."""

from __future__ import annotations

import os

from pemu.linux import fdtable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

AT_FDCWD = -100


def under_prefix(t: Thread, path: bytes) -> bytes:
    """The host's path for an absolute guest path: under -L where it exists there."""
    from pemu.linux.programs.loader import translate_path

    return translate_path(t.process.prefix, path)


def in_proc(path: bytes) -> bool:
    """Whether an absolute path leads into /proc."""
    return path == b"/proc" or path[:6] == b"/proc/"


def note_directory() -> None:
    """Note whether paths from the current directory may lead into /proc."""
    try:
        here = os.getcwdb()
    except OSError:
        here = b"/"  # who cannot tell has each path looked at
    fdtable.SPECIAL[fdtable.CURRENT] = here == b"/" or in_proc(here)


def whole(dirfd: int, path: bytes) -> bytes:
    """A relative path from the root on if it leads into /proc, else as it is.

    `dirfd`: where it begins. A path with ".." in it stays: by links it may lead elsewhere.
    """
    if path[:1] in (b"/", b"") or b".." in path.split(b"/"):
        return path
    try:
        if dirfd == AT_FDCWD and fdtable.SPECIAL[fdtable.CURRENT]:
            start = os.getcwdb()
        elif isinstance(fdtable.translator(dirfd), fdtable.ProcDirectory):
            start = os.readlink(b"/proc/self/fd/%d" % dirfd)
        else:
            return path
    except OSError:
        return path
    found = os.path.normpath(start.rstrip(b"/") + b"/" + path)
    return found if in_proc(found) else path


def special_link(t: Thread, path: bytes, dirfd: int = AT_FDCWD) -> bytes | None:
    """Where a link in /proc leads that differs for the guest (`/proc/self/exe`); else None."""
    path = whole(dirfd, path)
    if not in_proc(path):
        return None
    from pemu.linux.procfs import read_special_link

    return read_special_link(t, path)


def followed(t: Thread, path: bytes, dirfd: int = AT_FDCWD) -> bytes:
    """`path`, or what such a link leads to."""
    return special_link(t, path, dirfd) or path


def open_special_file(t: Thread, path: bytes, flags: int) -> int | None:
    """A descriptor of a file in /proc that differs for the guest; else None. Raises OSError."""
    from pemu.linux.procfs import open_special

    return open_special(t, path, flags)


def note_opened(fd: int) -> None:
    """Note a descriptor that has been opened by a path into /proc."""
    if os.path.isdir(fd):
        fdtable.set_translator(fd, fdtable.ProcDirectory())
