"""`pemu-img create`: a new image."""

from __future__ import annotations

from pemu.block.error import ImageError
from pemu.block.graph import Graph, creating_protocol
from pemu.block.opening import Mode, resolve
from pemu.cli.img_commands.creation import (
    check_keys,
    creating_driver,
    creation_keys,
    option_help,
    option_pairs,
    shown_options,
)
from pemu.cli.img_commands.session import (
    LARGEST,
    Session,
    known_format,
    mistake,
    number,
    say,
    usage,
)
from pemu.options.error import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SYNTAX = (
    "[--object objectdef] [-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] "
    "filename [size]"
)

HELP = """Make a new image; without a size it is as big as the one below it.

  -b backing_file  what the image has where nothing has been written to it
  -F backing_fmt   format of that
  -u               do not look at what is below
  -o options       a comma list of the format's own options; -o help lists them
"""

OPTIONS = "h|help object= q f|format= b= F= u o="


def run(words: Sequence[str]) -> int:
    """Carry out `pemu-img create`."""
    given = usage(words, OPTIONS, help=HELP)
    format = given.get("f", "raw")
    pairs = option_pairs(given.all("o"))
    if pairs is None:
        say(option_help(format, given.words[0] if given.words else ""))
        return 0
    if not given.words:
        raise mistake("Expecting image file name")
    name, *rest = given.words
    size = number(rest[0], "image size") if rest else None
    if len(rest) > 1:
        raise mistake(f"Unexpected argument: {rest[1]}")
    if "b" in given and not given.get("b"):
        raise OptionError(f"{name}: Expected backing file name, got empty string")
    session = Session(given)
    try:
        create(
            session,
            format,
            name,
            size,
            pairs,
            backing=given.get("b"),
            backing_format=given.get("F"),
            unsafe="u" in given,
        )
    except OptionError as error:
        raise OptionError(f"{name}: {error}") from None
    return 0


def create(
    session: Session,
    format: str,
    name: str,
    size: int | None,
    pairs: Sequence[tuple[str, str]],
    *,
    backing: str = "",
    backing_format: str = "",
    unsafe: bool = False,
) -> None:
    """Make an image and say so. Raises OptionError."""
    driver = creating_driver(format)
    keys = creation_keys(driver, creating_protocol(name))
    check_keys(keys, pairs)
    values = dict(pairs)
    for key, value, what in (
        ("backing_file", backing, "Backing file"),
        ("backing_fmt", backing_format, "Backing format"),
    ):
        if value:
            if not any(one.name == key for one in driver.creation):
                raise OptionError(f"{what} not supported for file format '{format}'")
            values[key] = value
    if "size" in values:
        if size is not None:
            raise OptionError("The image size must be specified only once")
        size = number(values["size"], "image size")
    values.pop("size", None)
    backing = values.get("backing_file", "")
    if backing:
        if resolve(backing, name) == name:
            raise OptionError(
                "Error: Trying to create an image with the same filename as the backing file"
            )
        if not unsafe:
            size = _below(session.graph, backing, name, values.get("backing_fmt", ""), size)
        elif not values.get("backing_fmt"):
            raise OptionError("Backing file specified without backing format")
    if size is None:
        raise OptionError("Image creation needs a size parameter")
    if size > LARGEST:
        raise OptionError(f"Image size {size} is too large; at most {LARGEST} bytes")
    session.say(f"Formatting '{name}', fmt={format} {shown_options(keys, values, size)}")
    session.graph.create(format, name, size, values)


def _below(graph: Graph, backing: str, name: str, format: str, size: int | None) -> int:
    """The size of the image, after a look at what is below it. Raises OptionError."""
    full = resolve(backing, name)
    if format and not known_format(format):
        raise OptionError(f"Unknown driver '{format}'\nCould not open backing image.")
    # it may well be in use: this is how a running machine's disk gets a new image above it
    mode = Mode(readonly=True, share=True, backing=False, describe=True)
    try:
        below = graph.open_name(full, format=format, mode=mode)
    except ImageError as error:
        raise OptionError(f"{error}\nCould not open backing image.") from None
    try:
        if not format:
            raise OptionError(
                f"Backing file specified without backing format\nDetected format of {below.format}."
            )
        return below.size if size is None else size
    finally:
        below.close()
