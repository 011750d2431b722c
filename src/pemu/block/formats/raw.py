"""The raw format: the file is the disk, or a part of the file is."""

from __future__ import annotations

import errno
import os

from pemu.block.creation import Creation
from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.image import SECTOR, Extent, Image, Limits
from pemu.block.opening import Opening
from pemu.block.pieces import Buffers, Pieces, clear, take
from pemu.block.probe import PROBED, probe
from pemu.options.keyval import Key
from pemu.options.types import Bool, Size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Raw(Image):
    """A raw image in `file`, called `name` (default: as that is).

    offset, size: which part of the file it is, size None for all from there on.
    guessed: the user did not say that it is raw; then the first sector must not become the head of
        another format, lest the guest decide what the host opens next time.
    """

    def __init__(
        self,
        file: Image,
        name: str = "",
        *,
        offset: int = 0,
        size: int | None = None,
        guessed: bool = False,
    ) -> None:
        if (size or 0) % SECTOR:
            raise ImageError(f"size {size} of a raw image is no multiple of {SECTOR}")
        rest = file.size - offset
        if rest < 0:
            raise ImageError(
                f"Offset ({offset}) cannot be greater than size of the containing file "
                f"({file.size})"
            )
        if size is not None and size > rest:
            raise ImageError(
                f"The sum of offset ({offset}) and size ({size}) has to be smaller or equal to the "
                f"actual size of the containing file ({file.size})"
            )
        length = -(-rest // SECTOR) * SECTOR if size is None else size
        super().__init__(name or file.name, length, readonly=file.readonly)
        self.children["file"] = self._file = file
        self.offset = offset
        self.guessed = guessed
        self._limited = size is not None

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        self._file.event("read_aio")
        start = self.offset + offset
        left = self._file.size - start
        if sum(map(len, buffers)) > left:  # the last sector is not whole
            buffers, rest = take(buffers, max(left, 0))
            for view in rest:
                clear(view)
        self._file.read_into(start, buffers)

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        return offset + sum(map(len, buffers)) <= self.size and self._file.read_cached(
            self.offset + offset, buffers
        )

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        if self.guessed and offset < PROBED:
            self._check_head(offset, pieces)
        self._file.event("write_aio")
        self._file.write_from(self.offset + offset, pieces)

    def _check_head(self, offset: int, pieces: Pieces) -> None:
        written = b"".join(take([memoryview(one) for one in pieces], PROBED - offset)[0])
        head = self.read(0, min(PROBED, self.size))
        if probe(head[:offset] + written + head[offset + len(written) :]) != "raw":
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def _discard(self, offset: int, length: int) -> None:
        self._file.discard(self.offset + offset, length)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._file.write_zeroes(self.offset + offset, length, unmap=unmap)

    @property
    def fast_zeroes(self) -> bool:
        return self._file.fast_zeroes

    def _status(self, offset: int, length: int) -> Extent:
        left = self._file.size - self.offset - offset
        found = self._file.status(self.offset + offset, min(length, left))
        # The last sector, where it is not whole, is of one kind.
        return found._replace(length=length) if found.length == left < length else found

    def truncate(self, size: int, *, preallocation: str = "off") -> None:
        if self._limited:
            raise ImageError("Cannot resize fixed-size raw disks")
        self._file.truncate(self.offset + size, preallocation=preallocation)
        if size < self.size and self._file.size > self.offset + size:
            raise ImageError("Cannot shrink what a device or an export holds")
        self.size = -(-size // SECTOR) * SECTOR

    def limits(self) -> Limits:
        return self._file.limits()


def _open(opening: Opening) -> Image:
    options = opening.options
    return Raw(
        opening.file(grows=False),
        opening.name,
        offset=options["offset"] or 0,
        size=options["size"],
        guessed=options["guessed"],
    )


def _create(creation: Creation) -> None:
    creation.file(size=-(-creation.size // SECTOR) * SECTOR).close()


def _measure(source: Image | None, size: int, options: Mapping[str, Any]) -> dict[str, int]:
    return {"required": size, "fully-allocated": size}


DRIVER = Driver(
    "raw",
    _open,
    keys=(
        Key("offset", Size(), "where in the file the image begins"),
        Key("size", Size(), "how much of the file the image is"),
        Key("guessed", Bool(), "whether nobody has said that it is raw", default=False),
    ),
    create=_create,
    measure=_measure,
)
