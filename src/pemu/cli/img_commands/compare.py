"""`pemu-img compare`: whether two images have the same contents."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from pemu.block.extents import Stretch, above, unfiltered
from pemu.block.image import Extent, Image
from pemu.block.pieces import is_zero
from pemu.cli.img_commands.progress import Progress
from pemu.cli.img_commands.session import COMMON, Session, mistake, usage
from pemu.options.error import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SYNTAX = (
    "[--object objectdef] [--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] [-s] [-U] "
    "filename1 filename2"
)

HELP = """Compare the contents of two images. Exit status: 0 the same, 1 not, more: it failed.

  -F fmt  format of the second image
  -s      strict: size and what takes room must be the same, too
"""

OPTIONS = COMMON + "f|format= F= T= p q s U|force-share"

CHUNK = 2 << 20
"""Bytes that are read at a time."""

_FAILED = 2


def run(words: Sequence[str]) -> int:
    """Carry out `pemu-img compare`."""
    given = usage(words, OPTIONS, help=HELP)
    if len(given.words) != 2:
        raise mistake("Expecting two image file names")
    session = Session(given)
    with ExitStack() as stack:
        try:
            images = []
            for name, format in zip(given.words, (given.get("f"), given.get("F")), strict=True):
                image = session.open(
                    name, format=format, cache=given.get("T"), cache_option="source cache option"
                )
                stack.callback(image.close)
                images.append(image)
        except OptionError as error:
            raise OptionError(str(error), _FAILED) from None
        one, other = images
        with Progress(given, min(one.size, other.size)) as progress:
            found = _Comparison(one, other, progress, strict="s" in given).run()
    session.say("\n".join(found.lines))
    return 0 if found.same else 1


class _Comparison:
    """Two images being compared. lines: what is to be said. same: the outcome."""

    def __init__(self, one: Image, other: Image, progress: Progress, *, strict: bool) -> None:
        self.images = (one, other)
        self.progress = progress
        self.strict = strict
        self.same = True
        self.lines: list[str] = []

    def run(self) -> _Comparison:
        """Compare all."""
        one, other = self.images
        if self.strict and one.size != other.size:
            return self._differ("Strict mode: Image size mismatch!")
        shorter = min(one.size, other.size)
        if not self._common(shorter):
            return self
        if one.size != other.size:
            self.lines.append("Warning: Image size mismatch!")
            longer = one if one.size > other.size else other
            if not self._rest(longer, shorter):
                return self
        self.lines.append("Images are identical.")
        return self

    def _differ(self, text: str) -> _Comparison:
        self.same = False
        self.lines.append(text)
        return self

    def _common(self, end: int) -> bool:
        """Compare what both have."""
        one, other = self.images
        buffers = [bytearray(min(CHUNK, end)) for _ in range(2)]
        views = [memoryview(buffer) for buffer in buffers]
        with ThreadPoolExecutor(1) as pool:
            for at, length, zero in self._parts(end):
                if all(zero):
                    pass
                elif any(zero):
                    i = zero.index(False)
                    view = _read(self.images[i], at, views[0][:length])
                    if not is_zero(view):
                        self._differ(f"Content mismatch at offset {at + _first(view)}!")
                        return False
                else:
                    second = pool.submit(_read, other, at, views[1][:length])
                    view = _read(one, at, views[0][:length])
                    if not buffers[0].startswith(second.result()):
                        where = at + _first(view, second.result())
                        self._differ(f"Content mismatch at offset {where}!")
                        return False
                self.progress.add(length)
        return self.same

    def _parts(self, end: int) -> Iterator[tuple[int, int, list[bool]]]:
        """What both have: where, bytes (no more than a buffer takes, unless both are zeros), and
        which of them is known to be zeros. Ends where a strict comparison does."""
        start = at = 0
        last: list[bool] = []
        while at < end:
            found = [_status(image, at, end - at).extent for image in self.images]
            zero = [extent.zero for extent in found]
            differs = self.strict and _kind(found[0]) != _kind(found[1])
            full = not all(last) and at - start == CHUNK
            if at > start and (differs or full or zero != last):
                yield start, at - start, last
                start = at
            if differs:
                self._differ(f"Strict mode: Offset {at} block status mismatch!")
                return
            last = zero
            room = end - at if all(zero) else start + CHUNK - at
            at += min(found[0].length, found[1].length, room)
        if at > start:
            yield start, at - start, last

    def _rest(self, image: Image, at: int) -> bool:
        """Whether the longer image goes on with zeros."""
        buffer = memoryview(bytearray(CHUNK))
        while at < image.size:
            found = _status(image, at, image.size - at)
            length = found.extent.length
            if not found.extent.zero:
                length = min(length, CHUNK)
                view = _read(image, at, buffer[:length])
                if not is_zero(view):
                    self._differ(f"Content mismatch at offset {at + _first(view)}!")
                    return False
            at += length
        return True


def _status(image: Image, at: int, length: int) -> Stretch:
    try:
        return above(unfiltered(image), None, at, length)
    except OSError as error:
        raise OptionError(
            f"Sector allocation test failed for {image.name}: {error.strerror}", 3
        ) from None


def _kind(extent: Extent) -> tuple[bool, bool, bool]:
    """What the strict mode compares."""
    return extent.present, extent.zero, extent.data


def _read(image: Image, at: int, view: memoryview) -> memoryview:
    try:
        image.read_into(at, [view])
    except OSError as error:
        raise OptionError(
            f"Error while reading offset {at} of {image.name}: {error.strerror}", 4
        ) from None
    return view


def _first(view: memoryview, other: memoryview | None = None) -> int:
    """Where the first sector begins that differs, or is not zeros."""
    for at in range(0, len(view), 512):
        part = view[at : at + 512]
        if not is_zero(part) if other is None else part != other[at : at + 512]:
            return at
    return 0
