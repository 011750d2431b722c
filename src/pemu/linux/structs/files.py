"""Structures of file locks and owners; sources: the kernel's `asm/fcntl.h`, `linux/fcntl.h`."""

from __future__ import annotations

from pemu.linux.structs.layout import Struct

FLOCK_32 = Struct(
    "flock", "short l_type", "short l_whence", "s32 l_start", "s32 l_len", "s32 l_sysid",
    "s32 l_pid", "s32 pad[4]",
)  # fmt: skip
"""With l_sysid before l_pid, as C libraries have it; the kernel swapped them in 5.19."""

FLOCK_64 = Struct(
    "flock64", "short l_type", "short l_whence", "s64 l_start", "s64 l_len", "s32 l_pid"
)
F_OWNER_EX = Struct("f_owner_ex", "int type", "int pid")
OWNER_UIDS = Struct("owner_uids", "u32 ruid", "u32 euid")
U64_VALUE = Struct("u64", "u64 value")
OFFSET = Struct("loff_t", "s64 value")
LONG_OFFSET = Struct("off_t", "long value")
DESCRIPTORS = Struct("int[2]", "int first", "int second")
INT_VALUE = Struct("int", "int value")
OPEN_HOW = Struct("open_how", "u64 flags", "u64 mode", "u64 resolve")
