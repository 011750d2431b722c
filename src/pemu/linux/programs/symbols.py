"""Names of guest addresses, from the symbol tables of the files that are mapped there."""

from __future__ import annotations

import os
import struct

from pemu.linux.programs.elf import Elf, ElfError
from pemu.symboltable import Functions, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.memory.process import AddressSpace
    from pemu.linux.target import Target

_LARGEST_FILE = 1 << 30
_PAGE = 4096


class _File:
    """The names of an ELF file."""

    __slots__ = ("addresses", "functions", "name", "segments")

    def __init__(self, path: str, target: Target) -> None:
        self.name = os.path.basename(path)
        self.functions = Functions()
        self.addresses: dict[str, int] = {}
        self.segments: list[tuple[int, int, int]] = []
        try:
            if os.path.getsize(path) <= _LARGEST_FILE:
                with open(path, "rb") as file:
                    self._read(file.read(), target)
        except (OSError, ElfError, struct.error, OverflowError):
            pass  # A file without readable tables has no names.

    def _read(self, content: bytes, target: Target) -> None:
        elf = Elf(memoryview(content), target)
        self.segments = [(load.offset, load.filesz, load.vaddr) for load in elf.loads]
        symbols = list(read(content, target.elf_class == 2, target.big_endian))
        self.functions = Functions(symbols)
        for symbol in symbols:
            if symbol.placed and (symbol.exported or symbol.name not in self.addresses):
                self.addresses[symbol.name] = symbol.address

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
                return self.functions.find(offset - start + vaddr)
        return None


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
