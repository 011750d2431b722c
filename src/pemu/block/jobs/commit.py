"""Commit: what an image has goes into an image below it, which then takes its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pemu.block.backend import Backend
from pemu.block.error import ImageError
from pemu.block.extents import chain
from pemu.block.image import Image
from pemu.block.jobs.chunks import copy, present
from pemu.block.jobs.job import Job
from pemu.block.jobs.mirror import Mirror


class ActiveCommit(Mirror):
    """Commits the image that the guest writes to into `base`, somewhere below it.

    When it is ready, `complete` has the guest use `base`; until then the images stay as they are,
    but that `base` fills, so that what is above it still reads the same.
    """

    kind: ClassVar[str] = "commit"

    def __init__(
        self,
        id: str,
        backend: Backend,
        base: Image,
        *,
        speed: int = 0,
        changed: Callable[[Job], object] = lambda job: None,
    ) -> None:
        if backend.image is None or base not in chain(backend.image)[1:]:
            raise ImageError(f"'{base.name}' is not below the image of {id}")
        if base.size < backend.image.size:
            base.reopen(readonly=False)
            base.truncate(backend.image.size)
        self.base = base
        super().__init__(id, backend, base, sync="top", speed=speed, changed=changed)
        base.retain()

    def _base(self) -> Image | None:
        return self.base

    def _prepare(self) -> None:
        self.base.reopen(readonly=False)
        super()._prepare()

    def _finish(self, succeeded: bool) -> None:
        super()._finish(succeeded)
        if self.backend.image is not self.base:
            self.base.reopen(readonly=True)


class Commit(Job):
    """Commits the images from `top` down to above `base`, all below the guest's, into `base`."""

    kind: ClassVar[str] = "commit"

    def __init__(
        self,
        id: str,
        backend: Backend,
        top: Image,
        base: Image,
        *,
        speed: int = 0,
        changed: Callable[[Job], object] = lambda job: None,
    ) -> None:
        super().__init__(id, backend, speed=speed, changed=changed)
        images = chain(backend.image) if backend.image is not None else []
        if top not in images[1:] or base not in images[images.index(top) + 1 :]:
            raise ImageError(
                f"'{base.name}' is not below '{top.name}', or that is not below the image of {id}"
            )
        self.overlay = images[images.index(top) - 1]
        self.top = top
        self.base = base

    def _prepare(self) -> None:
        self.base.reopen(readonly=False)
        if self.base.size < self.top.size:
            self.base.truncate(self.top.size)

    def _work(self) -> None:
        ranges = list(present(self.top, self.base))
        self.length = sum(length for _, length in ranges)
        for offset, length in ranges:
            for at in range(offset, offset + length, _PIECE):
                piece = min(_PIECE, offset + length - at)
                copy(self.top, self.base, at, piece)
                self._advance(piece)
        self.base.flush()

    def _finish(self, succeeded: bool) -> None:
        self.base.reopen(readonly=True)
        if succeeded:
            put_below(self.overlay, self.base)


_PIECE = 1 << 20


def put_below(overlay: Image, base: Image | None) -> None:
    """Have `base`, which is further down, come right below `overlay`, in the file's header, too."""
    if overlay.backing is base:
        return
    readonly = overlay.readonly
    if readonly:
        overlay.reopen(readonly=False)
    try:
        if base is None:
            overlay.set_backing("", "")
        else:
            overlay.set_backing(base.name, base.format)
    finally:
        if readonly:
            overlay.reopen(readonly=True)
    with overlay.lock:
        old = overlay.children.pop("backing")
        if base is not None:
            overlay.children["backing"] = base.retain()
    old.close()
