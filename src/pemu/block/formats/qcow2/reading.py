"""Reading of qcow2 images, and what is known of their contents."""

from __future__ import annotations

import errno

from pemu.block.formats.qcow2.compression import decompress
from pemu.block.formats.qcow2.header import (
    COMPRESSIONS,
    CORRUPT,
    LAZY_REFCOUNTS,
    NO_CRYPT,
    RAW_EXTERNAL_DATA,
    Header,
)
from pemu.block.formats.qcow2.layout import (
    DATA,
    NOTHING,
    NOTHING_ALLOCATED,
    PACKED,
    ZEROES_ALLOCATED,
    Layout,
)
from pemu.block.formats.qcow2.mapping import Run, known_place, runs
from pemu.block.formats.qcow2.metadata import Metadata
from pemu.block.formats.qcow2.overlaps import TEMPLATES
from pemu.block.formats.qcow2.words import read_into_padded, read_padded
from pemu.block.image import SECTOR, Extent, Image, Limits
from pemu.block.pieces import Buffers, clear, take
from pemu.records import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, Protocol

    class Cipher(Protocol):
        """What encrypts contents: whole sectors of 512 bytes; sector: number of the first."""

        def encrypt(self, sector: int, data: bytes | memoryview) -> bytes:
            """`data` of whole sectors from number `sector` on, encrypted."""

        def decrypt(self, sector: int, data: bytes | memoryview) -> bytes:
            """The reverse of `encrypt`."""


@dataclass
class Settings:
    """How an image is used.

    overlap: kinds of tables over which nothing may be written.
    cached, cached_refcounts: bytes of L2 tables and of refcount blocks in memory.
    discard_request, discard_snapshot, discard_other: whether the host is told of clusters that
    become free: at a request to discard, with a snapshot, for other reasons.
    lazy: whether refcounts may be behind while the image is in use, None for as the image says.
    given: the values of keys that all this is from.
    """

    overlap: frozenset[str] = TEMPLATES["cached"]
    cached: int = 32 << 20
    cached_refcounts: int = 32 << 20
    discard_request: bool = False
    discard_snapshot: bool = True
    discard_other: bool = False
    lazy: bool | None = None
    given: dict[str, Any] = field(default_factory=dict)


class Qcow2Reading(Image):
    """A qcow2 image, as far as it is read."""

    format: ClassVar[str] = "qcow2"

    def __init__(
        self, name: str, file: Image, header: Header, settings: Settings, *, readonly: bool,
        warn: Callable[[str], object],
    ) -> None:  # fmt: skip
        super().__init__(name, header.fields.size, readonly=readonly)
        self.children["file"] = file
        self.header = header
        self.layout = Layout(header)
        self.settings = settings
        self.metadata = Metadata(file, header, self.layout, name, warn=warn)
        self.metadata.readonly = readonly
        self.metadata.set_caches(settings.cached, settings.cached_refcounts)
        self.cipher: Cipher | None = None
        self.cipher_physical = True
        """Whether sectors are numbered by their places in the file, not on the disk."""
        self.crypt_details: Callable[[], dict[str, Any]] = dict
        """What `details` says of the encryption."""
        self.secrets: dict[str, Any] = {}
        self.key_secret = ""
        """Objects of the graph, and the id of the secret by which the image was opened."""
        self.keyless = False
        """Encrypted, without a key: only what is not contents can be used."""
        self.encrypted = header.fields.crypt_method != NO_CRYPT
        self.backing_file = header.backing_file
        self.backing_format = header.backing_format
        self._hole_prone: bool | None = None

    @property
    def data_file(self) -> Image:
        """What holds the contents."""
        return self.metadata.data

    def use_data_file(self, image: Image) -> None:
        """The contents are in a file of their own."""
        self.children["data-file"] = self.metadata.data = image

    # Contents

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        metadata = self.metadata
        with self.lock:
            found = runs(metadata, offset, sum(map(len, buffers)))
            number = metadata.begin()
        try:
            if len(found) == 1:
                self._read_run(found[0], list(buffers))
                return
            rest = list(buffers)
            for run in found:
                taken, rest = take(rest, run.length)
                self._read_run(run, taken)
        finally:
            metadata.active.discard(number)

    def _read_run(self, run: Run, buffers: list[memoryview]) -> None:
        kind = run.kind
        if kind == DATA:
            self.metadata.data.event("read_aio")
            if self.cipher is not None or self.keyless:
                self._read_encrypted(run, buffers)
            else:
                read_into_padded(self.metadata.data, run.place, buffers)
        elif kind == PACKED:
            self._read_packed(run, buffers)
        else:
            if kind in (NOTHING, NOTHING_ALLOCATED) and run.offset < self.size:
                below, buffers = take(buffers, self.size - run.offset)
                if self.backing is not None:
                    self.metadata.file.event("read_backing_aio")
                self.read_below(run.offset, below)
            for view in buffers:
                clear(view)

    def _read_packed(self, run: Run, buffers: list[memoryview]) -> None:
        self.metadata.file.event("read_compressed")
        place, most = self.layout.packed(run.place)
        packed = read_padded(self.metadata.file, place, most)
        try:
            plain = decompress(packed, self.layout.cluster, self.header.compression_type)
        except ValueError as error:
            raise OSError(
                errno.EIO, f"'{self.name}': compressed data at {place:#x} is damaged: {error}"
            ) from None
        _scatter(memoryview(plain)[run.offset % self.layout.cluster :], buffers)

    def _read_encrypted(self, run: Run, buffers: list[memoryview]) -> None:
        cipher = self._key()
        before = run.offset % SECTOR
        length = -(-(before + run.length) // SECTOR) * SECTOR
        data = read_padded(self.metadata.data, run.place - before, length)
        start = (run.place if self.cipher_physical else run.offset) - before
        plain = cipher.decrypt(start // SECTOR, memoryview(data))
        _scatter(memoryview(plain)[before:], buffers)

    def _key(self) -> Cipher:
        if self.cipher is None:
            raise OSError(errno.EACCES, f"'{self.name}' is encrypted and no key was given")
        return self.cipher

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        length = sum(map(len, buffers))
        if not 0 < length <= self.size - offset or offset < 0:
            return False
        if self.cipher is not None or self.keyless:
            return False
        if not self.lock.acquire(blocking=False):
            return False
        try:
            place = known_place(self.metadata, offset, length)
            if place < 0:
                _, found, kind, place = runs(self.metadata, offset, length, 1)[0]
                if found != length or kind == PACKED:
                    return False
            else:
                kind = DATA
        except OSError:
            return False
        finally:
            self.lock.release()
        if kind == DATA:
            return self.metadata.data.read_cached(place, buffers)
        below = self.backing if kind in (NOTHING, NOTHING_ALLOCATED) else None
        if below is not None and offset < below.size:
            return offset + length <= below.size and below.read_cached(offset, buffers)
        for view in buffers:
            clear(view)
        return True

    # Status

    def _status(self, offset: int, length: int) -> Extent:
        with self.lock:
            run = runs(self.metadata, offset, length, 1)[0]
        placed = self.cipher is None and not self.keyless
        if run.kind == PACKED:
            return Extent(self._packed_length(offset, length, run), compressed=True)
        room = placed and run.kind in (ZEROES_ALLOCATED, NOTHING_ALLOCATED)
        place, file = (run.place, self.data_file) if room else (None, None)
        if run.kind in (NOTHING, NOTHING_ALLOCATED):
            zero = self.backing is None
            return Extent(run.length, False, zero, data=False, offset=place, file=file)
        if run.kind != DATA:
            return Extent(run.length, zero=True, data=False, offset=place, file=file)
        if not placed:
            return Extent(run.length)
        found = Extent(run.length, offset=run.place, file=self.data_file)
        if self._has_holes():
            below = self._data_status(run.place, run.length)
            if below.zero:
                return found._replace(length=below.length, zero=True)
            return found._replace(length=below.length)
        return found

    def _packed_length(self, offset: int, length: int, run: Run) -> int:
        """How far compressed clusters follow each other."""
        end = offset + length
        at = offset + run.length
        while at < end:
            with self.lock:
                found = runs(self.metadata, at, end - at, 256)
            for one in found:
                if one.kind != PACKED:
                    return at - offset
                at += one.length
        return at - offset

    def _data_status(self, place: int, length: int) -> Extent:
        data = self.data_file
        if place >= data.size:
            return Extent(length, zero=True, data=False)
        return data.status(place, min(length, data.size - place))

    def _has_holes(self) -> bool:
        """Whether clusters were given room in advance, so that many may be holes in the file."""
        if self._hole_prone is None:
            taken = self.metadata.file.allocated()
            if taken is None:
                self._hole_prone = False
            else:
                clusters = taken // self.layout.cluster
                many = max(clusters * 10 // 9, clusters + 2)
                with self.lock:
                    self._hole_prone = self._used_clusters(many) >= many
        return self._hole_prone

    def _used_clusters(self, many: int) -> int:
        """How many clusters have references; no more are counted after `many`."""
        refcounts = self.metadata.refcounts
        used = 0
        for index, entry in enumerate(refcounts.table):
            if entry and used < many:
                block = refcounts.load(index)
                used += len(block) - block.count(0) if block is not None else 0
        return used

    def limits(self) -> Limits:
        return Limits(
            alignment=SECTOR if self.cipher is not None or self.keyless else 1,
            cluster=self.layout.cluster,
            discard=self.layout.cluster,
            zeroes=self.layout.subcluster,
        )

    def details(self) -> dict[str, Any]:
        header = self.header
        shown: dict[str, Any] = {
            "compat": "1.1" if header.fields.version >= 3 else "0.10",
            "compression-type": COMPRESSIONS[header.compression_type],
        }
        if header.fields.version >= 3:
            shown["lazy-refcounts"] = bool(header.more.compatible & LAZY_REFCOUNTS)
        bitmaps = self.bitmap_details()
        if bitmaps:
            shown["bitmaps"] = bitmaps
        shown["refcount-bits"] = self.layout.refcount_bits
        if self.encrypted:
            shown["encrypt"] = self.crypt_details()
        if header.data_file:
            shown["data-file"] = header.data_file
        if self.layout.external:
            shown["data-file-raw"] = bool(header.more.autoclear & RAW_EXTERNAL_DATA)
        if header.fields.version >= 3:
            shown["corrupt"] = header.has(CORRUPT)
            shown["extended-l2"] = self.layout.extended
        return shown

    def bitmap_details(self) -> list[dict[str, Any]]:
        """What `details` says of the bitmaps."""
        return []


def _scatter(data: memoryview, buffers: list[memoryview]) -> None:
    for view in buffers:
        view[:] = data[: len(view)]
        data = data[len(view) :]
