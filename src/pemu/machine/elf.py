"""Kernels in ELF files, also compressed by gzip: what of them goes where.

System V ABI, chapters 4 and 5; RFC 1952 for gzip.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from pemu.machine.files import load_file
from pemu.machine.region import Order
from pemu.options.error import OptionError, quoted
from pemu.symboltable import Functions, read

LARGEST = 1 << 30
"""Bytes of a kernel file, and of what it decompresses to: more than any board's memory at once."""

MAGIC = b"\x7fELF"
EM_MIPS = 8
MACHINES = {EM_MIPS: "MIPS", 3: "x86", 62: "x86-64", 20: "PowerPC", 21: "PowerPC64", 40: "Arm"}
_EXECUTABLE, _DYNAMIC, _LOAD = 2, 3, 1
_CLASSES = {1: 32, 2: 64}
_ORDERS: dict[int, Order] = {1: "little", 2: "big"}
_MOST_SEGMENTS = 256


class Segment(NamedTuple):
    """Bytes for a (physical) address, and how much memory they take with zeros after them.

    name: what messages and lists call it.
    """

    address: int
    data: bytes
    size: int
    name: str


class Program(NamedTuple):
    """A kernel: its entry, a virtual address, its segments, its width in bits."""

    entry: int
    segments: list[Segment]
    bits: int


def load(path: str, machine: int, order: Order, bits: int, said: str = "-kernel") -> Program:
    """Read a kernel. `bits`: of the processor. Raises OptionError for what it cannot run."""
    return parse(contents(path, said), order, f"{said}: {quoted(path)}", machine, bits)


def parse(
    data: bytes, order: Order, said: str, machine: int | None = None, bits: int = 64
) -> Program:
    """What is in an ELF file, for any machine if that is None.

    said: the beginning of messages. Raises OptionError.
    """
    try:
        return _parse(data, machine, order, bits)
    except struct.error:
        raise OptionError(f"{said} is cut short") from None
    except ValueError as error:
        raise OptionError(f"{said} {error}") from None


def contents(path: str, said: str) -> bytes:
    """What is in a file, decompressed if it is in gzip's format. Raises OptionError."""
    data = load_file(path, said, LARGEST)
    return _decompressed(data, path, said) if data[:2] == b"\x1f\x8b" else data


def _decompressed(data: bytes, path: str, said: str) -> bytes:
    stream = zlib.decompressobj(31)
    try:
        plain = stream.decompress(data, LARGEST)
    except zlib.error as error:
        raise OptionError(f"{said}: {quoted(path)} cannot be decompressed ({error})") from None
    if not stream.eof:
        raise OptionError(f"{said}: {quoted(path)} is cut short, or too large when decompressed")
    return plain


def _parse(data: bytes, machine: int | None, order: Order, bits: int) -> Program:
    if data[:4] != MAGIC:
        raise ValueError("is no ELF file")
    wide, file_order = _CLASSES.get(data[4]), _ORDERS.get(data[5])
    if wide is None or file_order is None:
        raise ValueError("is an ELF file of an unknown class")
    mark = "<" if file_order == "little" else ">"
    kind, file_machine = struct.unpack_from(mark + "HH", data, 16)
    if machine is not None and file_machine != machine:
        name = MACHINES.get(file_machine, f"machine {file_machine}")
        raise ValueError(f"is for {name}, not for {MACHINES[machine]}")
    if file_order != order:
        raise ValueError(f"is {file_order}-endian, the processor {order}-endian")
    if wide > bits:
        raise ValueError(f"is for {wide}-bit processors, this one has {bits} bits")
    if kind not in (_EXECUTABLE, _DYNAMIC):
        raise ValueError("is no executable ELF file")
    word = "I" if wide == 32 else "Q"
    entry, headers = struct.unpack_from(mark + 2 * word, data, 24)
    size, count = struct.unpack_from(mark + "HH", data, 42 if wide == 32 else 54)
    if count > _MOST_SEGMENTS:
        raise ValueError(f"has {count} program headers")
    if headers > len(data):
        raise ValueError("is cut short, or damaged")
    segments = []
    for number in range(count):
        at = headers + number * size
        if wide == 32:
            what, offset, _, address, in_file, in_memory = struct.unpack_from(mark + "6I", data, at)
        else:
            what, _, offset, _, address, in_file, in_memory = struct.unpack_from(
                mark + "II5Q", data, at
            )
        if what != _LOAD or not in_memory:
            continue
        if in_file > in_memory or offset + in_file > len(data):
            raise ValueError("is cut short, or damaged")
        segments.append(
            Segment(
                address,
                data[offset : offset + in_file],
                in_memory,
                f"ELF program header segment {number}",
            )
        )
    if not segments:
        raise ValueError("has nothing to load")
    return Program(entry, segments, wide)


class Names:
    """The functions of a kernel, read when they are first asked for."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._functions: Functions | None = None

    def __call__(self, address: int) -> str:
        """The function around a guest-virtual address; empty if nothing tells."""
        if self._functions is None:
            self._functions = self._read()
        found = self._functions.find(address)
        if found is None and address >> 32 == 0xFFFFFFFF:  # a kernel of 32 bits
            found = self._functions.find(address & 0xFFFFFFFF)
        return found[1] if found else ""

    def _read(self) -> Functions:
        try:
            data = contents(self._path, "-kernel")
            return Functions(read(data, _CLASSES[data[4]] == 64, _ORDERS[data[5]] == "big"))
        except (OptionError, struct.error, LookupError):
            return Functions()  # a file that has gone or changed since
