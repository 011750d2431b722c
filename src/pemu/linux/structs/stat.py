"""File status structures; sources: the kernel's MIPS `asm/stat.h`, `asm/statfs.h`, `linux/stat.h`.

n32's stat is n64's: its calls are those of the 64-bit kernel.
"""

from __future__ import annotations

from pemu.linux.structs.layout import Struct

STAT_O32 = Struct(
    "stat",
    "u32 st_dev", "s32 st_pad1[3]", "u32 st_ino", "u32 st_mode", "u32 st_nlink", "u32 st_uid",
    "u32 st_gid", "u32 st_rdev", "s32 st_pad2[2]", "s32 st_size", "s32 st_pad3",
    "s32 st_atime", "s32 st_atime_nsec", "s32 st_mtime", "s32 st_mtime_nsec", "s32 st_ctime",
    "s32 st_ctime_nsec", "s32 st_blksize", "s32 st_blocks", "s32 st_pad4[14]",
    shown=("st_mode", "st_size"),
)  # fmt: skip

STAT_64 = Struct(
    "stat",
    "u32 st_dev", "u32 st_pad0[3]", "u64 st_ino", "u32 st_mode", "u32 st_nlink", "u32 st_uid",
    "u32 st_gid", "u32 st_rdev", "u32 st_pad1[3]", "s64 st_size",
    "u32 st_atime", "u32 st_atime_nsec", "u32 st_mtime", "u32 st_mtime_nsec", "u32 st_ctime",
    "u32 st_ctime_nsec", "u32 st_blksize", "u32 st_pad2", "s64 st_blocks",
    shown=("st_mode", "st_size"),
)  # fmt: skip
"""`struct stat` of n64 and n32, `struct stat64` of o32."""

HOST_STAT = Struct(
    "stat",
    "u64 st_dev", "u64 st_ino", "u64 st_nlink", "u32 st_mode", "u32 st_uid", "u32 st_gid",
    "u32 pad", "u64 st_rdev", "s64 st_size", "s64 st_blksize", "s64 st_blocks",
    "s64 st_atime", "s64 st_atime_nsec", "s64 st_mtime", "s64 st_mtime_nsec", "s64 st_ctime",
    "s64 st_ctime_nsec", "s64 unused[3]",
)  # fmt: skip
"""The host's `struct stat` (x86-64)."""

_STATX_TIMESTAMP = Struct("statx_timestamp", "s64 tv_sec", "u32 tv_nsec", "s32 reserved")

STATX = Struct(
    "statx",
    "u32 stx_mask", "u32 stx_blksize", "u64 stx_attributes", "u32 stx_nlink", "u32 stx_uid",
    "u32 stx_gid", "u16 stx_mode", "u16 pad0", "u64 stx_ino", "u64 stx_size", "u64 stx_blocks",
    "u64 stx_attributes_mask", (_STATX_TIMESTAMP, "stx_atime"), (_STATX_TIMESTAMP, "stx_btime"),
    (_STATX_TIMESTAMP, "stx_ctime"), (_STATX_TIMESTAMP, "stx_mtime"),
    "u32 stx_rdev_major", "u32 stx_rdev_minor", "u32 stx_dev_major", "u32 stx_dev_minor",
    "u64 stx_mnt_id", "u32 stx_dio_mem_align", "u32 stx_dio_offset_align", "u64 spare3[12]",
    shown=("stx_mode", "stx_size"),
)  # fmt: skip

STATFS = Struct(
    "statfs",
    "long f_type", "long f_bsize", "long f_frsize", "long f_blocks", "long f_bfree",
    "long f_files", "long f_ffree", "long f_bavail", "s32 f_fsid[2]", "long f_namelen",
    "long f_flags", "long f_spare[5]",
    shown=("f_type", "f_bsize", "f_blocks", "f_bfree"),
)  # fmt: skip
"""`struct statfs`, and `struct statfs64` of n64."""

STATFS64_32 = Struct(
    "statfs64",
    "u32 f_type", "u32 f_bsize", "u32 f_frsize", "u32 pad", "u64 f_blocks", "u64 f_bfree",
    "u64 f_files", "u64 f_ffree", "u64 f_bavail", "s32 f_fsid[2]", "u32 f_namelen",
    "u32 f_flags", "u32 f_spare[5]",
    shown=("f_type", "f_bsize", "f_blocks", "f_bfree"),
)  # fmt: skip
"""`struct statfs64` of o32 and n32."""

HOST_STATFS = Struct(
    "statfs",
    "long f_type", "long f_bsize", "long f_blocks", "long f_bfree", "long f_bavail",
    "long f_files", "long f_ffree", "s32 f_fsid[2]", "long f_namelen", "long f_frsize",
    "long f_flags", "long f_spare[4]",
)  # fmt: skip
"""The host's `struct statfs` (x86-64)."""
