"""A floppy drive, and the cable that leads from its controller to it."""

from __future__ import annotations

from typing import ClassVar, Protocol, cast

from pemu.machine import prop
from pemu.machine.device import Bus, Device
from pemu.machine.drives import Drive
from pemu.options.error import OptionError
from pemu.options.types import Int

DRIVES = 2
"""As many as a controller has."""


class Controller(Protocol):
    """What drives ask of the device at the other end of the cable."""

    def free_unit(self, wanted: int | None) -> int:
        """The place of a further drive, `wanted` where it is free. Raises OptionError."""

    def put(self, number: int, drive: Drive, owner: Device) -> None:
        """Have a drive, which belongs to `owner` from now on. Raises OptionError."""


class FloppyBus(Bus):
    """The cable."""

    kind = "floppy-bus"
    most = DRIVES

    @property
    def controller(self) -> Controller:
        """What it leads from."""
        return cast("Controller", self.owner)

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
