"""A floppy drive, and the cable that leads from its controller to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from pemu.machine import prop
from pemu.machine.bus import Bus
from pemu.machine.device import Device
from pemu.options.error import OptionError
from pemu.options.types import Int

if TYPE_CHECKING:
    from pemu.devices.storage.floppy import IsaFdc

DRIVES = 2
"""As many as a controller has."""


class FloppyBus(Bus):
    """The cable."""

    kind = "floppy-bus"
    most = DRIVES

    @property
    def controller(self) -> IsaFdc:
        """What it leads from."""
        return cast("IsaFdc", self.owner)

    def attach(self, device: Device) -> None:
        super().attach(device)
        assert isinstance(device, Floppy)
        try:
            device.unit = self.controller.free_unit(device.unit)
        except OptionError:
            self.detach(device)
            raise

    def describe(self, device: Device) -> list[str]:
        assert isinstance(device, Floppy)
        return [f"unit {device.unit}"]


class Floppy(Device):
    """A drive that -device adds to those that the board has given its controller."""

    driver = "floppy"
    description = "virtual floppy drive"
    category = "storage"
    plugs_into: ClassVar[type[Bus]] = FloppyBus
    bus: FloppyBus

    drive = prop.drive()
    unit: prop.Property[int | None] = prop.Property(Int(maximum=DRIVES - 1), None, "0 or 1")

    def realize(self) -> None:
        if self.drive is None:
            raise OptionError("drive property not set; write drive=<id>")
        assert self.unit is not None
        self.bus.controller.put(self.unit, self.drive, self)
