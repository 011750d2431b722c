"""Parallels' disk images, of both kinds: a header, a table of clusters, the clusters.

The tables are written in an order that needs no mark of the image being in use, so none is set.
Dirty bitmaps of a format extension can be read. The first write drops the extension, as the
bitmaps would not be true any more (QEMU leaves them as they are, or writes over them).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import ClassVar

from pemu.block.clusters import ABSENT, ClusterImage
from pemu.block.creation import Creation
from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.image import SECTOR, Bitmap, Check, Image, Limits, damaged
from pemu.block.opening import Opening
from pemu.block.structure import U32, U64, Annotated, Structure
from pemu.block.table import Table
from pemu.options.keyval import Key
from pemu.options.types import Size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.block.formats.parallels_extension import Extension

OLD, NEW = b"WithoutFreeSpace", b"WithouFreSpacExt"
"""Magics: the table counts in sectors, or in clusters."""

IN_USE = 0x746F6E59
MOST_ENTRIES = (1 << 29) - 1
"""The table is then 2 GiB long."""

LARGEST_TRACK = ((1 << 31) - 1) // 513
"""Sectors of a cluster."""


class Header(Structure, byte_order="<"):
    """At the beginning of the file; the table follows."""

    magic: Annotated[bytes, 16] = NEW
    version: U32 = 2
    heads: U32 = 16
    cylinders: U32
    track: U32
    """Sectors of a cluster."""
    entries: U32
    sectors: U64
    in_use: U32 = 0
    data_offset: U32
    flags: U32 = 0
    extension: U64 = 0

    def check(self, file_size: int) -> None:
        """Raise ImageError for what cannot be used. file_size: bytes of the file."""
        if self.magic not in (OLD, NEW) or self.version != 2:
            raise ImageError("Image not in Parallels format")
        if not self.track:
            raise ImageError("Invalid image: Zero sectors per track")
        if self.track > LARGEST_TRACK:
            raise ImageError("Invalid image: Too big cluster")
        if self.entries > MOST_ENTRIES:
            raise ImageError("Catalog too large")
        end = max(self.table_end, self.data_offset * SECTOR)
        if end > file_size:
            raise ImageError(
                f"the table of {self.entries} clusters needs {end} bytes, but the file has only "
                f"{file_size}"
            )

    @property
    def table_end(self) -> int:
        """Where in the file the table ends, bytes."""
        return self.SIZE + 4 * self.entries

    @property
    def unit(self) -> int:
        """What the table counts in, bytes."""
        return SECTOR if self.magic == OLD else self.track * SECTOR


class Parallels(ClusterImage):
    """A Parallels image in `file`. repair: it is to be checked. Raises ImageError, OSError."""

    format: ClassVar[str] = "parallels"

    def __init__(self, file: Image, *, readonly: bool, repair: bool) -> None:
        self.header = header = Header.read(file, "the Parallels header")
        header.check(file.size)
        sectors = header.sectors if header.magic == NEW else header.sectors & 0xFFFFFFFF
        if sectors > header.entries * header.track:
            raise ImageError(
                f"the disk has {sectors} sectors, but the table has only room for "
                f"{header.entries * header.track}"
            )
        if not readonly and header.in_use == IN_USE and not repair:
            raise ImageError(
                "parallels: Image was not closed correctly; cannot be opened read/write"
            )
        cluster = header.track * SECTOR
        super().__init__(file.name, sectors * SECTOR, cluster, readonly=readonly)
        self.children["file"] = file
        self.dirty = None  # as QEMU, which says nothing of it
        self.table = Table(file, Header.SIZE, header.entries, "I", "<")
        self._data = max(header.data_offset * SECTOR, header.table_end)
        self._extension: Extension | None = None
        if header.extension:
            self._find_extension()

    def _find_extension(self) -> None:
        """Raises ImageError where it is damaged or has what is unknown, if it is not dropped."""
        from pemu.block.formats.parallels_extension import Extension

        place = self.header.extension * SECTOR
        try:
            self._extension = Extension(self._file(), place, self.cluster, self.size)
        except ImageError:
            if self.readonly:
                raise

    def _drop_extension(self) -> None:
        self.header.extension = 0
        self._extension = None
        self._file().write(Header.OFFSETS["extension"], self.header.emit_field("extension"))
        self._file().flush()

    def within(self, offset: int, length: int, *, writes: bool = False) -> None:
        super().within(offset, length, writes=writes)
        if writes and self.header.extension:
            with self.lock:
                self._drop_extension()

    def bitmaps(self) -> list[Bitmap]:
        return self._extension.bitmaps() if self._extension is not None else []

    def dirty_ranges(self, name: str) -> Iterator[tuple[int, int]]:
        if self._extension is None:
            return super().dirty_ranges(name)
        return self._extension.dirty_ranges(name)

    def locate(self, index: int) -> int:
        entry = self.table[index]
        if not entry:
            return ABSENT
        if entry * self.header.unit < self.header.table_end:
            raise damaged()
        return entry * self.header.unit

    def allocate(self, index: int, count: int) -> tuple[int, int]:
        unit = self.header.unit
        first = -(-max(self._file().size, self._data) // unit)
        if first + self.cluster // unit * count > 0xFFFFFFFF:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return first * unit, count

    def connect(self, index: int, count: int, offset: int) -> None:
        unit = self.header.unit
        for number in range(count):
            self.table[index + number] = (offset + number * self.cluster) // unit

    def changes(self) -> int:
        return self.table.changed

    def write_tables(self) -> None:
        self._file().flush()
        self.table.write()

    def limits(self) -> Limits:
        return Limits()  # as QEMU, which says nothing of the clusters

    def check_image(self, repair: str = "") -> Check:
        with self.lock:
            found = Check(total_clusters=self.header.entries)
            self._check_use(found, repair)
            self._check_table(found, repair)
            self._check_end(found, repair)
            if repair:
                self.flush()
        return found

    def _check_use(self, found: Check, repair: str) -> None:
        if self.header.in_use != IN_USE:
            return
        said = "Repairing" if repair else "ERROR"
        found.corrupt(f"{said} image was not closed correctly", fixed=bool(repair))
        if repair:
            self.header.in_use = 0
            self._file().write(Header.OFFSETS["in_use"], self.header.emit_field("in_use"))

    def _check_table(self, found: Check, repair: str) -> None:
        fix, said = repair == "all", "Repairing" if repair == "all" else "ERROR"
        size, unit = self._file().size, self.header.unit
        owners: dict[int, int] = {}
        before = 0
        for index, entry in enumerate(self.table):
            if not entry:
                before = 0
                continue
            place = entry * unit
            if place < self.header.table_end or place + self.cluster > size:
                found.corrupt(f"{said} cluster {index} is outside image", fixed=fix)
                if fix:
                    self.table[index] = 0
                before = 0
                continue
            owner = owners.setdefault(entry, index)
            if owner != index:
                found.corrupt(f"ERROR clusters {owner} and {index} are at the same place")
            found.allocated_clusters += 1
            found.fragmented_clusters += bool(before) and place != before + self.cluster
            before = place
            found.end = max(found.end, place + self.cluster)

    def _check_end(self, found: Check, repair: str) -> None:
        end = max(found.end, self._data, self._extension.end if self._extension is not None else 0)
        lost = self._file().size - end
        found.end = end
        if lost <= 0:
            return
        said = "Repairing" if repair else "ERROR"
        message = f"{said} space leaked at the end of the image {lost}"
        found.leak(message, count=-(-lost // self.cluster), fixed=bool(repair))
        if repair:
            if self.header.extension and self._extension is None:  # damaged, and maybe cut off now
                self._drop_extension()
            self._file().truncate(end)


def _open(opening: Opening) -> Image:
    mode = opening.mode
    image = Parallels(opening.file(), readonly=mode.readonly, repair=mode.repair)
    if image.header.extension and not mode.readonly and not mode.repair:
        opening.graph.warn(
            f"'{opening.name}' has a format extension (dirty bitmaps), which is dropped when "
            "something is written"
        )
    return image


def _create(creation: Creation) -> None:
    wanted = creation.options["cluster_size"]
    if wanted >= 1 << 31:
        raise ImageError("Cluster size is too large")
    cluster = -(-wanted // SECTOR) * SECTOR
    if creation.size >= cluster << 32:
        raise ImageError("Image size is too large for this cluster size")
    entries = -(-creation.size // cluster)
    start = -(-(Header.SIZE + 4 * entries) // cluster) * cluster
    sectors = -(-creation.size // SECTOR)
    header = Header(
        cylinders=min(sectors // 16 // 32, 0xFFFFFFFF),
        track=cluster // SECTOR,
        entries=entries,
        sectors=sectors,
        data_offset=start // SECTOR,
    )
    with creation.file() as file:
        file.write(0, header.emit())
        file.truncate(start)


DRIVER = Driver(
    "parallels",
    _open,
    create=_create,
    creation=(Key("cluster_size", Size(), "Parallels image cluster size", default=1 << 20),),
)
