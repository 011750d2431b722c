"""Mirroring: a target becomes, and stays, what the guest's image is; then it may take its place."""

from __future__ import annotations

from typing import ClassVar

from pemu.block.image import Image
from pemu.block.jobs.chunks import copy, present
from pemu.block.jobs.copyjob import CopyJob
from pemu.block.jobs.job import Cancelled
from pemu.block.jobs.watch import Watch


class Mirror(CopyJob):
    """Copies the image of `backend` to `target`, and all that the guest writes meanwhile.

    `complete` has the guest use the target instead; a job that is ready and cancelled leaves it a
    copy of that moment.
    """

    kind: ClassVar[str] = "mirror"

    def _prepare(self) -> None:
        self.watch = Watch(self.source, after=self.chunks.add)
        self.backend.replace(self.watch)

    def _base(self) -> Image | None:
        """What is not copied: this and all below it."""
        return self.source.backing if self.sync == "top" else None

    def _work(self) -> None:
        if self.sync == "full" or (self.sync == "top" and self.source.backing is None):
            self.chunks.add(0, self.source.size)
        elif self.sync == "top":
            for offset, length in present(self.source, self._base()):
                self.chunks.add(offset, length)
                self._advance(0)
        self._copy_all()
        try:
            self._stay_ready(self._copy_all)
        except Cancelled:
            self._locked(self._catch_up)
            raise

    def _copy_all(self) -> bool:
        """Copy what is to be copied; whether that was anything."""
        copied = False
        while (taken := self.chunks.take()) is not None:
            offset, length = taken
            try:
                self.length = self.offset + length + len(self.chunks)
                copy(self.source, self.target, offset, length)
            except BaseException:
                self.chunks.add(offset, length)
                raise
            self._advance(length)
            copied = True
        self.length = self.offset
        return copied

    def _catch_up(self) -> None:
        """Copy what is left while the guest cannot write, and have it on stable storage."""
        self.backend.drain()
        while (taken := self.chunks.take()) is not None:
            copy(self.source, self.target, *taken)
        self.target.flush()

    def _finish(self, succeeded: bool) -> None:
        pivots = False
        try:
            if succeeded:
                self._catch_up()
                pivots = True
        finally:
            self.backend.replace(self.watch.release())
            if pivots:
                self._pivot()
            else:
                self.target.close()

    def _pivot(self) -> None:
        """Have the guest use the target."""
        self.backend.replace(self.target)
        self.source.close()
