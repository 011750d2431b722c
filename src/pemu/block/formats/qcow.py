"""QEMU's first copy-on-write format (qcow, version 1): two levels of tables, compressed clusters,
encryption with AES, backing files.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from typing import ClassVar

from pemu.block.clusters import ABSENT, OTHER, ClusterImage
from pemu.block.creation import Creation
from pemu.block.crypto.ciphers import SectorCipher
from pemu.block.crypto.secrets import secret
from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.image import SECTOR, Image, Limits, damaged
from pemu.block.opening import Opening
from pemu.block.pieces import Buffers, Packed, Pieces
from pemu.block.structure import U8, U16, U32, U64, Structure
from pemu.block.table import Table, TableTree
from pemu.options.keyval import Group, Key
from pemu.options.types import Bool, Enum, Text

MAGIC, VERSION = 0x514649FB, 1
COMPRESSED = 1 << 63
AES = 1
LONGEST_NAME = 1023

MOST_TABLES = (1 << 31) // 8 - 1
"""Entries of the first table: QEMU's limit."""

WINDOW = -12
"""zlib's window when compressing, 4 KiB, without a header: what QEMU writes."""


class Header(Structure, byte_order=">"):
    """At the beginning of the file; the name of the image below and the first table follow."""

    magic: U32 = MAGIC
    version: U32 = VERSION
    backing_offset: U64 = 0
    backing_length: U32 = 0
    mtime: U32 = 0
    size: U64
    cluster_bits: U8
    l2_bits: U8
    padding: U16 = 0
    encryption: U32 = 0
    l1_offset: U64

    def check(self, file_size: int) -> None:
        """Raise ImageError for what cannot be used. file_size: bytes of the file."""
        if self.magic != MAGIC:
            raise ImageError("Image not in qcow format")
        if self.version != VERSION:
            hint = "; try the 'qcow2' driver instead" if self.version in (2, 3) else ""
            raise ImageError(f"qcow (v1) does not support qcow version {self.version}{hint}")
        if self.size <= 1:
            raise ImageError("Image size is too small (must be at least 2 bytes)")
        if not 9 <= self.cluster_bits <= 16:
            raise ImageError("Cluster size must be between 512 and 64k")
        if not 6 <= self.l2_bits <= 13:
            raise ImageError("L2 table size must be between 512 and 64k")
        if self.encryption > AES:
            raise ImageError("invalid encryption method in qcow header")
        if self.size >= 1 << 63 or self.tables > MOST_TABLES:
            raise ImageError("Image too large")
        if self.backing_offset and self.backing_length > LONGEST_NAME:
            raise ImageError("Backing file name too long")
        if self.backing_offset and self.backing_offset + self.backing_length > file_size:
            raise ImageError("the name of the backing file is beyond the end of the file")
        end = self.l1_offset + 8 * self.tables
        if self.l1_offset < Header.SIZE or end > file_size:
            raise ImageError(
                f"the first table, {self.tables} entries at {self.l1_offset:#x}, is not within the "
                f"file of {file_size} bytes"
            )

    @property
    def tables(self) -> int:
        """Entries of the first table."""
        shift = self.cluster_bits + self.l2_bits
        return -(-self.size >> shift)


class Qcow(ClusterImage):
    """A qcow image in `file`. cipher: of encrypted ones. Raises ImageError, OSError."""

    format: ClassVar[str] = "qcow"

    def __init__(
        self, file: Image, header: Header, cipher: SectorCipher | None, *, readonly: bool
    ) -> None:
        self.header = header
        self._cipher = cipher
        size = -(-header.size // SECTOR) * SECTOR
        super().__init__(file.name, size, 1 << header.cluster_bits, readonly=readonly)
        self.encrypted = header.encryption == AES
        self.children["file"] = file
        top = Table(file, header.l1_offset, header.tables, "Q", ">")
        self.tables = TableTree(top, 1 << header.l2_bits, "Q", ">", unit=1, first=Header.SIZE)
        if header.backing_offset:
            name = file.read(header.backing_offset, header.backing_length)
            self.backing_file = name.decode(errors="surrogateescape")
        self._decoded = (-1, b"")

    def locate(self, index: int) -> int:
        return self._place(self.tables[index])

    def _place(self, entry: int) -> int:
        if entry & COMPRESSED:
            return OTHER
        if not entry:
            return ABSENT
        if entry < Header.SIZE or entry >= self._file().size:
            raise damaged()
        return entry

    def stretch(self, index: int) -> tuple[int, int]:
        return self.tables.stretch(index, self._place, ABSENT)

    def read_other(self, index: int) -> bytes:
        with self.lock:
            entry = self.tables[index]
            if self._decoded[0] == entry:
                return self._decoded[1]
            shift = 63 - self.header.cluster_bits
            place = entry & (1 << shift) - 1
            length = entry >> shift & self.cluster - 1
            if place + length > -(-self._file().size // SECTOR) * SECTOR:
                raise damaged()
            packed = self._file().read(place, length)
            try:
                data = zlib.decompressobj(-15).decompress(packed, self.cluster)
            except zlib.error:
                raise damaged() from None
            if len(data) != self.cluster:
                raise damaged()
            self._decoded = (entry, data)
            return data

    def write_compressed(
        self, offset: int, data: bytes | memoryview, packed: Sequence[Packed] = ()
    ) -> None:
        length = len(data)
        if offset % self.cluster or (length != self.cluster and offset + length != self.size):
            raise OSError("a compressed write must be one cluster")
        self.within(offset, length, writes=True)
        whole = bytes(data).ljust(self.cluster, b"\0")
        packer = zlib.compressobj(-1, zlib.DEFLATED, WINDOW)
        small = packer.compress(whole) + packer.flush()
        if len(small) >= self.cluster or self.encrypted:
            self.write(offset, data)
            return
        index = offset // self.cluster
        with self.lock:
            self._add_table(index)
            place = self._file().size
            shift = 63 - self.header.cluster_bits
            if place >> shift:
                raise OSError("the file is too long for compressed clusters")
            self._file().write(place, small)
            self.tables[index] = COMPRESSED | len(small) << shift | place
            if self.changes() > self.most_changes:
                self.write_tables()

    def allocate(self, index: int, count: int) -> tuple[int, int]:
        self._add_table(index)
        count = min(count, self.tables.count - index % self.tables.count)
        return self._end(self.cluster), count

    def _end(self, unit: int) -> int:
        """The first place beyond the end of the file that is a multiple of `unit`, bytes."""
        return -(-self._file().size // unit) * unit

    def _add_table(self, index: int) -> None:
        """Have a table for cluster `index`."""
        number = index // self.tables.count
        if self.tables.table(number) is None:
            place = self._end(self.cluster)
            self._file().truncate(place + self.tables.bytes)
            self.tables.add(number, place)

    def connect(self, index: int, count: int, offset: int) -> None:
        for number in range(count):
            self.tables[index + number] = offset + number * self.cluster

    def _read_place(self, offset: int, place: int, buffers: Buffers) -> None:
        if not self.encrypted:
            super()._read_place(offset, place, buffers)
            return
        length = sum(map(len, buffers))
        data = bytearray(length)
        super()._read_place(offset, place, [memoryview(data)])
        plain = memoryview(self._key().decrypt(offset // SECTOR, memoryview(data)))
        for view in buffers:
            view[:] = plain[: len(view)]
            plain = plain[len(view) :]

    def _write_place(self, offset: int, place: int, pieces: Pieces) -> None:
        if self.encrypted:
            pieces = [self._key().encrypt(offset // SECTOR, b"".join(pieces))]
        super()._write_place(offset, place, pieces)

    def _key(self) -> SectorCipher:
        if self._cipher is None:
            raise OSError("the image was opened without its key")
        return self._cipher

    def changes(self) -> int:
        return self.tables.changed

    def write_tables(self) -> None:
        self._file().flush()
        self.tables.write()

    def make_empty(self) -> None:
        header = self.header
        with self.lock:
            self.tables.clear()
            self.write_tables()
            self._file().flush()
            self._file().truncate(header.l1_offset + 8 * header.tables)

    def limits(self) -> Limits:
        return Limits(alignment=SECTOR if self.encrypted else 1, cluster=self.cluster)


def cipher_of(passphrase: bytes) -> SectorCipher:
    """What encrypts the sectors: the key is the passphrase itself, cut or filled up to 16 bytes."""
    return SectorCipher("aes-128", "cbc", "plain64", "", passphrase[:16].ljust(16, b"\0"))


def _open(opening: Opening) -> Image:
    file = opening.file()
    header = Header.read(file, "the qcow header")
    header.check(file.size)
    cipher = None
    if header.encryption == AES and not opening.mode.describe:
        given = (opening.options["encrypt"] or {}).get("key-secret")
        if not given:
            raise ImageError("Parameter 'encrypt.key-secret' is required for cipher")
        cipher = cipher_of(secret(opening.graph.objects, given))
    image = Qcow(file, header, cipher, readonly=opening.mode.readonly)
    below = opening.backing(image.backing_file, "")
    if below is not None:
        image.children["backing"] = below
    return image


def _create(creation: Creation) -> None:
    options = creation.options
    if not creation.size:
        raise ImageError("Image size is too small, cannot be zero length")
    encrypted = options["encryption"] or options["encrypt.format"] == "aes"
    if encrypted:
        if not options["encrypt.key-secret"]:
            raise ImageError("Parameter 'encrypt.key-secret' is required for cipher")
        secret(creation.graph.objects, options["encrypt.key-secret"])
    name = (options["backing_file"] or "").encode(errors="surrogateescape")
    if len(name) > LONGEST_NAME:
        raise ImageError("Backing file name too long")
    start = -(-(Header.SIZE + len(name)) // 8) * 8
    header = Header(
        size=-(-creation.size // SECTOR) * SECTOR,
        cluster_bits=9 if name else 12,
        l2_bits=12 if name else 9,
        encryption=AES if encrypted else 0,
        l1_offset=start,
        mtime=int(time.time()) & 0xFFFFFFFF if name else 0,
        backing_offset=Header.SIZE if name else 0,
        backing_length=len(name),
    )
    end = start + -(-header.tables * 8 // SECTOR) * SECTOR
    header.check(end)
    with creation.file() as file:
        file.write(0, header.emit() + name)
        file.truncate(end)


ENCRYPT = Group(
    "encrypt",
    (
        Key("format", Enum(("aes",)), "how it is encrypted", default="aes"),
        Key("key-secret", Text(empty=False), "id of the secret with the passphrase"),
    ),
)

DRIVER = Driver(
    "qcow",
    _open,
    keys=(Key("encrypt", ENCRYPT, "encryption"),),
    children=("file", "backing"),
    create=_create,
    creation=(
        Key("backing_file", Text(), "File name of a base image"),
        Key("backing_fmt", Text(), "Format of the backing image"),
        Key(
            "encryption",
            Bool(),
            "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)",
        ),
        Key("encrypt.format", Enum(("aes",)), "Encrypt the image, format choices: 'aes'"),
        Key(
            "encrypt.key-secret",
            Text(),
            "ID of the secret that provides the AES encryption key",
        ),
    ),
)
