"""`serial`, also called `tty`: a serial port or another terminal device of the host."""

from __future__ import annotations

import os
import termios
from typing import Any

from pemu.chardev import line
from pemu.chardev.descriptor import DescriptorChardev
from pemu.chardev.interface import Host, LineSettings, ModemLines, open_file
from pemu.options.keyval import Key
from pemu.options.types import Text

KEYS = (Key("path", Text("path", empty=False), "the device, such as /dev/ttyS0", required=True),)


class HostSerial(DescriptorChardev):
    """A device of the host, driven as the guest drives its serial port."""

    kind = "serial"

    def __init__(self, host: Host, label: str, options: dict[str, Any]) -> None:
        super().__init__(host, label, options)
        self._fd = open_file(options["path"], os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
        self._change(lambda held: line.raw(held, output=True, signals=False))
        self.set_line(LineSettings())
        self._connect(self._fd, self._fd)

    def set_line(self, settings: LineSettings) -> None:
        """Set speed and format of the line."""
        self._change(lambda held: line.formatted(held, settings))

    def set_break(self, on: bool) -> None:
        """Begin or end a break on the line."""
        line.set_break(self._fd, on)

    def set_modem_lines(self, rts: bool, dtr: bool) -> None:
        """Assert or release RTS and DTR."""
        line.set_modem_lines(self._fd, rts, dtr)

    def modem_lines(self) -> ModemLines | None:
        """The lines that the host's port reads; None of a terminal without them."""
        return line.modem_lines(self._fd)

    def close(self, patience: float = 0) -> None:
        """Close the device."""
        super().close(patience)
        os.close(self._fd)
        self._fd = -1

    def _change(self, change: Any) -> None:
        try:
            held = termios.tcgetattr(self._fd)
            termios.tcsetattr(self._fd, termios.TCSANOW, change(held))
        except termios.error:
            pass  # a device that is no terminal takes bytes as they are


BACKEND = HostSerial
