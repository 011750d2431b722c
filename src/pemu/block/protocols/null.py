"""null-co and null-aio: disks that are not there, to measure everything else with."""

from __future__ import annotations

import time
from typing import Any

from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.image import Extent, Image
from pemu.block.opening import Opening
from pemu.block.pieces import Buffers, Pieces, clear
from pemu.options.keyval import Key
from pemu.options.types import Bool, Int, Size, Text


class Null(Image):
    """Takes what is written and forgets it. zeroes: reads as zeros, else as what is in memory.

    latency: seconds that each request takes.
    """

    def __init__(
        self, name: str, size: int, *, readonly: bool, zeroes: bool, latency: float = 0
    ) -> None:
        super().__init__(name, size, readonly=readonly)
        self._zeroes = zeroes
        self._latency = latency

    def _wait(self) -> None:
        if self._latency:
            time.sleep(self._latency)

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        self._wait()
        if self._zeroes:
            for view in buffers:
                clear(view)

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        if self._latency:
            return False
        self.read_into(offset, buffers)
        return True

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        self._wait()

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._wait()

    def flush(self) -> None:
        self._wait()

    @property
    def fast_zeroes(self) -> bool:
        return True

    def _status(self, offset: int, length: int) -> Extent:
        return Extent(length, zero=self._zeroes, data=not self._zeroes, offset=offset, file=self)

    def allocated(self) -> int:
        return 0

    def grow(self) -> None:
        """It stays as large as it is."""


def _open(opening: Opening) -> Image:
    options = opening.options
    image = Null(
        opening.name or f"{opening.driver}://",
        options["size"],
        readonly=opening.mode.readonly,
        zeroes=options["read-zeroes"],
        latency=options["latency-ns"] / 1e9,
    )
    image.format = opening.driver  # type: ignore[misc]
    return image


def _parse(name: str) -> dict[str, Any]:
    if name not in ("null-co://", "null-aio://"):
        raise ImageError("The only allowed filename for this driver is 'null-co://'")
    return {}


DRIVERS = {
    name: Driver(
        name,
        _open,
        keys=(
            Key("size", Size(), "how large it is", default=1 << 30),
            Key("latency-ns", Int(maximum=10**12), "how long a request takes", default=0),
            Key("read-zeroes", Bool(), "whether it reads as zeros", default=False),
            Key("filename", Text("name"), "name that messages have"),
        ),
        children=(),
        parse_name=_parse,
    )
    for name in ("null-co", "null-aio")
}
