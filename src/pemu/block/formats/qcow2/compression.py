"""Compressed clusters: a raw deflate stream, or a zstd frame, of one cluster."""

from __future__ import annotations

import io
import zlib
from _thread import _local

from pemu.block.formats.qcow2.header import ZSTD
from pemu.block.pieces import Packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WINDOW = -12
"""A window of 4 KiB and no header: readers need not expect more."""

_THREAD = _local()


def compress(clusters: list[memoryview], kind: int) -> list[Packed]:
    """Each of `clusters` in compressed form. Raises ImageError where the library is missing."""
    if kind == ZSTD:
        compressor: Any = getattr(_THREAD, "compressor", None)
        if compressor is None:
            compressor = _THREAD.compressor = _zstandard().ZstdCompressor()
        if len(clusters) > 1 and hasattr(compressor, "multi_compress_to_buffer"):
            # The interpreter's lock is let go of once, not for each of them.
            packed = compressor.multi_compress_to_buffer(clusters)
            return [memoryview(packed[i]) for i in range(len(packed))]
        return [compressor.compress(cluster) for cluster in clusters]
    return [_deflated(cluster) for cluster in clusters]


def _deflated(cluster: memoryview) -> bytes:
    deflate = zlib.compressobj(-1, zlib.DEFLATED, _WINDOW, 9)
    return deflate.compress(cluster) + deflate.flush()


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
