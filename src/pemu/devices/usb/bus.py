"""The USB as host controllers and devices see it: ports, and transactions of one packet each.

Universal Serial Bus Specification 2.0, chapter 8. There are no devices yet.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from pemu.machine import state
from pemu.machine.device import Bus, Device

if TYPE_CHECKING:
    from pemu.machine.device import Surroundings

SETUP, IN, OUT = 0x2D, 0x69, 0xE1
"""Packet identifiers of tokens."""


class Answer(Enum):
    """What a device answers where it does not take or send data."""

    NAK = "not now"
    STALL = "never"
    NOTHING = "nobody is there"
    BABBLE = "more than was asked for"


class UsbBus(Bus):
    """A bus with root ports. changed: called with a port's number when a device came or went."""

    kind: ClassVar[str] = "usb-bus"

    def __init__(
        self,
        machine: Surroundings,
        name: str,
        owner: Device,
        ports: int,
        changed: Callable[[int], None],
    ) -> None:
        super().__init__(machine, name, owner)
        self.ports: list[UsbDevice | None] = [None] * ports
        self._changed = changed

    @property
    def full(self) -> bool:
        return all(self.ports)

    def attach(self, device: Device) -> None:
        assert isinstance(device, UsbDevice)
        super().attach(device)
        port = self.ports.index(None)
        self.ports[port] = device
        self._changed(port)

    def detach(self, device: Device) -> None:
        super().detach(device)
        port = self.ports.index(device)  # type: ignore[arg-type]
        self.ports[port] = None
        self._changed(port)

    def find(self, address: int, enabled: Callable[[int], bool]) -> UsbDevice | None:
        """The device with a USB address on a port that is enabled."""
        for port, device in enumerate(self.ports):
            if device is not None and enabled(port) and device.address == address:
                return device
        return None


class UsbDevice(Device):
    """Base of USB devices. low_speed: 1.5 Mbit/s and not 12."""

    plugs_into: ClassVar[type[Bus]] = UsbBus
    category = "usb"
    bus: UsbBus
    low_speed: ClassVar[bool] = False

    address = state.uint(7, help="0 until the host has given one")

    def transaction(self, token: int, endpoint: int, data: bytes, length: int) -> bytes | Answer:
        """Take `data` (SETUP, OUT; the result is empty), or send at most `length` bytes (IN)."""
        return Answer.STALL

    def reset_by_port(self) -> None:
        """The host resets the port."""
        self.address = 0
