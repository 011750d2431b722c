"""`pemu-img rebase`: another image below an image."""

from __future__ import annotations

from contextlib import ExitStack

from pemu.block.copying import Copier, CopyError, Piece
from pemu.block.error import ImageError
from pemu.block.extents import above, allocated_above, chain, unfiltered
from pemu.block.image import SECTOR, Image
from pemu.block.opening import Mode, resolve
from pemu.cli.img_commands.progress import Progress
from pemu.cli.img_commands.session import (
    COMMON,
    Session,
    close,
    known_format,
    mistake,
    one_file,
    usage,
)
from pemu.options.error import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SYNTAX = (
    "[--object objectdef] [--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] [-p] [-u] "
    "-b backing_file [-F backing_fmt] filename"
)

HELP = """Put another image below an image, whose contents stay what they are: what the images
below have differently is copied first.

  -b backing_file  the new one; '' for none
  -F backing_fmt   format of that
  -u               only write the new name: the images below have the same, or have been moved
"""

OPTIONS = COMMON + "f|format= F= b= u p t= T= q U|force-share"

CHUNK = 2 << 20
"""Bytes that are compared at a time."""


def run(words: Sequence[str]) -> int:
    """Carry out `pemu-img rebase`."""
    given = usage(words, OPTIONS, help=HELP)
    name = one_file(given)
    unsafe = "u" in given
    if "b" not in given and not unsafe:
        raise mistake("Must specify backing file (-b) or use unsafe mode (-u)")
    session = Session(given)
    wanted, format = given.get("b"), given.get("F")
    if format and not known_format(format):
        raise OptionError(f"Invalid format name: '{format}'")
    if wanted and not format:
        raise OptionError(
            f"Could not change the backing file to '{wanted}': backing format must be specified"
        )
    mode = Mode(backing=not unsafe, discard=True)  # -U is for the new image below
    image = session.open(name, format=given.get("f"), mode=mode, cache=given.get("t", "writeback"))
    with ExitStack() as stack:
        stack.callback(close, image)
        with Progress(given, image.size) as progress:
            if not unsafe:
                new = _new_backing(session, image, wanted, format, given.get("T"), stack)
                _Rebase(image, new, progress).copy()
            try:
                image.flush()
                unfiltered(image).set_backing(wanted, format)
            except (ImageError, OSError) as error:
                text = error.strerror if isinstance(error, OSError) else error
                raise OptionError(
                    f"Could not change the backing file to '{wanted}': {text}"
                ) from None
    return 0


def _new_backing(
    session: Session, image: Image, name: str, format: str, cache: str, stack: ExitStack
) -> Image | None:
    """The image that is to be below; the very one where it is in the chain already."""
    if not name:
        return None
    full = resolve(name, image.name)
    for one in chain(image)[1:]:
        if full in (one.name, resolve(one.name, image.name)):
            return one
    try:
        new = session.open(
            full, format=format, cache=cache, cache_option="source cache option", image_opts=False
        )
    except OptionError as error:
        text = str(error).removeprefix(f"Could not open '{full}': ")
        raise OptionError(f"Could not open new backing file '{name}': {text}") from None
    stack.callback(new.close)
    return new


class _Rebase:
    """Copies to an image what the images below it now have, and the new one has not."""

    def __init__(self, image: Image, new: Image | None, progress: Progress) -> None:
        self.image = unfiltered(image)
        self.old = self.image.backing
        self.new = new
        self.prefix = new if new is not None and new in chain(image) else None
        self.progress = progress
        self.unit = image.limits().cluster or SECTOR

    def copy(self) -> None:
        """Copy all. Raises OptionError."""
        copier = Copier(self.image, sparse=SECTOR, granule=self.unit, progress=self.progress.add)
        try:
            copier.copy(self._pieces())
            self.image.flush()
        except CopyError as error:
            raise OptionError(str(error)) from None
        except OSError as error:
            raise OptionError(f"error while rebasing: {error.strerror}") from None

    def _pieces(self) -> Iterator[Piece]:
        """All of the image; what is to be copied is to be read through it."""
        image, at = self.image, 0
        while at < image.size:
            kind, length = self._kind(at, image.size - at)
            yield Piece(kind, at, length, image, at)
            at += length

    def _kind(self, at: int, length: int) -> tuple[str, int]:
        found = self.image.status(at, length)
        length = found.length
        if found.present:
            return "skip", length
        if self.prefix is not None and self.old is not None:
            if at < self.old.size:
                length = min(length, self.old.size - at)
                changed, length = allocated_above(self.old, self.prefix, at, length)
                if not changed:
                    return "skip", length
            elif at >= self.prefix.size:
                return "skip", length
        old_zero, length = _zero(self.old, at, length)
        new_zero, length = _zero(self.new, at, length)
        if old_zero and new_zero:
            return "skip", length
        if old_zero:
            return "zero", length
        # whole clusters: half a cluster would have the rest read from below again
        length = min(length, CHUNK, self.unit - at % self.unit if length < self.unit else length)
        if length > self.unit:
            length -= (at + length) % self.unit
        return ("skip" if self._same(at, length) else "data"), length

    def _same(self, at: int, length: int) -> bool:
        one, other = _contents(self.old, at, length), _contents(self.new, at, length)
        return one == other


def _zero(image: Image | None, at: int, length: int) -> tuple[bool, int]:
    """Whether there are zeros for sure, and for how many bytes."""
    if image is None or at >= image.size:
        return True, length
    found = above(image, None, at, min(length, image.size - at)).extent
    return found.zero, found.length


def _contents(image: Image | None, at: int, length: int) -> bytes:
    """What is in an image, zeros past its end."""
    data = bytearray(length)
    inside = min(length, image.size - at) if image is not None else 0
    if image is not None and inside > 0:
        with memoryview(data) as view:
            image.read_into(at, [view[:inside]])
    return bytes(data)
