"""Arrays of buffers (`struct iovec`) for the host: their addresses, checked."""

from __future__ import annotations

import errno
import struct

from pemu.engine.layout import call_table as k
from pemu.linux.host_ranges import host_range, host_range_for_writing
from pemu.linux.native_argument import Native, moves
from pemu.linux.show import show_bytes, show_pointer
from pemu.linux.structs.layout import Struct
from pemu.linux.types.base import ArgType, signed
from pemu.linux.types.pointers import POINTER, address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.linux.abi import Abi, Decoder, Registers
    from pemu.linux.process import Thread
    from pemu.linux.types.base import Argument

IOVEC = Struct("iovec", "ptr iov_base", "size_t iov_len")
IOV_MAX = 1024

_HOST = struct.Struct("<QQ")


def read_iovec(t: Thread, start: int, count: int) -> list[tuple[int, int]]:
    """Guest addresses and sizes of an array of buffers; raises OSError(EINVAL) as the kernel."""
    if not 0 <= count <= IOV_MAX:
        raise OSError(errno.EINVAL, "Invalid argument")
    if not count:
        return []
    word = t.target.word
    data = t.mem.read(start, 2 * word * count)
    form = f"{'>' if t.target.big_endian else '<'}{2 * count}{'Q' if word == 8 else 'I'}"
    values = struct.unpack(form, data)
    pairs = list(zip(values[::2], values[1::2], strict=True))
    limit = 1 << (8 * word - 1)
    if any(length >= limit for _, length in pairs):
        raise OSError(errno.EINVAL, "Invalid argument")
    return pairs


def host_iovec(t: Thread, start: int, count: int, leaves: bool) -> bytes:
    """The host's form of a guest's array; `leaves`: the call is going to write to the buffers."""
    place = host_range_for_writing if leaves else host_range
    return b"".join(
        _HOST.pack(place(t.mem, base, length) if length else 0, length)
        for base, length in read_iovec(t, start, count)
    )


def gather(t: Thread, start: int, count: int, limit: int) -> bytes:
    """The content of the buffers, at most `limit` bytes."""
    data = b""
    for base, length in read_iovec(t, start, count):
        length = min(length, limit - len(data))
        if length:
            data += t.mem.read(base, length)
    return data


def scatter(t: Thread, start: int, count: int, data: bytes) -> None:
    """Fill the buffers with `data`."""
    for base, length in read_iovec(t, start, count):
        if data:
            t.mem.write(base, data[:length])
        data = data[length:]


def show_vectors(t: Thread, start: int, count: int, filled: int | None) -> str:
    """Buffers as -strace shows them; `filled`: bytes in them that count, None for all."""
    from pemu.engine.memory.access import GuestFault

    try:
        pairs = read_iovec(t, start, count)
    except (OSError, GuestFault):
        return show_pointer(start)
    left = sum(length for _, length in pairs) if filled is None else filled
    parts = []
    for base, length in pairs[:16]:
        shown = show_bytes(t, base, min(length, left))
        parts.append(f"{{iov_base={shown}, iov_len={length}}}")
        left -= min(length, left)
    return "[" + ", ".join(parts) + (", ..." if len(pairs) > 16 else "") + "]"


class IoVecType(ArgType):
    """The address of an array of buffers; the argument with index `count` says how many."""

    __slots__ = ("count", "leaves")

    def __init__(self, count: int, leaves: bool) -> None:
        super().__init__("struct iovec *")
        self.count = count
        self.leaves = leaves

    def decode(self, argument: Argument) -> Decoder:
        return POINTER.decode(argument)

    def host(self, argument: Argument) -> Decoder:
        get = self.decode(argument)
        count = argument.getters[self.count]

        def decode(t: Thread, regs: Registers) -> bytes:
            return host_iovec(t, get(t, regs), signed(count(t, regs), 32), self.leaves)

        return decode

    def direct(self, abi: Abi) -> bool:
        return False

    def native(self, argument: Argument) -> Native | None:
        kind = k.WRITTEN_VECTORS if self.leaves else k.VECTORS
        layout = IOVEC.layout(argument.abi.word, argument.abi.order)
        return Native(kind, 0, self.count, moves(layout, IOVEC.host()))

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        start = address(t, raw[index])
        if self.leaves and (result is None or result < 0):
            return show_pointer(start)
        filled = result if self.leaves else None
        return show_vectors(t, start, signed(raw[self.count], 32), filled)


def IoVecIn(count: int) -> IoVecType:
    """Buffers that the call reads."""
    return IoVecType(count, False)


def IoVecOut(count: int) -> IoVecType:
    """Buffers that the call fills."""
    return IoVecType(count, True)
