"""Guest memory: mapping, protecting, locking; the caches."""

from __future__ import annotations

import errno

from pemu.isa.mips.names import A3, V0
from pemu.linux import fdtable
from pemu.linux.host_ranges import host_range_for_writing
from pemu.linux.hostcalls import NR
from pemu.linux.mips.mman import MapFlags, MapProtection, MlockFlags, MremapFlags, MsyncFlags
from pemu.linux.native_forms import Form, PagesType, Units
from pemu.linux.syscall import syscall
from pemu.linux.types.base import Fd, HexLong, Int, Off, Size, UInt, ULong
from pemu.linux.types.names import Bits, Named
from pemu.linux.types.pointers import Ptr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.memory.process import AddressSpace
    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread
    from pemu.linux.types.base import ArgType

PAGE = 4096
MAP_ANONYMOUS, MAP_LOCKED = 0x20, 0x2000
PROTECTION = 7
PROT_GROWSDOWN, PROT_GROWSUP = 0x01000000, 0x02000000


def _map(
    t: Thread, start: int, length: int, protection: int, flags: int, fd: int, offset: int
) -> int:
    if not flags & MAP_ANONYMOUS:
        fdtable.check(fd)
    result = t.mem.map(start, length, protection & PROTECTION, flags, fd, offset)
    if flags & MAP_LOCKED:
        t.host_syscall(NR["mlock"], t.mem.host(result), length)
    return result


def _native_mmap(offset: ArgType) -> Callable[[Abi], Forms]:
    return lambda abi: Form("map", ULong, ULong, MapProtection, MapFlags, Fd, offset)


@syscall(
    *("mmap", Ptr, Size, MapProtection, MapFlags, Fd, Off), native=_native_mmap(Off), returns="x"
)
def mmap(
    t: Thread, start: int, length: int, protection: int, flags: int, fd: int, offset: int
) -> int:
    if offset % PAGE:
        return -errno.EINVAL
    return _map(t, start, length, protection, flags, fd, offset)


@syscall(
    *("mmap2", Ptr, Size, MapProtection, MapFlags, Fd, ULong),
    native=_native_mmap(Units(4096)),
    returns="x",
)
def mmap2(
    t: Thread, start: int, length: int, protection: int, flags: int, fd: int, page: int
) -> int:
    """The offset counts 4 KiB units, whatever the size of a page."""
    return _map(t, start, length, protection, flags, fd, page * 4096)


@syscall("munmap", Ptr, Size, native=lambda abi: Form("unmap", ULong, ULong))
def munmap(t: Thread, start: int, length: int) -> int:
    t.mem.unmap(start, length)
    return 0


@syscall(
    *("mprotect", Ptr, Size, MapProtection),
    native=lambda abi: Form("protect", ULong, ULong, MapProtection),
)
def mprotect(t: Thread, start: int, length: int, protection: int) -> int:
    if protection & PROT_GROWSUP:
        return -errno.EINVAL
    if protection & PROT_GROWSDOWN:
        end = start + length
        start = _region_start(t.mem, start)
        length = end - start
    t.mem.protect(start, length, protection & PROTECTION)
    return 0


def _region_start(mem: AddressSpace, address: int) -> int:
    """Where the mapping of `address` begins; raises OSError(ENOMEM)."""
    for start, end, *_ in mem.regions():
        if start <= address < end:
            return start
    raise OSError(errno.ENOMEM, "not mapped")


NO_KEY = -1


@syscall("pkey_mprotect", Ptr, Size, MapProtection, Int)
def pkey_mprotect(t: Thread, start: int, length: int, protection: int, key: int) -> int:
    """MIPS has no protection keys: only the one that stands for none is valid."""
    return mprotect(t, start, length, protection) if key == NO_KEY else -errno.EINVAL


@syscall("pkey_alloc", ULong, ULong)
def pkey_alloc(t: Thread, flags: int, rights: int) -> int:
    return -errno.EINVAL if flags else -errno.ENOSPC


@syscall("pkey_free", Int)
def pkey_free(t: Thread, key: int) -> int:
    return -errno.EINVAL


@syscall("mremap", Ptr, Size, Size, MremapFlags, Ptr, returns="x")
def mremap(
    t: Thread, start: int, old_length: int, new_length: int, flags: int, new_start: int
) -> int:
    return t.mem.remap(start, old_length, new_length, flags, new_start)


@syscall("brk", Ptr, native=lambda abi: Form("break", ULong), returns="x")
def brk(t: Thread, end: int) -> int:
    return t.mem.brk(end)


Advice = Named(
    "advice",
    "MADV_NORMAL MADV_RANDOM MADV_SEQUENTIAL MADV_WILLNEED MADV_DONTNEED - - - MADV_FREE"
    " MADV_REMOVE MADV_DONTFORK MADV_DOFORK MADV_MERGEABLE MADV_UNMERGEABLE MADV_HUGEPAGE"
    " MADV_NOHUGEPAGE MADV_DONTDUMP MADV_DODUMP MADV_WIPEONFORK MADV_KEEPONFORK MADV_COLD"
    " MADV_PAGEOUT MADV_POPULATE_READ MADV_POPULATE_WRITE MADV_DONTNEED_LOCKED MADV_COLLAPSE",
)


_NativeRange = PagesType(1)


@syscall(
    *("madvise", Ptr, Size, Advice), native=lambda abi: Form("madvise", _NativeRange, Size, Int)
)
def madvise(t: Thread, start: int, length: int, advice: int) -> int:
    t.mem.advise(start, length, advice)
    return 0


def _mapped(mem: AddressSpace, start: int, length: int) -> bool:
    """Whether all pages of a range are mapped."""
    end = -(-(start + length) // PAGE) * PAGE
    return end <= mem.size and mem.covered(start // PAGE * PAGE, end)


def _on_mapped(t: Thread, call: str, start: int, length: int, *arguments: int) -> int:
    """A host call on a range of guest memory: the host does not see what is not mapped."""
    if not _mapped(t.mem, start, length):
        return -errno.ENOMEM
    return t.host_syscall(NR[call], t.mem.host(start), length, *arguments)


@syscall("msync", Ptr, Size, MsyncFlags)
def msync(t: Thread, start: int, length: int, flags: int) -> int:
    if start % PAGE:
        return -errno.EINVAL
    return _on_mapped(t, "msync", start, length, flags)


@syscall("mlock", Ptr, Size)
def mlock(t: Thread, start: int, length: int) -> int:
    return _on_mapped(t, "mlock", start, length)


LockFlags = Bits("mlock2 flags", "MLOCK_ONFAULT 1")


@syscall("mlock2", Ptr, Size, LockFlags)
def mlock2(t: Thread, start: int, length: int, flags: int) -> int:
    return _on_mapped(t, "mlock2", start, length, flags)


@syscall("munlock", Ptr, Size)
def munlock(t: Thread, start: int, length: int) -> int:
    return _on_mapped(t, "munlock", start, length)


MCL_CURRENT, MCL_KNOWN = 1, 7


@syscall("mlockall", MlockFlags)
def mlockall(t: Thread, flags: int) -> int:
    """Only the guest's mappings: the reserve around them must not be locked."""
    if not flags & 3 or flags & ~MCL_KNOWN:
        return -errno.EINVAL
    if flags & MCL_CURRENT:
        for start, end, protection, *_ in t.mem.regions():
            if protection & PROTECTION:
                result = t.host_syscall(NR["mlock"], t.mem.host(start), end - start)
                if result < 0:
                    return result
    return 0


@syscall("munlockall")
def munlockall(t: Thread) -> int:
    return t.host_syscall(NR["munlockall"])


@syscall("mincore", Ptr, Size, Ptr)
def mincore(t: Thread, start: int, length: int, vector: int) -> int:
    if start % PAGE:
        return -errno.EINVAL
    if not _mapped(t.mem, start, length):
        return -errno.ENOMEM
    place = host_range_for_writing(t.mem, vector, -(-length // PAGE))
    return t.host_syscall(NR["mincore"], t.mem.host(start), length, place)


CacheName = Named("cache", "ICACHE DCACHE BCACHE", 1)


@syscall("cacheflush", Ptr, Size, CacheName)
def cacheflush(t: Thread, start: int, length: int, cache: int) -> int:
    if start + length > t.mem.size:
        return -errno.EFAULT
    if length:
        t.process.engine.invalidate(start, start + length)
    return 0


@syscall("cachectl", Ptr, Int, Int)
def cachectl(t: Thread, start: int, length: int, operation: int) -> int:
    """Linux declares this call and does not have it."""
    return -errno.ENOSYS


FLUSH_CACHE, MIPS_FIXADE, MIPS_ATOMIC_SET = 3, 7, 2001


@syscall("sysmips", Int, HexLong, UInt)
def sysmips(t: Thread, command: int, first: int, second: int) -> int | None:
    if command == MIPS_ATOMIC_SET:
        return _exchange(t, first, second)
    if command == FLUSH_CACHE:
        t.process.engine.invalidate(0, t.mem.size)
        return 0
    if command == MIPS_FIXADE:
        return -errno.EINVAL if first & ~3 else 0
    return -errno.EINVAL


def _exchange(t: Thread, start: int, value: int) -> int | None:
    """Put `value` into a 32-bit word; the old one is the result, whatever it is.

    Atomic among threads that use this call: Python runs one of them at a time.
    """
    if start % 4:
        return -errno.EINVAL
    old = t.mem.u32(start)
    t.mem.put_u32(start, value)
    regs = t.cpu.gpr
    regs[V0] = old if regs.itemsize == 4 or old < 1 << 31 else old | 0xFFFFFFFF_00000000
    regs[A3] = 0
    return None
