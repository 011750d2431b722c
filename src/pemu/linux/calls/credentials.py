"""Who a process is: users, groups, capabilities, sessions.

The calls that change users and groups act on the calling thread alone, as in the kernel; the C
library of the guest sees to the other threads.
"""

from __future__ import annotations

import errno

from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.structs.byteorder import swap
from pemu.linux.structs.layout import Struct
from pemu.linux.syscall import passthrough, syscall
from pemu.linux.types.base import Int, UInt
from pemu.linux.types.pointers import Out, Ptr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

ID = Struct("uid_t", "u32 id")
NGROUPS_MAX = 65536

passthrough("setpgid", Int, Int)
passthrough("setsid")
passthrough("setgid", UInt)
passthrough("setregid", Int, Int)
passthrough("setresgid", Int, Int, Int)
passthrough("setfsgid", UInt)
passthrough("getresuid", Out(ID), Out(ID), Out(ID))
passthrough("getresgid", Out(ID), Out(ID), Out(ID))


@syscall("getgroups", Int, Ptr)
def getgroups(t: Thread, count: int, groups: int) -> int:
    if count < 0:
        return -errno.EINVAL
    buffer = HostBuffer(4 * min(count, NGROUPS_MAX))
    result = t.host_syscall(NR["getgroups"], min(count, NGROUPS_MAX), buffer.address)
    if result > 0 and count:
        data = buffer.raw[: 4 * result]
        t.mem.write(groups, swap(data, "I*") if t.target.big_endian else data)
    return result


@syscall("setgroups", Int, Ptr)
def setgroups(t: Thread, count: int, groups: int) -> int:
    if not 0 <= count <= NGROUPS_MAX:
        return -errno.EINVAL
    data = t.mem.read(groups, 4 * count) if count else b""
    if t.target.big_endian:
        data = swap(data, "I*")
    return t.host_syscall(NR["setgroups"], count, address_of(data))


# Capabilities: two header words (version, pid), one or two sets of three words

_CAPABILITY_V1 = 0x19980330
_CAPABILITY_VERSIONS = {_CAPABILITY_V1: 1, 0x20071026: 2, 0x20080522: 2}
_DATA_BYTES = 12


def _capabilities(t: Thread, call: str, header: int, data: int, enters: bool) -> int:
    sets = _CAPABILITY_VERSIONS.get(t.mem.u32(header), 0)
    big_endian = t.target.big_endian
    head = t.mem.read(header, 8)
    host_head = HostBuffer(8, swap(head, "2I") if big_endian else head)
    content = b""
    if enters and data and sets:
        content = t.mem.read(data, sets * _DATA_BYTES)
        content = swap(content, "I*") if big_endian else content
    host_data = HostBuffer(2 * _DATA_BYTES, content)
    result = t.host_syscall(NR[call], host_head.address, host_data.address if data else 0)
    if not sets:
        t.mem.put_u32(header, int.from_bytes(host_head.raw[:4], "little"))
    elif not enters and data and result >= 0:
        content = host_data.raw[: sets * _DATA_BYTES]
        t.mem.write(data, swap(content, "I*") if big_endian else content)
    return result


@syscall("capget", Ptr, Ptr)
def capget(t: Thread, header: int, data: int) -> int:
    return _capabilities(t, "capget", header, data, False)


@syscall("capset", Ptr, Ptr)
def capset(t: Thread, header: int, data: int) -> int:
    return _capabilities(t, "capset", header, data, True)
