"""An open qcow2 image."""

from __future__ import annotations

from pemu.block.error import ImageError
from pemu.block.formats.qcow2.clearing import Qcow2Clearing
from pemu.block.formats.qcow2.header import (
    BITMAPS,
    CORRUPT,
    DIRTY,
    LAZY_REFCOUNTS,
    RAW_EXTERNAL_DATA,
)


class Qcow2(Qcow2Clearing):
    """A qcow2 image with all that it can do."""

    def begin_writing(self, *, repairs: bool = False) -> None:
        """The image was opened for writing. repairs: as it is damaged. Raises ImageError, OSError.

        Features that others might rely on and that are not known here are taken away.
        """
        metadata, more = self.metadata, self.header.more
        metadata.readonly = False
        if self.header.has(CORRUPT) and not repairs:
            raise ImageError("qcow2: Image is corrupt; cannot be opened read/write")
        if more.autoclear & ~(BITMAPS | RAW_EXTERNAL_DATA):
            more.autoclear &= BITMAPS | RAW_EXTERNAL_DATA
            metadata.write_more("autoclear")
            metadata.file.flush()
        if self.settings.lazy is not None and self.header.fields.version >= 3:
            metadata.lazy = self.settings.lazy
        else:
            metadata.lazy = bool(more.compatible & LAZY_REFCOUNTS)
        if self.settings.overlap:
            metadata.own_clusters()

    def settle(self) -> None:
        """Write all that is still to be written. Raises OSError."""
        with self.lock:
            metadata = self.metadata
            if metadata.broken or self.readonly:
                return
            metadata.commit(accurate=True)
            metadata.refcounts.write()
            if self.header.has(DIRTY):
                metadata.sync()
                metadata.set_incompatible(DIRTY, on=False)

    def reopen(self, *, readonly: bool) -> None:
        if readonly == self.readonly:
            return
        if readonly:
            self.settle()
            self.metadata.sync()
        super().reopen(readonly=readonly)
        self.metadata.readonly = readonly
        if not readonly:
            self.begin_writing()

    def _close(self) -> None:
        self.settle()
