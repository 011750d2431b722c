"""ELF files, read with every length and offset checked.

Source: System V ABI, chapters 4 and 5; MIPS supplement (e_flags).
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.target import Target

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_PHDR = 1, 2, 3, 6
PT_GNU_STACK = 0x6474E551
PT_MIPS_ABIFLAGS = 0x70000003
ET_EXEC, ET_DYN = 2, 3
PF_X, PF_W, PF_R = 1, 2, 4
EF_MIPS_ABI2, EF_MIPS_FP64 = 0x20, 0x200

_MACHINES = {
    2: "SPARC",
    3: "i386",
    8: "MIPS",
    20: "PowerPC",
    21: "64-bit PowerPC",
    22: "S/390",
    40: "ARM",
    62: "x86-64",
    183: "AArch64",
    243: "RISC-V",
    258: "LoongArch",
}

MAX_HEADERS = 128
"""Program headers taken from one file. Linux allows 64 KiB of them; linkers make about a dozen."""


class ElfError(Exception):
    """The file cannot be run; the text names what was found and what to do."""


class Segment:
    """A program header; the fields are named as in the ABI without their prefix."""

    __slots__ = ("align", "filesz", "flags", "memsz", "offset", "type", "vaddr")

    def __init__(
        self, kind: int, flags: int, offset: int, vaddr: int, filesz: int, memsz: int, align: int
    ) -> None:
        self.type = kind
        self.flags = flags
        self.offset = offset
        self.vaddr = vaddr
        self.filesz = filesz
        self.memsz = memsz
        self.align = align


class Elf:
    """The headers of an ELF file of a target."""

    __slots__ = ("entry", "flags", "interp", "phentsize", "phoff", "segments", "size", "type")

    def __init__(self, content: memoryview, target: Target) -> None:
        check(bytes(content[:20]), target)
        order = ">" if target.big_endian else "<"
        wide = target.elf_class == 2
        header = struct.Struct(order + ("QQQIHHH" if wide else "IIIIHHH"))
        self.size = len(content)
        if self.size < 24 + header.size:
            raise ElfError(f"truncated: the ELF header ends after {self.size} bytes")
        (self.type,) = struct.unpack_from(order + "H", content, 16)
        self.entry, self.phoff, _, self.flags, _, self.phentsize, count = header.unpack_from(
            content, 24
        )
        if self.type not in (ET_EXEC, ET_DYN):
            raise ElfError(f"not a program (ELF type {self.type}, expected 2 or 3)")
        entry = struct.Struct(order + ("IIQQQQQQ" if wide else "IIIIIIII"))
        if self.phentsize != entry.size or not 0 < count <= MAX_HEADERS:
            raise ElfError(f"bad program headers ({count} of {self.phentsize} bytes)")
        if self.phoff + count * entry.size > self.size:
            raise ElfError("truncated: the program headers lie outside of the file")
        self.segments = []
        self.interp = b""
        for index in range(count):
            fields = entry.unpack_from(content, self.phoff + index * entry.size)
            if wide:
                kind, flags, offset, vaddr, _, filesz, memsz, align = fields
            else:
                kind, offset, vaddr, _, filesz, memsz, flags, align = fields
            segment = Segment(kind, flags, offset, vaddr, filesz, memsz, align)
            if kind in (PT_LOAD, PT_INTERP) and filesz and offset + filesz > self.size:
                raise ElfError(
                    f"truncated: segment {index} needs {offset + filesz} bytes, "
                    f"the file has {self.size}"
                )
            self.segments.append(segment)
            if kind == PT_INTERP:
                if not 2 <= filesz <= 4096:
                    raise ElfError(f"bad interpreter name ({filesz} bytes)")
                self.interp = bytes(content[offset : offset + filesz]).split(b"\0")[0]

    @property
    def loads(self) -> list[Segment]:
        """Segments to map, in the file's order."""
        return [segment for segment in self.segments if segment.type == PT_LOAD]


def target_name(header: bytes) -> str:
    """Name of the MIPS target that runs a file with this ELF header, '' if none does."""
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return ""
    big = header[5] == 2
    if int.from_bytes(header[18:20], "big" if big else "little") != 8:
        return ""
    suffix = "" if big else "el"
    if header[4] == 2:
        return f"mips64{suffix}"
    if len(header) >= 40:
        flags = int.from_bytes(header[36:40], "big" if big else "little")
        if flags & EF_MIPS_ABI2:
            return f"mipsn32{suffix}"
    return f"mips{suffix}"


def check(header: bytes, target: Target) -> None:
    """Refuse a file that is not for `target`; raises ElfError that says what it is."""
    if not header:
        raise ElfError("the file is empty")
    if header[:4] != b"\x7fELF":
        raise ElfError(f"not an ELF file (it starts with {header[:4].hex()})")
    if len(header) < 20:
        raise ElfError(f"truncated: {len(header)} bytes are no ELF header")
    if header[4] not in (1, 2) or header[5] not in (1, 2):
        raise ElfError(f"damaged ELF header (class {header[4]}, byte order {header[5]})")
    big = header[5] == 2
    machine = int.from_bytes(header[18:20], "big" if big else "little")
    bits = 32 * header[4]
    if machine != target.elf_machine:
        name = _MACHINES.get(machine, f"machine {machine}")
        raise ElfError(f"a program for {name}, not for MIPS")
    if big != target.big_endian or header[4] != target.elf_class:
        order = "big" if big else "little"
        fitting = target_name(header)
        raise ElfError(f"a {bits}-bit {order}-endian program: use pemu-{fitting}")
