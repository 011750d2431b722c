"""Block devices and loop devices; sources: the kernel's `linux/fs.h`, `hdreg.h`, `loop.h`."""

from __future__ import annotations

from pemu.linux.hostcalls import HostBuffer
from pemu.linux.ioctls.request import (
    INT,
    LONG,
    SIZE,
    U64,
    USHORT,
    Request,
    coded,
    fills,
    host_ioctl_with,
    nothing,
    reads,
    same,
    value,
)
from pemu.linux.structs.layout import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

RANGE = Struct("range", "u64 start", "u64 length")
GEOMETRY = Struct("hd_geometry", "uchar heads", "uchar sectors", "ushort cylinders", "ulong start")
PARTITION_ARGUMENT = Struct("blkpg_ioctl_arg", "int op", "int flags", "int datalen", "ptr data")
PARTITION = Struct(
    "blkpg_partition", "s64 start", "s64 length", "int pno", "char devname[64]", "char volname[64]"
)
LOOP_INFO = Struct(
    "loop_info64", "u64 lo_device", "u64 lo_inode", "u64 lo_rdevice", "u64 lo_offset",
    "u64 lo_sizelimit", "u32 lo_number", "u32 lo_encrypt_type", "u32 lo_encrypt_key_size",
    "u32 lo_flags", "char lo_file_name[64]", "char lo_crypt_name[64]", "char lo_encrypt_key[32]",
    "u64 lo_init[2]",
)  # fmt: skip
LOOP_CONFIG = Struct(
    "loop_config", "u32 fd", "u32 block_size", (LOOP_INFO, "info"), "u64 reserved[8]"
)


def change_partition(t: Thread, fd: int, number: int, argument: int) -> int:
    """BLKPG: add, delete or resize a partition, which a second structure describes."""
    given = PARTITION_ARGUMENT.read(t.mem, argument)
    partition = PARTITION.host().pack(PARTITION.read(t.mem, given.data).__dict__)
    inner = HostBuffer(len(partition), partition)
    fields = {**given.__dict__, "data": inner.address, "datalen": len(partition)}
    content = PARTITION_ARGUMENT.host().pack(fields)
    return host_ioctl_with(t, fd, number, content)


REQUESTS: tuple[Request, ...] = (
    coded("BLKROSET", "", 0x12, 93, None, reads(INT)),
    coded("BLKROGET", "", 0x12, 94, None, fills(INT)),
    coded("BLKRRPART", "", 0x12, 95, None, nothing),
    coded("BLKGETSIZE", "", 0x12, 96, None, fills(LONG)),
    coded("BLKFLSBUF", "", 0x12, 97, None, nothing),
    coded("BLKRASET", "", 0x12, 98, None, value),
    coded("BLKRAGET", "", 0x12, 99, None, fills(LONG)),
    coded("BLKFRASET", "", 0x12, 100, None, value),
    coded("BLKFRAGET", "", 0x12, 101, None, fills(LONG)),
    coded("BLKSECTGET", "", 0x12, 103, None, fills(USHORT)),
    coded("BLKSSZGET", "", 0x12, 104, None, fills(INT)),
    coded("BLKPG", "", 0x12, 105, None, change_partition),
    coded("BLKBSZGET", "r", 0x12, 112, SIZE, fills(INT)),
    coded("BLKBSZSET", "w", 0x12, 113, SIZE, reads(INT)),
    coded("BLKGETSIZE64", "r", 0x12, 114, SIZE, fills(U64)),
    coded("BLKDISCARD", "", 0x12, 119, None, reads(RANGE)),
    coded("BLKIOMIN", "", 0x12, 120, None, fills(INT)),
    coded("BLKIOOPT", "", 0x12, 121, None, fills(INT)),
    coded("BLKALIGNOFF", "", 0x12, 122, None, fills(INT)),
    coded("BLKPBSZGET", "", 0x12, 123, None, fills(INT)),
    coded("BLKDISCARDZEROES", "", 0x12, 124, None, fills(INT)),
    coded("BLKSECDISCARD", "", 0x12, 125, None, reads(RANGE)),
    coded("BLKROTATIONAL", "", 0x12, 126, None, fills(USHORT)),
    coded("BLKZEROOUT", "", 0x12, 127, None, reads(RANGE)),
    coded("BLKGETDISKSEQ", "r", 0x12, 128, U64, fills(U64)),
    same("HDIO_GETGEO", 0x0301, fills(GEOMETRY)),
    same("LOOP_SET_FD", 0x4C00, value),
    same("LOOP_CLR_FD", 0x4C01, nothing),
    same("LOOP_SET_STATUS64", 0x4C04, reads(LOOP_INFO)),
    same("LOOP_GET_STATUS64", 0x4C05, fills(LOOP_INFO)),
    same("LOOP_CHANGE_FD", 0x4C06, value),
    same("LOOP_SET_CAPACITY", 0x4C07, nothing),
    same("LOOP_SET_DIRECT_IO", 0x4C08, value),
    same("LOOP_SET_BLOCK_SIZE", 0x4C09, value),
    same("LOOP_CONFIGURE", 0x4C0A, reads(LOOP_CONFIG)),
    same("LOOP_CTL_ADD", 0x4C80, value),
    same("LOOP_CTL_REMOVE", 0x4C81, value),
    same("LOOP_CTL_GET_FREE", 0x4C82, nothing),
)
