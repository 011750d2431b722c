"""Compressed clusters: a raw deflate stream, or a zstd frame, of one cluster."""

from __future__ import annotations

import io
import threading
import zlib
from typing import Any

from pemu.block.formats.qcow2.header import ZSTD

_WINDOW = -12
"""A window of 4 KiB and no header: readers need not expect more."""

_THREAD = threading.local()


def compress(data: bytes | memoryview, kind: int) -> bytes:
    """`data` in compressed form. Raises ImageError where the library is missing."""
    if kind == ZSTD:
        compressor: Any = getattr(_THREAD, "compressor", None)
        if compressor is None:
            compressor = _THREAD.compressor = _zstandard().ZstdCompressor()
        packed: bytes = compressor.compress(data)
        return packed
    deflate = zlib.compressobj(-1, zlib.DEFLATED, _WINDOW, 9)
    return deflate.compress(data) + deflate.flush()


def decompress(data: bytes | bytearray | memoryview, size: int, kind: int) -> bytes:
    """The first `size` bytes of what `data` begins with. Raises ValueError for damaged data."""
    try:
        if kind == ZSTD:
            zstandard = _zstandard()
            try:
                reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data))
                plain: bytes = reader.read(size)
            except zstandard.ZstdError as error:
                raise ValueError(str(error)) from None
        else:
            plain = zlib.decompressobj(-15).decompress(data, size)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(plain) != size:
        raise ValueError(f"{len(plain)} bytes instead of {size}")
    return plain


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        from pemu.block.error import ImageError

        raise ImageError(
            "images with zstd compression need the Python package zstandard: pip install zstandard"
        ) from None
    return zstandard
