"""`file`: what is written is kept in a file; nothing is read."""

from __future__ import annotations

import os
from typing import Any

from pemu.chardev.descriptor import DescriptorChardev
from pemu.chardev.interface import Host, open_file
from pemu.options.keyval import Key
from pemu.options.types import Bool, Text

KEYS = (
    Key("path", Text("path", empty=False), "the file, made where it does not exist", required=True),
    Key("append", Bool(), "keep what the file holds already", default=False),
)


class File(DescriptorChardev):
    """Output into a file."""

    kind = "file"

    def __init__(self, host: Host, label: str, options: dict[str, Any]) -> None:
        super().__init__(host, label, options)
        flags = os.O_APPEND if options["append"] else os.O_TRUNC
        self._fd = open_file(options["path"], os.O_WRONLY | os.O_CREAT | flags)
        self._connect(-1, self._fd)

    def close(self, patience: float = 0) -> None:
        """Close the file."""
        super().close(patience)
        os.close(self._fd)


BACKEND = File
