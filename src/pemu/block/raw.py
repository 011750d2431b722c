"""The raw format: the file is the disk, or a part of the file is."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from pemu.block.image import SECTOR, Buffers, Image
from pemu.block.probe import PROBED, probe
from pemu.options.error import OptionError


class Raw(Image):
    """A raw image in `file`.

    offset, size: which part of the file it is, size None for all from there on.
    guessed: the user did not say that it is raw; then the first sector must not become the head of
        another format, lest the guest decide what the host opens next time.
    """

    def __init__(
        self, file: Image, *, offset: int = 0, size: int | None = None, guessed: bool = False
    ) -> None:
        if offset % SECTOR or (size or 0) % SECTOR:
            raise OptionError("offset and size of a raw image must be multiples of 512")
        rest = file.size - offset
        if rest < 0:
            raise OptionError(f"offset {offset} is beyond the end of '{file.name}'")
        if size is not None and size > rest:
            raise OptionError(
                f"The sum of offset ({offset}) and size ({size}) has to be smaller or equal to the "
                f"actual size of the containing file ({file.size})"
            )
        super().__init__(file.name, rest if size is None else size, readonly=file.readonly)
        self.file = file
        self.offset = offset
        self.guessed = guessed

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        self.file.read_into(self.offset + offset, buffers)

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        return offset + sum(map(len, buffers)) <= self.size and self.file.read_cached(
            self.offset + offset, buffers
        )

    def _write_from(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        if self.guessed and offset < PROBED:
            written = b"".join(pieces)[: PROBED - offset]
            head = self.read(0, min(PROBED, self.size))
            if probe(head[:offset] + written + head[offset + len(written) :]) != "raw":
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        self.file.write_from(self.offset + offset, pieces)

    def flush(self) -> None:
        self.file.flush()

    def discard(self, offset: int, length: int) -> None:
        self.check(offset, length, writes=True)
        self.file.discard(self.offset + offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        self.check(offset, length, writes=True)
        self.file.write_zeroes(self.offset + offset, length)

    def close(self) -> None:
        self.file.close()
