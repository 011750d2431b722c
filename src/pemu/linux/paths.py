"""Paths of the guest that are not the host's: under -L, and the files in /proc about the guest."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread


def under_prefix(t: Thread, path: bytes) -> bytes:
    """The host's path for an absolute guest path: under -L where it exists there."""
    from pemu.linux.loader import translate_path

    return translate_path(t.process.prefix, path)


def special_link(t: Thread, path: bytes) -> bytes | None:
    """Where a link in /proc leads that differs for the guest (`/proc/self/exe`); else None."""
    if not path.startswith(b"/proc/"):
        return None
    from pemu.linux.procfs import read_special_link

    return read_special_link(t, path)


def followed(t: Thread, path: bytes) -> bytes:
    """`path`, or what such a link leads to."""
    return special_link(t, path) or path


def open_special_file(t: Thread, path: bytes, flags: int) -> int | None:
    """A descriptor of a file in /proc that differs for the guest; else None. Raises OSError."""
    from pemu.linux.procfs import open_special

    return open_special(t, path, flags)
