"""Argument types of socket calls: addresses, and the lengths that go with them.

The host gets the guest's memory itself where the byte order agrees, also from native code.
"""

from __future__ import annotations

from pemu.engine.layout import call_table as k
from pemu.engine.memory.access import GuestFault
from pemu.linux.native_argument import Native
from pemu.linux.show import show_pointer
from pemu.linux.sockets import sockaddr
from pemu.linux.types.base import ArgType, signed
from pemu.linux.types.names import Bits
from pemu.linux.types.pointers import POINTER, BufferType, address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.linux.abi import Abi, Decoder, Registers
    from pemu.linux.process import Thread
    from pemu.linux.types.base import Argument


class SockaddrInType(BufferType):
    """An address that the call reads; argument `size` holds its length."""

    __slots__ = ()

    def __init__(self, size: int) -> None:
        super().__init__("struct sockaddr *", size, 0, False)

    def direct(self, abi: Abi) -> bool:
        return not abi.big_endian

    def host(self, argument: Argument) -> Decoder:
        if not argument.abi.big_endian:
            return super().host(argument)
        get = self.decode(argument)
        length = self.extent(argument)

        def decode(t: Thread, regs: Registers) -> bytes | int:
            start = get(t, regs)
            if not start:
                return 0
            size = min(length(t, regs) & 0xFFFFFFFF, sockaddr.MAX_SIZE)
            return sockaddr.to_host(t.mem.read(start, size), True)

        return decode

    def native(self, argument: Argument) -> Native | None:
        return Native(k.NULL) if argument.abi.big_endian else super().native(argument)

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        assert self.size is not None
        return show_address(t, address(t, raw[index]), signed(raw[self.size], 32))


class SockaddrOutType(ArgType):
    """Where the call puts an address; argument `size` points to its length."""

    __slots__ = ("size",)

    leaves = True

    def __init__(self, size: int) -> None:
        super().__init__("struct sockaddr *")
        self.size = size

    def decode(self, argument: Argument) -> Decoder:
        return POINTER.decode(argument)

    def native(self, argument: Argument) -> Native | None:
        return Native(k.NULL) if argument.abi.big_endian else Native(k.WRITTEN, sockaddr.MAX_SIZE)

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        start = address(t, raw[index])
        if result is None or result < 0 or not start:
            return show_pointer(start)
        try:
            return show_address(t, start, t.mem.u32(address(t, raw[self.size])))
        except GuestFault:
            return show_pointer(start)


class LengthType(ArgType):
    """A pointer to a `socklen_t` that the call reads and changes."""

    __slots__ = ()

    leaves = True

    def decode(self, argument: Argument) -> Decoder:
        return POINTER.decode(argument)

    def native(self, argument: Argument) -> Native | None:
        return Native(k.NULL) if argument.abi.big_endian else Native(k.WRITTEN, 4)

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        start = address(t, raw[index])
        if not start:
            return "NULL"
        try:
            return f"[{signed(t.mem.u32(start), 32)}]"
        except GuestFault:
            return show_pointer(start)


def show_address(t: Thread, start: int, length: int) -> str:
    """The address in guest memory, in strace's style."""
    if not start:
        return "NULL"
    try:
        data = t.mem.read(start, min(max(length, 0), sockaddr.MAX_SIZE))
    except GuestFault:
        return show_pointer(start)
    return sockaddr.show(sockaddr.to_host(data, t.target.big_endian))


SocklenPtr = LengthType("socklen_t *")
MessageFlags = Bits(
    "unsigned int",
    "MSG_OOB 1 MSG_PEEK 2 MSG_DONTROUTE 4 MSG_CTRUNC 8 MSG_TRUNC 0x20 MSG_DONTWAIT 0x40 MSG_EOR"
    " 0x80 MSG_WAITALL 0x100 MSG_CONFIRM 0x800 MSG_ERRQUEUE 0x2000 MSG_NOSIGNAL 0x4000 MSG_MORE"
    " 0x8000 MSG_WAITFORONE 0x10000 MSG_FASTOPEN 0x20000000 MSG_CMSG_CLOEXEC 0x40000000",
)
