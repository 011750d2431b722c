"""Opening, closing, duplicating and cutting files; pipes; fcntl."""

from __future__ import annotations

import errno

from pemu.isa.mips.names import V1
from pemu.linux import fdtable
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.mips.fcntl import (
    COMMANDS,
    LOCK64_COMMANDS,
    LOCK_COMMANDS,
    OPEN_FLAGS,
    DescriptorFlags,
    FcntlArgument,
    FcntlCommand,
    OpenFlags,
)
from pemu.linux.native_forms import Choice, Constant, Form
from pemu.linux.paths import followed, in_proc, note_opened, open_special_file, whole
from pemu.linux.structs.files import (
    DESCRIPTORS,
    F_OWNER_EX,
    FLOCK_32,
    FLOCK_64,
    INT_VALUE,
    OPEN_HOW,
    OWNER_UIDS,
    U64_VALUE,
)
from pemu.linux.syscall import passthrough, syscall
from pemu.linux.types.base import AtFd, CreationMode, Fd, Int, Mode, Off, Off64, Size, UInt, signed
from pemu.linux.types.names import Bits, Named
from pemu.linux.types.pointers import In, Out, OutArray, Path, PlainPath, String

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread

AT_FDCWD = -100
O_CREAT, O_WRONLY, O_TRUNC, O_CLOEXEC = 0x40, 1, 0x200, 0x80000
CLOSE_RANGE_CLOEXEC = 4

F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL = 0, 1, 2, 3, 4
F_GETLK, F_SETSIG, F_GETSIG = 5, 10, 11
F_SETOWN_EX, F_GETOWN_EX, F_GETOWNER_UIDS = 15, 16, 17
F_OFD_GETLK = 36
F_DUPFD_CLOEXEC = 1030
F_GET_RW_HINT, F_SET_RW_HINT, F_GET_FILE_RW_HINT, F_SET_FILE_RW_HINT = 1035, 1036, 1037, 1038


def open_file(t: Thread, dirfd: int, path: bytes, flags: int, mode: int) -> int:
    """Open `path` as the guest sees it; `flags` are the host's. Returns a descriptor or -errno."""
    found = whole(dirfd, path)
    if not in_proc(found):
        return t.host_syscall(NR["openat"], dirfd, address_of(path), flags, mode)
    fd = open_special_file(t, found, flags)
    if fd is not None:
        return fd
    host = followed(t, found)
    result = t.host_syscall(NR["openat"], dirfd, address_of(host), flags, mode)
    if result >= 0:
        note_opened(result)
    return result


@syscall("open", Path, OpenFlags, CreationMode, native="open")
def open_(t: Thread, path: bytes, flags: int, mode: int) -> int:
    return open_file(t, AT_FDCWD, path, flags, mode)


@syscall("openat", AtFd, Path, OpenFlags, CreationMode, native="openat")
def openat(t: Thread, dirfd: int, path: bytes, flags: int, mode: int) -> int:
    return open_file(t, dirfd, path, flags, mode)


@syscall("creat", Path, Mode, native="creat")
def creat(t: Thread, path: bytes, mode: int) -> int:
    return open_file(t, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode)


@syscall("openat2", AtFd, Path, In(OPEN_HOW), Size)
def openat2(t: Thread, dirfd: int, path: bytes, how_at: int, size: int) -> int:
    known = OPEN_HOW.size(t.mem)
    if size < known:
        return -errno.EINVAL
    if size > 4096 or (size > known and any(t.mem.read(how_at + known, size - known))):
        return -errno.E2BIG
    how = OPEN_HOW.read(t.mem, how_at)
    if OPEN_FLAGS.unknown(how.flags):
        return -errno.EINVAL
    if not how.resolve and in_proc(whole(dirfd, path)):
        return open_file(t, dirfd, path, OPEN_FLAGS.to_host(how.flags), how.mode)
    host = OPEN_HOW.host().pack({**how.__dict__, "flags": OPEN_FLAGS.to_host(how.flags)})
    return t.host_syscall(
        NR["openat2"], dirfd, address_of(path), address_of(host), OPEN_HOW.host().size
    )


CloseRangeFlags = Bits("close_range flags", "CLOSE_RANGE_UNSHARE 2 CLOSE_RANGE_CLOEXEC 4")


@syscall("close_range", UInt, UInt, CloseRangeFlags)
def close_range(t: Thread, first: int, last: int, flags: int) -> int:
    if first > last:
        return -errno.EINVAL
    start = first
    for own in [fd for fd in fdtable.own_fds() if first <= fd <= last] + [last + 1]:
        if start < own:
            result = t.host_syscall(NR["close_range"], start, own - 1, flags)
            if result < 0:
                return result
        start = own + 1
    if not flags & CLOSE_RANGE_CLOEXEC:
        fdtable.forget_range(first, last)
    return 0


def duplicate_to(t: Thread, old: int, new: int, flags: int) -> int:
    """dup3(2), with which a translator is duplicated, too."""
    fdtable.check(old)
    if old == new:
        return -errno.EINVAL
    result = t.host_syscall(NR["dup3"], old, fdtable.check(new), flags)
    if result >= 0:
        fdtable.duplicated(old, new)
    return result


@syscall("dup2", Fd, Fd, native="dup2")
def dup2(t: Thread, old: int, new: int) -> int:
    if old == new:
        return t.host_syscall(NR["dup2"], fdtable.check(old), new)
    return duplicate_to(t, old, new, 0)


@syscall("dup3", Fd, Fd, DescriptorFlags, native="dup3")
def dup3(t: Thread, old: int, new: int, flags: int) -> int:
    return duplicate_to(t, old, new, flags)


def make_pipe(t: Thread, flags: int) -> tuple[int, int]:
    """The descriptors of a new pipe; raises OSError."""
    buffer = HostBuffer(8)
    result = t.host_syscall(NR["pipe2"], buffer.address, flags)
    if result < 0:
        raise OSError(-result, "pipe2")
    return (
        int.from_bytes(buffer.raw[:4], "little"),
        int.from_bytes(buffer.raw[4:], "little"),
    )


@syscall("pipe")
def pipe(t: Thread) -> int:
    """MIPS returns the second descriptor in v1."""
    read, write = make_pipe(t, 0)
    t.cpu.gpr[V1] = write
    return read


@syscall(
    *("pipe2", OutArray(INT_VALUE, 2), DescriptorFlags),
    native=lambda abi: Form("pipe2", Out(DESCRIPTORS), DescriptorFlags),
)
def pipe2(t: Thread, start: int, flags: int) -> int:
    read, write = make_pipe(t, flags)
    try:
        t.mem.put_u32(start, read)
        t.mem.put_u32(start + 4, write)
    except BaseException:
        t.host_syscall(NR["close"], read)
        t.host_syscall(NR["close"], write)
        raise
    return 0


def lock(t: Thread, fd: int, command: int, start: int, wide: bool) -> int:
    """A file lock; `command` is the host's, `wide` a guest's `flock64`."""
    layout = FLOCK_64 if wide else FLOCK_32
    given = layout.read(t.mem, start)
    host = FLOCK_64.host()
    fields = {name: getattr(given, name) for name in host.names}
    buffer = HostBuffer(host.size, host.pack(fields))
    result = t.host_syscall(NR["fcntl"], fd, command, buffer.address)
    if result >= 0 and command in (F_GETLK, F_OFD_GETLK):
        found = host.unpack(buffer.raw).__dict__
        if not wide:
            if max(found["l_start"], found["l_len"]) >> 31:
                return -errno.EOVERFLOW
            found["l_sysid"] = found["l_pid"]
            found["pad"] = given.pad
        layout.write(t.mem, start, **found)
    return result


def fcntl_struct(t: Thread, fd: int, command: int, start: int) -> int:
    """A command whose argument points to a structure of fixed width."""
    layout = {
        F_SETOWN_EX: F_OWNER_EX,
        F_GETOWN_EX: F_OWNER_EX,
        F_GETOWNER_UIDS: OWNER_UIDS,
    }.get(command, U64_VALUE)
    content = b""
    if command in (F_SETOWN_EX, F_SET_RW_HINT, F_SET_FILE_RW_HINT):
        data = t.mem.read(start, layout.size(t.mem))
        content = layout.convert(data, layout.of(t.mem), layout.host())
    buffer = HostBuffer(layout.host().size, content)
    result = t.host_syscall(NR["fcntl"], fd, command, buffer.address)
    if result >= 0 and not content:
        t.mem.write(start, layout.convert(buffer.raw, layout.host(), layout.of(t.mem)))
    return result


_STRUCT_COMMANDS = frozenset(
    (
        F_SETOWN_EX,
        F_GETOWN_EX,
        F_GETOWNER_UIDS,
        F_GET_RW_HINT,
        F_SET_RW_HINT,
        F_GET_FILE_RW_HINT,
        F_SET_FILE_RW_HINT,
    )
)


def control(t: Thread, fd: int, guest_command: int, argument: int, has_64: bool) -> int:
    """fcntl; `has_64`: with the commands that take a `flock64`."""
    fdtable.check(fd)
    if not COMMANDS.known(guest_command):
        return -errno.EINVAL
    command = COMMANDS.to_host(guest_command)
    if guest_command in LOCK_COMMANDS:
        return lock(t, fd, command, argument, t.target.word == 8)
    if guest_command in LOCK64_COMMANDS:
        return lock(t, fd, command, argument, True) if has_64 else -errno.EINVAL
    if command in _STRUCT_COMMANDS:
        return fcntl_struct(t, fd, command, argument)
    if command == F_SETFL:
        argument = OPEN_FLAGS.to_host(argument & 0xFFFFFFFF)
    elif command == F_SETSIG:
        from pemu.linux.mips.signals import guest_to_host_signal

        argument = guest_to_host_signal(argument)
    result = t.host_syscall(NR["fcntl"], fd, command, argument)
    if result < 0:
        return result
    if command == F_GETFL:
        return OPEN_FLAGS.to_guest(result)
    if command == F_GETSIG:
        from pemu.linux.mips.signals import host_to_guest_signal

        return host_to_guest_signal(result)
    if command in (F_DUPFD, F_DUPFD_CLOEXEC):
        fdtable.duplicated(fd, result)
    return result


_SETLK, _SETLKW, _SETLK64, _SETLKW64 = 6, 7, 34, 35
"""The guest's numbers."""


def _native_fcntl(abi: Abi) -> Choice:
    """The commands whose argument is no pointer, and locking."""
    number = Form("fcntl", Fd, Int, Int)
    forms = {
        **dict.fromkeys((F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD), number),
        F_GETFL: Form("fcntl", Fd, Int, flags=OPEN_FLAGS),
        F_SETFL: Form("fcntl", Fd, Int, OpenFlags),
    }
    own = In(FLOCK_64 if abi.word == 8 else FLOCK_32, FLOCK_64)
    for command, layout in ((_SETLK, own), (_SETLKW, own), (_SETLK64, None), (_SETLKW64, None)):
        host = Constant(COMMANDS.to_host(command))
        forms[command] = Form("fcntl", Fd, host, layout or In(FLOCK_64))
    return Choice(1, forms)


def _native_fcntl_without_64(abi: Abi) -> Forms:
    forms = _native_fcntl(abi).forms
    if abi.word == 4:
        del forms[_SETLK64], forms[_SETLKW64]
    return Choice(1, forms)


@syscall("fcntl", Fd, FcntlCommand, FcntlArgument, native=_native_fcntl_without_64)
def fcntl(t: Thread, fd: int, command: int, argument: int) -> int:
    return control(t, fd, command, _fcntl_argument(t, command, argument), t.target.word == 8)


@syscall("fcntl64", Fd, FcntlCommand, FcntlArgument, native=_native_fcntl)
def fcntl64(t: Thread, fd: int, command: int, argument: int) -> int:
    return control(t, fd, command, _fcntl_argument(t, command, argument), True)


_F_SETOWN = 24


def _fcntl_argument(t: Thread, command: int, argument: int) -> int:
    """The last argument as the host's long: F_SETOWN takes negative numbers (process groups)."""
    return signed(argument, 32) if command == _F_SETOWN else argument


Advice = Named(
    "advice",
    "POSIX_FADV_NORMAL POSIX_FADV_RANDOM POSIX_FADV_SEQUENTIAL POSIX_FADV_WILLNEED"
    " POSIX_FADV_DONTNEED POSIX_FADV_NOREUSE",
)
FallocMode = Bits(
    "fallocate mode",
    "FALLOC_FL_KEEP_SIZE 1 FALLOC_FL_PUNCH_HOLE 2 FALLOC_FL_COLLAPSE_RANGE 8"
    " FALLOC_FL_ZERO_RANGE 0x10 FALLOC_FL_INSERT_RANGE 0x20 FALLOC_FL_UNSHARE_RANGE 0x40",
)
SyncRangeFlags = Bits(
    "sync flags",
    "SYNC_FILE_RANGE_WAIT_BEFORE 1 SYNC_FILE_RANGE_WRITE 2 SYNC_FILE_RANGE_WAIT_AFTER 4",
)
MemfdFlags = Bits(
    "memfd flags", "MFD_CLOEXEC 1 MFD_ALLOW_SEALING 2 MFD_HUGETLB 4 MFD_NOEXEC_SEAL 8 MFD_EXEC 16"
)

passthrough("truncate", PlainPath, Off)
passthrough("truncate64", PlainPath, Off64, host="truncate")
passthrough("ftruncate64", Fd, Off64, host="ftruncate")
passthrough("fallocate", Fd, FallocMode, Off64, Off64)
passthrough("fadvise64", Fd, Off64, Off64, Advice)
passthrough("readahead", Fd, Off64, Size)
passthrough("sync_file_range", Fd, Off64, Off64, SyncRangeFlags)
passthrough("memfd_create", String, MemfdFlags)
passthrough("syncfs", Fd)
passthrough("sync")
