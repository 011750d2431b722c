"""`pemu-img dd`: a part of an image as a new image, in the words of dd."""

from __future__ import annotations

from pemu.block.copying import Copier, CopyError, Piece
from pemu.block.error import ImageError
from pemu.block.extents import stretches
from pemu.block.image import SECTOR, Image
from pemu.block.opening import Mode
from pemu.cli.img_commands.creation import creating_driver
from pemu.cli.img_commands.session import (
    COMMON,
    Session,
    close,
    number,
    usage,
    warn,
)
from pemu.options.error import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SYNTAX = (
    "[--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] [count=blocks] [skip=blocks] "
    "if=input of=output"
)

HELP = """Copy a part of an image to a new one.

  if=input  of=output  the images
  bs=bytes             what count and skip count in (default: 512)
  skip=n               leave out so many blocks at the beginning
  count=n              end before block n of the input
"""

OPTIONS = COMMON + "f= O= U|force-share"

MOST = (1 << 31) - 1


def run(words: Sequence[str]) -> int:
    """Carry out `pemu-img dd`."""
    given = usage(words, OPTIONS, help=HELP)
    operands: dict[str, str] = {}
    for word in given.words:
        name, equals, value = word.partition("=")
        if not equals or name not in ("if", "of", "bs", "count", "skip"):
            raise OptionError(f"unrecognized operand {name}; there are if, of, bs, count and skip")
        operands[name] = value
    block = number(operands.get("bs", "512"), "bs", least=1, most=MOST)
    count = number(operands["count"], "count") if "count" in operands else None
    skip = number(operands.get("skip", "0"), "skip")
    if "if" not in operands or "of" not in operands:
        raise OptionError("Must specify both input and output files")
    session = Session(given)
    source = session.open(operands["if"], format=given.get("f"))
    try:
        end = source.size if count is None else min(source.size, count * block)
        start = skip * block
        if start > end:
            warn(f"{operands['if']}: cannot skip to specified offset")
            start = end
        _copy(session, source, start, end, given.get("O", "raw"), operands["of"])
    finally:
        source.close()
    return 0


def _copy(session: Session, source: Image, start: int, end: int, format: str, name: str) -> None:
    creating_driver(format)
    try:
        session.graph.create(format, name, end - start, {})
    except ImageError as error:
        raise OptionError(f"{name}: error while creating output image: {error}") from None
    target = session.open(name, format=format, mode=Mode(discard=True), image_opts=False)
    try:
        granule = target.limits().cluster or SECTOR
        Copier(target, granule=granule).copy(_pieces(source, start, end))
        target.flush()
    except (CopyError, OSError) as error:
        raise OptionError(str(error)) from None
    finally:
        close(target)


def _pieces(source: Image, start: int, end: int) -> Iterator[Piece]:
    for stretch in stretches(source, None, start, end - start):
        kind = "zero" if stretch.extent.zero else "data"
        yield Piece(kind, stretch.offset - start, stretch.extent.length, source, stretch.offset)
