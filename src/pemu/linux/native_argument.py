"""What native code does with an argument of a system call, and the tables it does that by.

`engine.layout.call_table` describes them.
"""

from __future__ import annotations

import struct

from pemu.engine.layout import call_table as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.linux.structs.layout import Layout


class Native:
    """What native code does with an argument: fields of the table's (`call_table`).

    `other`: index of the argument that says how much, or None. `program`: the table or the moves
    that the argument's kind wants.
    """

    __slots__ = ("kind", "number", "other", "program", "size")

    def __init__(
        self,
        kind: int,
        size: int = 0,
        other: int | None = None,
        program: bytes = b"",
        number: int = 0,
    ) -> None:
        self.kind = kind
        self.size = size
        self.other = other
        self.program = program
        self.number = number


def bits_table(
    rows: Sequence[tuple[int, int, int]] | None, known: int = 0xFFFFFFFF
) -> bytes | None:
    """A table of bits for native code; `rows`: mask, value in the mask, result."""
    if rows is None:
        return None
    parts = [struct.pack("<III", *row) for row in rows]
    return struct.pack("<II", known, len(parts)) + b"".join(parts)


def numbers_table(rows: Sequence[tuple[int, int]]) -> bytes:
    """A table of numbers for native code; `rows`: number and result."""
    parts = [struct.pack("<II", a & 0xFFFFFFFF, b & 0xFFFFFFFF) for a, b in rows]
    return struct.pack("<II", 0, len(parts)) + b"".join(parts)


def moves(
    guest: Layout, host: Layout, divisor: int = 1, refused: dict[str, int] | None = None
) -> bytes:
    """How native code turns one layout into the other, fields of the same names.

    `divisor`: what a count of elements is in, for arrays of bits. `refused`: bits of a field with
    which the call is left to Python.
    """
    host_fields = {field[0]: field for field in host.leaves()}
    refused = refused or {}
    rows = []
    for name, guest_at, guest_width, is_signed, is_bytes in guest.leaves():
        found = host_fields.get(name)
        if found is None:
            continue
        _, host_at, host_width, host_signed, _ = found
        how = k.FIELD_ENTERS | k.FIELD_LEAVES
        how |= k.FIELD_SIGNED if is_signed and host_signed else 0
        how |= k.FIELD_CHECKED if name in refused else 0
        if not is_bytes:
            rows.append((guest_at, host_at, guest_width, host_width, how))
            continue
        at = 0
        size = min(guest_width, host_width)
        while at < size:
            part = next(width for width in (8, 4, 2, 1) if at + width <= size)
            rows.append((guest_at + at, host_at + at, part, part, how | k.FIELD_BYTES))
            at += part
    bits = next(iter(refused.values()), 0)
    return moves_of(guest.size, host.size, rows, divisor, bits)


def moves_of(
    guest_size: int,
    host_size: int,
    rows: Sequence[tuple[int, int, int, int, int]],
    divisor: int = 1,
    refused: int = 0,
) -> bytes:
    """Moves from rows of offsets and widths in the guest's and the host's form, and how."""
    head = struct.pack("<HHHHI4x", guest_size, host_size, len(rows), divisor, refused)
    return head + b"".join(struct.pack("<HHBBBx", *row) for row in rows)
