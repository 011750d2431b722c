"""ioctl: finds the request and makes it."""

from __future__ import annotations

import errno

from pemu.engine.layout import call_table as k
from pemu.linux import fdtable
from pemu.linux.ioctls import find
from pemu.linux.ioctls.request import INT
from pemu.linux.ioctls.terminals import WINSIZE
from pemu.linux.native_forms import Choice, Constant, Form, Given
from pemu.linux.show import show_pointer, show_struct
from pemu.linux.syscall import syscall
from pemu.linux.types.base import Fd, UnsignedType, WordType
from pemu.linux.types.pointers import In, Out, address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread


class IoctlRequestType(UnsignedType):
    """The number of a request."""

    __slots__ = ()

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        number = raw[index] & 0xFFFFFFFF
        request = find(number, t.target.word)
        return request.name if request else f"{number:#x}"


class IoctlArgumentType(WordType):
    """A request's argument: a structure where the request's number says so."""

    __slots__ = ()

    leaves = True

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        request = find(raw[index - 1] & 0xFFFFFFFF, t.target.word)
        code = request.code if request else None
        if code is None or code.struct is None:
            return super().show(t, raw, index, result)
        start = address(t, raw[index])
        if not start or ("w" not in code.direction and (result is None or result < 0)):
            return show_pointer(start)
        return show_struct(t, code.struct, start)


IoctlRequest = IoctlRequestType("request")
IoctlArgument = IoctlArgumentType("argument", False, "#x")


_Unconverted = Given(k.ROOM, 64)
"""Room for what only Python converts: mostly the request finds that a file is no terminal."""


def _native_ioctl(abi: Abi) -> Forms:
    """Frequent requests whose argument is a number or a structure of numbers."""
    none, number = Constant(0), Out(INT)
    frequent = {
        0x540D: _Unconverted,  # TCGETS
        0x467F: number,  # FIONREAD
        0x667E: In(INT),  # FIONBIO
        0x6601: none,  # FIOCLEX
        0x6602: none,  # FIONCLEX
        0x40087468: Out(WINSIZE),  # TIOCGWINSZ
        0x40047477: number,  # TIOCGPGRP
    }
    forms = {}
    for request, argument in frequent.items():
        found = find(request, abi.word)
        if found is not None:
            host = Constant(found.host_number())
            failures = argument is _Unconverted
            forms[request] = Form("ioctl", Fd, host, argument, failures=failures)
    return Choice(1, forms)


@syscall("ioctl", Fd, IoctlRequest, IoctlArgument, native=_native_ioctl)
def ioctl(t: Thread, fd: int, number: int, argument: int) -> int:
    request = find(number, t.target.word)
    if request is None:
        if t.process.log.enabled("unimp"):
            t.process.log.write(f"Unsupported ioctl request: {number:#x}\n")
        return -errno.ENOTTY
    return request.make(t, fdtable.check(fd), argument)
