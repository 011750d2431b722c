"""Compiled regions of one program in a file, so that later runs find them compiled.

What native code looks at (`tier0.warm`) lies in the first part, the index: a hash table from blocks
to regions, the guest code of each, and a checksum of each module. It is followed by the modules, as
they are mapped, and the tail: what Python needs to locate faults and to write the file anew.

    header | identity | index | modules, each from a page boundary on: code, data | tail

The index and the tail are checked when they are read, a module when its first region is used. All
numbers are little-endian; offsets are bytes from the start of the file, those of code from the
start of the modules.
"""

from __future__ import annotations

import ctypes
import marshal
import mmap
import os
import struct
import zlib
from bisect import bisect_right

from pemu.engine.host.memory import host_map, host_unmap
from pemu.engine.layout.pages import PAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.code.lines import LineTable

    Tags = list[int]
    Ranges = list[tuple[int, bytes]]
    Regions = list[tuple[int, Tags, Ranges, bool]]

MAGIC = b"pemuREG3"

_HEADER = struct.Struct("<8s14I")
"""Magic; checksum and end of the index; table: offset, entries less one; modules: offset, count;
code: offset, bytes; tail: offset, bytes, bytes unpacked, checksum; guest instructions; bytes of the
identity, which follows."""

_CHECKED = 12
"""Where the bytes begin that the index's checksum is of."""

_ENTRY = struct.Struct("<QII")
"""Of the hash table: tag of a block; offset of its region's record, 0 in a free entry; which of the
region's entries it is."""

ENTRY_TAG, ENTRY_RECORD, ENTRY_NUMBER, ENTRY_BYTES = 0, 8, 12, 16

_RECORD = struct.Struct("<IIII")
"""Of a region: offset of its code, number of its module, ranges of code that follow, flags."""

RECORD_CODE, RECORD_MODULE, RECORD_COUNT, RECORD_FLAGS, RECORD_BYTES = 0, 4, 8, 12, 16

FLOATS, SPREADS = 1, 2
"""Flags: the region serves any page (of a machine) with its code; it has code of several pages."""

FLOATING_PAGE = 1 << 30
"""Where the page of a region that floats is taken to be when it is compiled. No branch leads from
here across an end of the address space."""

FIRST_SHIFT = 12
CODE_TAG = 2
"""The tag of an entry of such a region: offset in the page, the first instruction FIRST_SHIFT bits
above, and CODE_TAG, combined with the translation mode."""

HASH_SHIFTS = 13, 29
"""What is folded into a tag's bits from 2 on, which say where an entry's place in the table is."""

_RANGE = struct.Struct("<QII")
"""Guest address, bytes, and the offset of a copy of them."""

RANGE_PC, RANGE_SIZE, RANGE_COPY, RANGE_BYTES = 0, 8, 12, 16

_MODULE = struct.Struct("<IIIIQ")
"""Offset, bytes of code, bytes of data, state (see `tier0.warm`), Adler-32 of code and data."""

MODULE_START, MODULE_CODE, MODULE_DATA, MODULE_STATE, MODULE_SUM, MODULE_BYTES = 0, 4, 8, 12, 16, 24

MOST_BYTES = 64 << 20
"""Of modules in a file; the oldest are left out of a file that would be larger."""


class Module:
    """Regions that were compiled together.

    `code`: machine code and constants, whole pages. `data`: initial contents of the writable part,
    directly behind. `words`: guest instructions. `regions`: for each the offset of its code, the
    tags of its entries, in order, the guest code that it stands for, and whether it floats.
    `lines`, `bases`: DWARF sections by name, and (offset of a function, guest address that its
    lines count from), for locating faults.
    """

    __slots__ = ("bases", "code", "data", "lines", "regions", "words")

    def __init__(
        self,
        code: bytes,
        data: bytes,
        words: int,
        regions: Regions,
        lines: dict[str, bytes],
        bases: list[tuple[int, int]],
    ) -> None:
        self.code = code
        self.data = data
        self.words = words
        self.regions = regions
        self.lines = lines
        self.bases = bases


def _align(size: int) -> int:
    return (size + PAGE - 1) // PAGE * PAGE


def guest_pc(
    lines: LineTable, bases: list[tuple[int, int]], offset: int, insn_bytes: int
) -> int | None:
    """Guest address of the access at a byte offset in a module, or None."""
    function = bisect_right(bases, (offset, 1 << 64)) - 1
    line = lines.line(offset)
    if function < 0 or not line:
        return None
    return bases[function][1] + (line - 1) * insn_bytes


class RegionStore:
    """A file of regions, mapped privately; the file descriptor is not needed any more.

    `address`: host address of the whole. `identity`: what `pack` was given. `words`: guest
    instructions in it. Raises ValueError for a damaged file, OSError.
    """

    __slots__ = (
        *("_bounds", "_content", "_tables", "_tail", "_tail_fields", "address"),
        *("code_at", "code_bytes", "identity", "modules_at", "table_at", "table_mask", "words"),
    )

    def __init__(self, fd: int) -> None:
        size = os.fstat(fd).st_size
        if size < _HEADER.size:
            raise ValueError("truncated")
        # Python's own mmap would keep a descriptor, which the guest would notice.
        self.address = host_map(0, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, fd)
        self._content = memoryview((ctypes.c_ubyte * size).from_address(self.address)).cast("B")
        self._tail: list[Module] = []
        self._tables: dict[int, LineTable] = {}
        try:
            self._read()
        except ValueError:
            self.close()
            raise

    def close(self) -> None:
        """Unmap it. Nothing of it may be in use any more."""
        host_unmap(self.address, len(self._content))
        self._content = memoryview(b"")

    def _read(self) -> None:
        magic, index_sum, *fields = _HEADER.unpack_from(self._content)
        index_bytes, self.table_at, self.table_mask, self.modules_at, count = fields[:5]
        self.code_at, self.code_bytes = fields[5:7]
        self._tail_fields = tail_at, tail_bytes, *_ = fields[7:11]
        self.words, identity_bytes = fields[11:]
        if magic != MAGIC or len(self._content) != tail_at + tail_bytes:
            raise ValueError("truncated or of another kind")
        index = self._content[:index_bytes]
        if index_bytes > self.code_at or zlib.crc32(index[_CHECKED:]) != index_sum:
            raise ValueError("damaged index")
        self.identity = os.fsdecode(bytes(index[_HEADER.size :][:identity_bytes]))
        modules = index[self.modules_at : self.modules_at + count * _MODULE.size]
        self._bounds = [fields[:3] for fields in _MODULE.iter_unpack(modules)]

    def _sum(self, number: int) -> int:
        """Checksum of a module."""
        at = self.modules_at + number * _MODULE.size + MODULE_SUM
        return int.from_bytes(self._content[at : at + 8], "little")

    def writable(self) -> list[tuple[int, int]]:
        """(offset from the start of the code, bytes) of what has to be writable."""
        return [(start + code, _align(data)) for start, code, data in self._bounds if data]

    def restore(self, base: int) -> None:
        """Make all data as it was written, of the modules that are mapped from `base` on."""
        for start, code, data in self._bounds:
            at = start + code
            ctypes.memmove(base + at, self.address + self.code_at + at, data)

    def modules(self) -> list[Module]:
        """Return the modules, in order. Raises ValueError if the tail is damaged."""
        if not self._tail:
            tail_at, tail_bytes, unpacked, tail_sum = self._tail_fields
            packed = self._content[tail_at : tail_at + tail_bytes]
            if zlib.crc32(packed) != tail_sum:
                raise ValueError("damaged tail")
            tail = marshal.loads(zlib.decompress(packed, bufsize=unpacked))
            for (start, code, data), more in zip(self._bounds, tail, strict=True):
                first = self.code_at + start
                content = bytes(self._content[first : first + code + data])
                self._tail.append(Module(content[:code], content[code:], *more))
        return self._tail

    def good_modules(self) -> list[Module]:
        """Return the modules that are as they were written. Raises ValueError."""
        return [
            module
            for number, module in enumerate(self.modules())
            if zlib.adler32(_whole(module)) == self._sum(number)
        ]

    def check(self) -> None:
        """Raise ValueError unless all of the file is as it was written."""
        if len(self.good_modules()) < len(self._bounds):
            raise ValueError("damaged code")

    def guest_pc(self, offset: int, insn_bytes: int) -> int | None:
        """Guest address of the access at a byte offset from the start of the code, or None."""
        from pemu.engine.code.lines import LineTable

        number = bisect_right(self._bounds, (offset, 1 << 64)) - 1
        if number < 0:
            return None
        module = self.modules()[number]
        table = self._tables.get(number)
        if table is None:
            table = self._tables[number] = LineTable(module.lines)
        return guest_pc(table, module.bases, offset - self._bounds[number][0], insn_bytes)


def _whole(module: Module) -> bytes:
    """Code and data as they are mapped, the rest of the last page left out."""
    return module.code + module.data.ljust((len(module.data) + 7) // 8 * 8, b"\0")


def _entries(module: Module, one_memory: bool) -> list[list[tuple[int, int]]]:
    """For each region of a module, what tells its entries from others: tag, checksum of the code.

    In a program's memory the tag is enough; on a machine many programs have the same addresses.
    """
    found = []
    for _, tags, ranges, _ in module.regions:
        code = 0 if one_memory else zlib.crc32(b"".join(content for _, content in ranges))
        found.append([(tag, code) for tag in tags])
    return found


def merge(old: list[Module], new: list[Module], one_memory: bool = True) -> list[Module]:
    """Return the modules of `old` that `new` does not replace, and `new`, up to `MOST_BYTES`.

    `one_memory`: they are of one program, whose addresses mean one thing.
    """
    known: set[tuple[int, int]] = set()
    kept: list[Module] = []
    size = 0
    for module in [*reversed(new), *reversed(old)]:
        entries = {entry for region in _entries(module, one_memory) for entry in region}
        if entries <= known:
            continue
        size += len(module.code) + _align(len(module.data))
        if size > MOST_BYTES:
            break
        known |= entries
        kept.append(module)
    kept.reverse()
    return kept


def pack(identity: str, modules: list[Module], one_memory: bool = True) -> list[bytes]:
    """Return the parts of a file. Where two regions begin with the same block, the later counts.

    `identity`: what the regions are of. `one_memory`: as in `merge`.
    """
    entries: dict[tuple[int, int], tuple[int, int]] = {}
    name = os.fsencode(identity)
    index = bytearray(_HEADER.size) + name.ljust((len(name) + 7) // 8 * 8, b"\0")
    starts = []
    code_bytes = 0
    for number, module in enumerate(modules):
        starts.append(code_bytes)
        known = _entries(module, one_memory)
        for (offset, _, ranges, floats), own in zip(module.regions, known, strict=True):
            copies = []
            for _, content in ranges:
                copies.append(len(index))
                index += content.ljust((len(content) + 7) // 8 * 8, b"\0")
            record = len(index)
            pages = {at // PAGE for pc, code in ranges for at in (pc, pc + len(code) - 1)}
            flags = (FLOATS if floats else 0) | (SPREADS if len(pages) > 1 else 0)
            index += _RECORD.pack(code_bytes + offset, number, len(ranges), flags)
            for (pc, content), copy in zip(ranges, copies, strict=True):
                index += _RANGE.pack(pc, len(content), copy)
            for which, entry in enumerate(own):
                entries[entry] = (record, which)
        code_bytes += len(module.code) + _align(len(module.data))
    modules_at = len(index)
    for start, module in zip(starts, modules, strict=True):
        whole = _whole(module)
        data_size = len(whole) - len(module.code)
        index += _MODULE.pack(start, len(module.code), data_size, 0, zlib.adler32(whole))
    index += bytes(-len(index) % 16)
    table_at = len(index)
    index += _table(entries)
    mask = (len(index) - table_at) // ENTRY_BYTES - 1
    code_at = _align(len(index))
    tail = marshal.dumps([(m.words, m.regions, m.lines, m.bases) for m in modules])
    packed = zlib.compress(tail, 1)
    fields = [
        *(len(index), table_at, mask, modules_at, len(modules), code_at, code_bytes),
        *(code_at + code_bytes, len(packed), len(tail), zlib.crc32(packed)),
        *(sum(module.words for module in modules), len(name)),
    ]
    _HEADER.pack_into(index, 0, MAGIC, 0, *fields)
    struct.pack_into("<I", index, 8, zlib.crc32(memoryview(index)[_CHECKED:]))
    parts = [bytes(index.ljust(code_at, b"\0"))]
    for module in modules:
        parts += [module.code, module.data.ljust(_align(len(module.data)), b"\0")]
    parts.append(packed)
    return parts


def hashed(tag: int) -> int:
    """What the place of an entry in the table follows from."""
    return (tag ^ tag >> HASH_SHIFTS[0] ^ tag >> HASH_SHIFTS[1]) >> 2


def _table(entries: dict[tuple[int, int], tuple[int, int]]) -> bytes:
    """A hash table with linear probing, at most half full."""
    size = 16
    while size < 2 * len(entries):
        size *= 2
    table: list[bytes] = [bytes(ENTRY_BYTES)] * size
    for (tag, _), (record, which) in entries.items():
        slot = hashed(tag) & (size - 1)
        while table[slot] != bytes(ENTRY_BYTES):
            slot = (slot + 1) & (size - 1)
        table[slot] = _ENTRY.pack(tag, record, which)
    return b"".join(table)
