"""Attributes of new files that some of the host's file systems have (Linux's <linux/fs.h>)."""

from __future__ import annotations

import fcntl
import struct

_GETFLAGS, _SETFLAGS = 0x80086601, 0x40086602
_FSGETXATTR, _FSSETXATTR = 0x801C581F, 0x401C5820

_NOCOW = 0x00800000
"""FS_NOCOW_FL: what is written goes where the old contents are. btrfs has it."""

_EXTSIZE = 0x00000800
"""FS_XFLAG_EXTSIZE: the extent size hint counts."""

_XATTR = struct.Struct("=IIIII8x")
"""struct fsxattr: flags, extent size hint (bytes), extents, project, hint for copy-on-write."""


def turn_off_copying(fd: int) -> None:
    """Have an empty file not be copied on write, where the file system knows of that."""
    flags = bytearray(8)
    try:
        fcntl.ioctl(fd, _GETFLAGS, flags)
        (value,) = struct.unpack_from("=i", flags)
        fcntl.ioctl(fd, _SETFLAGS, struct.pack("=iI", value | _NOCOW, 0))
    except OSError:
        pass  # a wish, as with QEMU: other file systems do not copy


def hint_extents(fd: int, size: int) -> bool:
    """Have an empty file grow by `size` bytes at a time; 0 changes nothing. False: it cannot."""
    if not size:
        return True
    found = bytearray(_XATTR.size)
    try:
        fcntl.ioctl(fd, _FSGETXATTR, found)
        flags, _, extents, project, copies = _XATTR.unpack(found)
        changed = _XATTR.pack(flags | _EXTSIZE, size, extents, project, copies)
        fcntl.ioctl(fd, _FSSETXATTR, changed)
    except OSError:
        return False
    return True
