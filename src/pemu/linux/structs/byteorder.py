"""Byte order of records whose layout does not depend on the word size.

A layout names the widths of the fields in order, with `struct`'s letters and counts: `"4B2HI"` is
four bytes, two 16-bit and one 32-bit number. A `*` ends the layout: the last letter repeats
as long as there is data. Padding is spelt out, so that no alignment rule is needed.
"""

from __future__ import annotations

_WIDTH = {"B": 1, "H": 2, "I": 4, "Q": 8}
_fields: dict[str, tuple[tuple[tuple[int, int], ...], int, int]] = {}


def _parse(layout: str) -> tuple[tuple[tuple[int, int], ...], int, int]:
    """The (offset, width) pairs of `layout`, where they end, and the width that repeats or 0."""
    fields = []
    offset = count = width = repeat = 0
    for char in layout:
        if char.isdigit():
            count = count * 10 + int(char)
        elif char == "*":
            repeat = width
        else:
            width = _WIDTH[char]
            for _ in range(count or 1):
                if width > 1:
                    fields.append((offset, width))
                offset += width
            count = 0
    return tuple(fields), offset, repeat


def size(layout: str) -> int:
    """Bytes that `layout` covers without its repeated part."""
    return _parse(layout)[1]


def swap(data: bytes | bytearray | memoryview, layout: str) -> bytes:
    """`data` with every whole field of `layout` turned to the other byte order.

    Data shorter than the layout are converted as far as they go; what follows the layout is kept.
    """
    parsed = _fields.get(layout)
    if parsed is None:
        parsed = _fields[layout] = _parse(layout)
    fields, end, repeat = parsed
    out = bytearray(data)
    length = len(out)
    for offset, width in fields:
        if offset + width <= length:
            out[offset : offset + width] = out[offset : offset + width][::-1]
    if repeat > 1:
        for offset in range(end, length - repeat + 1, repeat):
            out[offset : offset + repeat] = out[offset : offset + repeat][::-1]
    return bytes(out)
