"""Backup: a target becomes what the guest's image was when the job began."""

from __future__ import annotations

import threading
from typing import ClassVar

from pemu.block.jobs.chunks import CHUNK, copy, present
from pemu.block.jobs.copyjob import CopyJob
from pemu.block.jobs.watch import Watch


class Backup(CopyJob):
    """Copies the image of `backend` as it is now to `target`.

    Before the guest changes a chunk, its old contents are copied. Where that fails the backup
    fails, not the guest. With sync 'none' it goes on until it is cancelled.
    """

    kind: ClassVar[str] = "backup"

    def _prepare(self) -> None:
        self._copying = threading.Lock()
        self._failure: OSError | None = None
        if self.sync == "top" and self.source.backing is not None:
            for offset, length in present(self.source, self.source.backing):
                self.chunks.add(offset, length)
        else:
            self.chunks.add(0, self.source.size)
        self.watch = Watch(self.source, before=self._save)
        self.backend.replace(self.watch)

    def _save(self, offset: int, length: int) -> None:
        """The guest is about to write: copy what was there, unless that has been done."""
        if self._failure is not None:
            return
        try:
            for index in range(offset // CHUNK, -(-(offset + length) // CHUNK)):
                self._copy(index)
        except OSError as error:
            self._failure = error

    def _copy(self, index: int) -> None:
        with self._copying:
            if not self.chunks.discard(index):
                return
            start = index * CHUNK
            copy(self.source, self.target, start, min(CHUNK, self.source.size - start))

    def _work(self) -> None:
        self.length = self.source.size
        if self.sync == "none":
            while True:
                self._check()
                with self._wake:
                    self._wake.wait_for(lambda: self._cancelled, 0.1)
                self._advance(0)
        for index in range(-(-self.source.size // CHUNK)):
            self._copy(index)
            self._check()
            self._advance(min(CHUNK, self.source.size - index * CHUNK))
        self.target.flush()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _finish(self, succeeded: bool) -> None:
        self.backend.replace(self.watch.release())
        try:
            if self._failure is None:
                self.target.flush()
        finally:
            self.target.close()
        if succeeded:
            self._check()
