"""Reading and writing with several buffers, and moving data from descriptor to descriptor."""

from __future__ import annotations

from pemu.linux import fdtable
from pemu.linux.calls.plain import Whence, seek
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.native_forms import Form, Halves
from pemu.linux.structs.files import LONG_OFFSET, OFFSET
from pemu.linux.syscall import passthrough, syscall
from pemu.linux.types.base import Fd, Int, Long, Off64, Size, UInt
from pemu.linux.types.iovec import IoVecIn, IoVecOut, gather, host_iovec, read_iovec, scatter
from pemu.linux.types.names import Bits
from pemu.linux.types.pointers import InOut, Out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread
    from pemu.linux.types.base import ArgType

_64 = ("n64",)
_32 = ("o32", "n32")

RwFlags = Bits("rwf flags", "RWF_HIPRI 1 RWF_DSYNC 2 RWF_SYNC 4 RWF_NOWAIT 8 RWF_APPEND 0x10")
SpliceFlags = Bits(
    "splice flags", "SPLICE_F_MOVE 1 SPLICE_F_NONBLOCK 2 SPLICE_F_MORE 4 SPLICE_F_GIFT 8"
)


def readv_special(t: Thread, fd: int, iov: int, count: int) -> int:
    """readv(2) for a descriptor that may have a translator."""
    translator = fdtable.translator(fdtable.check(fd))
    if translator is None:
        vector = host_iovec(t, iov, count, True)
        return t.host_syscall(NR["readv"], fd, address_of(vector), count)
    size = min(sum(length for _, length in read_iovec(t, iov, count)), fdtable.TRANSLATED_LIMIT)
    buffer = HostBuffer(size)
    result = t.host_syscall(NR["read"], fd, buffer.address, size)
    if result > 0:
        scatter(t, iov, count, translator.from_host(t, buffer.raw[:result]))
    return result


def writev_special(t: Thread, fd: int, iov: int, count: int) -> int:
    """writev(2) for a descriptor that may have a translator."""
    translator = fdtable.translator(fdtable.check(fd))
    if translator is None:
        vector = host_iovec(t, iov, count, False)
        return t.host_syscall(NR["writev"], fd, address_of(vector), count)
    data = translator.to_host(t, gather(t, iov, count, fdtable.TRANSLATED_LIMIT))
    return t.host_syscall(NR["write"], fd, address_of(data), len(data))


passthrough("readv", Fd, IoVecOut(2), Int, special=readv_special)
passthrough("writev", Fd, IoVecIn(2), Int, special=writev_special)


def _position(low: int, high: int) -> int:
    """A file offset from the two halves that the calls on 32-bit ABIs take, low one first."""
    return high << 32 | low


passthrough("preadv", Fd, IoVecOut(2), Int, Off64, abis=_64)
passthrough("pwritev", Fd, IoVecIn(2), Int, Off64, abis=_64)
passthrough("preadv2", Fd, IoVecOut(2), Int, Off64, Long, RwFlags, abis=_64)
passthrough("pwritev2", Fd, IoVecIn(2), Int, Off64, Long, RwFlags, abis=_64)


def _at_position(host: str, vectors: ArgType) -> Callable[[Abi], Forms]:
    """The form of a call with a file offset in two words."""
    return lambda abi: Form(host, Fd, vectors, Int, Halves(4))


@syscall(
    *("preadv", Fd, IoVecOut(2), Int, UInt, UInt),
    abis=_32,
    native=_at_position("preadv", IoVecOut(2)),
)
def preadv(t: Thread, fd: int, iov: int, count: int, low: int, high: int) -> int:
    vector = host_iovec(t, iov, count, True)
    return t.host_syscall(NR["preadv"], fd, address_of(vector), count, _position(low, high), 0)


@syscall(
    *("pwritev", Fd, IoVecIn(2), Int, UInt, UInt),
    abis=_32,
    native=_at_position("pwritev", IoVecIn(2)),
)
def pwritev(t: Thread, fd: int, iov: int, count: int, low: int, high: int) -> int:
    vector = host_iovec(t, iov, count, False)
    return t.host_syscall(NR["pwritev"], fd, address_of(vector), count, _position(low, high), 0)


@syscall("preadv2", Fd, IoVecOut(2), Int, UInt, UInt, RwFlags, abis=_32)
def preadv2(t: Thread, fd: int, iov: int, count: int, low: int, high: int, flags: int) -> int:
    vector = host_iovec(t, iov, count, True)
    position = _position(low, high)
    return t.host_syscall(NR["preadv2"], fd, address_of(vector), count, position, 0, flags)


@syscall("pwritev2", Fd, IoVecIn(2), Int, UInt, UInt, RwFlags, abis=_32)
def pwritev2(t: Thread, fd: int, iov: int, count: int, low: int, high: int, flags: int) -> int:
    vector = host_iovec(t, iov, count, False)
    position = _position(low, high)
    return t.host_syscall(NR["pwritev2"], fd, address_of(vector), count, position, 0, flags)


@syscall(
    *("_llseek", Fd, UInt, UInt, Out(OFFSET), Whence),
    native=lambda abi: Form("lseek", Fd, Halves(1), Whence, slots=(0, 2, 4), stored=3),
)
def llseek(t: Thread, fd: int, high: int, low: int, result_at: int, whence: int) -> int:
    result = seek(t, fd, _position(low, high), whence)
    if result < 0:
        return result
    t.mem.put_u64(result_at, result)
    return 0


passthrough("sendfile", Fd, Fd, InOut(LONG_OFFSET), Size)
passthrough("sendfile64", Fd, Fd, InOut(OFFSET), Size, host="sendfile")
passthrough("splice", Fd, InOut(OFFSET), Fd, InOut(OFFSET), Size, SpliceFlags)
passthrough("copy_file_range", Fd, InOut(OFFSET), Fd, InOut(OFFSET), Size, UInt)
passthrough("tee", Fd, Fd, Size, SpliceFlags)
passthrough("vmsplice", Fd, IoVecIn(2), Int, SpliceFlags)
