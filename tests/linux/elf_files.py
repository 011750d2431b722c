"""Small ELF programs, made field by field, so that a test may have any of them wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from pemu.linux.target import TARGETS, Target

HEADER = ("type", "machine", "version", "entry", "phoff", "shoff", "flags", "ehsize", "phentsize")
HEADER_FIELDS = (*HEADER, "phnum", "shentsize", "shnum", "shstrndx")
SEGMENT_FIELDS = ("type", "offset", "vaddr", "paddr", "filesz", "memsz", "flags", "align")

LOAD, INTERP, PHDR, STACK, ABIFLAGS = 1, 3, 6, 0x6474E551, 0x70000003

EXIT_NUMBER = {"o32": 4001, "n32": 6058, "n64": 5058}
FLAGS = {"o32": 0x70001007, "n32": 0x80000027, "n64": 0x80000007}

TEXT = 0x400000
CODE_AT = 0x400


class Program:
    """A program that exits with status 7; its fields may be changed before it is written.

    `header` and each of `segments` are dicts by the names above; `body` is the rest of the file.
    """

    def __init__(self, target_name: str, *, kind: int = 2, interp: bytes = b"") -> None:
        self.target: Target = TARGETS[target_name]
        order = self.order
        base = TEXT if kind == 2 else 0
        code = (0x24040007, 0x24020000 | EXIT_NUMBER[self.target.abi], 0x0000000C)
        self.body = bytearray(0x1000)
        struct.pack_into(order + "3I", self.body, CODE_AT, *code)
        self.body[0x600 : 0x600 + len(interp) + 1] = interp + b"\0"
        struct.pack_into(order + "HBBBBBB", self.body, 0x680, 0, 32, 2, 1, 1, 0, 5)
        self.ident = bytearray(b"\x7fELF" + bytes(12))
        self.ident[4:7] = bytes((self.target.elf_class, 2 if self.target.big_endian else 1, 1))
        self.segments: list[dict[str, int]] = []
        self._segment(PHDR, 4, 64, base + 64, 0x100, 0x100, 8)
        if interp:
            self._segment(INTERP, 4, 0x600, base + 0x600, len(interp) + 1, len(interp) + 1, 1)
        self._segment(ABIFLAGS, 4, 0x680, base + 0x680, 24, 24, 8)
        self._segment(LOAD, 5, 0, base, 0x700, 0x700, 0x10000)
        self._segment(LOAD, 6, 0x800, base + 0x10800, 0x100, 0x2000, 0x10000)
        self._segment(STACK, 6, 0, 0, 0, 0, 16)
        self.header = dict.fromkeys(HEADER_FIELDS, 0)
        self.header.update(
            type=kind,
            machine=8,
            version=1,
            entry=base + CODE_AT,
            phoff=64,
            flags=FLAGS[self.target.abi],
            ehsize=64 if self.wide else 52,
            phentsize=56 if self.wide else 32,
            phnum=len(self.segments),
            shentsize=64 if self.wide else 40,
        )

    @property
    def wide(self) -> bool:
        return self.target.elf_class == 2

    @property
    def order(self) -> str:
        return ">" if self.target.big_endian else "<"

    def _segment(self, kind: int, flags: int, *rest: int) -> None:
        offset, vaddr, filesz, memsz, align = rest
        values = (kind, offset, vaddr, vaddr, filesz, memsz, flags, align)
        self.segments.append(dict(zip(SEGMENT_FIELDS, values, strict=True)))

    def field_bits(self, segment: bool, name: str) -> int:
        """The width of a field of the header, or of a segment."""
        if segment:
            return 32 if name in ("type", "flags") or not self.wide else 64
        if name in ("version", "flags"):
            return 32
        return (64 if self.wide else 32) if name in ("entry", "phoff", "shoff") else 16

    def data(self) -> bytes:
        """The file; fields are cut to their widths."""
        head = self._pack(False, HEADER_FIELDS, self.header)
        names: Iterable[str] = SEGMENT_FIELDS
        if self.wide:
            names = ("type", "flags", "offset", "vaddr", "paddr", "filesz", "memsz", "align")
        table = b"".join(self._pack(True, names, segment) for segment in self.segments)
        result = bytearray(self.body)
        result[:16] = self.ident
        result[16 : 16 + len(head)] = head
        result[64 : 64 + len(table)] = table
        return bytes(result)

    def _pack(self, segment: bool, names: Iterable[str], values: dict[str, int]) -> bytes:
        parts = []
        for name in names:
            bits = self.field_bits(segment, name)
            letter = {16: "H", 32: "I", 64: "Q"}[bits]
            parts.append(struct.pack(self.order + letter, values[name] & (1 << bits) - 1))
        return b"".join(parts)
