"""inotify and fanotify: their events have the byte order of the host."""

from __future__ import annotations

from pemu.linux import fdtable
from pemu.linux.hostcalls import NR, address_of
from pemu.linux.mips.fcntl import DescriptorFlags, OpenFlags
from pemu.linux.structs.byteorder import swap
from pemu.linux.syscall import passthrough, syscall
from pemu.linux.types.base import U64, AtFd, Fd, UInt
from pemu.linux.types.names import Bits
from pemu.linux.types.pointers import OptionalString, Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

InotifyMask = Bits(
    "inotify mask",
    "IN_ALL_EVENTS 0xfff IN_ACCESS 1 IN_MODIFY 2 IN_ATTRIB 4 IN_CLOSE_WRITE 8 IN_CLOSE_NOWRITE 0x10"
    " IN_OPEN 0x20 IN_MOVED_FROM 0x40 IN_MOVED_TO 0x80 IN_CREATE 0x100 IN_DELETE 0x200"
    " IN_DELETE_SELF 0x400 IN_MOVE_SELF 0x800 IN_ONLYDIR 0x1000000 IN_DONT_FOLLOW 0x2000000"
    " IN_EXCL_UNLINK 0x4000000 IN_MASK_CREATE 0x10000000 IN_MASK_ADD 0x20000000"
    " IN_ONESHOT 0x80000000",
)


@syscall("inotify_init")
def inotify_init(t: Thread) -> int:
    return inotify_init1(t, 0)


@syscall("inotify_init1", DescriptorFlags)
def inotify_init1(t: Thread, flags: int) -> int:
    fd = t.host_syscall(NR["inotify_init1"], flags)
    if fd >= 0 and t.target.big_endian:
        fdtable.set_translator(fd, InotifyEvents())
    return fd


passthrough("inotify_add_watch", Fd, Path, InotifyMask)
passthrough("inotify_rm_watch", Fd, UInt)

_METADATA = "I2BHQ2I"
_METADATA_BYTES = 24
_FID_RECORDS = frozenset((1, 2, 3, 10, 12))
_PIDFD_RECORD, _ERROR_RECORD = 4, 5


class InotifyEvents(fdtable.Translator):
    """Events: wd, mask, cookie and length, and a name of that length."""

    __slots__ = ()

    def from_host(self, t: Thread, data: bytes) -> bytes:
        out = bytearray()
        pos = 0
        while pos + 16 <= len(data):
            end = pos + 16 + int.from_bytes(data[pos + 12 : pos + 16], "little")
            out += swap(data[pos:end], "4I")
            pos = end
        return bytes(out)


class FanotifyEvents(fdtable.Translator):
    """Events: metadata, then records of information; what the guest writes are permissions."""

    __slots__ = ()

    def from_host(self, t: Thread, data: bytes) -> bytes:
        events = []
        position = 0
        while position + _METADATA_BYTES <= len(data):
            length = int.from_bytes(data[position : position + 4], "little")
            if length < _METADATA_BYTES:
                break
            event = data[position : position + length]
            events.append(swap(event[:_METADATA_BYTES], _METADATA))
            events.append(_records(event[_METADATA_BYTES:]))
            position += length
        return b"".join(events)

    def to_host(self, t: Thread, data: bytes) -> bytes:
        return swap(data, "I*")


def _records(data: bytes) -> bytes:
    """Records: type, padding, length in 16 bits; a file handle after the file system's number."""
    result = b""
    while len(data) >= 4:
        kind = data[0]
        length = int.from_bytes(data[2:4], "little")
        if not 4 <= length <= len(data):
            break
        layout = "2BH"
        if kind in _FID_RECORDS:
            layout = "2BH4I"
        elif kind in (_PIDFD_RECORD, _ERROR_RECORD):
            layout = "2BHI" if kind == _PIDFD_RECORD else "2BH2I"
        result += swap(data[:length], layout)
        data = data[length:]
    return result + data


FanotifyFlags = Bits(
    "fanotify flags",
    "FAN_CLOEXEC 1 FAN_NONBLOCK 2 FAN_CLASS_CONTENT 4 FAN_CLASS_PRE_CONTENT 8"
    " FAN_UNLIMITED_QUEUE 0x10 FAN_UNLIMITED_MARKS 0x20 FAN_REPORT_PIDFD 0x80 FAN_REPORT_TID 0x100"
    " FAN_REPORT_FID 0x200 FAN_REPORT_DIR_FID 0x400 FAN_REPORT_NAME 0x800"
    " FAN_REPORT_TARGET_FID 0x1000",
)
FanotifyMark = Bits(
    "fanotify mark",
    "FAN_MARK_ADD 1 FAN_MARK_REMOVE 2 FAN_MARK_DONT_FOLLOW 4 FAN_MARK_ONLYDIR 8 FAN_MARK_MOUNT 0x10"
    " FAN_MARK_IGNORED_MASK 0x20 FAN_MARK_IGNORED_SURV_MODIFY 0x40 FAN_MARK_FLUSH 0x80"
    " FAN_MARK_FILESYSTEM 0x100 FAN_MARK_EVICTABLE 0x200 FAN_MARK_IGNORE 0x400",
)


@syscall("fanotify_init", FanotifyFlags, OpenFlags)
def fanotify_init(t: Thread, flags: int, event_flags: int) -> int:
    fd = t.host_syscall(NR["fanotify_init"], flags, event_flags)
    if fd >= 0 and t.target.big_endian:
        fdtable.set_translator(fd, FanotifyEvents())
    return fd


@syscall("fanotify_mark", Fd, FanotifyMark, U64, AtFd, OptionalString)
def fanotify_mark(t: Thread, fd: int, flags: int, mask: int, dirfd: int, path: bytes | None) -> int:
    name = 0 if path is None else address_of(path)
    return t.host_syscall(NR["fanotify_mark"], fd, flags, mask, dirfd, name)
