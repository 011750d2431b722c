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
    linker = _Linker(image)
    linker.lay_out()
    linker.read_symbols()
    linker.relocate()
    return linker.blob()


class _Section:
    """A section header of an object, and the section's name."""

    __slots__ = ("alignment", "flags", "info", "link", "name", "name_at", "offset", "size", "type")

    def __init__(self, image: bytes, header: int) -> None:
        fields = struct.unpack_from("<IIQQQQIIQQ", image, header)
        self.name_at, self.type, self.flags, _address, self.offset, self.size = fields[:6]
        self.link, self.info, self.alignment, _entry_size = fields[6:]
        self.name = ""

    def content(self, image: bytes) -> bytes:
        """The section's bytes in the file."""
        return image[self.offset : self.offset + self.size]


class _Linker:
    """An object on its way to a blob: code first, then from a page on what is written to."""

    def __init__(self, image: bytes) -> None:
        self._image = image
        (table,) = struct.unpack_from("<Q", image, 0x28)
        entry_size, count, names_index = struct.unpack_from("<HHH", image, 0x3A)
        self._sections = [_Section(image, table + i * entry_size) for i in range(count)]
        names_at = self._sections[names_index].offset
        for section in self._sections:
            section.name = self._string(names_at, section.name_at)
        self._place: dict[int, int] = {}  # where sections lie in the blob, by index
        self._code_size = 0
        self._memory = bytearray()
        self._values: list[int | None] = []  # of the symbols, by index
        self._exported: dict[str, int] = {}
        # Line tables stay outside.
        self._debug = {
            index: bytearray(section.content(image))
            for index, section in enumerate(self._sections)
            if section.name in (".debug_line", ".debug_line_str")
        }

    def _string(self, table: int, offset: int) -> str:
        start = table + offset
        return self._image[start : self._image.index(b"\0", start)].decode()

    def lay_out(self) -> None:
        """Find a place for each section that is needed while running, and copy it there."""
        self._code_size = _align(self._place_sections(0, 0), PAGE)
        self._memory = bytearray(self._place_sections(_SHF_WRITE, self._code_size))
        for index, base in self._place.items():
            section = self._sections[index]
            if section.type != _SHT_NOBITS:
                self._memory[base : base + section.size] = section.content(self._image)

    def _place_sections(self, writable: int, end: int) -> int:
        for index, section in enumerate(self._sections):
            if not section.flags & _SHF_ALLOC or (section.flags & _SHF_WRITE) != writable:
                continue
            if section.name.startswith((".eh_frame", ".note")):
                continue
            self._place[index] = _align(end, max(section.alignment, 1))
            end = self._place[index] + section.size
        return end

    def read_symbols(self) -> None:
        """Find the symbols' values, and what is exported: global symbols."""
        table = next(section for section in self._sections if section.type == _SHT_SYMTAB)
        strings = self._sections[table.link].offset
        for offset in range(table.offset, table.offset + table.size, 24):
            name, info, _other, index, value, _size = struct.unpack_from(
                "<IBBHQQ", self._image, offset
            )
            base = self._place.get(index)
            self._values.append(None if base is None else base + value)
            if base is not None and name and info >> 4 == 1:
                self._exported[self._string(strings, name)] = base + value

    def relocate(self) -> None:
        """Carry the relocations of all sections out."""
        for section in self._sections:
            if section.type != _SHT_RELA:
                continue
            for offset in range(section.offset, section.offset + section.size, 24):
                where, info, addend = struct.unpack_from("<QQq", self._image, offset)
                kind, symbol = info & 0xFFFFFFFF, self._values[info >> 32]
                if section.info in self._debug:
                    # Line tables hold offsets into their own string section and code addresses.
                    size_code = "<Q" if kind == _R_64 else "<I"
                    content = self._debug[section.info]
                    struct.pack_into(size_code, content, where, (symbol or 0) + addend)
                elif section.info in self._place:
                    self._relocate_code(section.info, where, kind, symbol, addend)

    def _relocate_code(
        self, target: int, where: int, kind: int, symbol: int | None, addend: int
    ) -> None:
        where += self._place[target]
        name = self._sections[target].name
        if symbol is None:
            raise LinkError(f"undefined symbol in relocation of {name}")
        if kind in (_R_PC32, _R_PLT32):
            struct.pack_into("<i", self._memory, where, symbol + addend - where)
        elif kind == _R_PC64:
            struct.pack_into("<q", self._memory, where, symbol + addend - where)
        else:
            raise LinkError(f"relocation type {kind} in {name}")

    def blob(self) -> Blob:
        """What has been linked."""
        return Blob(
            bytes(self._memory[: self._code_size]),
            bytes(self._memory[self._code_size :]),
            self._exported,
            {self._sections[index].name: bytes(lines) for index, lines in self._debug.items()},
        )
