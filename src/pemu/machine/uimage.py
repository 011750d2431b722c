"""uImages: programs with the header of the boot loader U-Boot.

Source: U-Boot's `include/image.h` (legacy images). Checksums are not looked at.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from pemu.options.error import OptionError

MAGIC = b"\x27\x05\x19\x56"
LARGEST = 64 << 20
"""Bytes of a compressed program: U-Boot's own limit."""

_HEADER = struct.Struct(">4sIIIIIIBBBB32s")
_KERNEL, _KERNEL_ANYWHERE = 2, 14
_PLAIN, _GZIP = 0, 1
_COMPRESSIONS = {2: "bzip2", 3: "lzma", 4: "lzo", 5: "lz4", 6: "zstd"}


class Uimage(NamedTuple):
    """A program: its physical address, where it begins, and what it is."""

    address: int
    entry: int
    data: bytes


def parse(image: bytes, said: str) -> Uimage:
    """What is in a uImage. said: the beginning of messages. Raises OptionError."""
    if len(image) < _HEADER.size:
        raise OptionError(f"{said} is cut short")
    fields = _HEADER.unpack_from(image)
    size, address, entry = fields[3:6]
    kind, compression = fields[9:11]
    if kind == _KERNEL_ANYWHERE:
        raise OptionError(f"{said} is a uImage that names no address; load it with force-raw=on")
    if kind != _KERNEL:
        raise OptionError(
            f"{said} is a uImage of type {kind}, not of a kernel (type {_KERNEL}); load it with "
            "force-raw=on, or make one with mkimage -T kernel"
        )
    data = image[_HEADER.size : _HEADER.size + size]
    if len(data) < size:
        raise OptionError(f"{said} is a uImage of {size} bytes, of which {len(data)} are there")
    if compression == _GZIP:
        data = _decompressed(data, said)
    elif compression != _PLAIN:
        name = _COMPRESSIONS.get(compression, str(compression))
        raise OptionError(
            f"{said} is a uImage with compression {name}; make one with mkimage -C gzip or -C none"
        )
    return Uimage(address, entry, data)


def _decompressed(data: bytes, said: str) -> bytes:
    stream = zlib.decompressobj(31)
    try:
        plain = stream.decompress(data, LARGEST)
    except zlib.error as error:
        raise OptionError(f"{said} is a uImage that cannot be decompressed ({error})") from None
    if not stream.eof:
        raise OptionError(f"{said} is a uImage that is cut short, or larger than {LARGEST} bytes")
    return plain
