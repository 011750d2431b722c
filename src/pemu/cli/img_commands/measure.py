"""`pemu-img measure`: how much room a new image would take."""

from __future__ import annotations

from pemu.block.driver import find_driver
from pemu.block.tree import typed
from pemu.cli.img_commands.creation import check_keys, creation_keys, option_help, option_pairs
from pemu.cli.img_commands.info import print_json
from pemu.cli.img_commands.session import (
    COMMON,
    Session,
    driver_of,
    mistake,
    number,
    output_format,
    say,
    usage,
    warn,
)
from pemu.options.error import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SYNTAX = (
    "[--output=ofmt] [-O output_fmt] [-o options] [--size N | [--object objectdef] "
    "[--image-opts] [-f fmt] [-l snapshot_param] filename]"
)

HELP = """Tell how big a file a new image needs: for the contents of filename, or empty of size N.

  -O output_fmt      format of the new image
  -o options         its options; -o help lists them
  -l snapshot_param  for the contents that the image has in this snapshot
  --output=json      for programs
"""

OPTIONS = COMMON + "f|format= o= O= output= size= l= U|force-share"


def run(words: Sequence[str]) -> int:
    """Carry out `pemu-img measure`."""
    given = usage(words, OPTIONS, help=HELP)
    json = output_format(given)
    format = given.get("O", "raw")
    size = number(given.get("size"), "image size") if "size" in given else None
    pairs = option_pairs(given.all("o"))
    if pairs is None:
        say(option_help(format))
        return 0
    if len(given.words) > 1:
        raise mistake("At most one filename argument is allowed.")
    if given.words and size is not None:
        raise OptionError("--size N cannot be used together with a filename.")
    if not given.words and size is None:
        raise OptionError("Either --size N or one filename must be specified.")
    for option, name in (("--image-opts", "image-opts"), ("-f", "f"), ("-l", "l")):
        if not given.words and name in given:
            raise OptionError(f"{option} can only be used with a filename.")
    driver = driver_of(format)
    if driver.measure is None:
        raise OptionError(f"Block driver '{format}' does not support size measurement")
    try:
        check_keys(creation_keys(driver, find_driver("file")), pairs)
    except OptionError as error:
        warn(str(error))
        raise OptionError(f"Invalid options for file format '{format}'") from None
    checked = dict(pairs)
    asked = checked.pop("size", None)
    own = {key.name for key in driver.creation}
    checked = {name: value for name, value in checked.items() if name in own}
    values = typed(checked, driver.creation, f"Format '{format}'")
    session = Session(given)
    image = session.open(given.words[0], format=given.get("f")) if given.words else None
    try:
        if image is not None and "l" in given:
            session.show_snapshot(image, given.get("l"))
        whole = image.size if image is not None else size or 0
        if image is None and size is None and asked is not None:
            whole = number(asked, "image size")
        found = driver.measure(image, whole, values)
    except OSError as error:
        raise OptionError(f"Could not measure: {error.strerror}") from None
    finally:
        if image is not None:
            image.close()
    if json:
        print_json(found)
        return 0
    names = {
        "required": "required size",
        "fully-allocated": "fully allocated size",
        "bitmaps": "bitmaps size",
    }
    say("\n".join(f"{names[key]}: {found[key]}" for key in names if key in found))
    return 0
