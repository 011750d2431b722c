"""Descriptors whose data the host gives in its own byte order or with its own signal numbers.

`fdtable` keeps which descriptor has which translator; here stand the translators of eventfd,
timerfd, signalfd and netlink, and how a descriptor that comes from elsewhere (a socket's
SCM_RIGHTS, an exec) is recognized.
"""

from __future__ import annotations

import os
import struct

from pemu.linux import fdtable
from pemu.linux.fdtable import Translator
from pemu.linux.hostcalls import NR, HostBuffer
from pemu.linux.structs.byteorder import swap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread


class Counter(Translator):
    """eventfd and timerfd: one 64-bit number, turned for a big-endian guest."""

    __slots__ = ()

    def from_host(self, t: Thread, data: bytes) -> bytes:
        return swap(data, "Q*")

    def to_host(self, t: Thread, data: bytes) -> bytes:
        return swap(data, "Q*")


SIGNALFD_SIGINFO_BYTES = 128
SIGCHLD, CLD_EXITED = 17, 1
_SIGNALFD_LAYOUT = "12I4Q2HIQI"
_SIGNO, _ERRNO, _CODE, _STATUS, _INT, _PTR = 0, 4, 8, 40, 44, 48

# SI_TIMER, SI_MESGQ and SI_ASYNCIO are -2, -3 and -4 on the host, but -3, -4 and -2 on MIPS.
_CODES = {-2: -3, -3: -4, -4: -2}


class SignalInfo(Translator):
    """signalfd: `struct signalfd_siginfo`, with the guest's signal numbers."""

    __slots__ = ()

    def from_host(self, t: Thread, data: bytes) -> bytes:
        out = bytearray()
        for pos in range(0, len(data), SIGNALFD_SIGINFO_BYTES):
            out += self._record(t, bytearray(data[pos : pos + SIGNALFD_SIGINFO_BYTES]))
        return bytes(out)

    def _record(self, t: Thread, record: bytearray) -> bytes:
        from pemu.linux.mips.errno import to_guest
        from pemu.linux.mips.signals import host_to_guest_signal

        signal, error, code = struct.unpack_from("<Iii", record)
        struct.pack_into("<I", record, _SIGNO, host_to_guest_signal(signal))
        struct.pack_into("<i", record, _ERRNO, to_guest(error) if error else 0)
        if code < 0:
            struct.pack_into("<i", record, _CODE, _CODES.get(code, code))
            if t.target.big_endian and t.target.word == 8:
                # An int lies in the upper half of a union with a pointer.
                record[_INT : _INT + 4] = record[_PTR + 4 : _PTR + 8]
        elif signal == SIGCHLD and code != CLD_EXITED:
            status = struct.unpack_from("<i", record, _STATUS)[0]
            struct.pack_into("<i", record, _STATUS, host_to_guest_signal(status))
        return swap(record, _SIGNALFD_LAYOUT) if t.target.big_endian else bytes(record)


class Netlink(Translator):
    """A netlink socket of one protocol (see `netlink`)."""

    __slots__ = ("protocol",)

    def __init__(self, protocol: int) -> None:
        self.protocol = protocol

    def from_host(self, t: Thread, data: bytes) -> bytes:
        from pemu.linux.mips.errno import to_guest
        from pemu.linux.sockets.netlink import translate

        return translate(data, self.protocol, False, t.target.big_endian, to_guest)

    def to_host(self, t: Thread, data: bytes) -> bytes:
        from pemu.linux.mips.errno import to_guest
        from pemu.linux.sockets.netlink import translate

        return translate(data, self.protocol, True, t.target.big_endian, to_guest)


def counter(t: Thread, fd: int) -> int:
    """`fd`, a new eventfd or timerfd, with what it needs; a negative result passes."""
    if fd >= 0:
        fdtable.forget(fd)
        if t.target.big_endian:
            fdtable.set_translator(fd, Counter())
    return fd


def adopt(t: Thread, fd: int) -> None:
    """Give a descriptor that this process did not make itself the translator it needs."""
    fdtable.forget(fd)
    try:
        link = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return
    if link == "anon_inode:[signalfd]":
        fdtable.set_translator(fd, SignalInfo())
    elif link.startswith("socket:"):
        protocol = _netlink_protocol(t, fd)
        if protocol is not None:
            fdtable.set_translator(fd, Netlink(protocol))
    elif t.target.big_endian:
        if link in ("anon_inode:[eventfd]", "anon_inode:[timerfd]"):
            fdtable.set_translator(fd, Counter())
        elif link in ("anon_inode:inotify", "anon_inode:[inotify]"):
            from pemu.linux.calls.watch import InotifyEvents

            fdtable.set_translator(fd, InotifyEvents())
        elif link == "anon_inode:[fanotify]":
            from pemu.linux.calls.watch import FanotifyEvents

            fdtable.set_translator(fd, FanotifyEvents())


def adopt_inherited(t: Thread) -> None:
    """Do as `adopt` for every descriptor that came through an exec."""
    for name in os.listdir("/proc/self/fd"):
        adopt(t, int(name))


_SOL_SOCKET, _SO_PROTOCOL, _SO_DOMAIN, _AF_NETLINK = 1, 38, 39, 16


def _netlink_protocol(t: Thread, fd: int) -> int | None:
    """The protocol of a netlink socket; None for any other descriptor."""
    value = HostBuffer(4)
    length = HostBuffer(4, (4).to_bytes(4, "little"))
    found = []
    for option in (_SO_DOMAIN, _SO_PROTOCOL):
        if t.host_syscall(NR["getsockopt"], fd, _SOL_SOCKET, option, value.address, length.address):
            return None
        found.append(int.from_bytes(value.raw, "little"))
    return found[1] if found[0] == _AF_NETLINK else None
