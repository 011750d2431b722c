"""`pemu-img resize`: another size for an image."""

from __future__ import annotations

from pemu.block.opening import Mode
from pemu.block.protocols.file import PREALLOCATION
from pemu.cli.img_commands.session import (
    COMMON,
    LARGEST,
    PROGRAM,
    Session,
    close,
    mistake,
    usage,
)
from pemu.options.error import OptionError, quoted
from pemu.options.types import Size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SYNTAX = (
    "[--object objectdef] [--image-opts] [-f fmt] [--preallocation=prealloc] [-q] [--shrink] "
    "filename [+ | -]size"
)

HELP = """Make the image bigger or smaller. What is new reads as zeros.

  +size, -size              by so much
  --shrink                  smaller: what is beyond the new end is lost
  --preallocation=prealloc  room for what is new: off, metadata, falloc, full
"""

OPTIONS = COMMON + "f|format= preallocation= q|quiet shrink"


def run(words: Sequence[str]) -> int:
    """Carry out `pemu-img resize`."""
    if len(words) < 1 or (len(words) == 1 and words[0] not in ("-h", "--help")):
        raise mistake("Not enough arguments")
    words, size = (words[:-1], words[-1]) if len(words) > 1 else (words, "")
    given = usage(words, OPTIONS, help=HELP)
    if len(given.words) != 1:
        raise mistake("Expecting image file name and size")
    preallocation = given.get("preallocation", "off")
    if preallocation not in (*PREALLOCATION, "metadata"):
        raise OptionError(f"Invalid preallocation mode '{preallocation}'")
    sign, amount = (size[0], size[1:]) if size[:1] in ("+", "-") else ("", size)
    try:
        value = int(Size().parse(amount))
    except OptionError:
        raise OptionError(
            f"Parameter 'size' expects a non-negative number below 2^64, not {quoted(amount)}\n"
            "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
            "and exabytes, respectively."
        ) from None
    session = Session(given)
    image = session.open(given.words[0], format=given.get("f"), mode=Mode())
    try:
        old = image.size
        new = old + value if sign == "+" else old - value if sign == "-" else value
        if not 0 < new <= LARGEST and (sign or new):
            raise OptionError("New image size must be positive")
        if new < 0:
            raise OptionError("New image size must be positive")
        if new <= old and preallocation != "off":
            raise OptionError("Preallocation can only be used for growing images")
        if new < old and "shrink" not in given:
            raise OptionError(
                "Use the --shrink option to perform a shrink operation.\n"
                f"{PROGRAM}: warning: Shrinking an image will delete all data beyond the shrunken "
                "image's end. Before performing such an operation, make sure there is no important "
                "data there."
            )
        try:
            image.truncate(new, preallocation=preallocation)
            image.flush()
        except OSError as error:
            raise OptionError(f"Could not resize image: {error.strerror}") from None
    finally:
        close(image)
    session.say("Image resized.")
    return 0
