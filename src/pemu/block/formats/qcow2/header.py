"""The header of a qcow2 image and its extensions (docs/interop/qcow2.txt of QEMU)."""

from __future__ import annotations

import struct

from pemu.block.error import ImageError
from pemu.block.structure import U8, U32, U64, Annotated, Structure
from pemu.records import dataclass, field

MAGIC = b"QFI\xfb"

DIRTY, CORRUPT, EXTERNAL_DATA, COMPRESSION, EXTENDED_L2 = (1 << bit for bit in range(5))
"""Incompatible features: an image with others must not be opened."""

LAZY_REFCOUNTS = 1
"""A compatible feature."""

BITMAPS, RAW_EXTERNAL_DATA = 1, 2
"""Autoclear features: whoever writes without knowing them clears them."""

INCOMPATIBLE, COMPATIBLE, AUTOCLEAR = range(3)

FEATURES = (
    (INCOMPATIBLE, 0, "dirty bit"),
    (INCOMPATIBLE, 1, "corrupt bit"),
    (INCOMPATIBLE, 2, "external data file"),
    (INCOMPATIBLE, 3, "compression type"),
    (INCOMPATIBLE, 4, "extended L2 entries"),
    (COMPATIBLE, 0, "lazy refcounts"),
    (AUTOCLEAR, 0, "bitmaps"),
    (AUTOCLEAR, 1, "raw external data"),
)
"""Kind, bit and name: what the feature name table of an image says."""

NO_CRYPT, AES, LUKS = range(3)
"""How the contents are encrypted."""

ZLIB, ZSTD = range(2)
COMPRESSIONS = ("zlib", "zstd")

SMALLEST_CLUSTER, LARGEST_CLUSTER = 9, 21
"""Bits of the size of a cluster. The upper limit is QEMU's: a table takes a whole cluster."""

LARGEST_L1 = 32 << 20
LARGEST_REFCOUNT_TABLE = 8 << 20
"""Bytes of these tables, QEMU's limits."""

MOST_SNAPSHOTS = 65536
LONGEST_BACKING_NAME = 1023

_END, _BACKING_FORMAT, _FEATURE_NAMES = 0, 0xE2792ACA, 0x6803F857
_BITMAPS, _CRYPT, _DATA_FILE = 0x23852875, 0x0537BE77, 0x44415441


class Fields(Structure, byte_order=">"):
    """The header of version 2, and the beginning of version 3's."""

    magic: Annotated[bytes, 4] = MAGIC
    version: U32
    backing_file_offset: U64 = 0
    backing_file_size: U32 = 0
    cluster_bits: U32
    size: U64
    crypt_method: U32 = 0
    l1_size: U32
    l1_table_offset: U64
    refcount_table_offset: U64
    refcount_table_clusters: U32
    nb_snapshots: U32 = 0
    snapshots_offset: U64 = 0


class MoreFields(Structure, byte_order=">"):
    """What version 3 adds."""

    incompatible: U64 = 0
    compatible: U64 = 0
    autoclear: U64 = 0
    refcount_order: U32 = 4
    header_length: U32 = 112


class CompressionField(Structure, byte_order=">"):
    """What headers of more than 104 bytes have besides."""

    compression_type: U8 = 0
    padding: Annotated[bytes, 7] = bytes(7)


class BitmapsExtension(Structure, byte_order=">"):
    """Where the persistent bitmaps are."""

    count: U32
    reserved: U32 = 0
    directory_size: U64
    directory_offset: U64


class CryptExtension(Structure, byte_order=">"):
    """Where the LUKS header is."""

    offset: U64
    length: U64


_AFTER_V2 = Fields.SIZE
_AFTER_V3 = _AFTER_V2 + MoreFields.SIZE
_KNOWN_LENGTH = _AFTER_V3 + CompressionField.SIZE


@dataclass
class Header:
    """All that the first cluster says.

    tail: bytes of a longer header than is known here, kept as they are. extensions: unknown ones.
    feature_names: as the image has them, used to name what is unknown.
    """

    fields: Fields
    more: MoreFields
    compression_type: int = ZLIB
    tail: bytes = b""
    backing_file: str = ""
    backing_format: str = ""
    data_file: str = ""
    bitmaps: BitmapsExtension | None = None
    crypt: CryptExtension | None = None
    extensions: list[tuple[int, bytes]] = field(default_factory=list)
    feature_names: dict[tuple[int, int], str] = field(default_factory=dict)

    @property
    def cluster(self) -> int:
        """Bytes of a cluster."""
        return 1 << self.fields.cluster_bits

    def has(self, feature: int) -> bool:
        """Whether an incompatible feature is set."""
        return bool(self.more.incompatible & feature)

    def emit(self) -> bytes:
        """The first cluster. Raises ImageError where it is too small for all of it."""
        data = self._emit(names=self.fields.version >= 3)
        if len(data) > self.cluster:
            data = self._emit(names=False)  # for readers that do not know all features
        if len(data) > self.cluster:
            raise ImageError(
                f"The header needs {len(data)} bytes, a cluster has {self.cluster}; choose larger "
                "clusters, or a shorter name of the backing file"
            )
        return data + bytes(self.cluster - len(data))

    def _emit(self, *, names: bool) -> bytes:
        more = self.fields.version >= 3
        extensions = []
        if self.backing_format:
            extensions.append((_BACKING_FORMAT, self.backing_format.encode("utf-8")))
        if self.data_file:
            extensions.append((_DATA_FILE, self.data_file.encode("utf-8", "surrogateescape")))
        if self.crypt is not None:
            extensions.append((_CRYPT, self.crypt.emit()))
        if names:
            extensions.append((_FEATURE_NAMES, _feature_table()))
        if self.bitmaps is not None:
            extensions.append((_BITMAPS, self.bitmaps.emit()))
        extensions += self.extensions
        body = b"".join(
            struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)
            for kind, data in extensions
        )
        body += bytes(8)
        self.more.header_length = _KNOWN_LENGTH + len(self.tail)
        start = self.more.header_length if more else _AFTER_V2
        name = self.backing_file.encode("utf-8", "surrogateescape")
        self.fields.backing_file_offset = start + len(body) if name else 0
        self.fields.backing_file_size = len(name)
        head = self.fields.emit()
        if more:
            head += self.more.emit()
            head += CompressionField(compression_type=self.compression_type).emit() + self.tail
        return head + body + name


def parse_header(data: bytes) -> Header:
    """The header in the first cluster (all of it, or up to the end of the file).

    Raises ImageError for what is no qcow2 image, or one that is wrong or not supported.
    """
    if data[:4] != MAGIC:
        raise ImageError("Image is not in qcow2 format")
    fields = Fields.parse(data, "The qcow2 header")
    if fields.version not in (2, 3):
        raise ImageError(f"Unsupported qcow2 version {fields.version}")
    if not SMALLEST_CLUSTER <= fields.cluster_bits <= LARGEST_CLUSTER:
        raise ImageError(f"Unsupported cluster size: 2^{fields.cluster_bits}")
    more, compression, tail, length = MoreFields(), ZLIB, b"", _AFTER_V2
    if fields.version >= 3:
        more = MoreFields.parse(data, "The qcow2 header", _AFTER_V2)
        length = more.header_length
        if length < _AFTER_V3:
            raise ImageError("qcow2 header too short")
        if length > 1 << fields.cluster_bits:
            raise ImageError("qcow2 header exceeds cluster size")
        if length > _AFTER_V3:
            compression = data[_AFTER_V3] if len(data) > _AFTER_V3 else 0
        tail = data[_KNOWN_LENGTH:length]
    header = Header(fields, more, compression, tail)
    _parse_backing_name(header, data, length)
    end = fields.backing_file_offset or 1 << fields.cluster_bits
    _parse_extensions(header, data[:end], length)
    _check_features(header)
    return header


def _parse_backing_name(header: Header, data: bytes, length: int) -> None:
    offset, size = header.fields.backing_file_offset, header.fields.backing_file_size
    if not offset:
        return
    if offset > header.cluster or offset < length:
        raise ImageError("Invalid backing file offset")
    if size > LONGEST_BACKING_NAME or offset + size > header.cluster:
        raise ImageError("Backing file name too long")
    name = data[offset : offset + size]
    header.backing_file = name.split(b"\0")[0].decode("utf-8", "surrogateescape")


def _parse_extensions(header: Header, data: bytes, offset: int) -> None:
    while len(data) - offset >= 8:
        kind, length = struct.unpack_from(">II", data, offset)
        offset += 8
        if kind == _END:
            return
        if length > len(data) - offset:
            raise ImageError(f"Header extension {kind:#010x} is too large: {length} bytes")
        _parse_extension(header, kind, data[offset : offset + length])
        offset += -(-length // 8) * 8


def _parse_extension(header: Header, kind: int, data: bytes) -> None:
    if kind == _BACKING_FORMAT:
        header.backing_format = data.split(b"\0")[0].decode("utf-8", "replace")
    elif kind == _DATA_FILE:
        header.data_file = data.decode("utf-8", "surrogateescape")
    elif kind == _FEATURE_NAMES:
        for at in range(0, len(data) - 47, 48):
            name = data[at + 2 : at + 48].split(b"\0")[0].decode("utf-8", "replace")
            header.feature_names[data[at], data[at + 1]] = name
    elif kind == _CRYPT:
        if header.fields.crypt_method != LUKS:
            raise ImageError("CRYPTO header extension only expected with LUKS encryption method")
        header.crypt = CryptExtension.parse(data, "The encryption header extension")
        if header.crypt.offset % header.cluster:
            raise ImageError(
                f"Encryption header offset '{header.crypt.offset}' is not a multiple of cluster "
                f"size '{header.cluster}'"
            )
    elif kind == _BITMAPS:
        header.bitmaps = BitmapsExtension.parse(data, "The bitmaps extension")
    else:
        header.extensions.append((kind, data))


def _check_features(header: Header) -> None:
    known = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION | EXTENDED_L2
    unknown = header.more.incompatible & ~known
    if unknown:
        names = [
            header.feature_names.get(
                (INCOMPATIBLE, bit), f"Unknown incompatible feature: bit {bit}"
            )
            for bit in range(64)
            if unknown >> bit & 1
        ]
        raise ImageError(f"Unsupported qcow2 feature(s): {', '.join(names)}")
    if header.more.refcount_order > 6:
        raise ImageError("Reference count entry width too large; may not exceed 64 bits")
    if header.compression_type >= len(COMPRESSIONS):
        raise ImageError(f"Unknown compression type {header.compression_type}")
    if header.has(COMPRESSION) != (header.compression_type != ZLIB):
        raise ImageError(
            "The compression type incompatible feature bit and the compression type field of the "
            "header contradict each other"
        )
    if header.has(EXTENDED_L2) and header.fields.cluster_bits < 14:
        raise ImageError(
            "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes"
        )
    if header.fields.crypt_method > LUKS:
        raise ImageError(f"Unsupported encryption method {header.fields.crypt_method}")
    if header.fields.crypt_method == LUKS and header.crypt is None:
        raise ImageError("The LUKS encryption header extension is missing")


def _feature_table() -> bytes:
    return b"".join(struct.pack(">BB46s", kind, bit, name.encode()) for kind, bit, name in FEATURES)
