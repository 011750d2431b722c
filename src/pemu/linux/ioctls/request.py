"""Requests of ioctl: numbers on guest and host, and what their argument is.

Numbers that the kernel's `_IO`, `_IOR`, `_IOW`, `_IOWR` make contain the size of the argument, and
MIPS codes their direction in other bits than x86-64; others are fixed, and differ where MIPS
followed IRIX. Sources: the kernel's MIPS and generic `asm/ioctl.h`, `asm/ioctls.h`.
"""

from __future__ import annotations

from pemu.linux.host_ranges import host_range, host_range_for_writing
from pemu.linux.hostcalls import NR, HostBuffer
from pemu.linux.structs.layout import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from pemu.linux.process import Thread

    Action: TypeAlias = Callable[[Thread, int, int, int], int]

_MIPS_DIRECTION = {"": 1, "r": 2, "w": 4, "rw": 6}
_HOST_DIRECTION = {"": 0, "r": 2, "w": 1, "rw": 3}


class Code:
    """A number made of direction ("", "r", "w", "rw" as the user sees it), letter, number, type."""

    __slots__ = ("direction", "letter", "number", "struct")

    def __init__(
        self, direction: str, letter: str | int, number: int, struct: Struct | None = None
    ) -> None:
        self.direction = direction
        self.letter = letter if isinstance(letter, int) else ord(letter)
        self.number = number
        self.struct = struct

    def guest(self, word: int) -> int:
        """The number on MIPS; `word`: bytes of a long."""
        size = self.struct.layout(word, "little").size if self.struct else 0
        start = _MIPS_DIRECTION[self.direction] << 29 | size << 16
        return start | self.letter << 8 | self.number

    def host(self) -> int:
        """The number on the host."""
        size = self.struct.host().size if self.struct else 0
        start = _HOST_DIRECTION[self.direction] << 30 | size << 16
        return start | self.letter << 8 | self.number


class Request:
    """A request: its name, its numbers, and `action`, which makes it.

    An action gets thread, descriptor, the host's number and the argument.
    """

    __slots__ = ("_guest", "_host", "action", "name")

    def __init__(self, name: str, guest: Code | int, host: Code | int, action: Action) -> None:
        self.name = name
        self._guest = guest
        self._host = host
        self.action = action

    @property
    def code(self) -> Code | None:
        """What its number is made of, where that says what the argument is."""
        return None if isinstance(self._guest, int) else self._guest

    def guest_number(self, word: int) -> int:
        """The number by which guests ask for it; `word`: bytes of a long."""
        return self._guest if isinstance(self._guest, int) else self._guest.guest(word)

    def host_number(self) -> int:
        """The number by which the host is asked."""
        return self._host if isinstance(self._host, int) else self._host.host()

    def make(self, t: Thread, fd: int, argument: int) -> int:
        """Make the request; minus a host error number when it fails. Raises GuestFault, OSError."""
        return self.action(t, fd, self.host_number(), argument)


def same(name: str, number: int, action: Action) -> Request:
    """A request with a fixed number that guest and host share."""
    return Request(name, number, number, action)


def fixed(name: str, guest: int, host: int, action: Action) -> Request:
    """A request whose numbers do not follow from a structure's size."""
    return Request(name, guest, host, action)


def coded(
    name: str,
    direction: str,
    letter: str | int,
    number: int,
    struct: Struct | None,
    action: Action,
) -> Request:
    """A request that both number by direction, letter, number and argument."""
    code = Code(direction, letter, number, struct)
    return Request(name, code, code, action)


def host_ioctl(t: Thread, fd: int, number: int, argument: int) -> int:
    """The host's ioctl; `argument` is a number or a host address."""
    return t.host_syscall(NR["ioctl"], fd, number, argument)


def host_ioctl_with(t: Thread, fd: int, number: int, content: bytes) -> int:
    """The host's ioctl with a structure that it only reads."""
    buffer = HostBuffer(len(content), content)
    return host_ioctl(t, fd, number, buffer.address)


def nothing(t: Thread, fd: int, number: int, argument: int) -> int:
    """A request without argument."""
    return host_ioctl(t, fd, number, 0)


value = host_ioctl
"""A request whose argument is a number."""


def reads(struct: Struct) -> Action:
    """A request that reads a structure."""
    return _with_struct(struct, True, False)


def fills(struct: Struct) -> Action:
    """A request that fills a structure."""
    return _with_struct(struct, False, True)


def changes(struct: Struct) -> Action:
    """A request that reads and changes a structure."""
    return _with_struct(struct, True, True)


def _with_struct(struct: Struct, enters: bool, leaves: bool) -> Action:
    host = struct.host()
    place = host_range_for_writing if leaves else host_range

    def action(t: Thread, fd: int, number: int, argument: int) -> int:
        guest = struct.of(t.mem)
        if guest.same_as(host):
            return host_ioctl(t, fd, number, place(t.mem, argument, guest.size))
        content = b""
        if enters:
            content = struct.convert(t.mem.read(argument, guest.size), guest, host)
        buffer = HostBuffer(host.size, content)
        result = host_ioctl(t, fd, number, buffer.address)
        if leaves and result >= 0:
            t.mem.write(argument, struct.convert(buffer.raw, host, guest))
        return result

    return action


INT = Struct("int", "int value")
LONG = Struct("long", "long value")
SIZE = Struct("size_t", "size_t value")
U64 = Struct("u64", "u64 value")
CHAR = Struct("char", "uchar value")
USHORT = Struct("unsigned short", "ushort value")
