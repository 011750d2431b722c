"""Turn the ELF object that LLVM emits into a blob that runs wherever it is mapped.

Generated modules refer to nothing outside themselves: the runtime is reached through the state
pointer. So all that is left to link are distances between a module's own sections. The result
has code and constants first and, from the next page boundary on, writable data; mapping it needs
no relocation, and it can be stored as it is.
"""

from __future__ import annotations

import struct

PAGE = 4096

_SHF_WRITE, _SHF_ALLOC = 1, 2
_SHT_RELA, _SHT_NOBITS, _SHT_SYMTAB = 4, 8, 2
_R_64, _R_PC32, _R_PLT32, _R_32, _R_PC64 = 1, 2, 4, 10, 24


class LinkError(Exception):
    """The object holds something that a position-independent blob cannot."""


class Blob:
    """A linked module.

    `code`: machine code and constants, a multiple of the page size. `data`: initial contents of
    the writable part, mapped directly behind. `symbols`: byte offsets of global symbols from the
    start. `lines`: DWARF sections by name for mapping code addresses to source lines, or empty.
    """

    __slots__ = ("code", "data", "lines", "symbols")

    def __init__(
        self, code: bytes, data: bytes, symbols: dict[str, int], lines: dict[str, bytes]
    ) -> None:
        self.code = code
        self.data = data
        self.symbols = symbols
        self.lines = lines

    @property
    def size(self) -> int:
        """Bytes to map in all."""
        return len(self.code) + (len(self.data) + PAGE - 1) // PAGE * PAGE


def _align(value: int, alignment: int) -> int:
    return (value + alignment - 1) // alignment * alignment


def link(image: bytes) -> Blob:
    """Link an x86-64 ELF relocatable object (System V ABI, AMD64 supplement).

    Raises LinkError for undefined symbols and for relocations that need absolute addresses.
    """
    (section_table,) = struct.unpack_from("<Q", image, 0x28)
    entry_size, count, names_index = struct.unpack_from("<HHH", image, 0x3A)
    sections = [
        struct.unpack_from("<IIQQQQIIQQ", image, section_table + i * entry_size)
        for i in range(count)
    ]
    names_at = sections[names_index][4]

    def string(table: int, offset: int) -> str:
        start = table + offset
        return image[start : image.index(b"\0", start)].decode()

    names = [string(names_at, section[0]) for section in sections]

    place: dict[int, int] = {}
    size = 0
    for writable in (0, _SHF_WRITE):
        if writable:
            size = _align(size, PAGE)
            code_size = size
        for index, section in enumerate(sections):
            flags = section[2]
            if not flags & _SHF_ALLOC or (flags & _SHF_WRITE) != writable:
                continue
            if names[index].startswith((".eh_frame", ".note")):
                continue
            size = _align(size, max(section[8], 1))
            place[index] = size
            size += section[5]
    memory = bytearray(size)
    for index, base in place.items():
        section = sections[index]
        if section[1] != _SHT_NOBITS:
            memory[base : base + section[5]] = image[section[4] : section[4] + section[5]]

    debug = {
        index: bytearray(image[sections[index][4] : sections[index][4] + sections[index][5]])
        for index, name in enumerate(names)
        if name in (".debug_line", ".debug_line_str")
    }

    symtab = next(i for i, section in enumerate(sections) if section[1] == _SHT_SYMTAB)
    strings = sections[sections[symtab][6]][4]
    symbol_values: list[int | None] = []
    exported: dict[str, int] = {}
    for offset in range(0, sections[symtab][5], 24):
        name, info, _other, index, value, _size = struct.unpack_from(
            "<IBBHQQ", image, sections[symtab][4] + offset
        )
        section_base = place.get(index)
        symbol_values.append(None if section_base is None else section_base + value)
        if section_base is not None and name and info >> 4 == 1:
            exported[string(strings, name)] = section_base + value

    for section in sections:
        if section[1] != _SHT_RELA:
            continue
        target = section[7]
        for offset in range(section[4], section[4] + section[5], 24):
            where, info, addend = struct.unpack_from("<QQq", image, offset)
            kind, symbol = info & 0xFFFFFFFF, symbol_values[info >> 32]
            if target in debug:
                # Line tables hold offsets into their own string section and code addresses.
                size_code = "<Q" if kind == _R_64 else "<I"
                struct.pack_into(size_code, debug[target], where, (symbol or 0) + addend)
                continue
            if target not in place:
                continue
            where += place[target]
            if symbol is None:
                raise LinkError(f"undefined symbol in relocation of {names[target]}")
            if kind in (_R_PC32, _R_PLT32):
                struct.pack_into("<i", memory, where, symbol + addend - where)
            elif kind == _R_PC64:
                struct.pack_into("<q", memory, where, symbol + addend - where)
            else:
                raise LinkError(f"relocation type {kind} in {names[target]}")
    return Blob(
        bytes(memory[:code_size]),
        bytes(memory[code_size:]),
        exported,
        {names[index]: bytes(content) for index, content in debug.items()},
    )
