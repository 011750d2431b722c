"""I2C and SMBus: a controller addresses devices and moves bytes to and from them.

I2C-bus specification UM10204 revision 6, sections 3.1.4 to 3.1.10; SMBus 3.1 section 6.5.
"""

from __future__ import annotations

from typing import ClassVar

from pemu.machine import prop
from pemu.machine.device import Bus, Device
from pemu.options.error import OptionError


class I2cBus(Bus):
    """A bus with one controller, which calls `start`, `send` or `receive`, and `stop`."""

    kind: ClassVar[str] = "i2c-bus"

    _current: I2cDevice | None = None

    def attach(self, device: Device) -> None:
        assert isinstance(device, I2cDevice)
        if not 0 <= device.address < 128:
            raise OptionError(f"{device.driver}: address {device.address:#x} is not below 0x80")
        if self._find(device.address):
            raise OptionError(f"{device.driver}: address {device.address:#x} is taken")
        super().attach(device)

    def _find(self, address: int) -> I2cDevice | None:
        for device in self.devices:
            if isinstance(device, I2cDevice) and device.address == address:
                return device
        return None

    def start(self, address: int, reading: bool) -> bool:
        """Begin a transfer, or change its direction; False where no device acknowledges."""
        device = self._find(address)
        if self._current is not None and self._current is not device:
            self._current.stop()
        self._current = device if device and device.start(reading) else None
        return self._current is not None

    def send(self, byte: int) -> bool:
        """Send a byte; False where it is not acknowledged."""
        return self._current is not None and self._current.send(byte & 0xFF)

    def receive(self) -> int:
        """The next byte of the device; 0xFF where there is none."""
        return self._current.receive() & 0xFF if self._current else 0xFF

    def stop(self) -> None:
        """End the transfer."""
        if self._current is not None:
            self._current.stop()
            self._current = None

    # What SMBus controllers do as one operation

    def write(self, address: int, data: bytes) -> bool:
        """Send `data` to a device; False where it does not acknowledge."""
        done = self.start(address, False) and all(self.send(byte) for byte in data)
        self.stop()
        return done

    def read(self, address: int, command: bytes, length: int) -> bytes | None:
        """Send `command`, then read `length` bytes; None where nothing acknowledges."""
        data = None
        if not command or self.start(address, False) and all(self.send(b) for b in command):
            if self.start(address, True):
                data = bytes(self.receive() for _ in range(length))
        self.stop()
        return data


class I2cDevice(Device):
    """Base of devices on an I2C bus."""

    plugs_into: ClassVar[type[Bus]] = I2cBus
    bus: I2cBus

    address = prop.uint(8, 0, "7-bit address")

    def start(self, reading: bool) -> bool:
        """A transfer begins or turns around; returns whether the device acknowledges."""
        return True

    def send(self, byte: int) -> bool:
        """Take a byte; returns whether the device acknowledges."""
        return False

    def receive(self) -> int:
        """The next byte that the device sends."""
        return 0xFF

    def stop(self) -> None:
        """The transfer has ended."""
