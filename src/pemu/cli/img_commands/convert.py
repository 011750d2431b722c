"""`pemu-img convert`: the contents of images as a new image, of another format."""

from __future__ import annotations

import os
from contextlib import ExitStack

from pemu.block.copying import WORKERS, Copier, CopyError, Piece
from pemu.block.error import ImageError
from pemu.block.extents import above, unfiltered
from pemu.block.graph import creating_protocol
from pemu.block.image import SECTOR, Image
from pemu.block.joined import Joined
from pemu.block.opening import Mode, resolve
from pemu.block.tree import nested
from pemu.cli.image_options import cached
from pemu.cli.img_commands.creation import (
    check_keys,
    creating_driver,
    creation_keys,
    option_help,
    option_pairs,
)
from pemu.cli.img_commands.progress import Progress
from pemu.cli.img_commands.session import (
    COMMON,
    PROGRAM,
    Session,
    close,
    integer,
    number,
    say,
    usage,
    warn,
)
from pemu.cli.switches import Given
from pemu.options.error import OptionError
from pemu.records import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SYNTAX = (
    "[--object objectdef] [--image-opts] [--target-image-opts] [--target-is-zero] [--bitmaps "
    "[--skip-broken-bitmaps]] [-U] [-C] [-c] [-p] [-q] [-n] [-f fmt] [-t cache] [-T src_cache] "
    "[-O output_fmt] [-B backing_file [-F backing_fmt]] [-o options] [-l snapshot_param] "
    "[-S sparse_size] [-r rate_limit] [-m num_coroutines] [-W] [--salvage] filename [filename2 "
    "[...]] output_filename"
)

HELP = """Make an image with the contents of others, one after the other.

  -O output_fmt          format of the new image (default: raw)
  -o options             its options; -o help lists them
  -B backing_file        image below the new one: what is below the source is not copied
  -F backing_fmt         format of that
  -c                     compress
  -l snapshot_param      what the source has in this snapshot
  -n                     write to an image that is there already
  --target-is-zero       which has nothing but zeros
  -S sparse_size         so many zeros take no room (default: 4k); 0: write everything
  -C                     have the kernel copy, which can share blocks
  -m num_coroutines      how many threads work (default: 8)
  -W                     write in any order
  -r rate_limit          bytes a second at most
  --salvage              what cannot be read becomes zeros
  --bitmaps              copy persistent bitmaps, too
  --skip-broken-bitmaps  but for those that are not consistent
"""

OPTIONS = COMMON + (
    "f|format= O= B= F= c o= l= S= p q n t= T= m= W U|force-share C r= target-image-opts "
    "target-is-zero salvage bitmaps skip-broken-bitmaps"
)

LARGEST_SPARSE = 16 << 20
"""Bytes: the largest -S."""

MOST_WORKERS = 16
"""The largest -m: more do not help, and each has its buffer."""


def run(words: Sequence[str]) -> int:
    """Carry out `pemu-img convert`."""
    given = usage(words, OPTIONS, help=HELP)
    wanted = _Wanted(given)
    pairs = option_pairs(given.all("o"))
    if pairs is None:
        say(option_help(wanted.format, given.words[-1] if given.words else ""))
        return 0
    wanted.check()
    if len(given.words) < 2:
        raise OptionError("Must specify image file name")
    with ExitStack() as stack:
        session = Session(given)
        _convert(session, given, wanted, pairs, stack)
    return 0


class _Wanted:
    """What the command line says of how to convert. Raises OptionError."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.format = given.get("O", "raw")
        self.compress = "c" in given
        self.skip_create = "n" in given
        self.sparse = 4096
        if "S" in given:
            self.sparse = number(given.get("S"), "buffer size for sparse output")
            if self.sparse % SECTOR or self.sparse > LARGEST_SPARSE:
                raise OptionError(
                    "Invalid buffer size for sparse output specified. Valid sizes are multiples of "
                    f"{SECTOR} up to {LARGEST_SPARSE}. Select 0 to disable sparse detection (fully "
                    "allocates output)."
                )
        self.workers = WORKERS
        if "m" in given:
            wrong = (
                "Invalid number of coroutines. Allowed number of coroutines is between 1 and "
                f"{MOST_WORKERS}"
            )
            self.workers = integer(given.get("m"), wrong, least=1, most=MOST_WORKERS)
        self.rate = number(given.get("r"), "rate limit") if "r" in given else 0

    def backed(self, pairs: Sequence[tuple[str, str]]) -> bool:
        """Whether there is to be an image below the new one."""
        return "B" in self.given or any(key == "backing_file" for key, _ in pairs)

    def check(self) -> None:
        """Raise OptionError for options that do not go together."""
        given = self.given
        rules = (
            ("skip-broken-bitmaps", "bitmaps", "Use of --skip-broken-bitmaps requires --bitmaps"),
            ("target-image-opts", "n", "--target-image-opts requires use of -n flag"),
            ("target-is-zero", "n", "--target-is-zero requires use of -n flag"),
        )
        for option, needed, text in rules:
            if option in given and needed not in given:
                raise OptionError(text)
        if "C" in given and "S" in given:
            raise OptionError("Cannot enable copy offloading when -S is used")
        if "C" in given and "c" in given:
            raise OptionError("Cannot enable copy offloading when -c is used")
        if "C" in given and "salvage" in given:
            raise OptionError("Cannot use copy offloading in salvaging mode")
        if self.skip_create and "o" in given:
            raise OptionError("-o has no effect when skipping image creation")
        if self.skip_create and "B" in given and "target-is-zero" in given:
            raise OptionError("--target-is-zero cannot be used with a backing file (-B)")


@dataclass
class _Source:
    """What is read. below: the new image has what is below it, `base_size` bytes, so that only the
    image itself is copied."""

    image: Image
    below: bool = False
    base_size: int = 0

    def pieces(self, *, unit: int, sparse: bool, salvage: bool) -> Iterator[Piece]:
        """What is to be done for all of it, in whole units of bytes. Raises OptionError."""
        image = self.image
        base = unfiltered(image).backing if self.below else None
        at = 0
        while at < image.size:
            kind, length = self._kind(base, at, salvage=salvage)
            if kind == "zero" and not sparse:
                kind = "data"
            if (at + length) % unit and at + length < image.size:
                whole = (at + length) // unit * unit - at
                if whole <= 0:
                    kind, whole = "data", min(unit - at % unit, image.size - at)
                length = whole
            yield Piece(kind, at, length, image, at)
            at += length

    def _kind(self, base: Image | None, at: int, *, salvage: bool) -> tuple[str, int]:
        image = self.image
        try:
            found = above(image, base, at, image.size - at).extent
        except OSError as error:
            if salvage:
                return "data", min(SECTOR, image.size - at)
            raise OptionError(
                f"error while reading block status at offset {at}: {error.strerror}"
            ) from None
        length = found.length
        if not self.below:
            return ("zero" if found.zero else "data"), length
        if at < self.base_size:
            length = min(length, self.base_size - at)
        if found.zero:
            return ("zero" if at < self.base_size else "skip"), length
        return ("data" if found.present else "skip"), length


def _convert(
    session: Session,
    given: Given,
    wanted: _Wanted,
    pairs: list[tuple[str, str]],
    stack: ExitStack,
) -> None:
    *names, target_name = given.words
    images = []
    for name in names:
        image = session.open(
            name, format=given.get("f"), cache=given.get("T"), cache_option="source cache option"
        )
        stack.callback(image.close)
        images.append(image)
    if "l" in given:
        if len(names) > 1:
            raise OptionError("No support for concatenating multiple snapshot")
        session.show_snapshot(images[0], given.get("l"))
    if "bitmaps" in given:
        if len(names) > 1:
            raise OptionError("Copying bitmaps only possible with single source")
        if not images[0].keeps_bitmaps:
            raise OptionError("Source lacks bitmap support")
        _check_bitmaps(images[0], skip_broken="skip-broken-bitmaps" in given)
    source = _Source(Joined(images) if len(images) > 1 else images[0])
    cache = given.get("t", "unsafe")
    cached(Mode(), cache)
    if wanted.skip_create:
        source.below = "B" in given
    else:
        if len(images) > 1 and wanted.backed(pairs):
            raise OptionError(
                "Having a backing file for the target makes no sense when concatenating multiple "
                "input images"
            )
        _create(session, wanted, source, target_name, pairs)
    length = None if wanted.skip_create else _marked_unfinished(wanted.format, target_name)
    target = _open_target(session, given, wanted, source, target_name, pairs, cache)
    stack.callback(close, target)
    if target.size < source.image.size:
        raise OptionError("output file is smaller than input file")
    if "bitmaps" in given and not target.keeps_bitmaps:
        raise OptionError(f"Format driver '{target.format}' does not support bitmaps")
    _copy(given, wanted, source, target)
    if "bitmaps" in given:
        _copy_bitmaps(images[0], target)
    if length is not None:
        target.truncate(length)


def _marked_unfinished(format: str, name: str) -> int | None:
    """Make a new raw file one byte too long until all is copied, lest half of a disk be taken for
    one: its length. None for what has a header, or is no file."""
    if format != "raw" or not os.path.isfile(name):
        return None
    length = os.stat(name).st_size
    try:
        os.truncate(name, length + 1)
    except OSError:  # as long as a file may be
        return None
    return length


def _check_bitmaps(source: Image, *, skip_broken: bool) -> None:
    """Raise OptionError where a bitmap cannot be copied, and none is to be left out."""
    for bitmap in source.bitmaps():
        if bitmap.inconsistent and not skip_broken:
            raise OptionError(
                f"Cannot copy inconsistent bitmap '{bitmap.name}'\n"
                f"Try --skip-broken-bitmaps, or use '{PROGRAM} bitmap --remove'"
            )


def _copy_bitmaps(source: Image, target: Image) -> None:
    for bitmap in source.bitmaps():
        if bitmap.inconsistent:
            warn(f"warning: Skipping inconsistent bitmap '{bitmap.name}'")
            continue
        try:
            target.add_bitmap(bitmap.name, bitmap.granularity)
            target.merge_bitmap(bitmap.name, source, bitmap.name)
            if not bitmap.enabled:
                target.enable_bitmap(bitmap.name, enabled=False)
        except (ImageError, OSError) as error:
            text = error.strerror if isinstance(error, OSError) else error
            raise OptionError(f"Failed to populate bitmap {bitmap.name}: {text}") from None


def _create(
    session: Session,
    wanted: _Wanted,
    source: _Source,
    name: str,
    pairs: list[tuple[str, str]],
) -> None:
    """Make the new image. Raises OptionError."""
    format = wanted.format
    driver = creating_driver(format)
    check_keys(creation_keys(driver, creating_protocol(name)), pairs)
    values = dict(pairs)
    keys = {key.name for key in driver.creation}
    for key, letter, what in (
        ("backing_file", "B", "Backing file"),
        ("backing_fmt", "F", "Backing file format"),
    ):
        if letter in wanted.given:
            if key not in keys:
                raise OptionError(f"{what} not supported for file format '{format}'")
            values[key] = wanted.given.get(letter)
    size = number(values.pop("size"), "image size") if "size" in values else source.image.size
    _settle_backing(session, source, values, name)
    if wanted.compress:
        _settle_compression(values)
    try:
        session.graph.create(format, name, size, values)
    except ImageError as error:
        raise OptionError(f"{name}: error while converting {format}: {error}") from None


def _settle_backing(session: Session, source: _Source, values: dict[str, str], name: str) -> None:
    below = values.get("backing_file")
    if not below:
        return
    format = values.get("backing_fmt", "")
    if not format:
        raise OptionError("Use of backing file requires explicit backing format")
    source.below = True
    mode = Mode(readonly=True)
    image = session.open(resolve(below, name), format=format, mode=mode, image_opts=False)
    source.base_size = image.size
    image.close()


def _settle_compression(values: dict[str, str]) -> None:
    if values.get("encryption") == "on" or values.get("encrypt.format"):
        raise OptionError("Compression and encryption not supported at the same time")
    if values.get("preallocation", "off") != "off":
        raise OptionError("Compression and preallocation not supported at the same time")


def _open_target(
    session: Session,
    given: Given,
    wanted: _Wanted,
    source: _Source,
    name: str,
    pairs: list[tuple[str, str]],
    cache: str,
) -> Image:
    # what encrypts the new image opens it, too
    secrets = [pair for pair in pairs if pair[0].endswith("key-secret")]
    mode = Mode(backing=wanted.skip_create or source.below, discard=True)
    image_opts = "target-image-opts" in given
    return session.open(
        name,
        format="" if image_opts else wanted.format,
        mode=mode,
        cache=cache,
        image_opts=image_opts,
        options=None if wanted.skip_create else nested(secrets),
    )


def _copy(given: Given, wanted: _Wanted, source: _Source, target: Image) -> None:
    limits = target.limits()
    unit = limits.cluster or limits.zeroes or SECTOR
    if wanted.compress and type(target).write_compressed is Image.write_compressed:
        raise OptionError("Compression not supported for this file format")
    zero = "target-is-zero" in given or (not wanted.skip_create and _new_is_zero(target))
    with Progress(given, source.image.size) as progress:
        copier = Copier(
            target,
            sparse=wanted.sparse,
            granule=unit,
            target_zero=zero and bool(wanted.sparse) and not source.below,
            compress=wanted.compress,
            ordered="W" not in given,
            offload="C" in given,
            salvage="salvage" in given,
            rate=wanted.rate,
            workers=wanted.workers,
            progress=progress.add,
            warn=lambda text: None if "q" in given else warn(f"warning: {text}"),
        )
        pieces = source.pieces(unit=unit, sparse=bool(wanted.sparse), salvage="salvage" in given)
        try:
            copier.copy(pieces)
            target.flush()
        except CopyError as error:
            failed = source.image if error.doing == "reading" else target
            raise OptionError(f"{failed.name}: {error}") from None
        except OSError as error:
            raise OptionError(f"{target.name}: error while writing: {error.strerror}") from None


def _new_is_zero(target: Image) -> bool:
    """Whether an image that has just been made reads as zeros."""
    return target.format != "luks" and os.path.isfile(target.name)
