"""Intel hex files: bytes for addresses, as text.

Source: Intel, "Hexadecimal Object File Format Specification", revision A.
"""

from __future__ import annotations

from typing import NamedTuple

from pemu.options.error import OptionError

_DATA, _END, _SEGMENT, _SEGMENT_START, _LINEAR, _LINEAR_START = range(6)
_LENGTHS = {_END: 0, _SEGMENT: 2, _SEGMENT_START: 4, _LINEAR: 2, _LINEAR_START: 4}
"""Bytes of data of a record, by its type."""


class HexFile(NamedTuple):
    """Pieces of memory by their physical addresses, and where the program begins, if it says so."""

    pieces: dict[int, bytes]
    entry: int | None


class _Record(NamedTuple):
    kind: int
    address: int
    data: bytes


def is_hex(file: bytes) -> bool:
    """Whether a file's first line is a record."""
    try:
        _record(file.lstrip()[:600].split(b"\n")[0])
    except ValueError:
        return False
    return True


def parse(file: bytes, said: str) -> HexFile:
    """What is in a file. said: the beginning of messages. Raises OptionError for a damaged one."""
    pieces: dict[int, bytearray] = {}
    piece, end = bytearray(), -1
    base, entry = 0, None
    for number, line in enumerate(file.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = _record(line)
        except ValueError as error:
            raise OptionError(f"{said}, line {number}: {error}") from None
        value = int.from_bytes(record.data, "big")
        if record.kind == _DATA:
            address = base + record.address
            if address != end:
                piece = pieces.setdefault(address, bytearray())
                del piece[:]
            piece += record.data
            end = address + len(record.data)
        elif record.kind == _END:
            return HexFile({at: bytes(data) for at, data in pieces.items()}, entry)
        elif record.kind == _SEGMENT:
            base = value << 4
        elif record.kind == _LINEAR:
            base = value << 16
        elif record.kind == _SEGMENT_START:
            entry = (value >> 16 << 4) + (value & 0xFFFF)
        else:
            entry = value
    raise OptionError(f"{said} has no record that ends it: it is cut short")


def _record(line: bytes) -> _Record:
    """One line. Raises ValueError."""
    text = line.strip()
    if not text.startswith(b":"):
        raise ValueError("a record begins with ':'")
    try:
        data = bytes.fromhex(text[1:].decode("ascii"))
    except ValueError:
        raise ValueError("a record is of hexadecimal digits, two for a byte") from None
    if len(data) < 5 or len(data) != data[0] + 5:
        raise ValueError("a record is of another length than it says")
    if sum(data) & 0xFF:
        raise ValueError("the record's checksum is wrong")
    kind = data[3]
    if kind != _DATA and _LENGTHS.get(kind) != data[0]:
        raise ValueError(f"a record of type {kind} with {data[0]} bytes")
    return _Record(kind, int.from_bytes(data[1:3], "big"), data[4:-1])
