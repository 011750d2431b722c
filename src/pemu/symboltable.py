"""The symbol tables of ELF files. Source: System V ABI, chapter 4 (sections, symbol table)."""

from __future__ import annotations

import struct
from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FUNCTION = 2
"""A kind of symbols; those below name data or nothing in particular."""

_SHT_SYMTAB, _SHT_DYNSYM = 2, 11
_SHN_LORESERVE = 0xFF00


class Symbol:
    """One that is defined in the file, with its address and size.

    placed: it belongs to a section. exported: it is not local.
    """

    __slots__ = ("address", "exported", "kind", "name", "placed", "size")

    def __init__(
        self, name: str, kind: int, address: int, size: int, placed: bool, exported: bool
    ) -> None:
        self.name = name
        self.kind = kind
        self.address = address
        self.size = size
        self.placed = placed
        self.exported = exported


def read(content: bytes, wide: bool, big_endian: bool) -> Iterator[Symbol]:
    """The functions and objects of an ELF file. Raises struct.error for a damaged one.

    wide: it is of class 64.
    """
    order = ">" if big_endian else "<"
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
    entry = struct.Struct(order + ("IBBHQQ" if wide else "IIIBBH"))
    for at in range(start, min(start + size, len(content)) - entry.size + 1, entry.size):
        if wide:
            name, info, _, where, value, length = entry.unpack_from(content, at)
        else:
            name, value, length, info, _, where = entry.unpack_from(content, at)
        if info & 15 <= FUNCTION and where and 0 < name < len(names):
            called = names[name : names.find(b"\0", name)].decode("utf-8", "replace")
            placed = where < _SHN_LORESERVE
            yield Symbol(called, info & 15, value, length, placed, bool(info >> 4))


class Functions:
    """Functions by the addresses that lie in them."""

    __slots__ = ("_functions", "_starts")

    def __init__(self, symbols: Iterable[Symbol] = ()) -> None:
        found = ((one.address, one.size, one.name) for one in symbols if one.kind == FUNCTION)
        self._functions = sorted(found)
        self._starts = [start for start, *_ in self._functions]

    def find(self, address: int) -> tuple[int, str] | None:
        """Distance from the start of the function around an address, and its name."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        first, size, name = self._functions[index]
        # Functions written in assembler often have no size.
        if size and address >= first + size:
            return None
        return address - first, name
