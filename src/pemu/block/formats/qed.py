"""QEMU's enhanced disks (QED): two levels of tables, backing files.

The tables are written in an order that leaves nothing to be repaired, so the mark that asks for
checks is never set; of others it is heeded.
"""

from __future__ import annotations

from typing import ClassVar

from pemu.block.clusters import ABSENT, ZERO, ClusterImage
from pemu.block.creation import Creation
from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.image import SECTOR, Check, Image, damaged
from pemu.block.opening import Opening
from pemu.block.structure import U32, U64, Structure
from pemu.block.table import Table, TableTree
from pemu.options.keyval import Key
from pemu.options.types import Size, Text

BACKING, NEED_CHECK, NO_PROBE = 1, 2, 4
"""Features: there is an image below, errors are likely, the image below is a raw one."""

CLUSTERS = range(4096, (64 << 20) + 1)
TABLES = range(1, 17)
"""Bytes of a cluster, clusters of a table: powers of two among these."""

LONGEST_NAME = 1023

UNALLOCATED, ZEROED = 0, 1
"""Entries of the second level that are no places."""


class Header(Structure, byte_order="<"):
    """At the beginning of the file; the name of the image below follows."""

    magic: U32 = 0x00444551
    cluster_size: U32
    table_size: U32
    header_size: U32 = 1
    features: U64 = 0
    compatible_features: U64 = 0
    autoclear_features: U64 = 0
    l1_offset: U64
    image_size: U64
    backing_offset: U32 = 0
    backing_length: U32 = 0

    def check(self, file_size: int) -> None:
        """Raise ImageError for what cannot be used. file_size: bytes of the file."""
        if self.magic != Header.magic:
            raise ImageError("Image not in QED format")
        unknown = self.features & ~(BACKING | NEED_CHECK | NO_PROBE)
        if unknown:
            raise ImageError(f"Unsupported QED features: {unknown:x}")
        if self.cluster_size not in CLUSTERS or not power_of_two(self.cluster_size):
            raise ImageError("QED cluster size is invalid")
        if self.table_size not in TABLES or not power_of_two(self.table_size):
            raise ImageError("QED table size is invalid")
        if self.image_size % SECTOR or self.image_size > self.largest:
            raise ImageError("QED image size is invalid")
        table, start = self.cluster_size * self.table_size, self.l1_offset
        if start % self.cluster_size or not self.first <= start <= file_size - table:
            raise ImageError("QED table offset is invalid")
        if self.features & BACKING:
            if self.backing_offset + self.backing_length > self.first:
                raise ImageError("QED backing filename offset is invalid")
            if self.backing_length > LONGEST_NAME:
                raise ImageError("Failed to read backing filename")

    @property
    def entries(self) -> int:
        """Entries of a table."""
        return self.cluster_size * self.table_size // 8

    @property
    def largest(self) -> int:
        """Bytes of the largest image."""
        return min(self.entries**2 * self.cluster_size, (1 << 63) - 1)

    @property
    def first(self) -> int:
        """Where in the file tables and data can begin, bytes."""
        return max(self.header_size, 1) * self.cluster_size


def power_of_two(number: int) -> bool:
    """Whether `number` is a power of two."""
    return number > 0 and not number & (number - 1)


class Qed(ClusterImage):
    """A QED image in `file`. repair: it is to be checked. Raises ImageError, OSError."""

    format: ClassVar[str] = "qed"

    def __init__(self, file: Image, *, readonly: bool, repair: bool) -> None:
        self.header = header = Header.read(file, "the QED header")
        header.check(file.size)
        super().__init__(file.name, header.image_size, header.cluster_size, readonly=readonly)
        self.children["file"] = file
        self.dirty = bool(header.features & NEED_CHECK)
        top = Table(file, header.l1_offset, header.entries, "Q", "<")
        self.tables = TableTree(top, header.entries, "Q", "<", unit=1, first=header.first)
        if header.features & BACKING:
            name = file.read(header.backing_offset, header.backing_length)
            self.backing_file = name.decode(errors="surrogateescape")
            self.backing_format = "raw" if header.features & NO_PROBE else ""
        if readonly or repair:
            return
        if header.features & NEED_CHECK:
            self.check_image("all")
            self.dirty = bool(header.features & NEED_CHECK)
        if header.autoclear_features:
            header.autoclear_features = 0
            self._write_header()

    def _write_header(self) -> None:
        self._file().write(0, self.header.emit())

    def locate(self, index: int) -> int:
        return self._place(self.tables[index])

    def _place(self, entry: int) -> int:
        if entry in (UNALLOCATED, ZEROED):
            return ABSENT if entry == UNALLOCATED else ZERO
        if not self._valid(entry):
            raise damaged()
        return entry

    def _valid(self, place: int, length: int = 1) -> bool:
        """Whether clusters or a table of `length` bytes can be at `place`."""
        size = self._file().size
        return place % self.cluster == 0 and self.header.first <= place <= size - length

    def stretch(self, index: int) -> tuple[int, int]:
        return self.tables.stretch(index, self._place, ABSENT)

    def allocate(self, index: int, count: int) -> tuple[int, int]:
        self._add_table(index)
        count = min(count, self.header.entries - index % self.header.entries)
        return self._end(), count

    def _end(self) -> int:
        """The first cluster beyond the end of the file."""
        return -(-self._file().size // self.cluster) * self.cluster

    def _add_table(self, index: int) -> None:
        """Have a table for cluster `index`."""
        number = index // self.header.entries
        if self.tables.table(number) is None:
            place = self._end()
            self._file().truncate(place + self.tables.bytes)
            self.tables.add(number, place)

    def connect(self, index: int, count: int, offset: int) -> None:
        for number in range(count):
            self.tables[index + number] = offset + number * self.cluster

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        size = self.cluster
        with self.lock:
            for at, part, place in list(self.runs(offset, length)):
                first, last = -(-at // size), (at + part) // size
                if place != ABSENT or self.backing is None or first >= last:
                    super()._write_zeroes(at, part, unmap=unmap)
                    continue
                super()._write_zeroes(at, first * size - at, unmap=unmap)
                for index in range(first, last):
                    self._add_table(index)
                    self.tables[index] = ZEROED
                super()._write_zeroes(last * size, at + part - last * size, unmap=unmap)

    def changes(self) -> int:
        return self.tables.changed

    def write_tables(self) -> None:
        self._file().flush()
        self.tables.write()

    def truncate(self, size: int, *, preallocation: str = "off") -> None:
        if preallocation != "off":
            raise ImageError(f"Unsupported preallocation mode '{preallocation}'")
        if size % SECTOR or size > self.header.largest:
            raise ImageError("Invalid image size specified")
        if size < self.size:
            raise ImageError("Shrinking images is currently not supported")
        with self.lock:
            self.header.image_size = self.size = size
            self._write_header()

    def set_backing(self, name: str, format: str) -> None:
        data = name.encode(errors="surrogateescape")
        header = self.header
        if Header.SIZE + len(data) > min(header.first, Header.SIZE + LONGEST_NAME):
            raise ImageError(f"The name of the backing file is too long: {len(data)} bytes")
        with self.lock:
            header.features &= ~(BACKING | NO_PROBE)
            if data:
                header.features |= BACKING | (NO_PROBE if format == "raw" else 0)
            header.backing_offset, header.backing_length = Header.SIZE, len(data)
            self._file().write(0, header.emit() + data)
            self.backing_file, self.backing_format = name, format

    def check_image(self, repair: str = "") -> Check:
        with self.lock:
            found = Check(total_clusters=-(-self.size // self.cluster))
            fix = repair == "all"
            used = bytearray(-(-self._file().size // self.cluster))
            used[: self.header.first // self.cluster] = b"\1" * (self.header.first // self.cluster)
            self._use(used, self.header.l1_offset, self.header.table_size)
            for number in range(-(-found.total_clusters // self.header.entries)):
                self._check_table(number, used, found, fix=fix)
            lost = used.count(0)
            if lost:
                found.leak(f"{lost} clusters belong to no table", count=lost)
            broken = found.corruptions > found.corruptions_fixed
            if repair and not broken and self.header.features & NEED_CHECK:
                self.flush()
                self.header.features &= ~NEED_CHECK
                self._write_header()
            if repair:
                self.flush()
        return found

    def _use(self, used: bytearray, place: int, count: int) -> bool:
        """Note that clusters are used; whether nobody else does."""
        first = place // self.cluster
        free = not any(used[first : first + count])
        used[first : first + count] = b"\1" * min(count, len(used) - first)
        return free

    def _check_table(self, number: int, used: bytearray, found: Check, *, fix: bool) -> None:
        place = self.tables.top[number]
        if not place:
            return
        said = "Repairing" if fix else "ERROR"
        table_bytes = self.tables.bytes
        if not self._valid(place, table_bytes) or not self._use(
            used, place, self.header.table_size
        ):
            found.corrupt(f"{said} table {number} at {place:#x} is not there", fixed=fix)
            if fix:
                self.tables.remove(number)
            return
        before = 0
        for inside in range(self.header.entries):
            index = number * self.header.entries + inside
            entry = self.tables[index]
            if entry in (UNALLOCATED, ZEROED):
                continue
            if not self._valid(entry):
                found.corrupt(f"{said} cluster {index} at {entry:#x} is not there", fixed=fix)
                if fix:
                    self.tables[index] = UNALLOCATED
                continue
            if not self._use(used, entry, 1):
                found.corrupt(f"ERROR cluster {index} at {entry:#x} is used twice")
            found.allocated_clusters += 1
            found.fragmented_clusters += bool(before) and entry != before + self.cluster
            before = entry


def _open(opening: Opening) -> Image:
    mode = opening.mode
    image = Qed(opening.file(), readonly=mode.readonly, repair=mode.repair)
    below = opening.backing(image.backing_file, image.backing_format)
    if below is not None:
        image.children["backing"] = below
    return image


def _create(creation: Creation) -> None:
    options = creation.options
    cluster, table = options["cluster_size"], options["table_size"]
    table = 4 if table is None else table
    if cluster not in CLUSTERS or not power_of_two(cluster):
        raise ImageError(
            f"QED cluster size must be within range [{CLUSTERS[0]}, {CLUSTERS[-1]}] and power of 2"
        )
    if table not in TABLES or not power_of_two(table):
        raise ImageError(
            f"QED table size must be within range [{TABLES[0]}, {TABLES[-1]}] and power of 2"
        )
    size = -(-creation.size // SECTOR) * SECTOR
    header = Header(
        cluster_size=cluster,
        table_size=table,
        l1_offset=cluster,
        image_size=size,
    )
    if size > header.largest:
        raise ImageError(
            "QED image size must be a non-zero multiple of cluster size and less than "
            f"{header.largest} bytes"
        )
    name = (options["backing_file"] or "").encode(errors="surrogateescape")
    if name:
        header.features = BACKING | (NO_PROBE if options["backing_fmt"] == "raw" else 0)
        header.backing_offset, header.backing_length = Header.SIZE, len(name)
        header.check(header.first + cluster * table)
    with creation.file() as file:
        file.write(0, header.emit() + name)
        file.truncate(header.first + cluster * table)


DRIVER = Driver(
    "qed",
    _open,
    children=("file", "backing"),
    create=_create,
    creation=(
        Key("backing_file", Text(), "File name of a base image"),
        Key("backing_fmt", Text(), "Image format of the base image"),
        Key("cluster_size", Size(), "Cluster size (in bytes)", default=65536),
        Key("table_size", Size(), "L1/L2 table size (in clusters)"),
    ),
)
