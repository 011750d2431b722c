"""An open qcow2 image."""

from __future__ import annotations

from pemu.block.error import ImageError
from pemu.block.formats.qcow2.bitmaps import Qcow2Bitmaps
from pemu.block.formats.qcow2.check import Checker
from pemu.block.formats.qcow2.header import (
    BITMAPS,
    CORRUPT,
    DIRTY,
    LAZY_REFCOUNTS,
    LONGEST_BACKING_NAME,
    RAW_EXTERNAL_DATA,
)
from pemu.block.image import Check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


class Qcow2(Qcow2Bitmaps):
    """A qcow2 image with all that it can do."""

    def begin_writing(self, *, repairs: bool = False) -> None:
        """The image was opened for writing. repairs: as it is damaged. Raises ImageError, OSError.

        Features that others might rely on and that are not known here are taken away.
        """
        metadata, more = self.metadata, self.header.more
        metadata.readonly = False
        if self.header.has(CORRUPT) and not repairs:
            raise ImageError("qcow2: Image is corrupt; cannot be opened read/write")
        if self.header.has(DIRTY) and not repairs:
            found = Checker(self, "all").run()
            if found.corruptions or found.errors:
                raise ImageError("Could not repair dirty image: some damage is left; check it")
        if self.bitmaps_lost:
            more.autoclear &= BITMAPS | RAW_EXTERNAL_DATA
            metadata.write_header()
        if more.autoclear & ~(BITMAPS | RAW_EXTERNAL_DATA):
            more.autoclear &= BITMAPS | RAW_EXTERNAL_DATA
            metadata.write_more("autoclear")
            metadata.file.flush()
        self._settle_in()

    def check_image(self, repair: str = "") -> Check:
        with self.lock:
            if not self.readonly:
                self.metadata.commit(accurate=True)
            return Checker(self, repair).run()

    def set_backing(self, name: str, format: str) -> None:
        if name and self.header.more.autoclear & RAW_EXTERNAL_DATA:
            raise ImageError("Backing files are not possible with a raw external data file")
        if len(name.encode("utf-8", "surrogateescape")) > LONGEST_BACKING_NAME:
            raise ImageError(
                f"The name of the backing file has more than {LONGEST_BACKING_NAME} bytes"
            )
        header = self.header
        with self.lock:
            before = header.backing_file, header.backing_format
            header.backing_file, header.backing_format = name, format if name else ""
            try:
                self.metadata.write_header()
            except BaseException:
                header.backing_file, header.backing_format = before
                raise
            self.backing_file, self.backing_format = header.backing_file, header.backing_format

    def amend(
        self, options: Mapping[str, Any], *, force: bool = False
    ) -> Iterator[tuple[int, int]]:
        from pemu.block.formats.qcow2.amending import amend

        yield from amend(self, options, force=force)

    def configure(self, options: Mapping[str, Any]) -> None:
        from pemu.block.formats.qcow2.settings import CHANGEABLE, changed_settings

        own = {key: one for key, one in options.items() if key in CHANGEABLE}
        super().configure({key: one for key, one in options.items() if key not in own})
        if not own:
            return
        with self.lock:
            self.settings = changed_settings(
                self.settings.given, own, self.layout.cluster, discard=self.unmap
            )
            self._settle_in()

    def _settle_in(self) -> None:
        """Use the image as the settings have it."""
        metadata, settings = self.metadata, self.settings
        metadata.set_caches(settings.cached, settings.cached_refcounts)
        if self.readonly:
            return
        if settings.lazy is not None and self.header.fields.version >= 3:
            metadata.lazy = settings.lazy
        else:
            metadata.lazy = bool(self.header.more.compatible & LAZY_REFCOUNTS)
        metadata.overlaps.kinds = settings.overlap
        self.find_tables()

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
