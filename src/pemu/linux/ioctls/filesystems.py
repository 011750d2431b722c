"""Files and file systems; sources: the kernel's `linux/fs.h`, `linux/fiemap.h`."""

from __future__ import annotations

import errno

from pemu.linux.hostcalls import HostBuffer
from pemu.linux.ioctls.request import (
    INT,
    LONG,
    Request,
    changes,
    coded,
    fills,
    host_ioctl,
    nothing,
    reads,
    value,
)
from pemu.linux.structs.layout import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

TRIM_RANGE = Struct("fstrim_range", "u64 start", "u64 len", "u64 minlen")
CLONE_RANGE = Struct(
    "file_clone_range", "s64 src_fd", "u64 src_offset", "u64 src_length", "u64 dest_offset"
)
DEDUPE_RANGE = Struct(
    "file_dedupe_range", "u64 src_offset", "u64 src_length", "u16 dest_count", "u16 reserved1",
    "u32 reserved2",
)  # fmt: skip
DEDUPE_INFO = Struct(
    "file_dedupe_range_info", "s64 dest_fd", "u64 dest_offset", "u64 bytes_deduped", "s32 status",
    "u32 reserved",
)  # fmt: skip
FSXATTR = Struct(
    "fsxattr", "u32 fsx_xflags", "u32 fsx_extsize", "u32 fsx_nextents", "u32 fsx_projid",
    "u32 fsx_cowextsize", "char fsx_pad[8]",
)  # fmt: skip
LABEL = Struct("label", "char label[256]")
FIEMAP = Struct(
    "fiemap", "u64 fm_start", "u64 fm_length", "u32 fm_flags", "u32 fm_mapped_extents",
    "u32 fm_extent_count", "u32 fm_reserved",
)  # fmt: skip
FIEMAP_EXTENT = Struct(
    "fiemap_extent", "u64 fe_logical", "u64 fe_physical", "u64 fe_length", "u64 reserved64[2]",
    "u32 fe_flags", "u32 reserved[3]",
)  # fmt: skip
MAX_EXTENTS = 1 << 16


def with_array(
    t: Thread, fd: int, number: int, start: int, head: Struct, item: Struct, room: int, count: str
) -> int:
    """A request with a header and an array of `room` items after it.

    Items go in and out; after the call the header's field `count` says how many to write.
    """
    guest_head, guest_item = head.of(t.mem), item.of(t.mem)
    host_head, host_item = head.host(), item.host()
    content = head.convert(t.mem.read(start, guest_head.size), guest_head, host_head)
    data = t.mem.read(start + guest_head.size, guest_item.size * room)
    for i in range(room):
        part = data[i * guest_item.size : (i + 1) * guest_item.size]
        content += item.convert(part, guest_item, host_item)
    buffer = HostBuffer(len(content), content)
    result = host_ioctl(t, fd, number, buffer.address)
    if result < 0:
        return result
    found = buffer.raw
    out = head.convert(found[: host_head.size], host_head, guest_head)
    filled = getattr(host_head.unpack(found), count)
    for i in range(min(filled, room)):
        position = host_head.size + i * host_item.size
        out += item.convert(found[position : position + host_item.size], host_item, guest_item)
    t.mem.write(start, out)
    return result


def map_extents(t: Thread, fd: int, number: int, argument: int) -> int:
    """FS_IOC_FIEMAP: where a file's data are, with an array that the kernel fills."""
    room = FIEMAP.read(t.mem, argument).fm_extent_count
    if room > MAX_EXTENTS:
        return -errno.EINVAL
    return with_array(t, fd, number, argument, FIEMAP, FIEMAP_EXTENT, room, "fm_mapped_extents")


def deduplicate(t: Thread, fd: int, number: int, argument: int) -> int:
    """FIDEDUPERANGE: share equal data, with an array of destinations."""
    room = DEDUPE_RANGE.read(t.mem, argument).dest_count
    return with_array(t, fd, number, argument, DEDUPE_RANGE, DEDUPE_INFO, room, "dest_count")


# FS_IOC_GETFLAGS and its like are numbered as if for a long, but move an int.
REQUESTS: tuple[Request, ...] = (
    coded("FIBMAP", "", 0, 1, None, changes(INT)),
    coded("FIGETBSZ", "", 0, 2, None, fills(INT)),
    coded("FIFREEZE", "rw", "X", 119, INT, nothing),
    coded("FITHAW", "rw", "X", 120, INT, nothing),
    coded("FITRIM", "rw", "X", 121, TRIM_RANGE, changes(TRIM_RANGE)),
    coded("FICLONE", "w", 0x94, 9, INT, value),
    coded("FICLONERANGE", "w", 0x94, 13, CLONE_RANGE, reads(CLONE_RANGE)),
    coded("FIDEDUPERANGE", "rw", 0x94, 54, DEDUPE_RANGE, deduplicate),
    coded("FS_IOC_GETFSLABEL", "r", 0x94, 49, LABEL, fills(LABEL)),
    coded("FS_IOC_SETFSLABEL", "w", 0x94, 50, LABEL, reads(LABEL)),
    coded("FS_IOC_GETFLAGS", "r", "f", 1, LONG, fills(INT)),
    coded("FS_IOC_SETFLAGS", "w", "f", 2, LONG, reads(INT)),
    coded("FS_IOC_GETVERSION", "r", "v", 1, LONG, fills(INT)),
    coded("FS_IOC_SETVERSION", "w", "v", 2, LONG, reads(INT)),
    coded("FS_IOC_FSGETXATTR", "r", "X", 31, FSXATTR, fills(FSXATTR)),
    coded("FS_IOC_FSSETXATTR", "w", "X", 32, FSXATTR, reads(FSXATTR)),
    coded("FS_IOC_FIEMAP", "rw", "f", 11, FIEMAP, map_extents),
)
