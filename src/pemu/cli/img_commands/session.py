"""What all subcommands of `pemu-img` share: their options, opening images, numbers, answers."""

from __future__ import annotations

import os
import sys

from pemu.block.driver import FILTERS, FORMATS, PROTOCOLS, Driver, find_driver
from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.objects import show_help
from pemu.block.opening import Mode
from pemu.block.tree import Tree
from pemu.cli import outcome
from pemu.cli.image_options import cached, new_graph, open_image
from pemu.cli.switches import Given, parse
from pemu.options.error import HelpRequest, OptionError
from pemu.options.keyval import split
from pemu.options.types import Int, Size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "pemu-img"

HINT = f"\nTry '{PROGRAM} --help' for more information"

LARGEST = (1 << 63) - 1
"""Bytes: the largest size of an image."""

COMMON = "h|help object= image-opts "
"""Options of nearly all subcommands, as `switches.parse` declares them."""


def mistake(text: str) -> OptionError:
    """A mistake that a look into the help mends."""
    return OptionError(text + HINT)


def usage(words: Sequence[str], options: str, *, help: str) -> Given:
    """The options and words of a subcommand, or its help. Raises OptionError, HelpRequest."""
    given = parse(words, options, HINT)
    if "h" in given:
        raise HelpRequest(help)
    show_help(given.all("object"))
    return given


def one_file(given: Given) -> str:
    """The only word of a command line. Raises OptionError."""
    if len(given.words) != 1:
        raise mistake("Expecting one image file name")
    return given.words[0]


class Session:
    """The images of one command. quiet: -q, nothing is said but errors."""

    def __init__(self, given: Given) -> None:
        self.graph: Graph = new_graph(given.all("object"))
        self.image_opts = "image-opts" in given
        self.share = "U" in given
        self.quiet = "q" in given

    def open(
        self,
        name: str,
        *,
        format: str = "",
        mode: Mode | None = None,
        cache: str = "",
        cache_option: str = "cache option",
        image_opts: bool | None = None,
        options: Tree | None = None,
    ) -> Image:
        """Open an image, for reading where no mode is given. Raises OptionError.

        options: keys of the node besides.
        """
        mode = Mode(readonly=True, share=self.share) if mode is None else mode
        chosen = self.image_opts if image_opts is None else image_opts
        mode = cached(mode, cache, cache_option)
        return open_image(
            self.graph, name, format=format, mode=mode, image_opts=chosen, options=options
        )

    def show_snapshot(self, image: Image, text: str) -> None:
        """Have an image read as one of its snapshots: an id, a name, or snapshot.id=,
        snapshot.name=. Raises OptionError."""
        key = text
        if text.startswith("snapshot."):
            wanted = {name: value or "" for name, value in split(text)}
            unknown_keys = wanted.keys() - {"snapshot.id", "snapshot.name"}
            if unknown_keys:
                raise OptionError(f"Invalid parameter '{min(unknown_keys)}'")
            for one in image.snapshots():
                if one.id == wanted.get("snapshot.id", one.id) and one.name == wanted.get(
                    "snapshot.name", one.name
                ):
                    key = one.id
        try:
            image.show_snapshot(key)
        except ImageError as error:
            raise OptionError(f"Failed to load snapshot: {error}") from None

    def say(self, text: str) -> None:
        """Print what -q silences."""
        if not self.quiet:
            say(text)


def close(image: Image) -> None:
    """Close an image; where something is failing already, only that is told. Raises OptionError."""
    failed = sys.exc_info()[0] is not None
    try:
        image.close()
    except OSError as error:
        if not failed:
            text = f"error while closing '{image.name}': {error.strerror}"
            raise OptionError(text) from None


def say(text: str) -> None:
    """Print a line."""
    outcome.show(text)


def warn(text: str) -> None:
    """Print a line of error or warning, the program's name in front."""
    sys.stdout.flush()
    outcome.fail(PROGRAM, text)


def known_format(name: str) -> bool:
    """Whether there is a driver called `name`."""
    return name in FORMATS or name in PROTOCOLS or name in FILTERS


def driver_of(format: str) -> Driver:
    """The driver that is called `format`. Raises OptionError."""
    if not known_format(format):
        raise OptionError(f"Unknown file format '{format}'")
    return find_driver(format)


def number(text: str, what: str, *, least: int = 0, most: int = LARGEST) -> int:
    """A number of bytes with a suffix. Raises OptionError, worded as QEMU's tools do."""
    try:
        value = int(Size(0, 1 << 90).parse(text.strip()))
    except OptionError:
        raise OptionError(
            f"Invalid {what} specified. You may use k, M, G, T, P or E suffixes for\n"
            f"{PROGRAM}: kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes."
        ) from None
    if not least <= value <= most:
        raise OptionError(f"Invalid {what} specified. Must be between {least} and {most}.")
    return value


def integer(text: str, wrong: str, *, least: int, most: int) -> int:
    """A plain number. Raises OptionError with the text `wrong`."""
    try:
        return int(Int(least, most).parse(text))
    except OptionError:
        raise OptionError(wrong) from None


def output_format(given: Given) -> bool:
    """Whether --output asks for JSON. Raises OptionError."""
    chosen = given.get("output", "human")
    if chosen not in ("human", "json"):
        raise OptionError("--output must be used with human or json as argument.")
    return chosen == "json"


def terminal(fd: int) -> bool:
    """Whether people see what is written there."""
    return os.isatty(fd)
