"""Waiting for descriptors: select and pselect, whose sets of descriptors are arrays of longs."""

from __future__ import annotations

import errno
import struct

from pemu.engine.layout import call_table as k
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.native_argument import moves_of
from pemu.linux.native_forms import Constant, Form, Interval, Moved, Waiting
from pemu.linux.sigmask import HOST_SIGSET_BYTES, wait_with_mask
from pemu.linux.structs.time import (
    NANOSECONDS,
    TIMESPEC,
    TIMESPEC64,
    TIMEVAL,
    TimeLimit,
)
from pemu.linux.syscall import syscall
from pemu.linux.types.base import Int
from pemu.linux.types.pointers import In, Ptr
from pemu.linux.types.poll import FdSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread
    from pemu.linux.structs.layout import Struct


def _set_moves(abi: Abi) -> bytes:
    """A set is an array of longs; in little-endian order longs of any width are the same."""
    both = k.FIELD_ENTERS | k.FIELD_LEAVES
    rows = [(0, 0, abi.word, abi.word, both)]
    return moves_of(abi.word, abi.word, rows, divisor=8 * abi.word)


_Set = Moved(k.BOTH, _set_moves, other=0)


def _native_select(layout: Struct) -> Callable[[Abi], Forms]:
    """A time limit is only tried as one that has passed: the host's form of it is always zeros."""
    limit = Interval(layout, 1_000_000 if layout is TIMEVAL else NANOSECONDS)

    def form(abi: Abi) -> Forms:
        mask = Constant(0) if layout is TIMEVAL else Waiting(2 * abi.word, 4)
        return Form("pselect6", Int, _Set, _Set, _Set, limit, mask)

    return form


class _Sets:
    """The three sets of a select call: in the guest arrays of longs, bit n of the whole is fd n."""

    __slots__ = ("_addresses", "_bytes", "_span", "addresses", "buffer")

    def __init__(self, t: Thread, count: int, addresses: tuple[int, int, int]) -> None:
        word = t.target.word
        self._bytes = -(-count // (8 * word)) * word
        self._span = -(-count // 64) * 8
        self._addresses = addresses
        content = bytearray(3 * self._span)
        for i, address in enumerate(addresses):
            if address:
                data = _turn(t, t.mem.read(address, self._bytes))
                content[i * self._span : i * self._span + self._bytes] = data
        self.buffer = HostBuffer(len(content) or 1, bytes(content))
        self.addresses = [
            self.buffer.address + i * self._span if address else 0
            for i, address in enumerate(addresses)
        ]

    def finish(self, t: Thread) -> None:
        data = self.buffer.raw
        for i, address in enumerate(self._addresses):
            if address:
                start = i * self._span
                t.mem.write(address, _turn(t, data[start : start + self._bytes]))


def _turn(t: Thread, data: bytes) -> bytes:
    if not t.target.big_endian:
        return data
    word = t.target.word
    return b"".join(data[i : i + word][::-1] for i in range(0, len(data), word))


def _select(
    t: Thread,
    count: int,
    sets: tuple[int, int, int],
    limit: TimeLimit,
    mask: int = 0,
    mask_size: int = 0,
) -> int:
    if count < 0:
        return -errno.EINVAL
    count = min(count, 1 << 20)
    held = _Sets(t, count, sets)

    def call(host_limit: int, host_mask: int) -> int:
        set_and_size = struct.pack("<QQ", host_mask, HOST_SIGSET_BYTES)
        return t.host_syscall(
            NR["pselect6"], count, *held.addresses, host_limit, address_of(set_and_size)
        )

    return wait_with_mask(t, limit, mask, mask_size, call, held.finish)


@syscall("_newselect", Int, FdSet, FdSet, FdSet, In(TIMEVAL), native=_native_select(TIMEVAL))
def newselect(t: Thread, count: int, read: int, write: int, other: int, timeout: int) -> int:
    return _select(t, count, (read, write, other), TimeLimit(t.mem, timeout, TIMEVAL))


def _pselect(
    t: Thread, count: int, sets: tuple[int, int, int], timeout: int, mask: int, layout: Struct
) -> int:
    limit = TimeLimit(t.mem, timeout, layout)
    address = size = 0
    if mask:
        address = t.mem.word(mask)
        size = t.mem.word(mask + t.target.word)
    return _select(t, count, sets, limit, address, size)


@syscall("pselect6", Int, FdSet, FdSet, FdSet, In(TIMESPEC), Ptr, native=_native_select(TIMESPEC))
def pselect6(
    t: Thread, count: int, read: int, write: int, other: int, timeout: int, mask: int
) -> int:
    return _pselect(t, count, (read, write, other), timeout, mask, TIMESPEC)


@syscall(
    *("pselect6_time64", Int, FdSet, FdSet, FdSet, In(TIMESPEC64), Ptr),
    abis=("o32", "n32"),
    native=_native_select(TIMESPEC64),
)
def pselect6_time64(
    t: Thread, count: int, read: int, write: int, other: int, timeout: int, mask: int
) -> int:
    return _pselect(t, count, (read, write, other), timeout, mask, TIMESPEC64)
