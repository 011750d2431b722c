"""What a driver is given to make a new image with."""

from __future__ import annotations

import os

from pemu.block.image import SECTOR, Image
from pemu.block.opening import Mode, protocol_of
from pemu.block.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pemu.block.opening import Opener


class Creation:
    """One image being made by its driver.

    name: path or address. size: bytes of the disk. options: values of the driver's creation keys.
    graph: what opens other images and has secrets. protocol: what was said for the protocol, all
    files that the driver makes get it.
    """

    def __init__(
        self, graph: Opener, name: str, size: int, options: dict[str, Any], protocol: Tree
    ) -> None:
        self.graph = graph
        self.name = name
        self.size = size
        self.options = options
        self.protocol = protocol
        self._made: list[str] = []

    def file(self, name: str = "", *, size: int = 0) -> Image:
        """Make the file that holds the image (or another one, `name`), and open it for writing.

        size: its length in bytes, to begin with.
        """
        name = name or self.name
        if not protocol_of(name) and not os.path.lexists(name):
            self._made.append(name)
        self.graph.create_file(name, size, self.protocol)
        return self.graph.open_protocol(name, Mode(grows=True, discard=True))

    def reuse(self) -> None:
        """Make do with what is there under the name: a disk that can be overwritten, not made.

        Its first sector is cleared, lest an old image's header be found. Raises ImageError.
        """
        image = self.graph.open_protocol(self.name, Mode(discard=True))
        try:
            if self.size > image.size:
                image.truncate(self.size)
            image.write_zeroes(0, min(SECTOR, image.size))
        finally:
            image.close()

    def discard(self) -> None:
        """Remove the files that were made: the image did not come about."""
        for name in self._made:
            try:
                os.unlink(name)
            except OSError:
                pass
