"""Pieces of memory that requests read into and write from, and zeros among them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

Buffers: TypeAlias = "Sequence[memoryview]"
"""Writable pieces of memory that are filled one after the other."""

Pieces: TypeAlias = "Sequence[bytes | memoryview]"
"""Pieces of memory that are written one after the other."""

Packed = bytes | memoryview
"""A cluster in compressed form."""

_ZERO_BYTES = bytes(1 << 20)

ZEROES = memoryview(_ZERO_BYTES)
"""Zeros to write."""


def is_zero(data: bytes | memoryview) -> bool:
    """Whether `data` is all zeros."""
    # startswith compares as memcmp does; `==` of memoryviews takes 60 times as long.
    most = len(_ZERO_BYTES)
    if len(data) <= most:
        return _ZERO_BYTES.startswith(data)
    return all(_ZERO_BYTES.startswith(data[at : at + most]) for at in range(0, len(data), most))


def clear(view: memoryview) -> None:
    """Fill `view` with zeros."""
    for at in range(0, len(view), len(ZEROES)):
        part = view[at : at + len(ZEROES)]
        part[:] = ZEROES[: len(part)]


def zeroes(length: int) -> list[memoryview]:
    """Pieces with `length` bytes of zeros, without taking memory for them."""
    pieces = [ZEROES] * (length // len(ZEROES))
    rest = length % len(ZEROES)
    return [*pieces, ZEROES[:rest]] if rest else pieces


def take(buffers: Buffers, length: int) -> tuple[list[memoryview], list[memoryview]]:
    """The first `length` bytes of `buffers`, and the rest."""
    taken, rest = [], []
    for view in buffers:
        part = view[:length]
        if len(part):
            taken.append(part)
        if len(part) < len(view):
            rest.append(view[len(part) :])
        length -= len(part)
    return taken, rest
