"""Names of guest addresses, from the symbol tables of the files that are mapped there.

Source: System V ABI, chapter 4 (sections, symbol table).
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right

from pemu.linux.elf import Elf, ElfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.memory import AddressSpace
    from pemu.linux.target import Target

_SHT_SYMTAB, _SHT_DYNSYM = 2, 11
_STT_FUNC = 2
_SHN_LORESERVE = 0xFF00
_LARGEST_FILE = 1 << 30
_PAGE = 4096


class _File:
    """The functions of an ELF file: first addresses, sorted, with sizes and names."""

    __slots__ = ("addresses", "functions", "name", "segments", "starts")

    def __init__(self, path: str, target: Target) -> None:
        self.name = os.path.basename(path)
        self.functions: list[tuple[int, int, str]] = []
        self.addresses: dict[str, int] = {}
        self.segments: list[tuple[int, int, int]] = []
        try:
            if os.path.getsize(path) <= _LARGEST_FILE:
                with open(path, "rb") as file:
                    self._read(file.read(), target)
        except (OSError, ElfError, struct.error, OverflowError):
            # A file without readable tables has no names.
            self.functions.clear()
            self.addresses.clear()
        self.functions.sort()
        self.starts = [start for start, *_ in self.functions]

    def _read(self, content: bytes, target: Target) -> None:
        elf = Elf(memoryview(content), target)
        self.segments = [(load.offset, load.filesz, load.vaddr) for load in elf.loads]
        order = ">" if target.big_endian else "<"
        wide = target.elf_class == 2
        section = struct.Struct(order + ("IIQQQQIIQQ" if wide else "10I"))
        (table,) = struct.unpack_from(order + ("Q" if wide else "I"), content, 40 if wide else 32)
        (count,) = struct.unpack_from(order + "H", content, 60 if wide else 48)
        sections = [section.unpack_from(content, table + i * section.size) for i in range(count)]
        tables = [part for part in sections if part[1] in (_SHT_SYMTAB, _SHT_DYNSYM)]
        if not tables:
            return
        chosen = min(tables, key=lambda part: part[1])
        start, size, link = chosen[4:7]
        if link >= count:
            return
        text, text_size = sections[link][4:6]
        names = content[text : text + text_size]
        symbol = struct.Struct(order + ("IBBHQQ" if wide else "IIIBBH"))
        for at in range(start, min(start + size, len(content)) - symbol.size + 1, symbol.size):
            if wide:
                name, info, _, where, value, length = symbol.unpack_from(content, at)
            else:
                name, value, length, info, _, where = symbol.unpack_from(content, at)
            kind = info & 15
            if kind <= _STT_FUNC and where and 0 < name < len(names):
                text_name = names[name : names.find(b"\0", name)].decode("utf-8", "replace")
                if kind == _STT_FUNC:
                    self.functions.append((value, length, text_name))
                if where < _SHN_LORESERVE and (info >> 4 or text_name not in self.addresses):
                    self.addresses[text_name] = value

    def bias(self, offset: int) -> int | None:
        """What to take from where a file offset is mapped to get its address in the file."""
        for start, size, vaddr in self.segments:
            if start // _PAGE * _PAGE <= offset < start + size:
                return offset - start + vaddr
        return None

    def find(self, offset: int) -> tuple[int, str] | None:
        """Distance from the function around a file offset, and its name."""
        for start, size, vaddr in self.segments:
            if start <= offset < start + size:
                address = offset - start + vaddr
                break
        else:
            return None
        index = bisect_right(self.starts, address) - 1
        if index < 0:
            return None
        first, size, name = self.functions[index]
        # Functions written in assembler often have no size.
        if size and address >= first + size:
            return None
        return address - first, name


class Symbols:
    """Names for the addresses of one guest process, read as they are asked for."""

    __slots__ = ("_files", "memory", "target")

    def __init__(self, memory: AddressSpace, target: Target) -> None:
        self.memory = memory
        self.target = target
        self._files: dict[str, _File] = {}

    def _read(self, path: str) -> _File:
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = _File(path, self.target)
        return file

    def _file(self, address: int) -> tuple[_File, int] | None:
        for start, end, _, _, offset, _, _, path in self.memory.regions():
            if start <= address < end and path:
                return self._read(path), address - start + offset
        return None

    def address(self, name: str) -> int | None:
        """Guest-virtual address of a function or variable; None where no mapped file defines it.

        The file that is mapped lowest counts, which is the program in most cases.
        """
        for start, _, _, _, offset, _, _, path in self.memory.regions():
            if not path:
                continue
            file = self._read(path)
            inside = file.bias(offset)
            if name in file.addresses and inside is not None:
                return file.addresses[name] + start - inside
        return None

    def place(self, address: int) -> tuple[str, int] | None:
        """Name of the function around a guest-virtual address, and the distance from its start."""
        place = self._file(address)
        found = place[0].find(place[1]) if place else None
        return (found[1], found[0]) if found else None

    def function_start(self, address: int) -> int | None:
        """Where the function around a guest-virtual address begins; None if nothing tells."""
        place = self._file(address)
        found = place[0].find(place[1]) if place else None
        return address - found[0] if found else None

    def function(self, address: int) -> str:
        """Name of the function around a guest-virtual address; '' if nothing tells."""
        found = self.place(address)
        return found[0] if found else ""

    def describe(self, address: int) -> str:
        """A guest-virtual address for people: `0x00400124 (main+0x4 in prog)`."""
        text = f"{address:#0{2 + 2 * self.target.word}x}"
        place = self._file(address)
        if place is None:
            return text
        found = place[0].find(place[1])
        if found is None:
            return f"{text} (in {place[0].name})"
        distance, name = found
        return f"{text} ({name}{f'+{distance:#x}' if distance else ''} in {place[0].name})"
