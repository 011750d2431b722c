"""The memory of a guest process: a reserved range of host addresses.

Guest-virtual address `g` lies at host address `base + g`. What the guest has not mapped is reserved
without access, so that a stray access of generated code faults instead of reaching the host's own
memory. `flags` holds one byte a 4 KiB page, which native code reads too.
"""

from __future__ import annotations

import ctypes
import errno
import os
from _thread import RLock
from bisect import bisect_right

from pemu.engine.faults import GuestFault
from pemu.engine.hostmemory import FAILED, host_map, host_protect, host_unmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READ, WRITE, EXEC, CODE, TRACK, MAPPED, VOLATILE = 1, 2, 4, 8, 16, 32, 64
"""Page flags. VOLATILE: code on the page changes so often (or changes itself) that writes are not
noticed any more; the guest's own cache instructions and calls tell when it has changed."""

MOST_CHANGES = 32
"""Writes to a page with translated code that are noticed before it counts as VOLATILE."""

PAGE = 4096
GUARD = 65536
"""Generated code adds 16-bit offsets to 32-bit addresses without wrapping around."""

_MAP_SHARED, _MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS = 1, 2, 0x10, 0x20
_MAP_NORESERVE, _MAP_FIXED_NOREPLACE = 0x4000, 0x100000
_MREMAP_MAYMOVE, _MREMAP_FIXED, _MREMAP_DONTUNMAP = 1, 2, 4

_libc = ctypes.PyDLL(None, use_errno=True)
_waiting = ctypes.CDLL(None, use_errno=True)
_waiting.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.mremap.restype = ctypes.c_void_p
_libc.mremap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_void_p,
]

_HAVE_CODE = bytes(flags >> 3 & 1 for flags in range(256))
"""1 for page flags with CODE."""


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


_libc.process_vm_readv.restype = ctypes.c_ssize_t
_libc.process_vm_readv.argtypes = [
    ctypes.c_int,
    ctypes.POINTER(_Vector),
    ctypes.c_ulong,
    ctypes.POINTER(_Vector),
    ctypes.c_ulong,
    ctypes.c_ulong,
]


def _kernel_copy(target: int, source: int, size: int) -> int:
    """Copy bytes between host addresses; returns how many were left at a missing page."""
    near, far = _Vector(target, size), _Vector(source, size)
    done: int = _libc.process_vm_readv(os.getpid(), near, 1, far, 1, 0)
    return size - max(done, 0)


_copy: Callable[[int, int, int], int] = _kernel_copy
"""The kernel's copy until there is a native one, which takes a quarter of its time."""


def use_native_copy(address: int) -> None:
    """Have guest memory copied by the function at a host address: `pemu_copy` of an engine.

    Python keeps its lock meanwhile: to give it away takes longer than most copies.
    """
    global _copy
    prototype = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64)
    _copy = prototype(address)


_BYTES_HEADER = bytes.__basicsize__ - 1
"""From the address of a bytes object to that of its content."""


def _fail() -> OSError:
    error = ctypes.get_errno()
    return OSError(error, os.strerror(error))


class Region:
    """A mapping: guest-virtual range [start, end), protection, and the file behind it."""

    __slots__ = ("dev", "end", "flags", "ino", "offset", "path", "prot", "start")

    def __init__(
        self,
        start: int,
        end: int,
        prot: int,
        flags: int,
        offset: int = 0,
        dev: int = 0,
        ino: int = 0,
        path: str = "",
    ) -> None:
        self.start = start
        self.end = end
        self.prot = prot
        self.flags = flags
        self.offset = offset
        self.dev = dev
        self.ino = ino
        self.path = path

    def part(self, start: int, end: int) -> Region:
        """The same mapping cut down to [start, end)."""
        offset = self.offset + (start - self.start) if self.path else 0
        return Region(start, end, self.prot, self.flags, offset, self.dev, self.ino, self.path)


class AddressSpace:
    """Guest memory of `1 << bits` bytes, of which programs may map those below `top`.

    `bits`: 32, or up to 41 where generated code masks addresses. `reserved`: bytes that programs
    may map (0: what Linux gives them). `base`: host address wanted for guest address 0, or None.
    """

    def __init__(
        self,
        bits: int,
        big_endian: bool,
        page_size: int = PAGE,
        reserved: int = 0,
        base: int | None = None,
    ) -> None:
        self.size = 1 << bits
        self.order = "big" if big_endian else "little"
        self.word_size = 4 if bits == 32 else 8
        self.page_size = page_size
        self.top = min(reserved or self.size, 0x7FFF8000 if bits == 32 else 1 << 40)
        self.on_code_change: Callable[[int, int], None] | None = None
        self.minimum = max(page_size, 0x10000)
        span = (self.size if bits == 32 else 1 << 41) + 2 * GUARD
        fixed = _MAP_FIXED_NOREPLACE if base else 0
        private = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE
        wanted = base - GUARD if base else 0
        self.base = host_map(wanted, span, 0, private | fixed, -1, 0) + GUARD
        pages = span >> 12
        self.flags_addr = host_map(0, pages, 3, private, -1, 0)
        self.flags = memoryview((ctypes.c_ubyte * pages).from_address(self.flags_addr)).cast("B")
        self._lock = RLock()
        self._regions: list[Region] = []
        self._starts: list[int] = []
        self.brk_start = 0
        self.brk_end = 0
        self.mmap_top = self.top
        self._changes: dict[int, int] = {}
        self.retry: Callable[[Callable[[], int]], int] | None = None
        """Makes a copy that was refused once more, with the pages open that a debugger closed."""
        self._tracked: set[int] = set()
        """Addresses of pages with TRACK, and of some that had it once."""

    # Access from Python.

    def host(self, address: int) -> int:
        """Host address of a guest-virtual address."""
        return self.base + (address & (self.size - 1))

    def read(self, address: int, size: int) -> bytes:
        """Read guest memory; raises GuestFault where it cannot be read."""
        if not 0 <= address <= self.size - size:
            raise GuestFault(address)
        # A new object that nobody else has seen yet may be filled like any memory.
        data = bytes(size)
        target, source = id(data) + _BYTES_HEADER, self.base + address
        left = _copy(target, source, size)
        if left and self.retry is not None:
            left = self.retry(lambda: _copy(target, source, size))
        if left:
            raise GuestFault(address + size - left)
        return data

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write guest memory; raises GuestFault where it cannot be written."""
        size = len(data)
        if not 0 <= address <= self.size - size:
            raise GuestFault(address)
        data = bytes(data)
        source = id(data) + _BYTES_HEADER
        left = _copy(self.base + address, source, size)
        if left and self.untrack_range(address, size):
            left = _copy(self.base + address, source, size)
        if left and self.retry is not None:
            left = self.retry(lambda: _copy(self.base + address, source, size))
        if left:
            raise GuestFault(address + size - left)

    def read_cstr(self, address: int, limit: int = 1 << 20) -> bytes:
        """Read up to a NUL byte, which is left out; at most `limit` bytes."""
        parts = b""
        while len(parts) < limit:
            piece = self.read(address, min(256, PAGE - address % PAGE))
            end = piece.find(b"\0")
            if end >= 0:
                return parts + piece[:end]
            parts += piece
            address += len(piece)
        return parts[:limit]

    def _get(self, address: int, size: int) -> int:
        return int.from_bytes(self.read(address, size), self.order)  # type: ignore[arg-type]

    def _put(self, address: int, value: int, size: int) -> None:
        value &= (1 << 8 * size) - 1
        self.write(address, value.to_bytes(size, self.order))  # type: ignore[arg-type]

    def u8(self, address: int) -> int:
        """Read a byte."""
        return self._get(address, 1)

    def u16(self, address: int) -> int:
        """Read 16 bits in guest byte order."""
        return self._get(address, 2)

    def u32(self, address: int) -> int:
        """Read 32 bits in guest byte order."""
        return self._get(address, 4)

    def u64(self, address: int) -> int:
        """Read 64 bits in guest byte order."""
        return self._get(address, 8)

    def word(self, address: int) -> int:
        """Read as many bits as a pointer has (`word_size` bytes) in guest byte order."""
        return self._get(address, self.word_size)

    def put_u8(self, address: int, value: int) -> None:
        """Write a byte."""
        self._put(address, value, 1)

    def put_u16(self, address: int, value: int) -> None:
        """Write 16 bits in guest byte order."""
        self._put(address, value, 2)

    def put_u32(self, address: int, value: int) -> None:
        """Write 32 bits in guest byte order."""
        self._put(address, value, 4)

    def put_u64(self, address: int, value: int) -> None:
        """Write 64 bits in guest byte order."""
        self._put(address, value, 8)

    def put_word(self, address: int, value: int) -> None:
        """Write as many bits as a pointer has in guest byte order."""
        self._put(address, value, self.word_size)

    def _all(self, address: int, size: int, flag: int) -> bool:
        if address < 0 or address + size > self.size:
            return False
        pages = self.flags[address >> 12 : (address + max(size, 1) - 1 >> 12) + 1]
        return all(page & flag for page in pages)

    def readable(self, address: int, size: int) -> bool:
        """True if the guest may read all of a range."""
        return self._all(address, size, READ)

    def writable(self, address: int, size: int) -> bool:
        """True if the guest may write all of a range."""
        return self._all(address, size, WRITE)

    # Mappings.

    def _round(self, length: int) -> int:
        return (length + self.page_size - 1) // self.page_size * self.page_size

    def regions(self) -> Iterator[tuple[int, int, int, bool, int, int, int, str]]:
        """Yield (start, end, prot, shared, offset, dev, ino, path) in order of address."""
        for region in list(self._regions):
            shared = bool(region.flags & _MAP_SHARED)
            yield (
                region.start,
                region.end,
                region.prot,
                shared,
                region.offset,
                region.dev,
                region.ino,
                region.path,
            )

    def _cut(self, start: int, end: int) -> list[Region]:
        """Take [start, end) out of the list of regions and return what was there."""
        first = max(bisect_right(self._starts, start) - 1, 0)
        if first == len(self._regions) or self._regions[first].start >= end:
            return []
        last = first
        taken: list[Region] = []
        left: list[Region] = []
        while last < len(self._regions) and self._regions[last].start < end:
            region = self._regions[last]
            if region.end <= start:
                left.append(region)
            else:
                if region.start < start:
                    left.append(region.part(region.start, start))
                taken.append(region.part(max(region.start, start), min(region.end, end)))
                if region.end > end:
                    left.append(region.part(end, region.end))
            last += 1
        self._regions[first:last] = left
        self._starts[first:last] = [region.start for region in left]
        return taken

    def _insert(self, region: Region) -> None:
        index = bisect_right(self._starts, region.start)
        before = self._regions[index - 1] if index else None
        if before is not None and _joins(before, region):
            before.end = region.end
            return
        self._regions.insert(index, region)
        self._starts.insert(index, region.start)

    def _set_flags(self, start: int, end: int, value: int) -> None:
        ctypes.memset(self.flags_addr + (start >> 12), value, (end - start) >> 12)

    def _code_changes(self, start: int, end: int) -> None:
        """Tell the engine before pages that hold translated code change."""
        if self.on_code_change is None:
            return
        changed = False
        index = max(bisect_right(self._starts, start) - 1, 0)
        while index < len(self._regions) and self._regions[index].start < end:
            region = self._regions[index]
            first, last = max(start, region.start) >> 12, min(end, region.end) >> 12
            pages = bytes(self.flags[first:last])
            if 1 in pages.translate(_HAVE_CODE):
                # First the marks, so that a thread that is just using the code notices.
                for number, page in enumerate(pages, first):
                    self.flags[number] = page & ~CODE
                changed = True
            index += 1
        if changed:
            self.on_code_change(start, end)

    def _check(self, address: int, length: int) -> int:
        """Check a range that a system call names; returns its end."""
        if address % self.page_size:
            raise OSError(errno.EINVAL, "address is not aligned to a page")
        end = address + self._round(length)
        if end > self.top or address < 0:
            raise OSError(errno.ENOMEM, "outside of the address space")
        return end

    def find_free(self, length: int, align: int = PAGE, hint: int = 0) -> int:
        """Find room for a new mapping: at `hint` if free, else as high as possible.

        Raises OSError(ENOMEM).
        """
        if hint:
            hint = hint // self.page_size * self.page_size
            if hint >= self.minimum and hint + length <= self.top and self._free(hint, length):
                return hint
        end = self.mmap_top
        for region in reversed(self._regions):
            if region.start >= end:
                continue
            start = (end - length) // align * align
            if start >= region.end and start >= self.minimum:
                return start
            end = min(end, region.start)
        start = (end - length) // align * align
        if start < self.minimum:
            raise OSError(errno.ENOMEM, "no room in the address space")
        return start

    def _free(self, start: int, length: int) -> bool:
        index = bisect_right(self._starts, start)
        if index and self._regions[index - 1].end > start:
            return False
        return index == len(self._regions) or self._regions[index].start >= start + length

    def map(
        self,
        address: int | None,
        length: int,
        prot: int,
        flags: int,
        fd: int = -1,
        offset: int = 0,
    ) -> int:
        """mmap(2) with the host's flag values; returns the guest address, raises OSError."""
        if length <= 0 or offset % PAGE:
            raise OSError(errno.EINVAL, "length or offset of a mapping")
        size = self._round(length)
        if size > self.top:
            raise OSError(errno.ENOMEM, "mapping larger than the address space")
        with self._lock:
            if flags & (_MAP_FIXED | _MAP_FIXED_NOREPLACE):
                start = address or 0
                end = self._check(start, length)
                if flags & _MAP_FIXED_NOREPLACE and not self._free(start, size):
                    raise OSError(errno.EEXIST, "address range is in use")
            else:
                start = self.find_free(size, self.page_size, address or 0)
                end = start + size
            flags &= ~_MAP_FIXED_NOREPLACE
            dev = ino = 0
            path = ""
            if not flags & _MAP_ANONYMOUS:
                status = os.fstat(fd)
                dev, ino = status.st_dev, status.st_ino
                try:
                    path = os.readlink(f"/proc/self/fd/{fd}")
                except OSError:
                    path = ""
            self._code_changes(start, end)
            host_prot = prot & (READ | WRITE)
            if prot & EXEC:
                host_prot |= READ
            kept = flags & (_MAP_SHARED | _MAP_PRIVATE | _MAP_ANONYMOUS | 0x03) | _MAP_NORESERVE
            host_map(self.base + start, size, host_prot, kept | _MAP_FIXED, fd, offset)
            if self.page_size > PAGE and not flags & _MAP_ANONYMOUS:
                # A page that the file fills in part goes on with zeros, to its own end.
                held = -(-max(status.st_size - offset, 0) // PAGE) * PAGE
                rest = min(self._round(held), size) - held
                if rest > 0:
                    private = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE | _MAP_FIXED
                    host_map(self.base + start + held, rest, host_prot, private, -1, 0)
            self._cut(start, end)
            self._insert(Region(start, end, prot, flags & 0xF, offset, dev, ino, path))
            self._set_flags(start, end, _page_flags(prot))
            return start

    def unmap(self, address: int, length: int) -> None:
        """munmap(2); raises OSError."""
        if length <= 0:
            raise OSError(errno.EINVAL, "length of a mapping")
        if address % self.page_size or address + length > self.top:
            raise OSError(errno.EINVAL, "address of a mapping")
        with self._lock:
            end = address + self._round(length)
            self._code_changes(address, end)
            for region in self._cut(address, end):
                self._reserve(region.start, region.end)

    def clear(self) -> None:
        """Unmap everything. Only one thread may be left, and no translated code."""
        with self._lock:
            if self._regions:
                start, end = self._regions[0].start, self._regions[-1].end
                flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_FIXED | _MAP_NORESERVE
                host_map(self.base + start, end - start, 0, flags, -1, 0)
                # Fresh pages, which are zero: the range may be too large to be written.
                first = start >> 12 & -PAGE
                last = (end >> 12) + PAGE - 1 & -PAGE
                host_map(self.flags_addr + first, last - first, READ | WRITE, flags, -1, 0)
            self._regions.clear()
            self._starts.clear()
            self._changes.clear()
            self.brk_start = self.brk_end = 0
            self.mmap_top = self.top

    def _reserve(self, start: int, end: int) -> None:
        flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE | _MAP_FIXED
        host_map(self.base + start, end - start, 0, flags, -1, 0)
        self._set_flags(start, end, 0)

    def covered(self, start: int, end: int) -> bool:
        """Whether all of a range is mapped."""
        index = max(bisect_right(self._starts, start) - 1, 0)
        for region in self._regions[index:]:
            if region.start > start:
                return False
            if region.end > start:
                start = region.end
            if start >= end:
                return True
        return start >= end

    def protect(self, address: int, length: int, prot: int) -> None:
        """mprotect(2); raises OSError (ENOMEM where a part is not mapped)."""
        if address % self.page_size:
            raise OSError(errno.EINVAL, "address is not aligned to a page")
        if not length:
            return
        end = self._check(address, length)
        with self._lock:
            whole = self.covered(address, end)
            self._code_changes(address, end)
            for region in self._cut(address, end):
                host_prot = prot & (READ | WRITE) | (READ if prot & EXEC else 0)
                size = region.end - region.start
                try:
                    host_protect(self.base + region.start, size, host_prot)
                except OSError:
                    self._insert(region)
                    raise
                region.prot = prot
                self._insert(region)
                self._set_flags(region.start, region.end, _page_flags(prot))
            if not whole:
                raise OSError(errno.ENOMEM, "not mapped")

    def remap(
        self, address: int, old_length: int, new_length: int, flags: int, new_address: int = 0
    ) -> int:
        """mremap(2); returns the guest address, raises OSError."""
        if address % self.page_size or not new_length:
            raise OSError(errno.EINVAL, "address or length of a mapping")
        old, new = self._round(old_length), self._round(new_length)
        with self._lock:
            index = bisect_right(self._starts, address) - 1
            if index < 0 or self._regions[index].end < address + max(old, 1):
                raise OSError(errno.EFAULT, "not one mapping")
            region = self._regions[index].part(address, address + old)
            if flags & _MREMAP_FIXED:
                if not flags & _MREMAP_MAYMOVE or new_address % self.page_size:
                    raise OSError(errno.EINVAL, "address of a mapping")
                self._check(new_address, new)
                return self._move(region, new, new_address, flags)
            if new <= old and not flags & _MREMAP_DONTUNMAP:
                if new < old:
                    self.unmap(address + new, old - new)
                return address
            end = address + new
            if (
                not flags & _MREMAP_DONTUNMAP
                and end <= self.top
                and self._free(address + old, new - old)
            ):
                return self._move(region, new, address, flags)
            if not flags & _MREMAP_MAYMOVE:
                raise OSError(errno.ENOMEM, "no room to grow")
            return self._move(region, new, self.find_free(new, self.page_size), flags)

    def _move(self, region: Region, size: int, start: int, flags: int) -> int:
        old_size = region.end - region.start
        self._code_changes(region.start, region.end)
        self._code_changes(start, start + size)
        how = _MREMAP_MAYMOVE | _MREMAP_FIXED
        if start == region.start:
            # Growing in place: the reserve above has to make room first.
            how = 0
            host_unmap(self.base + region.end, size - old_size)
        source = self.base + region.start
        result = _libc.mremap(source, old_size, size, how, self.base + start)
        if result is None or result == FAILED:
            error = _fail()
            if not how:
                self._reserve(region.end, start + size)
            raise error
        self._cut(region.start, region.end)
        self._cut(start, start + size)
        if how:
            self._reserve(region.start, region.end)
        if flags & _MREMAP_DONTUNMAP:
            host_map(
                source,
                old_size,
                region.prot & (READ | WRITE),
                _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_FIXED | _MAP_NORESERVE,
                -1,
                0,
            )
            self._insert(region.part(region.start, region.end))
            self._set_flags(region.start, region.end, _page_flags(region.prot))
        region.start, region.end = start, start + size
        self._insert(region)
        self._set_flags(start, start + size, _page_flags(region.prot))
        return start

    def advise(self, address: int, length: int, advice: int) -> None:
        """madvise(2); raises OSError."""
        if address % self.page_size:
            raise OSError(errno.EINVAL, "address is not aligned to a page")
        if not length:
            return
        end = self._check(address, length)
        if not self.covered(address, end):
            raise OSError(errno.ENOMEM, "not mapped")
        if advice == 4:  # MADV_DONTNEED
            self._code_changes(address, end)
        if _waiting.madvise(self.base + address, end - address, advice):
            raise _fail()

    def set_brk(self, start: int) -> None:
        """Say where the heap begins."""
        self.brk_start = self.brk_end = start

    def brk(self, address: int) -> int:
        """brk(2): move the end of the heap if possible; returns where it is now."""
        with self._lock:
            if address < self.brk_start:
                return self.brk_end
            old, new = self._round(self.brk_end), self._round(address)
            if new > old:
                if not self._free(old, new - old) or new > self.top:
                    return self.brk_end
                flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_FIXED
                self.map(old, new - old, READ | WRITE, flags)
            elif new < old:
                self.unmap(new, old - new)
            self.brk_end = address
            return address

    # Pages that hold translated code.

    def track(self, address: int) -> None:
        """Make a guest-writable page read-only on the host, as it holds translated code."""
        with self._lock:
            page = address & -PAGE
            host_protect(self.base + page, PAGE, READ)
            self.flags[page >> 12] |= TRACK
            self._tracked.add(page)

    def untrack(self, address: int, *, by_itself: bool = False) -> None:
        """Make a tracked page writable again; translations of its code are dropped.

        `by_itself`: the write comes from code on that very page, which could not be translated
        and go on if the page were tracked again.
        """
        with self._lock:
            page = address & -PAGE
            self._tracked.discard(page)
            if not self.flags[page >> 12] & TRACK:
                return
            if self.on_code_change is not None:
                self.on_code_change(page, page + PAGE)
            self.flags[page >> 12] &= ~(TRACK | CODE)
            changes = self._changes.get(page, 0) + 1
            self._changes[page] = changes
            if by_itself or changes > MOST_CHANGES:
                self.flags[page >> 12] |= VOLATILE
            host_protect(self.base + page, PAGE, READ | WRITE)

    def untrack_range(self, address: int, size: int) -> bool:
        """Untrack the tracked pages of a range, however long; True if there were any."""
        first, end = address & -PAGE, min(address + size, self.size)
        if first >= end:
            return False
        if end - first <= 2 * PAGE:
            pages = [page for page in (first, end - 1 & -PAGE) if self.flags[page >> 12] & TRACK]
        else:
            with self._lock:
                pages = [page for page in self._tracked if first <= page < end]
        for page in pages:
            self.untrack(page)
        return bool(pages)


def _page_flags(prot: int) -> int:
    return prot & (READ | WRITE | EXEC) | MAPPED


def _joins(before: Region, region: Region) -> bool:
    """True if two mappings are shown as one: anonymous, alike and adjacent."""
    return (
        before.end == region.start
        and before.prot == region.prot
        and before.flags == region.flags
        and not before.path
        and not region.path
    )
