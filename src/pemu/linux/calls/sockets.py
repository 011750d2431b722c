"""Sockets, but for what has message headers (`messages`)."""

from __future__ import annotations

import errno
import struct

from pemu.engine.layout import call_table as k
from pemu.isa.mips.names import A0, SP
from pemu.linux import fdtable
from pemu.linux.host_ranges import host_range, host_range_for_writing
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.mips.socket_numbers import HOST_SOL_SOCKET, SOCKET_TYPES, SOL_SOCKET
from pemu.linux.native_argument import moves_of
from pemu.linux.native_forms import Choice, Constant, Exactly, Form, Moved, OneOf, Sized
from pemu.linux.sockets import sockaddr
from pemu.linux.structs.files import INT_VALUE
from pemu.linux.syscall import passthrough, syscall, table_for
from pemu.linux.types.base import Fd, FlagsType, Int, Size
from pemu.linux.types.names import Named
from pemu.linux.types.pointers import In, InBuf, Out, OutArray, OutBuf, Ptr
from pemu.linux.types.sockaddr import MessageFlags, SockaddrInType, SockaddrOutType, SocklenPtr
from pemu.linux.types.sockets import (
    Level,
    OptionIn,
    OptionName,
    OptionOut,
    SocketProtocol,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread
    from pemu.linux.types.base import ArgType

AF_NETLINK = 16

Family = Named(
    "int",
    "AF_UNSPEC AF_UNIX AF_INET AF_AX25 AF_IPX AF_APPLETALK AF_NETROM AF_BRIDGE AF_ATMPVC AF_X25"
    " AF_INET6 AF_ROSE AF_DECnet AF_NETBEUI AF_SECURITY AF_KEY AF_NETLINK AF_PACKET AF_ASH"
    " AF_ECONET AF_ATMSVC AF_RDS AF_SNA AF_IRDA AF_PPPOX AF_WANPIPE AF_LLC AF_IB AF_MPLS AF_CAN"
    " AF_TIPC AF_BLUETOOTH AF_IUCV AF_RXRPC AF_ISDN AF_PHONET AF_IEEE802154 AF_CAIF AF_ALG AF_NFC"
    " AF_VSOCK AF_KCM AF_QIPCRTR AF_SMC AF_XDP AF_MCTP",
)
SocketType = FlagsType("int", SOCKET_TYPES)
How = Named("int", "SHUT_RD SHUT_WR SHUT_RDWR")

passthrough("bind", Fd, SockaddrInType(2), Int)
passthrough("connect", Fd, SockaddrInType(2), Int)
passthrough("listen", Fd, Int)
passthrough("shutdown", Fd, How)

# Making sockets


def _made(t: Thread, fd: int, family: int, protocol: int) -> None:
    fdtable.forget(fd)
    if family == AF_NETLINK:
        from pemu.linux.translators import Netlink

        fdtable.set_translator(fd, Netlink(protocol))


@syscall("socket", Family, SocketType, SocketProtocol)
def socket(t: Thread, family: int, kind: int, protocol: int) -> int:
    fd = t.host_syscall(NR["socket"], family, kind, _protocol(t, family, kind, protocol))
    if fd >= 0:
        _made(t, fd, family, protocol)
    return fd


def _protocol(t: Thread, family: int, kind: int, protocol: int) -> int:
    """Packet sockets name their protocol in network order, as a number of the caller's order."""
    packets = family == sockaddr.AF_PACKET or (family == sockaddr.AF_INET and kind & 0xF == 10)
    if packets and t.target.big_endian:
        return (protocol & 0xFF) << 8 | (protocol >> 8 & 0xFF)
    return protocol


@syscall("socketpair", Family, SocketType, SocketProtocol, OutArray(INT_VALUE, 2))
def socketpair(t: Thread, family: int, kind: int, protocol: int, result: int) -> int:
    pair = HostBuffer(8)
    done = t.host_syscall(NR["socketpair"], family, kind, protocol, pair.address)
    if done >= 0:
        first, second = struct.unpack("<ii", pair.raw)
        fdtable.forget(first)
        fdtable.forget(second)
        t.mem.put_u32(result, first)
        t.mem.put_u32(result + 4, second)
    return done


# Addresses


class _AddressResult:
    """Room for an address that the host tells, and for its length."""

    __slots__ = ("_address", "_length", "_room", "address", "buffer", "length", "used")

    def __init__(self, t: Thread, address: int, length: int) -> None:
        self._address = address
        self._length = length
        self.address = self.length = 0
        if address:
            room = t.mem.u32(length)
            if room >> 31:
                raise OSError(errno.EINVAL, "Invalid argument")
            self._room = room
            self.buffer = HostBuffer(sockaddr.MAX_SIZE)
            self.used = HostBuffer(4, sockaddr.MAX_SIZE.to_bytes(4, "little"))
            self.address = self.buffer.address
            self.length = self.used.address

    def finish(self, t: Thread) -> None:
        if self._address:
            used = int.from_bytes(self.used.raw, "little")
            data = sockaddr.to_guest(self.buffer.raw[:used], t.target.big_endian)
            if self._room:
                t.mem.write(self._address, data[: self._room])
            t.mem.put_u32(self._length, used)


def _name(t: Thread, call: str, fd: int, address: int, length: int) -> int:
    if not address:
        return -errno.EFAULT
    name = _AddressResult(t, address, length)
    result = t.host_syscall(NR[call], fd, name.address, name.length)
    if result >= 0:
        name.finish(t)
    return result


@syscall("getsockname", Fd, SockaddrOutType(2), SocklenPtr, native="getsockname")
def getsockname(t: Thread, fd: int, address: int, length: int) -> int:
    return _name(t, "getsockname", fd, address, length)


@syscall("getpeername", Fd, SockaddrOutType(2), SocklenPtr, native="getpeername")
def getpeername(t: Thread, fd: int, address: int, length: int) -> int:
    return _name(t, "getpeername", fd, address, length)


def _accept(t: Thread, fd: int, address: int, length: int, flags: int) -> int:
    name = _AddressResult(t, address, length)
    result = t.host_syscall(NR["accept4"], fd, name.address, name.length, flags)
    if result >= 0:
        fdtable.forget(result)
        name.finish(t)
    return result


@syscall("accept", Fd, SockaddrOutType(2), SocklenPtr, native="accept")
def accept(t: Thread, fd: int, address: int, length: int) -> int:
    return _accept(t, fd, address, length, 0)


@syscall("accept4", Fd, SockaddrOutType(2), SocklenPtr, SocketType, native="accept4")
def accept4(t: Thread, fd: int, address: int, length: int, flags: int) -> int:
    return _accept(t, fd, address, length, flags & ~0xF)


# Options


_GUEST_SO_ERROR, _HOST_SO_ERROR = 0x1007, 4


def _error_moves(abi: Abi) -> bytes:
    return moves_of(4, 4, [(0, 0, 4, 4, k.FIELD_LEAVES | k.FIELD_ERROR)])


def _native_setsockopt(abi: Abi) -> Forms:
    from pemu.linux.sockets.options import plain_options

    value, size = In(INT_VALUE), Exactly(4, 4)
    return Choice(
        1,
        {
            level: Form("setsockopt", Fd, Constant(host), OneOf(rows), value, size)
            for level, (host, rows) in plain_options().items()
        },
    )


def _native_getsockopt(abi: Abi) -> Forms:
    from pemu.linux.sockets.options import plain_options

    value, size = Out(INT_VALUE), Sized(4)
    forms: dict[int, Forms] = {
        level: Form("getsockopt", Fd, Constant(host), OneOf(rows), value, size)
        for level, (host, rows) in plain_options().items()
    }
    error = Moved(k.LEAVING, _error_moves)
    number = Constant(_HOST_SO_ERROR)
    pending = Form("getsockopt", Fd, Constant(HOST_SOL_SOCKET), number, error, size)
    forms[SOL_SOCKET] = Choice(2, {_GUEST_SO_ERROR: pending}, forms[SOL_SOCKET])
    return Choice(1, forms)


@syscall("setsockopt", Fd, Level, OptionName, OptionIn, Int, native=_native_setsockopt)
def setsockopt(t: Thread, fd: int, level: int, option: int, value: int, size: int) -> int:
    from pemu.linux.sockets.options import set_option

    return set_option(t, fd, level, option, value, size)


@syscall("getsockopt", Fd, Level, OptionName, OptionOut, SocklenPtr, native=_native_getsockopt)
def getsockopt(t: Thread, fd: int, level: int, option: int, value: int, length: int) -> int:
    from pemu.linux.sockets.options import get_option

    return get_option(t, fd, level, option, value, length)


# Plain data: where native code does not do it


def send_to(
    t: Thread, fd: int, start: int, size: int, flags: int, address: int = 0, length: int = 0
) -> int:
    """sendto(2), whose address, and data where there is a translator, are turned around."""
    name = b""
    if address:
        if length < 0:
            return -errno.EINVAL
        name = t.mem.read(address, min(length, sockaddr.MAX_SIZE))
        name = sockaddr.to_host(name, t.target.big_endian)
    translator = fdtable.translator(fdtable.check(fd))
    if translator is None:
        place = host_range(t.mem, start, size)
    else:
        data = translator.to_host(t, t.mem.read(start, min(size, fdtable.TRANSLATED_LIMIT)))
        place, size = address_of(data), len(data)
    return t.host_syscall(
        NR["sendto"], fd, place, size, flags, address_of(name) if address else 0, len(name)
    )


passthrough(
    *("sendto", Fd, InBuf(2), Size, MessageFlags, SockaddrInType(5), Int),
    special=send_to,
)


@syscall(
    *("recvfrom", Fd, OutBuf(2), Size, MessageFlags, SockaddrOutType(5), SocklenPtr),
    native="recvfrom",
)
def receive_from(
    t: Thread, fd: int, start: int, size: int, flags: int, address: int = 0, length: int = 0
) -> int:
    """recvfrom(2), whose address, and data where there is a translator, are turned around."""
    name = _AddressResult(t, address, length)
    translator = fdtable.translator(fdtable.check(fd))
    if translator is None:
        place = host_range_for_writing(t.mem, start, size)
        result = t.host_syscall(NR["recvfrom"], fd, place, size, flags, name.address, name.length)
    else:
        buffer = HostBuffer(min(size, fdtable.TRANSLATED_LIMIT))
        result = t.host_syscall(
            NR["recvfrom"], fd, buffer.address, buffer.size, flags, name.address, name.length
        )
        if result > 0:
            t.mem.write(start, translator.from_host(t, buffer.raw[:result]))
    if result >= 0:
        name.finish(t)
    return result


def _without_address(host: str, buffer: ArgType) -> Callable[[Abi], Forms]:
    none = Constant(0)
    return lambda abi: Form(host, Fd, buffer, Size, MessageFlags, none, none)


@syscall(
    *("send", Fd, InBuf(2), Size, MessageFlags),
    abis=("o32",),
    native=_without_address("sendto", InBuf(2)),
)
def send(t: Thread, fd: int, start: int, size: int, flags: int) -> int:
    return send_to(t, fd, start, size, flags)


@syscall(
    *("recv", Fd, OutBuf(2), Size, MessageFlags),
    abis=("o32",),
    native=_without_address("recvfrom", OutBuf(2)),
)
def recv(t: Thread, fd: int, start: int, size: int, flags: int) -> int:
    return receive_from(t, fd, start, size, flags)


# The one call of o32 for all of them

_SOCKETCALLS = (
    *(("socket", 3), ("bind", 3), ("connect", 3), ("listen", 2), ("accept", 3)),
    *(("getsockname", 3), ("getpeername", 3), ("socketpair", 4), ("send", 4), ("recv", 4)),
    *(("sendto", 6), ("recvfrom", 6), ("shutdown", 2), ("setsockopt", 5), ("getsockopt", 5)),
    *(("sendmsg", 3), ("recvmsg", 3), ("accept4", 4), ("recvmmsg", 5), ("sendmmsg", 4)),
)
"""Names and counts of arguments, by the number of the operation less one."""


@syscall("socketcall", Int, Ptr, abis=("o32",))
def socketcall(t: Thread, operation: int, arguments: int) -> int | None:
    if not 0 < operation <= len(_SOCKETCALLS):
        return -errno.EINVAL
    name, count = _SOCKETCALLS[operation - 1]
    table = table_for(t.target)
    number = next(number for number, other in table.names.items() if other == name)
    entry = table.entry(number)
    assert entry is not None
    # Arguments as o32 passes them: four in registers, the others on the stack.
    registers = [0] * 32
    for i in range(min(count, 4)):
        registers[A0 + i] = t.mem.u32(arguments + 4 * i)
    registers[SP] = arguments
    return entry(t, registers)
