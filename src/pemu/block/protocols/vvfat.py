"""A directory of the host as a disk with a FAT file system: `fat:`, `fat:floppy:`, `fat:rw:`.

Files are read when the guest reads them. With `rw`, what the guest writes is kept in a temporary
file; at each flush, files whose clusters make sense are written back, each to a new file that then
takes the old one's place, and at the end what the guest has deleted is removed, unless the file
system is damaged. Nothing outside the directory is written, symbolic links are not followed.
"""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, ClassVar

from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.image import SECTOR, Extent, Image, Limits
from pemu.block.opening import Opening
from pemu.block.pieces import Buffers, Pieces, clear, take
from pemu.block.protocols.fat_layout import Layout, Node, geometry, scan
from pemu.block.protocols.fat_tree import Found, Reader
from pemu.options.keyval import Key
from pemu.options.types import Bool, Enum, Text

KEPT = 32
"""Files that are kept open."""

Names = tuple[str, ...]


class Vvfat(Image):
    """The directory `path`. bits: 12, 16, 32, or 0 for the usual. Raises ImageError, OSError."""

    format: ClassVar[str] = "vvfat"

    def __init__(self, path: str, bits: int, label: str, *, floppy: bool, readonly: bool) -> None:
        self.layout = layout = Layout(scan(path), geometry(bits, floppy=floppy), label)
        super().__init__(path, layout.disk.total * SECTOR, readonly=readonly)
        self._pieces = [node for _, node in layout.pieces]
        self._starts = [first for first, _ in layout.pieces]
        self._open: OrderedDict[str, int] = OrderedDict()
        self._written = bytearray(layout.disk.total) if not readonly else bytearray()
        self._changed = False
        self._fresh: set[int] = set()
        self._known: dict[Names, tuple[str, Found]] = {}
        self._fd = -1
        self.writable = not readonly
        if not readonly:
            self._know(layout.root, ())
            with tempfile.TemporaryFile(dir=os.environ.get("TMPDIR") or "/var/tmp") as file:
                self._fd = os.dup(file.fileno())

    def _know(self, node: Node, names: Names) -> None:
        """Note which files the guest sees."""
        for child in node.children:
            path = (*names, child.name)
            count = -(-child.size // self.layout.cluster)
            first = child.cluster - 2
            clusters = tuple(range(first, first + count)) if child.cluster else ()
            found = Found(path, child.directory, () if child.directory else clusters, child.size)
            self._known[_folded(path)] = (child.path, found)
            self._know(child, path)

    # Reading

    def _runs(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """The pieces of a range of sectors: offset, length, whether it has been written."""
        end = offset + length
        while offset < end:
            first = offset // SECTOR
            here = self._written[first] if self._written else 0
            last = -(-end // SECTOR)
            other = self._written.find(1 - here, first, last) if self._written else -1
            stop = end if other < 0 else min(other * SECTOR, end)
            yield offset, stop - offset, bool(here)
            offset = stop

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        rest = list(buffers)
        with self.lock:
            for at, length, written in list(self._runs(offset, sum(map(len, buffers)))):
                taken, rest = take(rest, length)
                for view in taken:
                    if written:
                        _fill(self._fd, at, view)
                    else:
                        self._read_original(at, view)
                    at += len(view)

    def _read_original(self, offset: int, view: memoryview) -> None:
        head, start, size = self.layout.head, self.layout.start, self.layout.cluster
        while len(view):
            if offset < start:
                part = head[offset : min(start, offset + len(view))]
                view[: len(part)] = part
                count = len(part)
            else:
                cluster = (offset - start) // size
                number = bisect_right(self._starts, cluster) - 1
                after = self._starts[number + 1] if number + 1 < len(self._starts) else None
                stop = start + after * size if after is not None else self.size
                count = min(len(view), stop - offset)
                place = offset - start - self._starts[number] * size if number >= 0 else 0
                node = self._pieces[number] if number >= 0 else None
                self._read_node(node, place, view[:count])
            offset += count
            view = view[count:]

    def _read_node(self, node: Node | None, offset: int, view: memoryview) -> None:
        if node is None:
            clear(view)
        elif node.directory:
            part = node.contents[offset : offset + len(view)]
            view[: len(part)] = part
            clear(view[len(part) :])
        else:
            left = max(min(node.size - offset, len(view)), 0)
            if left:
                _fill(self._descriptor(node.path), offset, view[:left])
            clear(view[left:])

    def _descriptor(self, path: str) -> int:
        """The open file at `path`."""
        fd = self._open.pop(path, None)
        if fd is None:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            if len(self._open) >= KEPT:
                os.close(self._open.popitem(last=False)[1])
        self._open[path] = fd
        return fd

    def _status(self, offset: int, length: int) -> Extent:
        return Extent(length)

    def limits(self) -> Limits:
        return Limits(alignment=SECTOR)

    # Writing

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        with self.lock:
            first = offset // SECTOR
            for piece in pieces:
                view = memoryview(piece)
                done = 0
                while done < len(view):
                    done += os.pwrite(self._fd, view[done:], offset + done)
                offset += len(view)
            last = -(-offset // SECTOR)
            self._written[first:last] = b"\1" * (last - first)
            self._changed = True
            start, size = self.layout.start // SECTOR, self.layout.disk.per_cluster
            if last > start:
                fresh = range(max(first - start, 0) // size, (last - 1 - start) // size + 1)
                self._fresh.update(fresh)

    def flush(self) -> None:
        if not self.readonly:
            with self.lock:
                self._write_back(removes=False)

    def _write_back(self, *, removes: bool) -> None:
        """Have the directory be as the guest sees it. Raises OSError.

        removes: what is no longer there is removed, too.
        """
        if not self._changed and not removes:
            return
        tree = Reader(self.layout, self.read).run()
        problems = list(tree.damage)
        seen: set[Names] = set()
        places: dict[Names, str] = {(): self.layout.root.path}
        for found in tree.files:
            key = _folded(found.names)
            seen.add(key)
            above = places.get(_folded(found.names[:-1]))
            if above is None:
                continue
            try:
                places[key] = self._bring(found, key, above)
            except OSError as error:
                problems.append(f"'{'/'.join(found.names)}': {error.strerror or error}")
        self._fresh.clear()
        self._changed = False
        if removes and not problems:
            self._remove(seen)
        if problems and removes:
            raise OSError(
                f"{self.name}: not everything could be written back: {'; '.join(problems[:5])}"
            )

    def _bring(self, found: Found, key: Names, above: str) -> str:
        """Write back one file or directory in the directory `above`; its path."""
        path, before = self._known.get(key, (os.path.join(above, found.names[-1]), None))
        if found.directory:
            if before is None or not before.directory:
                os.mkdir(path)
            self._known[key] = (path, found)
            return path
        if before is None and os.path.lexists(path):
            raise FileExistsError("the host has got a file of that name meanwhile")
        same = before is not None and (before.clusters, before.size) == (found.clusters, found.size)
        if not same or not self._fresh.isdisjoint(found.clusters):
            self._save(found, path, above)
            self._known[key] = (path, found)
        return path

    def _save(self, found: Found, path: str, above: str) -> None:
        if os.path.isdir(path) and not os.path.islink(path):
            raise IsADirectoryError(f"{path} is a directory")
        fd, temporary = tempfile.mkstemp(prefix=".pemu-", dir=above)
        try:
            with os.fdopen(fd, "wb") as file:
                left, size = found.size, self.layout.cluster
                for cluster in found.clusters:
                    part = min(left, size)
                    file.write(self.read(self.layout.start + cluster * size, size)[:part])
                    left -= part
                try:
                    mode = os.stat(path, follow_symlinks=False).st_mode & 0o777
                except FileNotFoundError:
                    mode = 0o666 & ~_umask()
                os.fchmod(file.fileno(), mode)
                file.flush()
                os.fsync(file.fileno())
            self._keep(path)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise

    def _keep(self, path: str) -> None:
        """Have what clusters of the first layout hold stay readable when its file is replaced."""
        for first, node in self.layout.pieces:
            if node.path == path and not node.directory:
                start = self.layout.start + first * self.layout.cluster
                self._copy_original(start, -(-node.size // SECTOR) * SECTOR)

    def _copy_original(self, offset: int, length: int) -> None:
        """Copy sectors that have not been written to the temporary file."""
        for at, part, written in list(self._runs(offset, length)):
            while part and not written:
                piece = min(part, 1 << 20)
                os.pwrite(self._fd, self.read(at, piece), at)
                count = piece // SECTOR
                self._written[at // SECTOR : at // SECTOR + count] = b"\1" * count
                at += piece
                part -= piece

    def _remove(self, seen: set[Names]) -> None:
        """Remove what the guest has deleted."""
        for key in sorted(self._known.keys() - seen, key=len, reverse=True):
            path, found = self._known.pop(key)
            try:
                if found.directory:
                    os.rmdir(path)
                else:
                    os.unlink(path)
            except OSError:  # others have put something there, or have removed it
                pass

    def _close(self) -> None:
        try:
            if not self.readonly:
                self._write_back(removes=True)
        finally:
            for fd in self._open.values():
                os.close(fd)
            if self._fd >= 0:
                os.close(self._fd)


def _folded(names: Names) -> Names:
    """Names as FAT compares them."""
    return tuple(one.casefold() for one in names)


def _fill(fd: int, offset: int, view: memoryview) -> None:
    """Read from a file; what it lacks is zeros."""
    while len(view):
        count = os.preadv(fd, [view], offset)
        if not count:
            clear(view)
            return
        offset += count
        view = view[count:]


def _umask() -> int:
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o22


def _open(opening: Opening) -> Image:
    options = opening.options
    writes = not opening.mode.readonly
    if options["rw"] and not writes:
        raise ImageError("Unable to set VVFAT to 'rw' when drive is read-only")
    if writes and not options["rw"]:
        raise PermissionError("Block node is read-only; write fat:rw: to have files written back")
    return Vvfat(
        options["dir"],
        int(options["fat-type"] or 0),
        options["label"] or "QEMU VVFAT",
        floppy=options["floppy"],
        readonly=not writes,
    )


def _parse_name(name: str) -> dict[str, Any]:
    """What fat:rw:floppy:16:directory stands for."""
    found: dict[str, Any] = {}
    rest = name.partition(":")[2]
    while True:
        word, colon, after = rest.partition(":")
        if not colon or word not in ("rw", "floppy", "12", "16", "32"):
            return {**found, "dir": rest}
        if word.isdigit():
            found["fat-type"] = word
        else:
            found[word] = "on"
        rest = after


DRIVER = Driver(
    "vvfat",
    _open,
    keys=(
        Key("dir", Text("directory", empty=False), "the directory", required=True),
        Key("fat-type", Enum(("0", "12", "16", "32")), "bits of the table's entries"),
        Key("floppy", Bool(), "a floppy, not a hard disk", default=False),
        Key("label", Text(), "name of the volume, up to 11 characters"),
        Key("rw", Bool(), "write back what the guest writes", default=False),
    ),
    children=(),
    parse_name=_parse_name,
)
DRIVERS = {"fat": DRIVER, "vvfat": DRIVER}
