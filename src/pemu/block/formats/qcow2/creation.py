"""Making qcow2 images."""

from __future__ import annotations

from pemu.block.creation import Creation
from pemu.block.crypto.choices import AMENDMENT as LUKS_AMENDMENT
from pemu.block.crypto.choices import CREATION as LUKS_KEYS
from pemu.block.error import ImageError
from pemu.block.formats.qcow2.clearing import PREALLOCATION
from pemu.block.formats.qcow2.header import (
    AES,
    COMPRESSION,
    COMPRESSIONS,
    EXTENDED_L2,
    EXTERNAL_DATA,
    LARGEST_CLUSTER,
    LARGEST_L1,
    LAZY_REFCOUNTS,
    LUKS,
    NO_CRYPT,
    RAW_EXTERNAL_DATA,
    SMALLEST_CLUSTER,
    Fields,
    Header,
    MoreFields,
)
from pemu.block.formats.qcow2.image import Qcow2
from pemu.block.formats.qcow2.layout import Layout
from pemu.block.formats.qcow2.reading import Settings
from pemu.block.formats.qcow2.words import to_bytes, zeros
from pemu.block.image import SECTOR
from pemu.options.keyval import Key
from pemu.options.types import Bool, Enum, Int, Size, Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TEXTS = {
    "format": "Encrypt the image, format choices: 'aes', 'luks'",
    "key-secret": "ID of secret providing qcow AES key or LUKS passphrase",
}

_ENCRYPTION = (
    Key("encryption", Bool(), "Encrypt the image with format 'aes'. (Deprecated in favor of "
        "encrypt.format=aes)"),
    Key("encrypt.format", Enum(("aes", "luks")), _TEXTS["format"]),
    *(Key(f"encrypt.{key.name}", key.type, _TEXTS.get(key.name, key.help)) for key in LUKS_KEYS),
)  # fmt: skip

_COMPAT = Key(
    "compat",
    Enum(("0.10", "1.1"), {"v2": "0.10", "v3": "1.1"}),
    "Compatibility level (v2 [0.10] or v3 [1.1])",
)
_SIZE = Key("size", Size(), "Virtual disk size")
_BACKING = (
    Key("backing_file", Text(), "File name of a base image"),
    Key("backing_fmt", Text(), "Image format of the base image"),
)
_DATA_FILE = (
    Key("data_file", Text(), "File name of an external data file"),
    Key("data_file_raw", Bool(), "The external data file must stay valid as a raw image"),
)
_LAZY = "Postpone refcount updates"
_WIDTH = "Width of a reference count entry in bits"

CREATION = (
    *_ENCRYPTION,
    Key("cluster_size", Size(), "qcow2 cluster size", default=65536),
    Key("extended_l2", Bool(), "Extended L2 tables", default=False),
    Key(
        "preallocation",
        Enum(PREALLOCATION),
        "Preallocation mode (allowed values: off, metadata, falloc, full)",
    ),
    Key(
        "compression_type",
        Enum(COMPRESSIONS),
        "Compression method used for image cluster compression",
        default="zlib",
    ),
    _SIZE,
    _COMPAT,
    *_BACKING,
    *_DATA_FILE,
    Key("lazy_refcounts", Bool(), _LAZY, default=False),
    Key("refcount_bits", Int(), _WIDTH, default=16),
)

AMENDMENT = (
    *(Key(f"encrypt.{key.name}", key.type, key.help) for key in LUKS_AMENDMENT),
    _SIZE,
    _COMPAT,
    *_BACKING,
    *_DATA_FILE,
    Key("lazy_refcounts", Bool(), _LAZY),
    Key("refcount_bits", Int(), _WIDTH),
)


def new_header(options: dict[str, Any], size: int) -> Header:
    """The header of a new image without tables. Raises ImageError for what cannot be."""
    if options["backing_fmt"] and not options["backing_file"]:
        raise ImageError("Backing format cannot be used without backing file")
    cluster = options["cluster_size"]
    bits = cluster.bit_length() - 1
    if cluster & (cluster - 1) or not SMALLEST_CLUSTER <= bits <= LARGEST_CLUSTER:
        raise ImageError(
            f"Cluster size must be a power of two between {1 << SMALLEST_CLUSTER} and "
            f"{(1 << LARGEST_CLUSTER) >> 10}k"
        )
    version = 2 if options["compat"] == "0.10" else 3
    order = options["refcount_bits"].bit_length() - 1
    if options["refcount_bits"] not in (1, 2, 4, 8, 16, 32, 64):
        raise ImageError("Refcount width must be a power of two and may not exceed 64 bits")
    more = MoreFields(refcount_order=order)
    header = Header(
        Fields(
            version=version,
            cluster_bits=bits,
            size=size,
            l1_size=0,
            l1_table_offset=0,
            refcount_table_offset=cluster,
            refcount_table_clusters=1,
        ),
        more,
        compression_type=COMPRESSIONS.index(options["compression_type"]),
        backing_file=options["backing_file"] or "",
        backing_format=options["backing_fmt"] or "",
    )
    if header.compression_type:
        more.incompatible |= COMPRESSION
    if options["lazy_refcounts"]:
        more.compatible |= LAZY_REFCOUNTS
    _choose_extended(options, header)
    _choose_data_file(options, header)
    if version < 3:
        _check_old(options, header)
    if Layout(header).l1_entries(size) * 8 > LARGEST_L1:
        raise ImageError(
            f"The image size is too large for a cluster size of {cluster} bytes; choose larger "
            "clusters"
        )
    return header


def _choose_extended(options: dict[str, Any], header: Header) -> None:
    if not options["extended_l2"]:
        if options["preallocation"] not in (None, "off") and header.backing_file:
            raise ImageError(
                "Backing file and preallocation can only be used at the same time if extended_l2 "
                "is enabled"
            )
        return
    if options["cluster_size"] < 1 << 14:
        raise ImageError(
            "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes"
        )
    header.more.incompatible |= EXTENDED_L2


def _choose_data_file(options: dict[str, Any], header: Header) -> None:
    raw = options["data_file_raw"]
    if not options["data_file"]:
        if raw:
            raise ImageError("data-file-raw requires data-file")
        return
    if raw and header.backing_file:
        raise ImageError("Backing file and data-file-raw cannot be used at the same time")
    header.more.incompatible |= EXTERNAL_DATA
    header.data_file = options["data_file"]
    if raw:
        header.more.autoclear |= RAW_EXTERNAL_DATA


def _check_old(options: dict[str, Any], header: Header) -> None:
    """What version 2 cannot have."""
    wants = "supported with compatibility level 1.1 and above (use version=v3 or greater)"
    if options["lazy_refcounts"]:
        raise ImageError(f"Lazy refcounts only {wants}")
    if options["refcount_bits"] != 16:
        raise ImageError(
            "Different refcount widths than 16 bits require compatibility level 1.1 or above (use "
            "version=v3 or greater)"
        )
    if header.compression_type:
        raise ImageError(f"Non-zlib compression type is only {wants}")
    if options["extended_l2"]:
        raise ImageError(f"Extended L2 entries are only {wants}")
    if options["data_file"]:
        raise ImageError(f"External data files are only {wants}")


def _chosen_method(options: dict[str, Any]) -> int:
    """How a new image is to be encrypted. Raises ImageError."""
    given = [key for key in options if key.startswith("encrypt.") and options[key] is not None]
    method = options["encrypt.format"]
    if options["encryption"]:
        if method:
            raise ImageError(
                "'encrypt.format' and its alias 'encryption' can't be used at the same time"
            )
        method = "aes"
    elif given and not method:
        raise ImageError("Parameter 'encrypt.format' is missing")
    if method and not options["encrypt.key-secret"]:
        raise ImageError("Parameter 'encrypt.key-secret' is required for cipher")
    return {"aes": AES, "luks": LUKS}[method] if method else NO_CRYPT


def create_image(creation: Creation) -> None:
    """Make a qcow2 image. Raises ImageError, OSError."""
    options = creation.options
    size = -(-creation.size // SECTOR) * SECTOR
    header = new_header(options, size)
    header.fields.size = 0
    header.fields.crypt_method = _chosen_method(options)
    passphrase = b""
    if header.fields.crypt_method:
        from pemu.block.crypto.secrets import secret

        passphrase = secret(creation.graph.objects, options["encrypt.key-secret"])
    data = creation.file(options["data_file"]) if options["data_file"] else None
    try:
        file = creation.file()
    except BaseException:
        if data is not None:
            data.close()
        raise
    layout = Layout(header)
    cluster = layout.cluster
    try:
        block = zeros(layout.refcounts_per_block, layout.refcount_bits)
        block[0] = block[1] = block[2] = 1
        head = header.emit()
        table = (2 * cluster).to_bytes(8, "big").ljust(cluster, b"\0")
        file.write_from(0, [head, table, to_bytes(block, layout.refcount_bits)])
        image = Qcow2(
            creation.name, file, header, Settings(), readonly=False, warn=creation.graph.warn
        )
    except BaseException:
        file.close()
        if data is not None:
            data.close()
        raise
    try:
        if data is not None:
            image.use_data_file(data)
        image.begin_writing()
        if header.fields.crypt_method:
            from pemu.block.formats.qcow2.encryption import make_encrypted

            make_encrypted(image, options, passphrase)
        image.truncate(size, preallocation=options["preallocation"] or "off")
    finally:
        image.close()
