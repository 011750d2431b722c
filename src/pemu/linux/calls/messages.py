"""Messages of sockets, with addresses and control data: sendmsg, recvmsg, and many at once."""

from __future__ import annotations

import errno
import struct

from pemu.engine.layout import call_table as k
from pemu.engine.memory.access import GuestFault
from pemu.linux import fdtable
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.native_argument import moves, moves_of
from pemu.linux.native_forms import Form, Moved
from pemu.linux.sockets import ancillary, sockaddr
from pemu.linux.structs.layout import Struct
from pemu.linux.structs.time import TIMESPEC, TIMESPEC64, interval
from pemu.linux.syscall import syscall
from pemu.linux.types.base import Fd, UInt
from pemu.linux.types.iovec import IOVEC, gather, host_iovec, scatter
from pemu.linux.types.pointers import In, Ptr
from pemu.linux.types.sockaddr import MessageFlags
from pemu.linux.types.sockets import MSGHDR, MessageIn, MessageOut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread

CONTROL_MAX = 1 << 16
"""Bytes of control messages that a guest may send; the kernel's limit is lower (optmem_max)."""

MSG_CTRUNC, MSG_DONTWAIT, MSG_WAITFORONE = 8, 0x40, 0x10000

MMSGHDR = Struct("mmsghdr", (MSGHDR, "msg_hdr"), "uint msg_len")
MESSAGES_MAX = 1024
_HOST_MSGHDR = struct.Struct("<Qi4xQQQQi4x")
_FLAGS_AT = 48


def _vectors(t: Thread, start: int, count: int, leaves: bool) -> bytes:
    if count > 1024:
        raise OSError(errno.EMSGSIZE, "Message too long")
    return host_iovec(t, start, count, leaves)


def _send(t: Thread, fd: int, message: int, flags: int) -> int:
    header = MSGHDR.read(t.mem, message)
    name = b""
    if header.msg_name:
        if header.msg_namelen < 0:
            return -errno.EINVAL
        size = min(header.msg_namelen, sockaddr.MAX_SIZE)
        name = sockaddr.to_host(t.mem.read(header.msg_name, size), t.target.big_endian)
    control = b""
    if header.msg_control and header.msg_controllen:
        if header.msg_controllen > CONTROL_MAX:
            return -errno.ENOBUFS
        control = ancillary.to_host(t, t.mem.read(header.msg_control, header.msg_controllen))
    translator = fdtable.translator(fdtable.check(fd))
    if translator is None:
        vectors = _vectors(t, header.msg_iov, header.msg_iovlen, False)
    else:
        data = gather(t, header.msg_iov, header.msg_iovlen, fdtable.TRANSLATED_LIMIT)
        data = translator.to_host(t, data)
        vectors = struct.pack("<QQ", address_of(data), len(data))
    host = _HOST_MSGHDR.pack(
        address_of(name) if name else 0,
        len(name),
        address_of(vectors),
        len(vectors) // 16,
        address_of(control) if control else 0,
        len(control),
        0,
    )
    return t.host_syscall(NR["sendmsg"], fd, address_of(host), flags)


def _receive(t: Thread, fd: int, message: int, flags: int) -> int:
    header = MSGHDR.read(t.mem, message)
    if header.msg_namelen < 0:
        return -errno.EINVAL
    name = HostBuffer(sockaddr.MAX_SIZE) if header.msg_name else None
    room = min(header.msg_controllen, CONTROL_MAX) if header.msg_control else 0
    control = HostBuffer(ancillary.host_room(t, room)) if room else None
    translator = fdtable.translator(fdtable.check(fd))
    vectors = _vectors(t, header.msg_iov, header.msg_iovlen, True)
    data = None
    if translator is not None:
        whole = sum(length for _, length in struct.iter_unpack("<QQ", vectors))
        data = HostBuffer(min(whole, fdtable.TRANSLATED_LIMIT))
        vectors = struct.pack("<QQ", data.address, data.size)
    host = HostBuffer(
        _HOST_MSGHDR.size,
        _HOST_MSGHDR.pack(
            *(name.address, name.size) if name else (0, 0),
            address_of(vectors),
            len(vectors) // 16,
            *(control.address, control.size) if control else (0, 0),
            0,
        ),
    )
    result = t.host_syscall(NR["recvmsg"], fd, host.address, flags)
    if result < 0:
        return result
    _, name_used, _, _, _, control_used, happened = _HOST_MSGHDR.unpack(host.raw)
    if translator is not None and data is not None:
        got = translator.from_host(t, data.raw[: min(result, data.size)])
        scatter(t, header.msg_iov, header.msg_iovlen, got)
    offsets = MSGHDR.of(t.mem).offsets
    if name is not None:
        sender = sockaddr.to_guest(name.raw[:name_used], t.target.big_endian)
        _put(t, header.msg_name, sender[: header.msg_namelen])
        t.mem.put_u32(message + offsets["msg_namelen"], name_used)
    shown = b""
    if control is not None:
        shown, cut = ancillary.to_guest(t, control.raw[:control_used], room)
        _put(t, header.msg_control, shown)
        happened |= MSG_CTRUNC if cut else 0
    t.mem.put_word(message + offsets["msg_controllen"], len(shown))
    t.mem.put_u32(message + offsets["msg_flags"], happened)
    return result


def _put(t: Thread, start: int, data: bytes) -> None:
    """Write to guest memory, which nothing has to be mapped for where there is nothing to write."""
    if data:
        t.mem.write(start, data)


_BACK = ("msg_namelen", "msg_controllen", "msg_flags")
"""The fields of a message's header that receiving changes."""


def _message_moves(abi: Abi) -> bytes:
    guest, host = MSGHDR.layout(abi.word, abi.order), MSGHDR.host()
    rows = []
    for name, at, width, _, _ in guest.leaves():
        back = k.FIELD_LEAVES if name in _BACK else 0
        host_width = 4 if name in ("msg_namelen", "msg_flags") else 8
        rows.append((at, host.offsets[name], width, host_width, k.FIELD_ENTERS | back))
    vectors = moves(IOVEC.layout(abi.word, abi.order), IOVEC.host())
    return moves_of(guest.size, host.size, rows) + vectors


def _native_message(host: str, kind: int) -> Callable[[Abi], Forms]:
    def form(abi: Abi) -> Forms:
        names = 0 if abi.big_endian else k.MESSAGE_NAMES
        return Form(host, Fd, Moved(kind, _message_moves, names), MessageFlags)

    return form


@syscall("sendmsg", Fd, MessageIn, MessageFlags, native=_native_message("sendmsg", k.MESSAGE))
def sendmsg(t: Thread, fd: int, message: int, flags: int) -> int:
    return _send(t, fd, message, flags)


@syscall(
    "recvmsg", Fd, MessageOut, MessageFlags, native=_native_message("recvmsg", k.FILLED_MESSAGE)
)
def recvmsg(t: Thread, fd: int, message: int, flags: int) -> int:
    return _receive(t, fd, message, flags)


@syscall("sendmmsg", Fd, Ptr, UInt, MessageFlags)
def sendmmsg(t: Thread, fd: int, messages: int, count: int, flags: int) -> int:
    step = MMSGHDR.size(t.mem)
    length_at = MMSGHDR.of(t.mem).offsets["msg_len"]
    for i in range(min(count, MESSAGES_MAX)):
        message = messages + i * step
        try:
            result = _send(t, fd, message, flags)
        except (OSError, GuestFault):
            if i:
                return i
            raise
        if result < 0:
            return i or result
        t.mem.put_u32(message + length_at, result)
    return min(count, MESSAGES_MAX)


def _receive_many(
    t: Thread, fd: int, messages: int, count: int, flags: int, timeout: int, layout: Struct
) -> int:
    """Receive until all messages are filled; the time limit is looked at after each."""
    import time

    deadline = None
    if timeout:
        deadline = time.monotonic_ns() + interval(t.mem, timeout, layout)
    step = MMSGHDR.size(t.mem)
    length_at = MMSGHDR.of(t.mem).offsets["msg_len"]
    done = 0
    result = 0
    while done < min(count, MESSAGES_MAX):
        message = messages + done * step
        try:
            result = _receive(t, fd, message, flags & ~MSG_WAITFORONE)
        except (OSError, GuestFault):
            if done:
                break
            raise
        if result < 0:
            break
        t.mem.put_u32(message + length_at, result)
        done += 1
        if flags & MSG_WAITFORONE:
            flags |= MSG_DONTWAIT
        if deadline is not None and time.monotonic_ns() >= deadline:
            break
    if deadline is not None and done:
        left = max(0, deadline - time.monotonic_ns())
        sec, nsec = divmod(left, 1_000_000_000)
        layout.write(t.mem, timeout, tv_sec=sec, tv_nsec=nsec)
    return done or result


@syscall("recvmmsg", Fd, Ptr, UInt, MessageFlags, In(TIMESPEC))
def recvmmsg(t: Thread, fd: int, messages: int, count: int, flags: int, timeout: int) -> int:
    return _receive_many(t, fd, messages, count, flags, timeout, TIMESPEC)


@syscall("recvmmsg_time64", Fd, Ptr, UInt, MessageFlags, In(TIMESPEC64), abis=("o32", "n32"))
def recvmmsg_time64(t: Thread, fd: int, messages: int, count: int, flags: int, timeout: int) -> int:
    return _receive_many(t, fd, messages, count, flags, timeout, TIMESPEC64)
