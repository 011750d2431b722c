"""Flags and commands of files and descriptors on MIPS.

Sources: the kernel's MIPS and generic `asm/fcntl.h`; `linux/fcntl.h`; for the host x86-64's.
"""

from __future__ import annotations

from pemu.linux.flags import Enum, Flags
from pemu.linux.show import show_pointer
from pemu.linux.types.base import FlagsType, UnsignedType, WordType
from pemu.linux.types.names import Bits
from pemu.linux.types.pointers import address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.linux.process import Thread

OPEN_FLAGS = Flags(
    """
    O_RDONLY    0          0
    O_WRONLY    1          1
    O_RDWR      2          2
    O_ACCMODE   3          3
    O_APPEND    0x0008     0x400
    O_SYNC      0x4010     0x101000
    O_DSYNC     0x0010     0x1000
    O_NONBLOCK  0x0080     0x800
    O_CREAT     0x0100     0x40
    O_TRUNC     0x0200     0x200
    O_EXCL      0x0400     0x80
    O_NOCTTY    0x0800     0x100
    O_ASYNC     0x1000     0x2000
    O_LARGEFILE 0x2000     0x8000
    O_DIRECT    0x8000     0x4000
    O_TMPFILE   0x410000   0x410000
    O_DIRECTORY 0x10000    0x10000
    O_NOFOLLOW  0x20000    0x20000
    O_NOATIME   0x40000    0x40000
    O_CLOEXEC   0x80000    0x80000
    O_PATH      0x200000   0x200000
    """,
    fields=(3,),
)
"""Flags of open, of F_GETFL and F_SETFL, and of the calls that make descriptors."""

DESCRIPTOR_FLAGS = Flags(
    """
    O_NONBLOCK  0x0080   0x800
    O_DIRECT    0x8000   0x4000
    O_CLOEXEC   0x80000  0x80000
    """,
    invalid=1,
)
"""Flags of calls that make descriptors other than of files."""

OpenFlags = FlagsType("open flags", OPEN_FLAGS)
DescriptorFlags = FlagsType("flags", DESCRIPTOR_FLAGS)

AtFlags = Bits(
    "at flags",
    "AT_SYMLINK_NOFOLLOW 0x100 AT_SYMLINK_FOLLOW 0x400 AT_NO_AUTOMOUNT 0x800 AT_EMPTY_PATH 0x1000"
    " AT_STATX_FORCE_SYNC 0x2000 AT_STATX_DONT_SYNC 0x4000 AT_RECURSIVE 0x8000",
)


class StatxFlagsType(UnsignedType):
    """Flags of statx, among which is a field that always has a name."""

    __slots__ = ()

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        flags = raw[index] & 0xFFFFFFFF
        names = {0: "AT_STATX_SYNC_AS_STAT", 0x2000: "AT_STATX_FORCE_SYNC"}
        sync = names.get(flags & 0x6000, "AT_STATX_DONT_SYNC")
        rest = flags & ~0x6000
        return f"{sync}|{AtFlags.show(t, (rest,), 0, result)}" if rest else sync


StatxFlags = StatxFlagsType("flags")
UnlinkFlags = Bits("unlink flags", "AT_REMOVEDIR 0x200")
AccessFlags = Bits(
    "access flags", "AT_SYMLINK_NOFOLLOW 0x100 AT_EACCESS 0x200 AT_EMPTY_PATH 0x1000"
)
AccessMode = Bits("access mode", "R_OK 4 W_OK 2 X_OK 1", "F_OK")
RenameFlags = Bits("rename flags", "RENAME_NOREPLACE 1 RENAME_EXCHANGE 2 RENAME_WHITEOUT 4")

COMMANDS = Enum(
    """
    F_DUPFD            0
    F_GETFD            1
    F_SETFD            2
    F_GETFL            3
    F_SETFL            4
    F_GETLK            14    5
    F_SETLK            6
    F_SETLKW           7
    F_SETOWN           24    8
    F_GETOWN           23    9
    F_SETSIG           10
    F_GETSIG           11
    F_GETLK64          33    5
    F_SETLK64          34    6
    F_SETLKW64         35    7
    F_SETOWN_EX        15
    F_GETOWN_EX        16
    F_GETOWNER_UIDS    17
    F_OFD_GETLK        36
    F_OFD_SETLK        37
    F_OFD_SETLKW       38
    F_SETLEASE         1024
    F_GETLEASE         1025
    F_NOTIFY           1026
    F_DUPFD_CLOEXEC    1030
    F_SETPIPE_SZ       1031
    F_GETPIPE_SZ       1032
    F_ADD_SEALS        1033
    F_GET_SEALS        1034
    F_GET_RW_HINT      1035
    F_SET_RW_HINT      1036
    F_GET_FILE_RW_HINT 1037
    F_SET_FILE_RW_HINT 1038
    """
)

LOCK_COMMANDS = frozenset((6, 7, 14))
"""Guest commands with a `struct flock`."""

LOCK64_COMMANDS = frozenset((33, 34, 35, 36, 37, 38))
"""Guest commands with a `struct flock64`."""


class FcntlCommandType(UnsignedType):
    """A command of fcntl, as the guest numbers it."""

    __slots__ = ()

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        return COMMANDS.show(raw[index] & 0xFFFFFFFF)


FcntlCommand = FcntlCommandType("command")

_F_SETFD, _F_SETFL = 2, 4
_WITHOUT_ARGUMENT = frozenset((1, 3, 11, 23, 1025, 1032, 1034))


_WITH_NUMBER = frozenset((0, 1030, 1031))
"""F_DUPFD, F_DUPFD_CLOEXEC, F_SETPIPE_SZ."""


class FcntlArgumentType(WordType):
    """What the command before it wants: flags, a number, an address or nothing."""

    __slots__ = ()

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        command = raw[index - 1] & 0xFFFFFFFF
        if command in _WITHOUT_ARGUMENT:
            return ""
        if command in _WITH_NUMBER:
            return str(raw[index] & 0xFFFFFFFF)
        if command == _F_SETFD:
            return "FD_CLOEXEC" if raw[index] & 1 else "0"
        if command == _F_SETFL:
            return OPEN_FLAGS.show(raw[index] & 0xFFFFFFFF)
        if command in LOCK_COMMANDS or command in LOCK64_COMMANDS:
            return _show_lock(t, address(t, raw[index]), command)
        return super().show(t, raw, index, result)


_LOCK_QUERIES = frozenset((14, 33, 36))
_LOCK_TYPES = ("F_RDLCK", "F_WRLCK", "F_UNLCK")
_WHENCES = ("SEEK_SET", "SEEK_CUR", "SEEK_END")


def _show_lock(t: Thread, start: int, command: int) -> str:
    from pemu.engine.memory.access import GuestFault
    from pemu.linux.structs.files import FLOCK_32, FLOCK_64

    layout = FLOCK_64 if command in LOCK64_COMMANDS or t.target.word == 8 else FLOCK_32
    try:
        lock = layout.read(t.mem, start)
    except GuestFault:
        return show_pointer(start)
    kind = _LOCK_TYPES[lock.l_type] if 0 <= lock.l_type < 3 else lock.l_type
    whence = _WHENCES[lock.l_whence] if 0 <= lock.l_whence < 3 else lock.l_whence
    owner = f", l_pid={lock.l_pid}" if command in _LOCK_QUERIES else ""
    return (
        f"{{l_type={kind}, l_whence={whence}, l_start={lock.l_start}, l_len={lock.l_len}{owner}}}"
    )


FcntlArgument = FcntlArgumentType("argument", False, "#x")
