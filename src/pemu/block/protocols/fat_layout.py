"""A directory of the host laid out as a FAT file system: boot sector, tables, directories.

What is at the beginning, up to the clusters, is kept in memory, as are directories; files are only
named. Source: Microsoft's FAT specification 1.03.
"""

from __future__ import annotations

import os
import stat
import struct
import time
import zlib
from array import array
from dataclasses import dataclass, field
from typing import NamedTuple

from pemu.block.error import ImageError
from pemu.block.structure import U8, U16, U32, Annotated, Structure

SECTOR = 512
READONLY, VOLUME, DIRECTORY, ARCHIVE, LONG_NAME = 0x01, 0x08, 0x10, 0x20, 0x0F
NAME_UNITS = 13
"""UTF-16 units of a name that one entry of long names takes."""

LONGEST_NAME = 255
DEEPEST = 64
MOST_FILES = 100_000
PARTITION = 63
"""The sector at which the partition of a hard disk begins."""

_FORBIDDEN = '"*/:<>?\\|'
_SHORT = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'()-@^_`{}~")


class Entry(Structure, byte_order="<"):
    """A file in a directory."""

    name: Annotated[bytes, 11]
    attributes: U8
    case: U8 = 0
    created_tenths: U8 = 0
    created_time: U16 = 0
    created_date: U16 = 0
    read_date: U16 = 0
    cluster_high: U16 = 0
    time: U16 = 0
    date: U16 = 0
    cluster_low: U16 = 0
    size: U32 = 0


class LongEntry(Structure, byte_order="<"):
    """Part of a long name; those of one name precede its entry, the last part first."""

    order: U8
    first: Annotated[bytes, 10]
    attributes: U8 = LONG_NAME
    kind: U8 = 0
    checksum: U8
    second: Annotated[bytes, 12]
    cluster: U16 = 0
    third: Annotated[bytes, 4]


class Geometry(NamedTuple):
    """A disk. bits: of the table's entries; per_cluster: sectors of a cluster."""

    bits: int
    cylinders: int
    heads: int
    sectors: int
    per_cluster: int
    floppy: bool

    @property
    def total(self) -> int:
        """Sectors of the disk."""
        return self.cylinders * self.heads * self.sectors


def geometry(bits: int, *, floppy: bool) -> Geometry:
    """The disk of a kind; bits 0 for the usual one. Raises ImageError."""
    if bits == 32 and floppy:
        raise ImageError("FAT32 does not fit on a floppy; use 12 or 16")
    if floppy:
        sectors = 18 if bits == 12 else 36
        return Geometry(bits or 12, 80, 2, sectors, 1 if bits else 2, floppy=True)
    cylinders = 64 if bits == 12 else 1024
    return Geometry(bits or 16, cylinders, 16, 63, 8 if bits == 32 else 16, floppy=False)


@dataclass
class Node:
    """A file or directory. path: on the host. cluster: its first one, 0 for none."""

    name: str
    path: str
    directory: bool
    size: int = 0
    mtime: float = 0
    writable: bool = True
    children: list[Node] = field(default_factory=list)
    cluster: int = 0
    short: bytes = b""
    contents: bytes = b""


def scan(path: str) -> Node:
    """The tree of a directory: regular files and directories, links to files as such."""
    try:
        os.listdir(path)
    except OSError as error:
        raise ImageError(f"Could not read directory {path}: {error.strerror}") from None
    count = [0]
    return _scan(path, "", 0, count)


def _scan(path: str, name: str, depth: int, count: list[int]) -> Node:
    node = Node(name, path, directory=True, mtime=os.stat(path).st_mtime)
    names: set[str] = set()
    shorts: set[bytes] = set()
    if depth >= DEEPEST:
        raise ImageError(f"'{path}' is more than {DEEPEST} directories deep")
    for one in sorted(os.scandir(path), key=lambda entry: entry.name):
        try:
            child = _child(one, depth, count)
        except OSError:  # it has gone, or may not be looked at
            continue
        if child is None:
            continue
        count[0] += 1
        if count[0] > MOST_FILES:
            raise ImageError(f"the directory has more than {MOST_FILES} files")
        child.name = _unique(_cleaned(one.name), names)
        child.short = _short(child.name, shorts)
        node.children.append(child)
    return node


def _child(entry: os.DirEntry[str], depth: int, count: list[int]) -> Node | None:
    if entry.is_dir(follow_symlinks=False):
        return _scan(entry.path, entry.name, depth + 1, count)
    facts = entry.stat()
    if not stat.S_ISREG(facts.st_mode) or not os.access(entry.path, os.R_OK):
        return None
    writable = os.access(entry.path, os.W_OK)
    return Node(entry.name, entry.path, False, facts.st_size, facts.st_mtime, writable)


def _cleaned(name: str) -> str:
    """A name that FAT can have."""
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    name = "".join("_" if one in _FORBIDDEN or one < " " else one for one in name).rstrip(". ")
    while len(name.encode("utf-16-le")) // 2 > LONGEST_NAME:
        name = name[:-1]
    return name or "_"


def _unique(name: str, taken: set[str]) -> str:
    number, found = 1, name
    while found.casefold() in taken:
        found = f"{name[:240]}~{number}"
        number += 1
    taken.add(found.casefold())
    return found


def _short(name: str, taken: set[bytes]) -> bytes:
    """The 8.3 name, 11 bytes, another one than those that are `taken`."""
    stem, _, end = name.upper().rpartition(".") if "." in name[1:] else (name.upper(), "", "")
    clean = "".join(one if one in _SHORT else "_" for one in stem.replace(" ", "").replace(".", ""))
    ending = "".join(one if one in _SHORT else "_" for one in end.replace(" ", ""))[:3]
    fits = clean == stem and len(clean) <= 8 and len(end) <= 3 and clean
    found = f"{clean[:8]:8}{ending:3}".encode("ascii")
    number = 1
    while not fits or found in taken:
        mark = f"~{number}"
        found = f"{clean[: 8 - len(mark)] + mark:8}{ending:3}".encode("ascii")
        number += 1
        fits = "yes"
    taken.add(found)
    return found


def checksum(short: bytes) -> int:
    """What long names know their entry by."""
    total = 0
    for byte in short:
        total = ((total & 1) << 7 | total >> 1) + byte & 0xFF
    return total


def _needs_long(node: Node) -> bool:
    short = node.short.decode("ascii")
    end = short[8:].rstrip()
    return node.name != short[:8].rstrip() + (f".{end}" if end else "")


def _entries_of(node: Node) -> int:
    """Entries that a file takes in its directory."""
    if not _needs_long(node):
        return 1
    return 1 + -(-len(node.name.encode("utf-16-le")) // 2 // NAME_UNITS)


def fat_time(seconds: float) -> tuple[int, int]:
    """Time and date as FAT has them, in local time."""
    now = time.localtime(max(seconds, 0))
    year = min(max(now.tm_year - 1980, 0), 127)
    clock = now.tm_hour << 11 | now.tm_min << 5 | min(now.tm_sec, 59) // 2
    return clock, year << 9 | now.tm_mon << 5 | now.tm_mday


def _entry(short: bytes, attributes: int, cluster: int, node: Node) -> bytes:
    clock, date = fat_time(node.mtime)
    return Entry(
        name=short,
        attributes=attributes,
        created_time=clock,
        created_date=date,
        read_date=date,
        cluster_high=cluster >> 16,
        time=clock,
        date=date,
        cluster_low=cluster & 0xFFFF,
        size=0 if node.directory else node.size,
    ).emit()


def _named_entry(node: Node) -> bytes:
    """A file's entries: its long name's, then its own."""
    if node.directory:
        attributes = DIRECTORY
    else:
        attributes = ARCHIVE if node.writable else ARCHIVE | READONLY
    own = _entry(node.short, attributes, node.cluster, node)
    if not _needs_long(node):
        return own
    units = node.name.encode("utf-16-le")
    count = _entries_of(node) - 1
    if len(units) < count * NAME_UNITS * 2:
        units = (units + b"\0\0").ljust(count * NAME_UNITS * 2, b"\xff")
    found = b""
    for number in range(count, 0, -1):
        part = units[(number - 1) * NAME_UNITS * 2 : number * NAME_UNITS * 2]
        found += LongEntry(
            order=number | (0x40 if number == count else 0),
            first=part[:10],
            checksum=checksum(node.short),
            second=part[10:22],
            third=part[22:],
        ).emit()
    return found + own


class Layout:
    """The file system of a tree. head: all that precedes the clusters.

    start: where the first cluster is, bytes. pieces: what clusters hold: the first one of each
    (counted from 0), and the file or directory.
    """

    def __init__(self, root: Node, disk: Geometry, label: str) -> None:
        self.disk = disk
        self.root = root
        self.cluster = disk.per_cluster * SECTOR
        self.first_sector = 0 if disk.floppy else PARTITION
        self.reserved = 32 if disk.bits == 32 else 1
        self.root_entries = 0 if disk.bits == 32 else 512
        sectors = disk.total - self.first_sector
        rest = sectors - self.reserved - self.root_entries // 16
        self.table_sectors = -(-(rest // disk.per_cluster + 2) * disk.bits // 8 // SECTOR)
        self.count = (rest - 2 * self.table_sectors) // disk.per_cluster
        before = self.reserved + 2 * self.table_sectors + self.root_entries // 16
        self.start = (self.first_sector + before) * SECTOR
        self.pieces: list[tuple[int, Node]] = []
        self._table = array("I", [0]) * (self.count + 2)
        end = {12: 0xFFF, 16: 0xFFFF, 32: 0x0FFFFFFF}[disk.bits]
        self._end = end
        self._table[0], self._table[1] = end & ~0xFF | (0xF0 if disk.floppy else 0xF8), end
        self._next = 2
        self._label = label.encode("ascii", "replace").upper()[:11].ljust(11)
        if disk.bits == 32:
            self._place(root, self._directory_bytes(root, top=True))
        elif sum(map(_entries_of, root.children)) + 1 > self.root_entries:
            raise ImageError(
                f"the directory has too many files for the root of FAT{disk.bits}: it has room for "
                f"{self.root_entries} entries, and long names take several; put them in another "
                "directory below"
            )
        self._allocate(root)
        self._fill(root, None)
        self.head = self._head(sectors)

    def _directory_bytes(self, node: Node, *, top: bool) -> int:
        return 32 * (sum(map(_entries_of, node.children)) + (1 if top else 2))

    def _place(self, node: Node, length: int) -> None:
        """Give a file or directory its clusters, one after the other."""
        count = -(-length // self.cluster)
        if self._next + count > self.count + 2:
            capacity = (self.disk.total - self.first_sector) / 2000
            raise ImageError(
                f"Directory does not fit in FAT{self.disk.bits} (capacity {capacity:.2f} MB)"
            )
        if not count:
            return
        node.cluster = self._next
        self.pieces.append((self._next - 2, node))
        last = self._next + count - 1
        self._table[self._next : last] = array("I", range(self._next + 1, last + 1))
        self._table[last] = self._end
        self._next += count

    def _allocate(self, node: Node) -> None:
        for child in node.children:
            if child.directory:
                self._place(child, self._directory_bytes(child, top=False))
                self._allocate(child)
            else:
                self._place(child, child.size)

    def _fill(self, node: Node, above: Node | None) -> None:
        """Write the directories."""
        if above is None:
            found = [_entry(self._label, VOLUME, 0, node)]
        else:
            up = 0 if above is self.root else above.cluster
            found = [
                _entry(b".".ljust(11), DIRECTORY, node.cluster, node),
                _entry(b"..".ljust(11), DIRECTORY, up, above),
            ]
        for child in node.children:
            found.append(_named_entry(child))
            if child.directory:
                self._fill(child, node)
        node.contents = b"".join(found)

    def _head(self, sectors: int) -> bytes:
        table = packed_table(self._table, self.disk.bits).ljust(self.table_sectors * SECTOR, b"\0")
        root = self.root.contents.ljust(self.root_entries * 32, b"\0")
        if self.disk.bits == 32:
            root = b""
        boot = self._boot(sectors).ljust(self.reserved * SECTOR, b"\0")
        if self.disk.bits == 32:
            used = self._next - 2
            information = struct.pack("<I480xIII12xI", 0x41615252, 0x61417272,
                                      self.count - used, self._next, 0xAA550000)  # fmt: skip
            first = boot[:SECTOR] + information
            boot = first + boot[2 * SECTOR : 6 * SECTOR] + first + boot[8 * SECTOR :]
        return self._master(sectors) + boot + table + table + root

    def _boot(self, sectors: int) -> bytes:
        disk = self.disk
        serial = zlib.crc32(os.path.abspath(self.root.path).encode("utf-8", "surrogateescape"))
        small = sectors < 0x10000
        wide = disk.bits == 32
        boot = struct.pack(
            "<3s8sHBHBHHBHHHII",
            b"\xeb\x58\x90" if wide else b"\xeb\x3c\x90",
            b"MSWIN4.1",
            SECTOR,
            disk.per_cluster,
            self.reserved,
            2,
            self.root_entries,
            sectors if small else 0,
            0xF0 if disk.floppy else 0xF8,
            0 if wide else self.table_sectors,
            disk.sectors,
            disk.heads,
            self.first_sector,
            0 if small else sectors,
        )
        if wide:
            boot += struct.pack("<IHHIHH12x", self.table_sectors, 0, 0, self.root.cluster, 1, 6)
        kind = f"FAT{disk.bits}".encode().ljust(8)
        drive = 0 if disk.floppy else 0x80
        boot += struct.pack("<BBBI11s8s", drive, 0, 0x29, serial, self._label, kind)
        return boot.ljust(SECTOR - 2, b"\0") + b"\x55\xaa"

    def _master(self, sectors: int) -> bytes:
        """The partition table of a hard disk."""
        if self.disk.floppy:
            return b""
        kind = {12: 0x01, 16: 0x06, 32: 0x0C}[self.disk.bits]
        last = self.disk.cylinders - 1
        entry = struct.pack(
            "<B3sB3sII", 0x80, bytes((1, 1, 0)), kind,
            bytes((self.disk.heads - 1, self.disk.sectors | last >> 8 << 6, last & 0xFF)),
            self.first_sector, sectors,
        )  # fmt: skip
        table = bytes(440) + b"PEMU\0\0" + entry
        return (table.ljust(SECTOR - 2, b"\0") + b"\x55\xaa").ljust(PARTITION * SECTOR, b"\0")


def packed_table(entries: array[int], bits: int) -> bytes:
    """The table as it is on disk."""
    if bits == 32:
        return struct.pack(f"<{len(entries)}I", *entries)
    if bits == 16:
        return struct.pack(f"<{len(entries)}H", *entries)
    pairs = [*entries, 0][: len(entries) + len(entries) % 2]
    packed = bytearray()
    for low, high in zip(pairs[::2], pairs[1::2], strict=True):
        packed += (low | high << 12).to_bytes(3, "little")
    return bytes(packed)


def unpacked_table(data: bytes, bits: int, count: int) -> array[int]:
    """The first `count` entries of a table on disk."""
    if bits == 32:
        return array("I", (one & 0x0FFFFFFF for one in struct.unpack_from(f"<{count}I", data)))
    if bits == 16:
        return array("I", struct.unpack_from(f"<{count}H", data))
    found = array("I")
    for at in range(0, -(-count // 2) * 3, 3):
        pair = int.from_bytes(data[at : at + 3], "little")
        found.extend((pair & 0xFFF, pair >> 12))
    return found[:count]
