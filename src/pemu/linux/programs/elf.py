"""ELF files, read with every length and offset checked.

Source: System V ABI, chapters 4 and 5; MIPS supplement (e_flags); the MIPS O32 ABI's "FR0 and FR1
interlinking" (.MIPS.abiflags).
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from pemu.linux.target import Target

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_PHDR = 1, 2, 3, 6
PT_GNU_STACK = 0x6474E551
PT_MIPS_ABIFLAGS = 0x70000003
ET_EXEC, ET_DYN = 2, 3
PF_X, PF_W, PF_R = 1, 2, 4
EF_MIPS_ABI2, EF_MIPS_FP64, EF_MIPS_NAN2008 = 0x20, 0x200, 0x400
EF_MIPS_MICROMIPS, EF_MIPS_ARCH = 0x02000000, 0xF0000000
EF_MIPS_ARCH_R6 = (0x90000000, 0xA0000000)

FP_ANY, FP_DOUBLE, FP_SINGLE, FP_SOFT, FP_OLD_64, FP_XX, FP_64, FP_64A = range(8)
"""Which floating-point registers code counts on: values of the ABI flags."""

EM_MIPS = 8

_MACHINES = {
    2: "SPARC",
    3: "i386",
    20: "PowerPC",
    21: "64-bit PowerPC",
    22: "S/390",
    40: "ARM",
    62: "x86-64",
    183: "AArch64",
    243: "RISC-V",
    258: "LoongArch",
}

_TYPES = {1: "an object file", 4: "a core file"}

ABIFLAGS_BYTES = 24

MAX_HEADERS = 128
"""Program headers taken from one file. Linux allows 64 KiB of them; linkers make about a dozen."""


class ElfError(Exception):
    """The file cannot be run; the text names what was found and what to do.

    `status`: QEMU's exit status, 255 for an ELF file, 1 for what is none or cannot be read.
    """

    def __init__(self, text: str, status: int = 255) -> None:
        super().__init__(text)
        self.status = status


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

    __slots__ = (
        "entry",
        "flags",
        "fp_abi",
        "interp",
        "phentsize",
        "phoff",
        "segments",
        "size",
        "type",
    )

    entry: int
    """Where the program begins, before it is moved."""
    flags: int
    phentsize: int
    phoff: int

    def __init__(self, content: memoryview, target: Target) -> None:
        check(bytes(content[:64]), target)
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
            kind = _TYPES.get(self.type, f"ELF type {self.type}")
            raise ElfError(f"not a program but {kind}: link it, or give another file")
        entry = struct.Struct(order + ("IIQQQQQQ" if wide else "IIIIIIII"))
        if self.phentsize != entry.size or not 0 < count <= MAX_HEADERS:
            raise ElfError(
                f"bad program headers ({count} of {self.phentsize} bytes; a program has 1 to "
                f"{MAX_HEADERS} of {entry.size})"
            )
        if self.phoff + count * entry.size > self.size:
            raise ElfError(
                f"truncated: the program headers need {self.phoff + count * entry.size} bytes, "
                f"the file has {self.size}"
            )
        self.segments: list[Segment] = []
        self.interp = b""
        self.fp_abi = FP_OLD_64 if self.flags & EF_MIPS_FP64 else FP_DOUBLE
        for index in range(count):
            fields = entry.unpack_from(content, self.phoff + index * entry.size)
            if wide:
                kind, flags, offset, vaddr, _, filesz, memsz, align = fields
            else:
                kind, offset, vaddr, _, filesz, memsz, flags, align = fields
            segment = Segment(kind, flags, offset, vaddr, filesz, memsz, align)
            self.segments.append(segment)
            if kind in (PT_LOAD, PT_INTERP, PT_MIPS_ABIFLAGS):
                self._read(segment, index, content)

    def _read(self, segment: Segment, index: int, content: memoryview) -> None:
        """Check that a segment lies in the file, and take from it what is said of the program."""
        start, size = segment.offset, segment.filesz
        if size and start + size > self.size:
            raise ElfError(
                f"truncated: segment {index} needs {start + size} bytes, the file has {self.size}"
            )
        if segment.type == PT_INTERP and not self.interp:
            if not 2 <= size <= 4096:
                raise ElfError(f"bad name of a loader ({size} bytes)")
            self.interp = bytes(content[start : start + size]).split(b"\0")[0]
            if not self.interp:
                raise ElfError("bad name of a loader (it is empty)")
        elif segment.type == PT_MIPS_ABIFLAGS and size >= ABIFLAGS_BYTES:
            self.fp_abi = content[start + 7]

    @property
    def loads(self) -> list[Segment]:
        """Segments to map, in the file's order."""
        return [segment for segment in self.segments if segment.type == PT_LOAD]


def target_name(header: bytes) -> str:
    """Name of the MIPS target that runs a file with this ELF header, '' if none does."""
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return ""
    order = _byte_order(header)
    if int.from_bytes(header[18:20], order) != EM_MIPS:
        return ""
    suffix = "" if order == "big" else "el"
    if header[4] == 2:
        return f"mips64{suffix}"
    return f"mipsn32{suffix}" if _flags(header) & EF_MIPS_ABI2 else f"mips{suffix}"


def _byte_order(header: bytes) -> Literal["big", "little"]:
    """The byte order that EI_DATA tells."""
    return "big" if header[5] == 2 else "little"


def _flags(header: bytes) -> int:
    """e_flags of an ELF header's first 64 bytes; 0 where they end before it."""
    at = 48 if header[4] == 2 else 36
    return int.from_bytes(header[at : at + 4], _byte_order(header))


def check(header: bytes, target: Target) -> None:
    """Refuse a file that is not for `target`, judged by its first 64 bytes.

    Raises ElfError that says what it is.
    """
    if not header:
        raise ElfError("the file is empty; give an ELF program", 1)
    if header[:4] != b"\x7fELF":
        raise ElfError(f"not an ELF program (it starts with {header[:4].hex()})", 1)
    if len(header) < 20:
        raise ElfError(f"truncated: {len(header)} bytes are no ELF header", 1)
    if header[4] not in (1, 2) or header[5] not in (1, 2):
        raise ElfError(f"damaged ELF header (class {header[4]}, byte order {header[5]})")
    order = _byte_order(header)
    machine = int.from_bytes(header[18:20], order)
    if machine != EM_MIPS:
        name = _MACHINES.get(machine, f"machine {machine}")
        raise ElfError(f"a program for {name}, not for MIPS, which is all that pemu-* run today")
    fitting = target_name(header)
    if fitting != target.name:
        bits = 32 * header[4]
        abi = " n32" if fitting.startswith("mipsn32") else " o32" if bits == 32 else ""
        raise ElfError(f"a {bits}-bit {order}-endian{abi} program: use pemu-{fitting}")
    flags = _flags(header)
    for condition, what in (
        (flags & EF_MIPS_ARCH in EF_MIPS_ARCH_R6, "MIPS Release 6"),
        (flags & EF_MIPS_MICROMIPS, "microMIPS"),
        (flags & EF_MIPS_NAN2008, "floating point with NaNs of IEEE 754-2008"),
    ):
        if condition:
            raise ElfError(f"a program for {what}, which is not supported yet")
