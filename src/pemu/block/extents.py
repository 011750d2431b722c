"""What stretches of a chain of images are made of: which image has them, and data or zeros.

`Image.status` tells what one image knows; here what is below it and the end of that count, too.
"""

from __future__ import annotations

from pemu.block.image import Extent, Image
from pemu.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Stretch(NamedTuple):
    """A stretch of a chain: where it is, bytes, how deep the image that has it, and what it is."""

    offset: int
    depth: int
    extent: Extent

    @property
    def end(self) -> int:
        """Where it ends, bytes."""
        return self.offset + self.extent.length


def unfiltered(image: Image) -> Image:
    """The image itself, or what is behind the filters before it."""
    while image.filter and image.file is not None:
        image = image.file
    return image


def chain(image: Image) -> list[Image]:
    """An image and all that are below it, without filters."""
    found: list[Image] = []
    at: Image | None = image
    while at is not None:
        at = unfiltered(at)
        found.append(at)
        at = at.backing
    return found


def status(image: Image, offset: int, length: int) -> Extent:
    """As `Image.status`, but where nothing is below there are zeros."""
    image = unfiltered(image)
    found = image.status(offset, length)
    if found.zero or found.present:
        return found
    below = image.backing
    return found._replace(zero=below is None or offset >= below.size)


def mapped(image: Image, offset: int, length: int) -> Stretch:
    """What is at `offset` as `map` shows it: of the first image that has data there, or zeros."""
    layers = chain(image)
    for depth, layer in enumerate(layers):
        # what is beyond the end of a layer has been told as zeros by the one above it
        found = status(layer, offset, min(length, layer.size - offset))
        if found.zero or found.data or depth + 1 == len(layers):
            return Stretch(offset, depth, found)
        length = found.length
    raise AssertionError("a chain has at least one image")


def above(image: Image, base: Image | None, offset: int, length: int) -> Stretch:
    """What is at `offset` in an image and those below it that are above `base` (None: in all).

    Where none of them has it, the extent is not present. Zeros beyond the end of an image that is
    shorter than those above it are that image's.
    """
    depth = 0
    at: Image | None = unfiltered(image)
    base = unfiltered(base) if base is not None else None
    found = Extent(length, present=False, data=False)
    while at is not None and at is not base:
        if offset >= at.size:
            return Stretch(offset, depth, Extent(length, zero=True, data=False))
        found = status(at, offset, min(length, at.size - offset))
        length = found.length
        if found.present:
            break
        depth += 1
        at = unfiltered(at.backing) if at.backing is not None else None
    if at is None and not found.present:
        found = found._replace(zero=True)
    return Stretch(offset, depth, found)


def stretches(
    image: Image, base: Image | None = None, offset: int = 0, length: int | None = None
) -> Iterator[Stretch]:
    """All that a range of an image is made of, one after the other, as `above` tells it."""
    end = image.size if length is None else offset + length
    while offset < end:
        found = above(image, base, offset, end - offset)
        yield found
        offset = found.end


def reads_as_zeros(image: Image, offset: int, length: int) -> bool:
    """Whether a range is known to read as zeros. Raises OSError."""
    return all(found.extent.zero for found in stretches(image, None, offset, length))


def allocated_above(image: Image, base: Image | None, offset: int, length: int) -> tuple[bool, int]:
    """Whether an image or one above `base` has what is at `offset`, and for how many bytes."""
    found = above(image, base, offset, length).extent
    return found.present, found.length
