"""Images one after the other as if they were one."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from pemu.block.extents import above
from pemu.block.image import Extent, Image
from pemu.block.pieces import Buffers, take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Joined(Image):
    """The contents of `images`, in their order; read-only. Closing it closes them."""

    def __init__(self, images: Sequence[Image]) -> None:
        self._starts = [0, *accumulate(image.size for image in images)]
        super().__init__(images[0].name, self._starts[-1], readonly=True)
        self._images = images
        self.children.update((str(i), image) for i, image in enumerate(images))

    def _parts(self, offset: int, length: int) -> Iterator[tuple[Image, int, int]]:
        """The images that a range is in: which, where in it, and how many bytes."""
        while length:
            i = bisect_right(self._starts, offset) - 1
            inside = offset - self._starts[i]
            part = min(length, self._images[i].size - inside)
            yield self._images[i], inside, part
            offset += part
            length -= part

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        rest = list(buffers)
        for image, inside, part in self._parts(offset, sum(map(len, buffers))):
            taken, rest = take(rest, part)
            image.read_into(inside, taken)

    def _status(self, offset: int, length: int) -> Extent:
        image, inside, part = next(self._parts(offset, length))
        return above(image, None, inside, part).extent._replace(present=True)
