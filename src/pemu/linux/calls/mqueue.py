"""POSIX message queues."""

from __future__ import annotations

from pemu.linux import fdtable
from pemu.linux.flags import Flags
from pemu.linux.host_ranges import host_range_for_writing
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.sockets.netlink import NETLINK_USERSOCK
from pemu.linux.structs.layout import Struct
from pemu.linux.structs.sigevent import SIGEV_THREAD, host_sigevent
from pemu.linux.structs.time import TIMESPEC
from pemu.linux.syscall import passthrough, syscall
from pemu.linux.translators import Netlink
from pemu.linux.types.base import Fd, FlagsType, Mode, Size, UInt
from pemu.linux.types.pointers import In, InBuf, Out, OutBuf, Ptr, String
from pemu.linux.types.time import InTimespec64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

_32BIT = ("o32", "n32")
MQ_ATTR = Struct(
    "mq_attr",
    "long mq_flags",
    "long mq_maxmsg",
    "long mq_msgsize",
    "long mq_curmsgs",
    "long reserved[4]",
)
PRIORITY = Struct("unsigned int", "u32 priority")
O_NONBLOCK, HOST_O_NONBLOCK = 0x80, 0x800
NOTIFY_COOKIE_LEN = 32

OpenFlags = FlagsType(
    "int",
    Flags(
        """
        O_RDONLY 0
        O_WRONLY 1
        O_RDWR 2
        O_NONBLOCK 0x80 0x800
        O_CREAT 0x100 0x40
        O_EXCL 0x400 0x80
        O_CLOEXEC 0x80000
        """,
        fields=(3,),
        keep=True,
    ),
    "O_RDONLY",
)

passthrough("mq_unlink", String)
passthrough("mq_timedsend", Fd, InBuf(2), Size, UInt, In(TIMESPEC))
passthrough("mq_timedreceive", Fd, OutBuf(2), Size, Out(PRIORITY), In(TIMESPEC))
passthrough(
    "mq_timedsend_time64",
    Fd,
    InBuf(2),
    Size,
    UInt,
    InTimespec64,
    abis=_32BIT,
    host="mq_timedsend",
)
passthrough(
    "mq_timedreceive_time64",
    Fd,
    OutBuf(2),
    Size,
    Out(PRIORITY),
    InTimespec64,
    abis=_32BIT,
    host="mq_timedreceive",
)


def _attributes(t: Thread, address: int) -> bytes:
    """The guest's attributes as the host has them."""
    values = MQ_ATTR.read(t.mem, address).__dict__
    if values["mq_flags"] & O_NONBLOCK:
        values["mq_flags"] ^= O_NONBLOCK | HOST_O_NONBLOCK
    return MQ_ATTR.host().pack(values)


@syscall("mq_open", String, OpenFlags, Mode, In(MQ_ATTR))
def mq_open(t: Thread, name: bytes, flags: int, mode: int, attributes: int) -> int:
    wanted = _attributes(t, attributes) if attributes and flags & 0x40 else b""
    return t.host_syscall(
        NR["mq_open"], address_of(name), flags, mode, address_of(wanted) if wanted else 0
    )


@syscall("mq_notify", Fd, Ptr)
def mq_notify(t: Thread, queue: int, event: int) -> int:
    if not event:
        return t.host_syscall(NR["mq_notify"], queue, 0)
    notify = host_sigevent(t, event)
    if int.from_bytes(notify[12:16], "little") == SIGEV_THREAD:
        # The value points to a cookie that the kernel sends back, as it is, through the netlink
        # socket whose descriptor stands in the place of the signal; a thread may read it already.
        socket = fdtable.translator(int.from_bytes(notify[8:12], "little"))
        if isinstance(socket, Netlink):
            socket.protocol = NETLINK_USERSOCK
        cookie = int.from_bytes(notify[:8], "little")
        place = host_range_for_writing(t.mem, cookie, NOTIFY_COOKIE_LEN)
        notify = place.to_bytes(8, "little") + notify[8:]
    return t.host_syscall(NR["mq_notify"], queue, address_of(notify))


@syscall("mq_getsetattr", Fd, In(MQ_ATTR), Out(MQ_ATTR))
def mq_getsetattr(t: Thread, queue: int, new: int, old: int) -> int:
    wanted = _attributes(t, new) if new else b""
    before = HostBuffer(MQ_ATTR.host().size)
    result = t.host_syscall(
        NR["mq_getsetattr"],
        queue,
        address_of(wanted) if wanted else 0,
        before.address if old else 0,
    )
    if result >= 0 and old:
        values = MQ_ATTR.host().unpack(before.raw).__dict__
        if values["mq_flags"] & HOST_O_NONBLOCK:
            values["mq_flags"] ^= O_NONBLOCK | HOST_O_NONBLOCK
        t.mem.write(old, MQ_ATTR.of(t.mem).pack(values))
    return result
