"""What mirrors and backups have in common: a source in use, and a target that they fill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pemu.block.backend import Backend
from pemu.block.error import ImageError
from pemu.block.image import Image
from pemu.block.jobs.chunks import Chunks
from pemu.block.jobs.job import Job
from pemu.block.jobs.watch import Watch

Sync = Literal["full", "top", "none"]
"""Copy everything, what the topmost image has, or only what the guest writes from now on."""


class CopyJob(Job):
    """A job that copies the image of `backend` to `target`, which belongs to the job.

    target: open for writing and at least as long. chunks: what is still to be copied. watch: what
    stands before the source while the job runs. Raises ImageError.
    """

    watch: Watch

    def __init__(
        self,
        id: str,
        backend: Backend,
        target: Image,
        *,
        sync: Sync = "full",
        speed: int = 0,
        changed: Callable[[Job], object] = lambda job: None,
    ) -> None:
        super().__init__(id, backend, speed=speed, changed=changed)
        source = backend.image
        if source is None:
            raise ImageError(f"{id}: there is no medium to copy")
        if target.size < source.size:
            raise ImageError(
                f"'{target.name}' has {target.size} bytes, less than the {source.size} of "
                f"'{source.name}'; make it larger"
            )
        self.source = source
        self.target = target
        self.sync = sync
        self.chunks = Chunks(source.size)
