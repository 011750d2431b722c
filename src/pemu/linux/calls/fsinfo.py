"""File systems: their status, mounting, file handles, disk quotas left out."""

from __future__ import annotations

import errno

from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.mips.fcntl import AtFlags, OpenFlags
from pemu.linux.structs.files import INT_VALUE
from pemu.linux.structs.layout import Struct
from pemu.linux.structs.stat import HOST_STATFS, STATFS, STATFS64_32
from pemu.linux.syscall import passthrough, syscall
from pemu.linux.types.base import AtFd, Fd, Int, Size, UInt
from pemu.linux.types.names import Bits, Named
from pemu.linux.types.pointers import In, OptionalString, Out, Path, PlainPath, Ptr, String

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread


def write_status(t: Thread, result: int, data: bytes, start: int, form: Struct) -> int:
    """Write the status of a file system that the host found to `start` as `form`."""
    if result < 0:
        return result
    found = HOST_STATFS.host().unpack(data).__dict__
    found["f_spare"] = ()
    if t.target.word == 4:
        for name in ("f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree"):
            if form is STATFS and found[name] >> 32:
                return -errno.EOVERFLOW
    form.write(t.mem, start, **found)
    return 0


def _of_path(t: Thread, path: bytes, start: int, form: Struct) -> int:
    buffer = HostBuffer(HOST_STATFS.host().size)
    result = t.host_syscall(NR["statfs"], address_of(path), buffer.address)
    return write_status(t, result, buffer.raw, start, form)


def _of_descriptor(t: Thread, fd: int, start: int, form: Struct) -> int:
    buffer = HostBuffer(HOST_STATFS.host().size)
    result = t.host_syscall(NR["fstatfs"], fd, buffer.address)
    return write_status(t, result, buffer.raw, start, form)


@syscall("statfs", Path, Out(STATFS))
def statfs(t: Thread, path: bytes, start: int) -> int:
    return _of_path(t, path, start, STATFS)


@syscall("fstatfs", Fd, Out(STATFS))
def fstatfs(t: Thread, fd: int, start: int) -> int:
    return _of_descriptor(t, fd, start, STATFS)


@syscall("statfs64", Path, Size, Out(STATFS64_32))
def statfs64(t: Thread, path: bytes, size: int, start: int) -> int:
    if size != STATFS64_32.size(t.mem):
        return -errno.EINVAL
    return _of_path(t, path, start, STATFS64_32)


@syscall("fstatfs64", Fd, Size, Out(STATFS64_32))
def fstatfs64(t: Thread, fd: int, size: int, start: int) -> int:
    if size != STATFS64_32.size(t.mem):
        return -errno.EINVAL
    return _of_descriptor(t, fd, start, STATFS64_32)


FILE_HANDLE = Struct("file_handle", "u32 handle_bytes", "s32 handle_type")
MAX_HANDLE = 128


@syscall("name_to_handle_at", AtFd, PlainPath, Ptr, Out(INT_VALUE), AtFlags)
def name_to_handle_at(
    t: Thread, dirfd: int, path: bytes, handle_at: int, mount_at: int, flags: int
) -> int:
    room = FILE_HANDLE.read(t.mem, handle_at).handle_bytes
    if room > MAX_HANDLE:
        return -errno.EINVAL
    host = FILE_HANDLE.host()
    buffer = HostBuffer(host.size + room, host.pack({"handle_bytes": room}))
    mount = HostBuffer(4)
    result = t.host_syscall(
        NR["name_to_handle_at"], dirfd, address_of(path), buffer.address, mount.address, flags
    )
    if result == 0 or result == -errno.EOVERFLOW:
        found = host.unpack(buffer.raw)
        FILE_HANDLE.write(t.mem, handle_at, **found.__dict__)
        if result == 0:
            data = buffer.raw[host.size : host.size + found.handle_bytes]
            t.mem.write(handle_at + host.size, data)
        t.mem.put_u32(mount_at, int.from_bytes(mount.raw, "little"))
    return result


@syscall("open_by_handle_at", Fd, Ptr, OpenFlags)
def open_by_handle_at(t: Thread, mount: int, handle_at: int, flags: int) -> int:
    handle = FILE_HANDLE.read(t.mem, handle_at)
    if handle.handle_bytes > MAX_HANDLE:
        return -errno.EINVAL
    data = t.mem.read(handle_at + FILE_HANDLE.size(t.mem), handle.handle_bytes)
    host = FILE_HANDLE.host().pack(handle.__dict__) + data
    return t.host_syscall(NR["open_by_handle_at"], mount, address_of(host), flags)


MountFlags = Bits(
    "mount flags",
    "MS_RDONLY 1 MS_NOSUID 2 MS_NODEV 4 MS_NOEXEC 8 MS_SYNCHRONOUS 0x10 MS_REMOUNT 0x20"
    " MS_MANDLOCK 0x40 MS_DIRSYNC 0x80 MS_NOSYMFOLLOW 0x100 MS_NOATIME 0x400 MS_NODIRATIME 0x800"
    " MS_BIND 0x1000 MS_MOVE 0x2000 MS_REC 0x4000 MS_SILENT 0x8000 MS_UNBINDABLE 0x20000"
    " MS_PRIVATE 0x40000 MS_SLAVE 0x80000 MS_SHARED 0x100000 MS_RELATIME 0x200000"
    " MS_STRICTATIME 0x1000000 MS_LAZYTIME 0x2000000",
)
UmountFlags = Bits("umount flags", "MNT_FORCE 1 MNT_DETACH 2 MNT_EXPIRE 4 UMOUNT_NOFOLLOW 8")
FsconfigCommand = Named(
    "fsconfig command",
    "FSCONFIG_SET_FLAG FSCONFIG_SET_STRING FSCONFIG_SET_BINARY FSCONFIG_SET_PATH"
    " FSCONFIG_SET_PATH_EMPTY FSCONFIG_SET_FD FSCONFIG_CMD_CREATE FSCONFIG_CMD_RECONFIGURE",
)
MOUNT_ATTR = Struct(
    "mount_attr", "u64 attr_set", "u64 attr_clr", "u64 propagation", "u64 userns_fd"
)

passthrough("mount", OptionalString, PlainPath, OptionalString, MountFlags, OptionalString)
passthrough("umount2", PlainPath, UmountFlags)


@syscall("umount", PlainPath)
def umount(t: Thread, path: bytes) -> int:
    return t.host_syscall(NR["umount2"], address_of(path), 0)


passthrough("open_tree", AtFd, PlainPath, UInt)
passthrough("move_mount", AtFd, PlainPath, AtFd, PlainPath, UInt)
passthrough("fsopen", String, UInt)
passthrough("fsmount", Fd, UInt, UInt)
passthrough("fspick", AtFd, PlainPath, UInt)
passthrough("mount_setattr", AtFd, PlainPath, AtFlags, In(MOUNT_ATTR), Size)
passthrough("fsconfig", Fd, FsconfigCommand, OptionalString, Ptr, Int)
