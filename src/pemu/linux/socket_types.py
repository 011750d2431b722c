"""Argument types of calls about socket options and messages, with names for -strace."""

from __future__ import annotations

from pemu.linux.argtypes import ArgType, PointerType, address, show_bytes, show_pointer, signed
from pemu.linux.iovec import show_vectors
from pemu.linux.mips.socket_numbers import SOCKET_OPTIONS
from pemu.linux.nametypes import Named
from pemu.linux.sockaddr_types import MessageFlags, show_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.linux.process import Thread

SOL_SOCKET = 0xFFFF
"""The guest's number."""

_LEVELS = {0: "SOL_IP", 6: "SOL_TCP", 17: "SOL_UDP", 41: "SOL_IPV6", SOL_SOCKET: "SOL_SOCKET"}
_OPTIONS = {
    0: "- IP_TOS IP_TTL IP_HDRINCL IP_OPTIONS IP_ROUTER_ALERT IP_RECVOPTS IP_RETOPTS IP_PKTINFO"
    " IP_PKTOPTIONS IP_MTU_DISCOVER IP_RECVERR IP_RECVTTL IP_RECVTOS IP_MTU IP_FREEBIND",
    6: "- TCP_NODELAY TCP_MAXSEG TCP_CORK TCP_KEEPIDLE TCP_KEEPINTVL TCP_KEEPCNT TCP_SYNCNT"
    " TCP_LINGER2 TCP_DEFER_ACCEPT TCP_WINDOW_CLAMP TCP_INFO TCP_QUICKACK TCP_CONGESTION"
    " TCP_MD5SIG - - - TCP_USER_TIMEOUT",
}
Protocol = Named(
    "protocol",
    "IPPROTO_IP IPPROTO_ICMP IPPROTO_IGMP - - - IPPROTO_TCP - - - - - - - - - - IPPROTO_UDP",
)


class ProtocolType(ArgType):
    """The third argument of socket, by the family before it."""

    __slots__ = ()

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        is_internet = raw[index - 2] & 0xFFFFFFFF in (2, 10)
        shown = Protocol if is_internet else ArgType("int")
        return shown.show(t, raw, index, result)


class LevelType(ArgType):
    """The level of a socket option."""

    __slots__ = ()

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        level = signed(raw[index], 32)
        return _LEVELS.get(level) or str(level)


class OptionType(ArgType):
    """A socket option, by the level before it."""

    __slots__ = ()

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        level, option = signed(raw[index - 1], 32), signed(raw[index], 32)
        if level == SOL_SOCKET:
            if not SOCKET_OPTIONS.known(option):
                return f"{option:#x} /* SO_??? */"
            return SOCKET_OPTIONS.show(option)
        names = _OPTIONS.get(level, "").split()
        known = names[option] if 0 <= option < len(names) else "-"
        return str(option) if known == "-" else known


class OptionValueType(PointerType):
    """A socket option's value; the argument after it is its size, or points to that."""

    __slots__ = ("leaves",)

    def __init__(self, leaves: bool) -> None:
        super().__init__("void *")
        self.leaves = leaves

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        from pemu.engine.faults import GuestFault

        start = address(t, raw[index])
        if not start or (self.leaves and (result is None or result < 0)):
            return show_pointer(start)
        try:
            size = signed(raw[index + 1], 32)
            if self.leaves:
                size = t.mem.u32(address(t, raw[index + 1]))
            if size == 4:
                return f"[{signed(t.mem.u32(start), 32)}]"
        except GuestFault:
            return show_pointer(start)
        return show_bytes(t, start, size)


class MessageType(PointerType):
    """The address of a `struct msghdr`."""

    __slots__ = ("leaves",)

    def __init__(self, leaves: bool) -> None:
        super().__init__("struct msghdr *")
        self.leaves = leaves

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        from pemu.engine.faults import GuestFault
        from pemu.linux.calls.sockets import MSGHDR

        start = address(t, raw[index])
        if not start or (self.leaves and (result is None or result < 0)):
            return show_pointer(start)
        try:
            message = MSGHDR.read(t.mem, start)
        except GuestFault:
            return show_pointer(start)
        name = show_address(t, message.msg_name, message.msg_namelen)
        filled = result if self.leaves else None
        vectors = show_vectors(t, message.msg_iov, message.msg_iovlen, filled)
        parts = [f"msg_name={name}", f"msg_namelen={message.msg_namelen}", f"msg_iov={vectors}"]
        parts.append(f"msg_iovlen={message.msg_iovlen}")
        if message.msg_controllen:
            parts.append(f"msg_control={show_pointer(message.msg_control)}")
        parts.append(f"msg_controllen={message.msg_controllen}")
        flags = MessageFlags.show(t, (message.msg_flags,), 0, None)
        return "{" + ", ".join(parts) + f", msg_flags={flags}}}"


SocketProtocol = ProtocolType("int")
Level = LevelType("int")
OptionName = OptionType("int")
OptionIn, OptionOut = OptionValueType(False), OptionValueType(True)
MessageIn, MessageOut = MessageType(False), MessageType(True)
