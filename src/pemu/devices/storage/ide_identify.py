"""What IDENTIFY DEVICE and IDENTIFY PACKET DEVICE answer.

ATA/ATAPI-7 sections 6.16 and 6.17.
"""

from __future__ import annotations

from typing import NamedTuple

from pemu.block.image import SECTOR

MOST_LBA28 = (1 << 28) - 1

SINGLE_WORD_DMA, MULTI_WORD_DMA, ULTRA_DMA = 0x10, 0x20, 0x40
"""Kinds of transfer modes, as SET FEATURES names them, the mode's number in the lower bits."""

_ULTRA_MODES, _WORD_MODES = 0x3F, 0x07


class Geometry(NamedTuple):
    """Cylinders, heads, and sectors of a track."""

    cylinders: int
    heads: int
    sectors: int

    @property
    def total(self) -> int:
        """Sectors of the disk by its geometry."""
        return self.cylinders * self.heads * self.sectors


def guess_geometry(sectors: int) -> Geometry:
    """The geometry that a disk of so many sectors tells of."""
    return Geometry(min(max(sectors // (16 * 63), 2), 16383), 16, 63)


def text(value: str, length: int) -> bytes:
    """Text as it stands in words: the first character in the upper byte."""
    data = bytearray(value.encode("ascii", "replace")[:length].ljust(length))
    data[0::2], data[1::2] = data[1::2], data[0::2]
    return bytes(data)


class Words:
    """The 256 words of an answer."""

    def __init__(self) -> None:
        self._data = bytearray(SECTOR)

    def __setitem__(self, word: int, value: int) -> None:
        self._data[2 * word : 2 * word + 2] = (value & 0xFFFF).to_bytes(2, "little")

    def long(self, word: int, value: int, words: int = 2) -> None:
        """Put a value of several words, the lower first."""
        self._data[2 * word : 2 * (word + words)] = value.to_bytes(2 * words, "little")

    def text(self, word: int, value: str, length: int) -> None:
        """Put text of `length` characters."""
        self._data[2 * word : 2 * word + length] = text(value, length)

    def names(self, serial: str, firmware: str, model: str) -> None:
        """Put what the drive is called."""
        self.text(10, serial, 20)
        self.text(23, firmware, 8)
        self.text(27, model, 40)

    def modes(self, mode: int) -> None:
        """Put the transfer modes that there are, and `mode`, the one chosen."""
        chosen = 1 << (mode & 7) + 8
        self[62] = _WORD_MODES | (chosen if mode & 0xF8 == SINGLE_WORD_DMA else 0)
        self[63] = _WORD_MODES | (chosen if mode & 0xF8 == MULTI_WORD_DMA else 0)
        self[88] = _ULTRA_MODES | (chosen if mode & 0xF8 == ULTRA_DMA else 0)

    def world_wide_name(self, wwn: int) -> None:
        """Put the number that no other drive has, its most significant word first."""
        for word in range(4):
            self[108 + word] = wwn >> 48 - 16 * word

    def bytes(self) -> bytes:
        """The whole answer."""
        return bytes(self._data)


def identify_disk(
    sectors: int,
    native: Geometry,
    current: Geometry,
    *,
    names: tuple[str, str, str],
    multiple: int,
    most_multiple: int,
    mode: int,
    write_cache: bool,
    smart: bool,
    wwn: int,
    physical_shift: int,
    rotation_rate: int,
) -> bytes:
    """The answer of a hard disk.

    names: serial number, firmware, model. multiple: sectors of READ MULTIPLE, 0 for not set.
    physical_shift: binary logarithm of the sectors that the disk writes at a time.
    """
    words = Words()
    words[0] = 0x0040  # a fixed disk
    words[1], words[3], words[6] = native
    words[4], words[5] = SECTOR * native.sectors, SECTOR
    words.names(*names)
    words[20], words[21], words[22] = 3, 512, 4
    words[47] = 0x8000 | most_multiple
    words[48] = 1  # 32-bit data
    words[49] = 0x0B00  # DMA, LBA, IORDY
    words[51] = words[52] = 0x0200
    words[53] = 0x0007  # words 54 to 58, 64 to 70 and 88 are valid
    words[54], words[55], words[56] = current
    words.long(57, min(current.total, (1 << 32) - 1))
    words[59] = 0x0100 | multiple if multiple else 0
    words.long(60, min(sectors, MOST_LBA28))
    words[64] = 3  # PIO modes 3 and 4
    for word in range(65, 69):
        words[word] = 120
    words[69] = 0x4000  # what was trimmed reads as the same each time
    words[80], words[81] = 0xF0, 0x16
    enabled = 0x4000 | (0x20 if write_cache else 0) | (1 if smart else 0)
    words[82], words[83], words[84] = 0x4021, 0x7400, 0x4000
    words[85], words[86], words[87] = enabled, 0x3400, 0x4000
    if wwn:
        words[84], words[87] = 0x4100, 0x4100
        words.world_wide_name(wwn)
    words.modes(mode)
    words[93] = 0x6001  # an 80-conductor cable
    words.long(100, sectors, 4)
    words[106] = 0x6000 | physical_shift
    words[169] = 1  # TRIM
    words[217] = rotation_rate
    return words.bytes()


def identify_cd(names: tuple[str, str, str], mode: int, wwn: int) -> bytes:
    """The answer of a CD-ROM drive."""
    words = Words()
    words[0] = 0x85C0  # ATAPI, CD-ROM, removable, 12-byte packets, DRQ within 50 us
    words.names(*names)
    words[20], words[21], words[22] = 3, 512, 4
    words[48] = 1
    words[49] = 0x0300  # DMA, LBA
    words[53] = 0x0007
    words[64] = 3
    words[65] = words[66] = words[68] = 180
    words[67] = 300
    words[71] = words[72] = 30
    words[80] = 0x1E
    if wwn:
        words[87] = 0x0100
        words.world_wide_name(wwn)
    words.modes(mode)
    return words.bytes()
