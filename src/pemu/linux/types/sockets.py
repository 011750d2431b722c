"""Argument types of calls about socket options and messages, with names for -strace."""

from __future__ import annotations

from pemu.linux.mips.socket_numbers import SOCKET_OPTIONS
from pemu.linux.show import show_bytes, show_pointer
from pemu.linux.structs.layout import Struct
from pemu.linux.types.base import ArgType, signed
from pemu.linux.types.iovec import show_vectors
from pemu.linux.types.names import Named
from pemu.linux.types.pointers import PointeeType, address
from pemu.linux.types.sockaddr import MessageFlags, show_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.linux.process import Thread

MSGHDR = Struct(
    "msghdr",
    "ptr msg_name",
    "int msg_namelen",
    "ptr msg_iov",
    "size_t msg_iovlen",
    "ptr msg_control",
    "size_t msg_controllen",
    "uint msg_flags",
)

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


def _option_value(t: Thread, start: int, after: Sequence[int], result: int | None) -> str:
    """An option's value; the argument after it is its size, or points to that."""
    size = signed(after[0], 32) if result is None else t.mem.u32(address(t, after[0]))
    return f"[{signed(t.mem.u32(start), 32)}]" if size == 4 else show_bytes(t, start, size)


def _message(t: Thread, start: int, after: Sequence[int], result: int | None) -> str:
    """A `struct msghdr`."""
    message = MSGHDR.read(t.mem, start)
    name = show_address(t, message.msg_name, message.msg_namelen)
    vectors = show_vectors(t, message.msg_iov, message.msg_iovlen, result)
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
OptionIn, OptionOut = (PointeeType("void *", _option_value, leaves) for leaves in (False, True))
MessageIn, MessageOut = (
    PointeeType("struct msghdr *", _message, leaves) for leaves in (False, True)
)
