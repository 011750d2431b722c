"""What a driver is given to make a new image with."""

from __future__ import annotations

import os
from typing import Any

from pemu.block.error import ImageError
from pemu.block.image import Image
from pemu.block.opening import Mode, Opener, protocol_of
from pemu.block.tree import Tree


class Creation:
    """One image being made by its driver.

    name: path or address. size: bytes of the disk. options: values of the driver's creation keys.
    graph: what opens other images and has secrets.
    """

    def __init__(self, graph: Opener, name: str, size: int, options: dict[str, Any]) -> None:
        self.graph = graph
        self.name = name
        self.size = size
        self.options = options
        self._made: list[str] = []

    def file(self, name: str = "", *, size: int = 0, options: Tree | None = None) -> Image:
        """Make the file that holds the image (or another one, `name`), and open it for writing.

        size: its length in bytes, to begin with. options: keys of the protocol's creation.
        """
        name = name or self.name
        if not protocol_of(name) and not os.path.lexists(name):
            self._made.append(name)
        self.graph.create_file(name, size, options or {})
        return self.graph.open_protocol(name, Mode(grows=True, discard=True))

    def discard(self) -> None:
        """Remove the files that were made: the image did not come about."""
        for name in self._made:
            try:
                os.unlink(name)
            except OSError:
                pass

    def require_size(self, unit: int, largest: int) -> None:
        """Raise ImageError unless the size is a multiple of `unit` and at most `largest`, bytes."""
        if self.size % unit:
            raise ImageError(f"Image size {self.size} is not a multiple of {unit} bytes")
        if self.size > largest:
            raise ImageError(f"Image size {self.size} is too large; at most {largest} bytes")
