"""Streaming: an image gets all that it has from those below it, and does without them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pemu.block.backend import Backend
from pemu.block.error import ImageError
from pemu.block.extents import chain
from pemu.block.filters.copy_on_read import CopyOnRead
from pemu.block.image import Image
from pemu.block.jobs.chunks import CHUNK, present
from pemu.block.jobs.commit import put_below
from pemu.block.jobs.job import Job


class Stream(Job):
    """Copies into the guest's image what is below it, down to above `base`, None for all."""

    kind: ClassVar[str] = "stream"

    def __init__(
        self,
        id: str,
        backend: Backend,
        base: Image | None = None,
        *,
        speed: int = 0,
        changed: Callable[[Job], object] = lambda job: None,
    ) -> None:
        super().__init__(id, backend, speed=speed, changed=changed)
        if backend.image is None or backend.image.readonly:
            raise ImageError(f"{id}: there is no medium that can be written")
        if base is not None and base not in chain(backend.image)[1:]:
            raise ImageError(f"'{base.name}' is not below the image of {id}")
        self.image = backend.image
        self.base = base

    def _prepare(self) -> None:
        self._filter = CopyOnRead(self.image, self.base)
        self.backend.replace(self._filter)

    def _work(self) -> None:
        below = self.image.backing
        if below is None or below is self.base:
            return
        self.length = self.image.size
        for offset, length in present(below, self.base):
            self.offset = offset
            for at in range(offset, min(offset + length, self.image.size), CHUNK):
                piece = min(CHUNK, offset + length - at, self.image.size - at)
                self._filter.read(at, piece)
                self._advance(piece)
        self.offset = self.length
        self.image.flush()

    def _finish(self, succeeded: bool) -> None:
        self.backend.replace(self._filter.release())
        if succeeded:
            put_below(self.image, self.base)
