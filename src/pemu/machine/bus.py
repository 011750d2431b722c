"""Buses: what devices plug into."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pemu.options.error import OptionError

if TYPE_CHECKING:
    from pemu.machine.device import Device
    from pemu.machine.machine import Machine


class Bus:
    """A bus of a machine, and the devices on it. `owner` is the device that provides it.

    Kinds of buses are subclasses: `kind` is the word that help texts show, `most` how many devices
    there may be, 0 for any number.
    """

    kind: ClassVar[str] = "System"
    most: ClassVar[int] = 0

    def __init__(self, machine: Machine, name: str, owner: Device | None = None) -> None:
        self.machine = machine
        self.name = name
        self.owner = owner
        self.devices: list[Device] = []
        machine.buses.append(self)

    def attach(self, device: Device) -> None:
        """Take `device`, whose properties are set, in; raises OptionError where it cannot be."""
        if self.full:
            raise OptionError(
                f"bus {self.name} has no room for {device.driver}; it holds {self.most} devices"
            )
        self.devices.append(device)

    def detach(self, device: Device) -> None:
        """Let go of `device`."""
        self.devices.remove(device)

    @property
    def full(self) -> bool:
        """Whether no further device fits."""
        return bool(self.most) and len(self.devices) >= self.most

    def describe(self, device: Device) -> list[str]:
        """Lines that `info qtree` shows of `device`'s place on the bus."""
        return []


class SystemBus(Bus):
    """What boards are wired by: no addresses of its own; boards map regions and connect lines."""
