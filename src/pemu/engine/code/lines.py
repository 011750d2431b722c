"""From host addresses back to guest instructions, by the line table that LLVM emits.

Accesses to guest memory carry a "line": the index of their guest instruction in the region, plus
one. Source: DWARF 4 standard, section 6.2 (line number program).
"""

from __future__ import annotations

import struct
from bisect import bisect_right


def _leb(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def _signed_leb(data: bytes, at: int) -> tuple[int, int]:
    start = at
    value, at = _leb(data, at)
    bits = 7 * (at - start)
    return (value - (1 << bits) if value >> (bits - 1) else value), at


class LineTable:
    """The line table of one module: host offsets and lines, in order."""

    def __init__(self, sections: dict[str, bytes]) -> None:
        rows: list[tuple[int, int]] = []
        data = sections.get(".debug_line", b"")
        at = 0
        while at + 4 <= len(data):
            (length,) = struct.unpack_from("<I", data, at)
            end = at + 4 + length
            _program(data, at + 4, end, rows)
            at = end
        rows.sort(key=lambda row: row[0])
        self._offsets = [offset for offset, _ in rows]
        self._lines = [line for _, line in rows]

    def line(self, offset: int) -> int:
        """Line of the code at a byte offset in the module; 0 if it has none."""
        index = bisect_right(self._offsets, offset) - 1
        return self._lines[index] if index >= 0 else 0


def _program(data: bytes, at: int, end: int, rows: list[tuple[int, int]]) -> None:
    (_version, header_length) = struct.unpack_from("<HI", data, at)
    program = at + 6 + header_length
    at += 6
    _min_length, _max_ops, _is_stmt, line_base, line_range, opcode_base = struct.unpack_from(
        "<BBBbBB", data, at
    )
    lengths = data[at + 6 : at + 6 + opcode_base - 1]
    at = program
    address, line = 0, 1
    while at < end:
        opcode = data[at]
        at += 1
        if opcode >= opcode_base:
            adjusted = opcode - opcode_base
            address += adjusted // line_range
            line += line_base + adjusted % line_range
            rows.append((address, line))
        elif opcode == 0:
            size, at = _leb(data, at)
            if data[at] == 1:
                rows.append((address, 0))
                address, line = 0, 1
            elif data[at] == 2:
                (address,) = struct.unpack_from("<Q", data, at + 1)
            at += size
        elif opcode == 1:
            rows.append((address, line))
        elif opcode == 2:
            step, at = _leb(data, at)
            address += step
        elif opcode == 3:
            step, at = _signed_leb(data, at)
            line += step
        elif opcode == 8:
            address += (255 - opcode_base) // line_range
        elif opcode == 9:
            (step,) = struct.unpack_from("<H", data, at)
            address += step
            at += 2
        else:
            for _ in range(lengths[opcode - 1]):
                _, at = _leb(data, at)
