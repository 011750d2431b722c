"""Dirty bitmaps as files have them: a bit for each granule of the disk, the lowest bit first."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def dirty_ranges(
    bits: bytes, shift: int, size: int, *, start: int = 0
) -> Iterator[tuple[int, int]]:
    """Offset and length, in bytes, of the parts of a disk whose bits are set.

    shift: a bit stands for 1 << shift bytes. size: bytes of the disk. start: where on the disk the
    first bit stands.
    """
    begun = -1
    for place, byte in enumerate(bits):
        if byte == (0 if begun < 0 else 0xFF):
            continue
        for bit in range(8):
            now = start + ((place * 8 + bit) << shift)
            if byte >> bit & 1:
                if begun < 0:
                    begun = now
            elif begun >= 0:
                yield begun, min(now, size) - begun
                begun = -1
    if begun >= 0:
        yield begun, min(start + (len(bits) * 8 << shift), size) - begun
