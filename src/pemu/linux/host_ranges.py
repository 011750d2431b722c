"""Guest memory as the host's calls are given it."""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.memory.process import AddressSpace

PATH_MAX = 4096

NOWHERE = 0x7FFF_FFFF_FFFF_F000
"""A host address that no process has: the kernel's EFAULT, after all that it looks at before."""


def host_range(mem: AddressSpace, start: int, length: int) -> int:
    """The host address of guest memory, NULL for NULL, NOWHERE outside the space.

    Whether pages are there is the host kernel's to find out.
    """
    if start + length > mem.size:
        return NOWHERE
    return mem.base + start if start else 0


def host_range_for_writing(mem: AddressSpace, start: int, length: int) -> int:
    """As `host_range`; pages that are write-protected for holding translated code lose that."""
    result = host_range(mem, start, length)
    if result not in (0, NOWHERE) and length > 0:
        mem.untrack_range(start, length)
    return result


def read_path(mem: AddressSpace, start: int) -> bytes:
    """The path at `start`; raises OSError(ENAMETOOLONG) and GuestFault."""
    path = mem.read_cstr(start, PATH_MAX)
    if len(path) >= PATH_MAX:
        raise OSError(errno.ENAMETOOLONG, "File name too long")
    return path
