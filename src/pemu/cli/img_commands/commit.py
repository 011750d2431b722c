"""`pemu-img commit`: what an image has goes to an image below it."""

from __future__ import annotations

from pemu.block.copying import Copier, CopyError, Piece
from pemu.block.error import ImageError
from pemu.block.extents import chain, stretches
from pemu.block.image import SECTOR, Image
from pemu.block.opening import Mode, resolve
from pemu.cli.img_commands.progress import Progress
from pemu.cli.img_commands.session import COMMON, Session, close, number, one_file, usage
from pemu.options.error import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SYNTAX = (
    "[--object objectdef] [--image-opts] [-q] [-f fmt] [-t cache] [-b base] [-r rate_limit] [-d] "
    "[-p] filename"
)

HELP = """Write what an image has to the image below it, and empty it.

  -b base        to this image of the chain; the one on top is left as it is
  -d             leave the image as it is: it is not needed any more
  -r rate_limit  bytes a second at most
"""

OPTIONS = COMMON + "f|format= t= b= d p q r="


def run(words: Sequence[str]) -> int:
    """Carry out `pemu-img commit`."""
    given = usage(words, OPTIONS, help=HELP)
    rate = number(given.get("r"), "rate limit") if "r" in given else 0
    name = one_file(given)
    session = Session(given)
    cache = given.get("t", "writeback")
    image = session.open(name, format=given.get("f"), mode=Mode(discard=True), cache=cache)
    try:
        base = _base(image, name, given.get("b"))
        base.reopen(readonly=False)
        try:
            if base.size < image.size:
                base.truncate(image.size)
            with Progress(given, image.size) as progress:
                copier = Copier(
                    base,
                    granule=base.limits().cluster or SECTOR,
                    rate=rate,
                    progress=progress.add,
                )
                copier.copy(_pieces(image, base))
            base.flush()
            if "d" not in given and "b" not in given:
                image.make_empty()
        finally:
            base.reopen(readonly=True)
    except CopyError as error:
        raise OptionError(str(error)) from None
    except ImageError:
        raise
    except OSError as error:
        raise OptionError(f"Could not commit '{name}': {error.strerror}") from None
    finally:
        close(image)
    session.say("Image committed.")
    return 0


def _base(image: Image, name: str, wanted: str) -> Image:
    """The image to write to. Raises OptionError."""
    below = chain(image)[1:]
    if not below:
        raise OptionError("Image does not have a backing file")
    if not wanted:
        return below[0]
    above = chain(image)[0]
    for one in below:
        known = {one.name, above.backing_file, resolve(above.backing_file, above.name)}
        if wanted in known or resolve(wanted, name) in known:
            return one
        above = one
    raise OptionError(f"Did not find '{wanted}' in the backing chain of '{name}'")


def _pieces(image: Image, base: Image) -> Iterator[Piece]:
    for stretch in stretches(image, base):
        found = stretch.extent
        kind = "skip" if not found.present else "zero" if found.zero else "data"
        yield Piece(kind, stretch.offset, found.length, image, stretch.offset)
