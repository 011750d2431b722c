"""ioctl: finds the request and makes it."""

from __future__ import annotations

import errno

from pemu.linux import fdtable
from pemu.linux.argtypes import Fd, HexLong, UnsignedType
from pemu.linux.ioctls import find
from pemu.linux.syscall import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.linux.process import Thread


class IoctlRequestType(UnsignedType):
    """The number of a request."""

    __slots__ = ()

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        number = raw[index] & 0xFFFFFFFF
        request = find(number, t.target.word)
        return request.name if request else f"{number:#x}"


IoctlRequest = IoctlRequestType("request")


@syscall("ioctl", Fd, IoctlRequest, HexLong)
def ioctl(t: Thread, fd: int, number: int, argument: int) -> int:
    request = find(number, t.target.word)
    if request is None:
        if t.process.log.enabled("unimp"):
            t.process.log.write(f"Unsupported ioctl request: {number:#x}\n")
        return -errno.ENOTTY
    return request.make(t, fdtable.check(fd), argument)
