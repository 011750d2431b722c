"""blklogwrites: notes every write in a log, as the kernel's dm-log-writes does.

Source: Documentation/admin-guide/device-mapper/log-writes.rst and dm-log-writes.c of Linux.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.filters.filter import Filter
from pemu.block.image import Image
from pemu.block.opening import Opening
from pemu.block.pieces import Pieces
from pemu.block.structure import U32, U64, Structure
from pemu.options.keyval import Key
from pemu.options.types import Bool, Int, Size

MAGIC = 0x6A736677736872
VERSION = 1

FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


class Superblock(Structure, byte_order="<"):
    """The log's first sector."""

    magic: U64 = MAGIC
    version: U64 = VERSION
    entries: U64
    sector_size: U32


class Entry(Structure, byte_order="<"):
    """The head of an entry, in a sector of its own; what was written follows."""

    sector: U64
    sectors: U64
    flags: U64 = 0
    length: U64 = 0


class LogWrites(Filter):
    """Notes in `log` what is done to `below`. sector: bytes of the log's sectors.

    interval: entries after which the log's first sector is brought up to date.
    """

    format: ClassVar[str] = "blklogwrites"

    def __init__(
        self, below: Image, log: Image, *, sector: int = 512, interval: int = 4096, append: bool
    ) -> None:
        super().__init__(below)
        self.children["log"] = self._log = log
        self._sector = sector
        self._interval = interval
        self._entries = 0
        self._end = 1
        if append:
            self._find_end()

    def _find_end(self) -> None:
        """Go on where the log ends. Raises ImageError."""
        head = Superblock.parse(self._log.read(0, Superblock.SIZE), "the log")
        if head.magic != MAGIC or head.version != VERSION:
            raise ImageError(f"'{self._log.name}' is no log of writes that could be appended to")
        if head.sector_size != self._sector:
            raise ImageError(f"the log has sectors of {head.sector_size} bytes")
        while self._entries < head.entries:
            entry = Entry.parse(self._log.read(self._end * self._sector, Entry.SIZE), "the log")
            self._end += 1 + (0 if entry.flags & DISCARD else entry.sectors)
            self._entries += 1

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        self._note(offset, sum(map(len, pieces)), 0, pieces)
        self._below.write_from(offset, pieces)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._note(offset, length, 0, [bytes(length)])
        self._below.write_zeroes(offset, length, unmap=unmap)

    def _discard(self, offset: int, length: int) -> None:
        self._note(offset, length, DISCARD, ())
        self._below.discard(offset, length)

    def flush(self) -> None:
        self._below.flush()
        self._note(0, 0, FLUSH, ())
        self._update()
        self._log.flush()

    def _note(
        self, offset: int, length: int, flags: int, pieces: Sequence[bytes | memoryview]
    ) -> None:
        size = self._sector
        sectors = -(-length // size)
        entry = Entry(sector=offset // size, sectors=sectors, flags=flags).emit()
        with self.lock:
            at = self._end * size
            self._log.write_from(at, [entry.ljust(size, b"\0"), *pieces])
            self._end += 1 + (sectors if pieces else 0)
            self._entries += 1
            if self._entries % self._interval == 0:
                self._update()

    def _update(self) -> None:
        """Bring the log's first sector up to date."""
        head = Superblock(entries=self._entries, sector_size=self._sector).emit()
        self._log.write(0, head.ljust(self._sector, b"\0"))

    def _close(self) -> None:
        self._update()


def _open(opening: Opening) -> Image:
    options = opening.options
    sector = options["log-sector-size"]
    if sector & (sector - 1) or not 512 <= sector <= 1 << 23:
        raise ImageError(f"Invalid log sector size {sector}")
    below = opening.filtered("file")
    log = opening.child("log", opening.mode.of_file())
    log.grow()
    return LogWrites(
        below, log, sector=sector, interval=options["log-super-update-interval"],
        append=options["log-append"],
    )  # fmt: skip


DRIVER = Driver(
    "blklogwrites",
    _open,
    keys=(
        Key("log-append", Bool(), "go on with a log that there is", default=False),
        Key("log-sector-size", Size(), "bytes of a sector", default=512),
        Key("log-super-update-interval", Int(1, 1 << 40), "entries", default=4096),
    ),
    children=("file", "log"),
)
