"""What everything that can be read as a disk has: the interface of formats, protocols, filters.

Errors of the host are OSErrors, whose number a guest's device turns into its own kind of error;
what is wrong with an image or a request for a change of it is an ImageError. Methods may be called
from several threads at once, where they do not say otherwise; none needs the machine's lock.
"""

from __future__ import annotations

import errno
import os
from _thread import RLock
from abc import ABC, abstractmethod

from pemu.block.error import ImageError
from pemu.block.pieces import ZEROES, Buffers, Packed, Pieces, clear, is_zero
from pemu.records import NamedTuple, dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, ClassVar, Self

SECTOR = 512


class Extent(NamedTuple):
    """What a stretch of an image is made of.

    length: bytes. present: this image itself says what is there; otherwise what is below it does.
    zero: it is known to read as zeros. data: it takes room in the file, zeros or not.
    offset: where in `file` the contents are as they read, in bytes, or None (compressed,
    encrypted, elsewhere).
    """

    length: int
    present: bool = True
    zero: bool = False
    data: bool = True
    offset: int | None = None
    file: Image | None = None
    compressed: bool = False

    def refined(self) -> Extent:
        """The same with what the file knows: where that has a hole, it reads as zeros."""
        if self.file is None or self.offset is None:
            return self
        below = self.file.status(self.offset, min(self.length, self.file.size - self.offset))
        return self._replace(length=below.length, zero=self.zero or below.zero)


class Limits(NamedTuple):
    """What an image can be asked for; all in bytes.

    alignment: of requests. cluster: the unit in which room is taken, 0 without one.
    discard, zeroes: the unit of `discard` and `write_zeroes` that frees room, 0 for any.
    """

    alignment: int = 1
    cluster: int = 0
    discard: int = 0
    zeroes: int = 0


@dataclass
class Snapshot:
    """A snapshot inside an image. date: seconds since 1970; clock: nanoseconds of guest's time.

    state_size: bytes of the machine's state, 0 without one. size: bytes of the disk then.
    instructions: what the machine had counted, -1 where it did not.
    """

    id: str
    name: str
    date: int = 0
    nanoseconds: int = 0
    clock: int = 0
    state_size: int = 0
    size: int = 0
    instructions: int = -1


class Bitmap(NamedTuple):
    """A dirty bitmap that is kept in an image. granularity: bytes for which one bit stands.

    enabled: writes are noted in it. inconsistent: it was in use when the image was not closed
    properly; it can only be removed.
    """

    name: str
    granularity: int
    enabled: bool = True
    inconsistent: bool = False


MOST_MESSAGES = 100_000
"""Findings of a check that are described one by one."""


@dataclass
class Check:
    """What checking an image has found, and repaired.

    messages: one line for each finding. end: where the last used cluster of the file ends, bytes.
    """

    corruptions: int = 0
    leaks: int = 0
    errors: int = 0
    corruptions_fixed: int = 0
    leaks_fixed: int = 0
    end: int = 0
    total_clusters: int = 0
    allocated_clusters: int = 0
    fragmented_clusters: int = 0
    compressed_clusters: int = 0
    messages: list[str] = field(default_factory=list)

    def corrupt(self, message: str, *, fixed: bool = False) -> None:
        """Note a corruption, and whether it has been repaired."""
        self._say(message)
        self.corruptions += 1
        self.corruptions_fixed += fixed

    def leak(self, message: str, *, count: int = 1, fixed: bool = False) -> None:
        """Note `count` leaked clusters, and whether they have been freed."""
        self._say(message)
        self.leaks += count
        self.leaks_fixed += count if fixed else 0

    def _say(self, message: str) -> None:
        if len(self.messages) < MOST_MESSAGES:
            self.messages.append(message)


class Image(ABC):
    """An open image: a node of the graph.

    format: name of its driver. name: as the user gave it. size: bytes. readonly: whether writes
    are refused. children: images that it is made of, by the names that options give them
    ('file', 'backing', ...); closing this one closes them: it is a user of theirs.
    """

    format: ClassVar[str] = "raw"
    filter: ClassVar[bool] = False
    """Whether it only passes on what its file is, and has no contents of its own."""
    writable: bool = True
    """Whether `reopen` can allow writes."""

    def __init__(self, name: str, size: int, *, readonly: bool) -> None:
        self.name = name
        self.size = size
        self.readonly = readonly
        self.children: dict[str, Image] = {}
        self.node_name = ""
        self.unmap = True
        """Whether `discard` and `write_zeroes` may give room back."""
        self.detect_zeroes = "off"
        """What writes of zeros become: 'off' nothing, 'on' zeros, 'unmap' zeros without room."""
        self.backing_file = ""
        """Name of the image below as the image's header has it; empty for none."""
        self.backing_format = ""
        self.encrypted = False
        """Whether the contents are encrypted in the file."""
        self.dirty: bool | None = False
        """Whether it was not closed properly when it was last written to; None: nobody can tell."""
        self.lock = RLock()
        """Held while what describes the contents is changed."""
        self.closed: Callable[[], object] = lambda: None
        """Called when the image has been closed."""
        self._users = 1

    @property
    def file(self) -> Image | None:
        """The image that holds this one."""
        return self.children.get("file")

    @property
    def backing(self) -> Image | None:
        """The image below, which has what is not present here."""
        return self.children.get("backing")

    # What kinds of images define; offsets and lengths have been checked

    @abstractmethod
    def _read_into(self, offset: int, buffers: Buffers) -> None:
        """Fill `buffers` with what is at `offset`. Raises OSError."""

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        """Write `pieces` one after the other. Raises OSError.

        Kinds that can only be read have none.
        """
        raise read_only()

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        """As `write_zeroes`. Raises OSError."""
        while length:
            piece = min(length, len(ZEROES))
            self._write_from(offset, [ZEROES[:piece]])
            offset += piece
            length -= piece

    def _discard(self, offset: int, length: int) -> None:
        """As `discard`. Raises OSError."""

    def _status(self, offset: int, length: int) -> Extent:
        """As `status`, of at least one byte and at most `length`."""
        return Extent(length)

    def flush(self) -> None:
        """Return when all that has been written is on stable storage. Raises OSError."""
        if self.file is not None:
            self.file.flush()

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        """Do as `read_into` if that takes no time; False where the host would have to wait."""
        return False

    def prefetch(self, offset: int, length: int) -> bool:
        """Have the host begin to read what will soon be asked for; False where it cannot."""
        return False

    @property
    def fast_zeroes(self) -> bool:
        """Whether `write_zeroes` takes less time than writing zeros would."""
        return False

    def event(self, name: str) -> None:
        """A format does something of which blkdebug knows the name; its file may want to fail."""
        if self.file is not None:
            self.file.event(name)

    def truncate(self, size: int, *, preallocation: str = "off") -> None:
        """Make the image `size` bytes long; what is new reads as zeros.

        preallocation: how room for what is new is set aside ('off', 'metadata', 'falloc', 'full').
        Raises ImageError where the format or the file cannot.
        """
        raise ImageError("Image format driver does not support resize")

    def compress(self, data: bytes | memoryview) -> list[Packed]:
        """Clusters in compressed form, for `write_compressed`; [] where that does it itself.

        Threads do it at the same time, whereas writing has its order.
        """
        return []

    def write_compressed(
        self, offset: int, data: bytes | memoryview, packed: Sequence[Packed] = ()
    ) -> None:
        """Write one cluster (the last may be shorter) in compressed form. Raises OSError, ENOTSUP.

        packed: what `compress` has made of it, where that has been asked already; then there may be
        several clusters.
        """
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    def check_image(self, repair: str = "") -> Check:
        """Look for errors in what describes the contents; alone, nothing else may be under way.

        repair: '' to look only, 'leaks' to free what nobody uses, 'all'. Raises ImageError where
        the format has no checks.
        """
        raise ImageError("This image format does not support checks")

    def set_backing(self, name: str, format: str) -> None:
        """Have the header name another image below, '' for none; nothing else changes.

        Raises ImageError where the format has none.
        """
        raise ImageError(f"Image format driver '{self.format}' does not support backing files")

    def amend(
        self, options: Mapping[str, Any], *, force: bool = False
    ) -> Iterator[tuple[int, int]]:
        """Change what was chosen when the image was made; yields (done, of all) now and then.

        options: those that were given, as the driver's `amendment` keys parse them. force: also
        where nobody can read the contents afterwards. Raises ImageError.
        """
        raise ImageError(f"Format driver '{self.format}' does not support option amendment")

    def snapshots(self) -> list[Snapshot]:
        """The snapshots inside the image, in their order; none where the format has none."""
        return []

    def create_snapshot(self, snapshot: Snapshot) -> None:
        """Keep the contents of now under a name; an empty id is given one. Raises ImageError."""
        raise ImageError(f"Image format driver '{self.format}' does not support snapshots")

    def apply_snapshot(self, key: str) -> None:
        """Make the contents those of the snapshot with id or name `key`. Raises ImageError."""
        raise ImageError(f"Image format driver '{self.format}' does not support snapshots")

    def delete_snapshot(self, key: str) -> None:
        """Forget the snapshot with id or name `key`. Raises ImageError."""
        raise ImageError(f"Image format driver '{self.format}' does not support snapshots")

    def show_snapshot(self, key: str) -> None:
        """From now on read as the snapshot with id or name `key` (read-only). Raises ImageError."""
        raise ImageError(f"Image format driver '{self.format}' does not support snapshots")

    def make_empty(self) -> None:
        """Have nothing any more, so that what is below shows; what is below is at least as long.

        Formats that cannot keep what they have. Raises OSError.
        """

    def bitmaps(self) -> list[Bitmap]:
        """The dirty bitmaps that are kept in the image; none where the format has none."""
        return []

    @property
    def keeps_bitmaps(self) -> bool:
        """Whether dirty bitmaps can be kept in the image."""
        return False

    def add_bitmap(self, name: str, granularity: int = 0) -> None:
        """Make a bitmap, which is clear and enabled. granularity: bytes, 0 for a default.

        Raises ImageError.
        """
        raise ImageError(f"Image format driver '{self.format}' does not support bitmaps")

    def remove_bitmap(self, name: str) -> None:
        """Remove a bitmap. Raises ImageError."""
        raise ImageError(f"Dirty bitmap '{name}' not found")

    def clear_bitmap(self, name: str) -> None:
        """Note in a bitmap that nothing has been written. Raises ImageError."""
        raise ImageError(f"Dirty bitmap '{name}' not found")

    def enable_bitmap(self, name: str, *, enabled: bool) -> None:
        """Have writes noted in a bitmap from now on, or not. Raises ImageError."""
        raise ImageError(f"Dirty bitmap '{name}' not found")

    def merge_bitmap(self, name: str, source: Image, source_name: str) -> None:
        """Note in a bitmap what a bitmap of `source` (or of this image) has, too.

        Raises ImageError.
        """
        raise ImageError(f"Dirty bitmap '{name}' not found")

    def dirty_ranges(self, name: str) -> Iterator[tuple[int, int]]:
        """The ranges that a bitmap notes as written: offset and length. Raises ImageError."""
        raise ImageError(f"Dirty bitmap '{name}' not found")

    @property
    def vmstate_offset(self) -> int:
        """Where the state of the machine is kept, bytes; 0 where there is no place for it."""
        return 0

    def read_vmstate(self, offset: int, buffers: Buffers) -> None:
        """Read from the state of the machine. Raises OSError, ENOTSUP."""
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    def write_vmstate(self, offset: int, pieces: Pieces) -> None:
        """Write to the state of the machine, which a snapshot keeps. Raises OSError, ENOTSUP."""
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    def limits(self) -> Limits:
        """The units of requests."""
        return Limits()

    def details(self) -> dict[str, Any]:
        """What `info` shows of the format alone, as QMP's ImageInfoSpecific's data; {} for none."""
        return {}

    def allocated(self) -> int | None:
        """Bytes that the image takes on the host, None where that is not known."""
        return self.file.allocated() if self.file is not None else None

    def grow(self) -> None:
        """Allow writes, if any, beyond the end from now on, which make it longer.

        Raises ImageError.
        """
        if not self.readonly:
            raise ImageError(f"'{self.name}' cannot grow")

    def reopen(self, *, readonly: bool) -> None:
        """Allow writes or refuse them from now on; nothing may be under way. Raises ImageError."""
        if not readonly and not self.writable:
            raise ImageError(f"'{self.name}' cannot be written: it is read only")
        for name, child in self.children.items():
            if name != "backing":
                child.reopen(readonly=readonly)
        self.readonly = readonly

    def configure(self, options: Mapping[str, Any]) -> None:
        """Change keys of the node, which is open; those that stay as they are may be among them.

        Nothing may be under way. Raises ImageError for what cannot be changed.
        """
        for key, value in options.items():
            child = self.children.get(key)
            if child is not None and isinstance(value, dict):
                child.configure(value)
            elif key != "driver" or value != self.format:
                raise ImageError(f"Cannot change the option '{key}'")

    def _close(self) -> None:
        """Write what is still to be written, then let go of all files but those of children.

        The last thing that is called. Raises OSError; the files are let go of all the same.
        """

    # What users of images call

    def retain(self) -> Image:
        """Note one more user, who will call `close`, too; returns the image."""
        with self.lock:
            self._users += 1
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """A user has done with it; after the last one, let go of all files.

        Nothing else may be under way then. Raises OSError where what was still to be written could
        not be; the files are closed all the same.
        """
        with self.lock:
            self._users -= 1
            if self._users:
                return
        try:
            self._close()
        finally:
            children, self.children = self.children, {}
            _each([self.closed, *(child.close for child in reversed(children.values()))])

    def read_into(self, offset: int, buffers: Buffers) -> None:
        """Fill `buffers` with what is at `offset`. Raises OSError, EINVAL beyond the end."""
        length = sum(map(len, buffers))
        self.within(offset, length)
        if length:
            self._read_into(offset, buffers)

    def write_from(self, offset: int, pieces: Pieces) -> None:
        """Write `pieces` to `offset` one after the other. Raises OSError."""
        length = sum(map(len, pieces))
        self.within(offset, length, writes=True)
        if self.detect_zeroes != "off" and all(map(is_zero, pieces)):
            self.write_zeroes(offset, length, unmap=self.detect_zeroes == "unmap")
        elif length:
            self._write_from(offset, pieces)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`. Raises OSError."""
        data = bytearray(length)
        with memoryview(data) as view:
            self.read_into(offset, [view])
        return bytes(data)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write `data` at `offset`. Raises OSError."""
        self.write_from(offset, [data])

    def write_zeroes(self, offset: int, length: int, *, unmap: bool = False) -> None:
        """Make it all zeros there; `unmap` allows that to free room. Raises OSError."""
        self.within(offset, length, writes=True)
        if length:
            self._write_zeroes(offset, length, unmap=unmap and self.unmap)

    def discard(self, offset: int, length: int) -> None:
        """Note that the contents there are of no use any more; they may change. Raises OSError."""
        self.within(offset, length, writes=True)
        if length and self.unmap:
            self._discard(offset, length)

    def status(self, offset: int, length: int) -> Extent:
        """What is at `offset`, up to where it is something else or `length`. Raises OSError."""
        self.within(offset, length)
        return self._status(offset, length) if length else Extent(0)

    def within(self, offset: int, length: int, *, writes: bool = False) -> None:
        """Raise OSError where an access is not within the image, or writes to a read-only one."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if writes and self.readonly:
            raise read_only()

    def read_below(self, offset: int, buffers: Buffers) -> None:
        """Fill `buffers` with what the image below has at `offset`, zeros past its end."""
        below = self.backing
        left = max(below.size - offset, 0) if below is not None else 0
        for view in buffers:
            part = view[:left]
            if below is not None and len(part):
                below.read_into(offset, [part])
            if len(part) < len(view):
                clear(view[len(part) :])
            offset += len(view)
            left -= len(part)


def _each(calls: list[Callable[[], object]]) -> None:
    """Make all calls, whichever of them fails."""
    if calls:
        try:
            calls[0]()
        finally:
            _each(calls[1:])


def read_only() -> OSError:
    """What writes fail with where an image can only be read."""
    return OSError(errno.EPERM, os.strerror(errno.EPERM))


def damaged() -> OSError:
    """What a request fails with where tables or headers cannot be true."""
    return OSError(errno.EIO, os.strerror(errno.EIO))
