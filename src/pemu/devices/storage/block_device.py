"""Properties that all devices with a drive behind them have, by QEMU's names."""

from __future__ import annotations

from pemu.block.backend import Backend
from pemu.block.image import SECTOR
from pemu.machine import prop
from pemu.machine.device import Device
from pemu.options.error import OptionError, quoted

MOST_BLOCK = 2 << 20
"""Bytes of a block at most, as in QEMU."""

_POLICIES = ("ignore", "stop", "report", "enospc", "auto")


class BlockDevice(Device):
    """Base of these devices. `backend` is what they use, once `take_drive` has been called."""

    category = "storage"

    drive = prop.drive()
    logical_block_size = prop.size(SECTOR, "bytes of a sector", key="logical_block_size")
    physical_block_size = prop.size(
        SECTOR, "bytes that are written at a time", key="physical_block_size"
    )
    min_io_size = prop.size(0, "bytes of a small access that is good", key="min_io_size")
    opt_io_size = prop.size(0, "bytes of the best access", key="opt_io_size")
    discard_granularity: prop.Property[int | None] = prop.Property(
        prop.size(0).type, None, "bytes that are discarded at a time", key="discard_granularity"
    )
    cached = prop.on_off_auto(help="keep writes back (auto: as the drive says)", key="write-cache")
    share_rw = prop.flag(False, "others may write the image, too")
    rerror = prop.choice(_POLICIES, "auto", "what to do when reading fails")
    werror = prop.choice(_POLICIES, "auto", "what to do when writing fails")

    backend: Backend

    def take_drive(self) -> None:
        """Check the properties and make the drive this device's. Raises OptionError."""
        if self.drive is None:
            raise OptionError(f"{self.driver}: drive property not set")
        if self.drive.owner is not None:
            raise OptionError(
                f"{self.driver}: Drive {quoted(self.drive.id)} is already in use by another device"
            )
        if self.share_rw:
            raise OptionError(f"{self.driver}: share-rw=on is not supported yet")
        self._check_sizes()
        self.drive.owner = self
        self.backend = self.drive.backend
        if self.cached != "auto":
            self.backend.writethrough = self.cached == "off"
        if self.rerror != "auto":
            self.backend.rerror = self.rerror
        if self.werror != "auto":
            self.backend.werror = self.werror

    def _check_sizes(self) -> None:
        logical, physical = self.logical_block_size, self.physical_block_size
        for name, value in (("logical_block_size", logical), ("physical_block_size", physical)):
            if value & (value - 1) or not SECTOR <= value <= MOST_BLOCK:
                raise OptionError(
                    f"{name}={value}: give a power of two from {SECTOR} to {MOST_BLOCK}"
                )
        if logical > physical:
            raise OptionError(f"logical_block_size={logical} is more than the physical {physical}")
        for name, value in (("min_io_size", self.min_io_size), ("opt_io_size", self.opt_io_size)):
            if value % logical:
                raise OptionError(f"{name}={value} is no multiple of logical_block_size={logical}")
