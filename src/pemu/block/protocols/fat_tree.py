"""The files of a FAT file system as a guest has left it, read with distrust."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from pemu.block.protocols.fat_layout import (
    DEEPEST,
    DIRECTORY,
    LONG_NAME,
    MOST_FILES,
    SECTOR,
    VOLUME,
    Entry,
    Layout,
    LongEntry,
    checksum,
    unpacked_table,
)

LOWER_STEM, LOWER_END = 0x08, 0x10
"""Bits of an entry's case: its 8.3 name is meant in small letters."""


@dataclass
class Found:
    """A file or directory: its names from the root on, its clusters (from 0), its bytes."""

    names: tuple[str, ...]
    directory: bool
    clusters: tuple[int, ...]
    size: int


@dataclass
class Tree:
    """All that was found. damage: what is wrong with the rest, [] where nothing is."""

    files: list[Found] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)


class Reader:
    """Reads the tree of a file system laid out as `layout`. read: offset, length -> bytes."""

    def __init__(self, layout: Layout, read: Callable[[int, int], bytes]) -> None:
        self._layout = layout
        self._read = read
        place = (layout.first_sector + layout.reserved) * SECTOR
        data = read(place, layout.table_sectors * SECTOR)
        self._table: array[int] = unpacked_table(data, layout.disk.bits, layout.count + 2)
        self._last = {12: 0xFF8, 16: 0xFFF8, 32: 0x0FFFFFF8}[layout.disk.bits]
        self._used = bytearray(layout.count)
        self.tree = Tree()

    def run(self) -> Tree:
        """The tree."""
        layout = self._layout
        if layout.disk.bits == 32:
            clusters = self._chain(layout.root.cluster)
            data = self._contents(clusters) if clusters is not None else b""
        else:
            size = layout.root_entries * 32
            data = self._read(layout.start - size, size)
        self._directory(data, ())
        return self.tree

    def _chain(self, first: int) -> tuple[int, ...] | None:
        """The clusters from `first` on, None where they cannot be."""
        found = []
        at = first
        while at < self._last:
            if not 2 <= at < len(self._table) or self._used[at - 2]:
                return None
            self._used[at - 2] = 1
            found.append(at - 2)
            at = self._table[at]
        return tuple(found)

    def _contents(self, clusters: tuple[int, ...]) -> bytes:
        size, start = self._layout.cluster, self._layout.start
        return b"".join(self._read(start + one * size, size) for one in clusters)

    def _directory(self, data: bytes, names: tuple[str, ...]) -> None:
        if len(names) > DEEPEST:
            self._wrong(names, "is too deep")
            return
        long: list[LongEntry] = []
        for at in range(0, len(data) // 32 * 32, 32):
            if data[at] == 0:
                break
            entry = Entry.parse(data, "", at)
            if data[at] == 0xE5:
                long = []
            elif entry.attributes & 0x3F == LONG_NAME:
                long.append(LongEntry.parse(data, "", at))
            else:
                if not entry.attributes & VOLUME and entry.name.strip() not in (b".", b".."):
                    self._file(entry, long, names)
                long = []

    def _file(self, entry: Entry, long: list[LongEntry], names: tuple[str, ...]) -> None:
        name = _long_name(long, entry.name) or _short_name(entry)
        path = (*names, name)
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            self._wrong(path, "has a name that cannot be")
            return
        if len(self.tree.files) >= MOST_FILES:
            self._wrong(path, "is one file too many")
            return
        first = entry.cluster_low | entry.cluster_high << 16
        directory = bool(entry.attributes & DIRECTORY)
        clusters = self._chain(first) if first else ()
        if clusters is None or (directory and not clusters):
            self._wrong(path, "has clusters that cannot be")
            return
        if not directory and entry.size > len(clusters) * self._layout.cluster:
            self._wrong(path, "is longer than its clusters")
            return
        self.tree.files.append(Found(path, directory, clusters, entry.size))
        if directory:
            self._directory(self._contents(clusters), path)

    def _wrong(self, names: tuple[str, ...], what: str) -> None:
        self.tree.damage.append(f"'{'/'.join(names)}' {what}")


def _long_name(parts: list[LongEntry], short: bytes) -> str:
    """The long name that precedes an entry, '' where there is none, or another's."""
    if not parts or parts[0].order & 0x40 == 0:
        return ""
    orders = [one.order & 0x3F for one in parts]
    if orders != list(range(len(parts), 0, -1)):
        return ""
    if any(one.checksum != checksum(short) for one in parts):
        return ""
    units = b"".join(one.first + one.second + one.third for one in reversed(parts))
    name = units.decode("utf-16-le", "replace")
    return name.split("\0", 1)[0].rstrip("\uffff")


def _short_name(entry: Entry) -> str:
    name = entry.name.replace(b"\x05", b"\xe5", 1) if entry.name[0] == 5 else entry.name
    stem = name[:8].decode("cp437").rstrip()
    end = name[8:].decode("cp437").rstrip()
    if entry.case & LOWER_STEM:
        stem = stem.lower()
    if entry.case & LOWER_END:
        end = end.lower()
    return f"{stem}.{end}" if end else stem
