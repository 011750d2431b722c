"""`pipe`: named pipes, `PATH.in` to read and `PATH.out` to write, or one `PATH` for both."""

from __future__ import annotations

import os
from typing import Any

from pemu.chardev.descriptor import DescriptorChardev
from pemu.chardev.interface import Host, open_file
from pemu.options.error import OptionError
from pemu.options.keyval import Key
from pemu.options.types import Text

KEYS = (
    Key(
        "path",
        Text("path", empty=False),
        "named pipes path.in and path.out, or else one path for both directions",
        required=True,
    ),
)

# A pipe that is open both ways opens without waiting for somebody at its other end, and has no end
# of file and no broken pipe when they leave: the next one simply goes on.
_BOTH_WAYS = os.O_RDWR | os.O_NONBLOCK


class Pipe(DescriptorChardev):
    """Named pipes, or a device that is read and written."""

    kind = "pipe"

    def __init__(self, host: Host, label: str, options: dict[str, Any]) -> None:
        super().__init__(host, label, options)
        path = options["path"]
        try:
            reading = open_file(f"{path}.in", _BOTH_WAYS)
            try:
                writing = open_file(f"{path}.out", _BOTH_WAYS)
            except OptionError:
                os.close(reading)
                raise
            self._descriptors = [reading, writing]
        except OptionError:
            self._descriptors = [open_file(path, _BOTH_WAYS)]
        self._connect(self._descriptors[0], self._descriptors[-1])

    def close(self, patience: float = 0) -> None:
        """Close the pipes."""
        super().close(patience)
        for fd in self._descriptors:
            os.close(fd)


BACKEND = Pipe
