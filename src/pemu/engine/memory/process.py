"""The memory of a guest process: a reserved range of host addresses.

Guest-virtual address `g` lies at host address `base + g`. What the guest has not mapped is reserved
without access, so that a stray access of generated code faults instead of reaching the host's own
memory. What is mapped, and how it is protected, stands in `flags`, a byte for each 4 KiB, which
native code reads and changes too (`syscalls.mappings`); what is behind a mapping, the host's kernel
knows.
"""

from __future__ import annotations

import ctypes
import errno
import os

from pemu.engine.host.memory import (
    MREMAP_DONTUNMAP,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    carry_memory,
    host_map,
    host_protect,
    host_remap,
    host_unmap,
)
from pemu.engine.layout import pages
from pemu.engine.layout.pages import CODE, EXEC, MAPPED, PAGE, READ, WRITE
from pemu.engine.memory.access import Exclusion, GuestAccess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

GUARD = 65536
"""Generated code adds 16-bit offsets to 32-bit addresses without wrapping around."""

_MAP_SHARED, _MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS = 1, 2, 0x10, 0x20
_MAP_NORESERVE, _MAP_FIXED_NOREPLACE = 0x4000, 0x100000
_PAGES = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE | _MAP_FIXED
"""Flags of mappings of the guest's without a file."""
_RESERVE = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_FIXED
"""Flags of what is not mapped: others, so that the kernel keeps it apart in its list."""

_waiting = ctypes.CDLL(None, use_errno=True)
_waiting.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

_PROTECTION = READ | WRITE | EXEC
_WITHOUT_CODE = bytes(flags & ~CODE for flags in range(256))
_IN_USE = bytes(flags != 0 for flags in range(256))
_PROTECTIONS = bytes(flags & (_PROTECTION | MAPPED) for flags in range(256))

_WINDOW = 4096
"""Pages that are looked through first for a free range."""


def _fail() -> OSError:
    error = ctypes.get_errno()
    return OSError(error, os.strerror(error))


class AddressSpace(GuestAccess):
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
        self._shared = (ctypes.c_uint64 * (pages.SHARED_BYTES // 8))()
        self.shared_address = ctypes.addressof(self._shared)
        """Host address of what native code shares, see `pages`."""
        super().__init__(Exclusion(self._shared))
        self.size = 1 << bits
        self.order = "big" if big_endian else "little"
        self.word_size = 4 if bits == 32 else 8
        self.page_size = page_size
        self.top = min(reserved or self.size, 0x7FFF8000 if bits == 32 else 1 << 40)
        self.minimum = max(page_size, 0x10000)
        self._set(pages.PAGE_SIZE, page_size)
        self._set(pages.LIMIT, self.top)
        self._set(pages.MAP_MINIMUM, self.minimum)
        self.mmap_top = self.top
        span = (self.size if bits == 32 else 1 << 41) + 2 * GUARD
        fixed = _MAP_FIXED_NOREPLACE if base else 0
        wanted = base - GUARD if base else 0
        reserve = _MAP_PRIVATE | _MAP_ANONYMOUS | fixed
        self.base = host_map(wanted, span, 0, reserve, -1, 0) + GUARD
        count = span >> 12
        self.flags_addr = host_map(0, count, READ | WRITE, _PAGES & ~_MAP_FIXED, -1, 0)
        self.flags = memoryview((ctypes.c_ubyte * count).from_address(self.flags_addr)).cast("B")

    def _get_shared(self, field: int) -> int:
        return self._shared[field >> 3]

    def _set(self, field: int, value: int) -> None:
        self._shared[field >> 3] = value

    @property
    def mmap_top(self) -> int:
        """Where the addresses end that `map` chooses from."""
        return self._get_shared(pages.MAP_TOP)

    @mmap_top.setter
    def mmap_top(self, end: int) -> None:
        self._set(pages.MAP_TOP, end)
        self._set(pages.SEARCH_END, end)

    @property
    def brk_start(self) -> int:
        """Where the heap begins."""
        return self._get_shared(pages.BREAK_START)

    @property
    def brk_end(self) -> int:
        """Where the heap ends."""
        return self._get_shared(pages.BREAK)

    def set_brk(self, start: int) -> None:
        """Say where the heap begins."""
        self._set(pages.BREAK_START, start)
        self._set(pages.BREAK, start)

    def _round(self, length: int) -> int:
        return (length + self.page_size - 1) // self.page_size * self.page_size

    def _set_flags(self, start: int, end: int, value: int) -> None:
        ctypes.memset(self.flags_addr + (start >> 12), value, (end - start) >> 12)

    def _flags_of(self, start: int, end: int) -> bytes:
        return bytes(self.flags[start >> 12 : end >> 12])

    def runs(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield (start, end, protection) of what is mapped in a range, split where that changes."""
        data = self._flags_of(start, end).translate(_PROTECTIONS)
        at = 0
        while at < len(data):
            left = len(data[at:].lstrip(data[at : at + 1]))
            after = len(data) - left
            if data[at]:
                yield start + at * PAGE, start + after * PAGE, data[at] & _PROTECTION
            at = after

    def regions(self) -> Iterator[tuple[int, int, int, bool, int, int, int, str]]:
        """Yield (start, end, prot, shared, offset, dev, ino, path) in order of address.

        What is behind a mapping comes from the host's own list: nothing without it.
        """
        from pemu.engine.host.maps import mappings

        last: tuple[int, int, int, bool, int, int, int, str] | None = None
        for found in mappings(self.base, self.base + self.size):
            if not self.flags[found.start - self.base >> 12]:
                continue  # what is reserved: the kernel keeps it apart
            for start, end, prot in self.runs(found.start - self.base, found.end - self.base):
                at = start + self.base - found.start
                offset = found.offset + at if found.ino else 0
                region = (start, end, prot, found.shared, offset, *found.file)
                if last is not None and _continues(last, region):
                    region = (last[0], end, *last[2:])
                elif last is not None:
                    yield last
                last = region
        if last is not None:
            yield last

    def covered(self, start: int, end: int) -> bool:
        """Whether all of a range is mapped."""
        return 0 not in self._flags_of(start, end)

    def _code_changes(self, start: int, end: int) -> None:
        """Tell the engine before pages that hold translated code change."""
        if self.on_code_change is None:
            return
        found = self._flags_of(start, end)
        changed = found.translate(_WITHOUT_CODE)
        if changed != found:
            # First the marks, so that a thread that is just using the code notices.
            self.flags[start >> 12 : end >> 12] = changed
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
        first, last = self.minimum >> 12, self._get_shared(pages.SEARCH_END) >> 12
        needed = (length + align - PAGE) >> 12
        window = max(_WINDOW, 2 * needed)
        while last - first >= needed:
            low = max(first, last - window)
            used = bytes(self.flags[low:last]).translate(_IN_USE)
            end = len(used)
            while (free := used.rfind(0, 0, end)) >= 0:
                end = used.rfind(1, 0, free) + 1
                if free + 1 - end >= needed:
                    return ((low + free + 1) * PAGE - length) // align * align
            if low == first:
                break
            window *= 4
        raise OSError(errno.ENOMEM, "no room in the address space")

    def _free(self, start: int, length: int) -> bool:
        return not self._flags_of(start, start + length).strip(b"\0")

    def _search_from(self, end: int) -> None:
        """Let `find_free` begin where something may be free now."""
        self._set(pages.SEARCH_END, min(end, self.mmap_top))

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
        with self.changing:
            if flags & (_MAP_FIXED | _MAP_FIXED_NOREPLACE):
                start = address or 0
                end = self._check(start, length)
                if flags & _MAP_FIXED_NOREPLACE and not self._free(start, size):
                    raise OSError(errno.EEXIST, "address range is in use")
            else:
                start = self.find_free(size, self.page_size, address or 0)
                end = start + size
            flags &= ~_MAP_FIXED_NOREPLACE
            self._code_changes(start, end)
            host_prot = _host_protection(prot)
            kept = flags & (_MAP_SHARED | _MAP_PRIVATE | _MAP_ANONYMOUS | 0x03) | _MAP_NORESERVE
            host_map(self.base + start, size, host_prot, kept | _MAP_FIXED, fd, offset)
            if self.page_size > PAGE and not flags & _MAP_ANONYMOUS:
                # A page that the file fills in part goes on with zeros, to its own end.
                held = -(-max(os.fstat(fd).st_size - offset, 0) // PAGE) * PAGE
                rest = min(self._round(held), size) - held
                if rest > 0:
                    host_map(self.base + start + held, rest, host_prot, _PAGES, -1, 0)
            self._set_flags(start, end, prot & _PROTECTION | MAPPED)
            if end == self._get_shared(pages.SEARCH_END):
                self._search_from(start)
            return start

    def unmap(self, address: int, length: int) -> None:
        """munmap(2); raises OSError."""
        if length <= 0:
            raise OSError(errno.EINVAL, "length of a mapping")
        if address % self.page_size or address + length > self.top:
            raise OSError(errno.EINVAL, "address of a mapping")
        with self.changing:
            end = address + self._round(length)
            self._code_changes(address, end)
            self._reserve(address, end)

    def clear(self) -> None:
        """Unmap everything. Only one thread may be left, and no translated code."""
        with self.changing:
            host_map(self.base, self.size, 0, _RESERVE, -1, 0)
            # Fresh pages, which are zero: the range may be too large to be written.
            host_map(self.flags_addr, self.size >> 12, READ | WRITE, _PAGES, -1, 0)
            self._changes.clear()
            self._tracked.clear()
            self.set_brk(0)
            self.mmap_top = self.top

    def _reserve(self, start: int, end: int) -> None:
        host_map(self.base + start, end - start, 0, _RESERVE, -1, 0)
        self._set_flags(start, end, 0)
        if end > self._get_shared(pages.SEARCH_END):
            self._search_from(end)

    def protect(self, address: int, length: int, prot: int) -> None:
        """mprotect(2); raises OSError (ENOMEM where a part is not mapped)."""
        if address % self.page_size:
            raise OSError(errno.EINVAL, "address is not aligned to a page")
        if not length:
            return
        end = self._check(address, length)
        with self.changing:
            whole = self.covered(address, end)
            self._code_changes(address, end)
            for start, stop, _ in [(address, end, 0)] if whole else self.runs(address, end):
                host_protect(self.base + start, stop - start, _host_protection(prot))
                self._set_flags(start, stop, prot & _PROTECTION | MAPPED)
            if not whole:
                raise OSError(errno.ENOMEM, "not mapped")

    def remap(
        self, address: int, old_length: int, new_length: int, flags: int, new_address: int = 0
    ) -> int:
        """mremap(2); returns the guest address, raises OSError."""
        if address % self.page_size or not new_length:
            raise OSError(errno.EINVAL, "address or length of a mapping")
        old, new = self._round(old_length), self._round(new_length)
        if flags & MREMAP_DONTUNMAP and (old != new or not flags & MREMAP_MAYMOVE):
            raise OSError(errno.EINVAL, "a mapping that stays has one length")
        with self.changing:
            found = set(self._flags_of(address, address + max(old, PAGE)).translate(_PROTECTIONS))
            if len(found) != 1 or found == {0} or address + old > self.top:
                raise OSError(errno.EFAULT, "not one mapping")
            if flags & MREMAP_FIXED:
                if not flags & MREMAP_MAYMOVE or new_address % self.page_size:
                    raise OSError(errno.EINVAL, "address of a mapping")
                self._check(new_address, new)
                if address + old > new_address and new_address + new > address:
                    raise OSError(errno.EINVAL, "a mapping does not move onto itself")
                return self._move(address, old, new, new_address, flags)
            if new <= old and not flags & MREMAP_DONTUNMAP:
                if new < old:
                    self.unmap(address + new, old - new)
                return address
            end = address + new
            room = end <= self.top and self._free(address + old, new - old)
            if not flags & MREMAP_MAYMOVE:
                if not room:
                    raise OSError(errno.ENOMEM, "no room to grow")
                self._extend(address + old, new - old)
                return address
            if room and new > old:
                return self._move(address, old, new, address, flags)
            return self._move(address, old, new, self.find_free(new, self.page_size), flags)

    def _move(self, old_start: int, old_size: int, size: int, start: int, flags: int) -> int:
        prot = self.flags[old_start >> 12] & _PROTECTION
        self._code_changes(old_start, old_start + old_size)
        self._code_changes(start, start + size)
        self.untrack_range(old_start, old_size)
        source, target = self.base + old_start, self.base + start
        stays = flags & MREMAP_DONTUNMAP
        try:
            if stays or not old_size:  # without a size: another view of shared memory
                how = MREMAP_MAYMOVE | MREMAP_FIXED | stays
                host_remap(source, old_size, size, how, target)
            else:
                _carry(source, old_size, size, target)
        except OSError:
            if self._free(start, size):
                host_map(target, size, 0, _RESERVE)  # the kernel may have emptied it
            raise
        if old_size and not stays and start != old_start:
            self._reserve(old_start, old_start + old_size)
        self._set_flags(start, start + size, prot | MAPPED)
        return start

    def _extend(self, start: int, size: int) -> None:
        """Let the mapping before an address grow in its place, while others use it."""
        from pemu.engine.host.maps import mappings

        self.untrack_range(start - PAGE, PAGE)
        prot = self.flags[start - PAGE >> 12] & _PROTECTION
        target = self.base + start
        behind = next(mappings(target - PAGE, target), None)
        if behind is not None and behind.shared:
            view = host_remap(target - PAGE, 0, PAGE + size, MREMAP_MAYMOVE)
            host_remap(view + PAGE, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, target)
            host_unmap(view, PAGE)
        elif behind is not None and not behind.ino:
            host_map(target, size, _host_protection(prot), _PAGES)
        else:
            raise OSError(errno.ENOMEM, "a private mapping of a file grows elsewhere only")
        self._set_flags(start, start + size, prot | MAPPED)

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

    def brk(self, address: int) -> int:
        """brk(2): move the end of the heap if possible; returns where it is now."""
        with self.changing:
            if address < self.brk_start:
                return self.brk_end
            old, new = self._round(self.brk_end), self._round(address)
            if new > old:
                if new > self.top or not self._free(old, new - old):
                    return self.brk_end
                flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_FIXED
                try:
                    self.map(old, new - old, READ | WRITE, flags)
                except OSError:
                    return self.brk_end
            elif new < old:
                self.unmap(new, old - new)
            self._set(pages.BREAK, address)
            return address


def _host_protection(prot: int) -> int:
    """What the host grants: generated code is not in guest memory, and reads what it executes."""
    return prot & (READ | WRITE) | (READ if prot & EXEC else 0)


def _carry(source: int, old_size: int, size: int, target: int) -> None:
    """`carry_memory` of what is one mapping to the guest; the kernel may keep it as several."""
    try:
        carry_memory(source, old_size, size, target)
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise
        from pemu.engine.host.maps import mappings

        end = source + min(old_size, size)
        for part in mappings(source, end):
            length = part.end - part.start
            grown = length + max(size - old_size, 0) if part.end == end else length
            carry_memory(part.start, length, grown, target + part.start - source)


def _continues(
    before: tuple[int, int, int, bool, int, int, int, str],
    region: tuple[int, int, int, bool, int, int, int, str],
) -> bool:
    """True if two mappings are shown as one."""
    start, end, *_, offset, _, ino, _ = before
    follows = not ino or offset + end - start == region[4]
    return end == region[0] and follows and before[2:4] + before[5:] == region[2:4] + region[5:]
