"""Tables of big-endian words, as arrays in the host's byte order."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator

from pemu.block.image import Image
from pemu.block.pieces import clear

TYPES = {8: "B", 16: "H", 32: "I", 64: "Q"}
"""Bits of a word, and what `array` calls it."""

_LARGEST = (1 << 64) - 1

_SWAP = sys.byteorder == "little"


def read_padded(file: Image, offset: int, length: int) -> bytearray:
    """`length` bytes of `file`, zeros where it has ended. Raises OSError."""
    data = bytearray(length)
    with memoryview(data) as view:
        read_into_padded(file, offset, [view])
    return data


def read_into_padded(file: Image, offset: int, buffers: list[memoryview]) -> None:
    """Fill `buffers` from `file`, with zeros where it has ended. Raises OSError."""
    left = file.size - offset
    if sum(map(len, buffers)) <= left:
        file.read_into(offset, buffers)
        return
    for view in buffers:
        part = view[: max(left, 0)]
        if len(part):
            file.read_into(offset, [part])
        clear(view[len(part) :])
        offset += len(view)
        left -= len(view)


def from_bytes(data: bytes | bytearray | memoryview, bits: int = 64) -> array[int]:
    """The big-endian words in `data`; words of fewer than 8 bits become bytes of their own."""
    if bits < 8:
        return _unpacked(data, bits)
    words = array(TYPES[bits], data)
    if _SWAP and bits > 8:
        words.byteswap()
    return words


def to_bytes(words: array[int], bits: int = 64) -> bytes:
    """The opposite of `from_bytes`."""
    if bits < 8:
        return _packed(words, bits)
    if _SWAP and bits > 8:
        words = words[:]
        words.byteswap()
    return words.tobytes()


def zeros(count: int, bits: int = 64) -> array[int]:
    """`count` words of zero."""
    code = TYPES[max(bits, 8)]
    return array(code, bytes(count * array(code).itemsize))


def same_until(words: array[int], at: int, end: int, step: int = 0) -> int:
    """Where the words end, at `end` at the latest, that are the same as the one at `at`.

    step: how much each is to be more than the one before it.
    """
    first = words[at]
    stop = at + 1
    if step:
        end = min(end, stop + (_LARGEST - first) // step)
    while stop < end and stop < at + 8:
        if words[stop] != first + (stop - at) * step:
            return stop
        stop += 1
    size, growing = 64, True
    while stop < end and size:  # larger and larger pieces, and after the first other one smaller
        part = words[stop : min(stop + size, end)]
        begin, count = first + (stop - at) * step, len(part)
        row = range(begin, begin + count * step, step) if step else [first]
        if part == (array("Q", row) if step else array("Q", row) * count):
            stop += count
        else:
            growing = False
        size = 2 * size if growing else size // 2
    return stop


def filled(words: array[int], unit: int) -> Iterator[int]:
    """Where the groups of `unit` words are that are not all zeros."""
    at, end = 0, len(words)
    while at < end:
        if not words[at]:
            at = same_until(words, at, end) // unit * unit
        if at < end:
            yield at
        at += unit


def rows(words: array[int], unit: int, step: int) -> Iterator[tuple[int, int]]:
    """The groups of `unit` words that are not all zeros: where, and how many follow each other.

    In a row each is `step` more than the one before; groups of several words are rows of one.
    """
    at, end = 0, len(words)
    while at < end:
        if not words[at]:
            at = same_until(words, at, end) // unit * unit
            if at == end:
                return
        stop = same_until(words, at, end, step) if unit == 1 else at + unit
        yield at, (stop - at) // unit
        at = stop


def _unpacked(data: bytes | bytearray | memoryview, bits: int) -> array[int]:
    each = 8 // bits
    mask = (1 << bits) - 1
    plain = bytes(data)
    result = bytearray(len(plain) * each)
    for i in range(each):  # the first word has the least significant bits
        result[i::each] = plain.translate(bytes(byte >> i * bits & mask for byte in range(256)))
    return array("B", result)


def _packed(words: array[int], bits: int) -> bytes:
    each = 8 // bits
    plain = words.tobytes()
    total = 0
    for i in range(each):
        total |= int.from_bytes(plain[i::each], "big") << i * bits
    return total.to_bytes(len(plain) // each, "big")


def load_words(file: Image, offset: int, count: int, bits: int = 64) -> array[int]:
    """`count` words of `bits` bits at `offset` bytes into `file`. Raises OSError."""
    return from_bytes(read_padded(file, offset, count * bits // 8), bits)
