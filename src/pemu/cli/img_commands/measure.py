"""`pemu-img measure`: how much room a new image would take."""

from __future__ import annotations

from pemu.block.crypto.secrets import secret
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
    from typing import Any

    from pemu.block.driver import Driver
    from pemu.cli.switches import Given

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


NAMES = {
    "required": "required size",
    "fully-allocated": "fully allocated size",
    "bitmaps": "bitmaps size",
}
"""What is said of each figure, in bytes."""


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
    _check_subject(given)
    driver = driver_of(format)
    if driver.measure is None:
        raise OptionError(f"Block driver '{format}' does not support size measurement")
    values = _own_values(driver, format, pairs)
    session = Session(given)
    _check_secret(session, format, values)
    image = session.open(given.words[0], format=given.get("f")) if given.words else None
    try:
        if image is not None and "l" in given:
            session.show_snapshot(image, given.get("l"))
        found = driver.measure(image, image.size if image is not None else size or 0, values)
    except OSError as error:
        raise OptionError(f"Could not measure: {error.strerror}") from None
    finally:
        if image is not None:
            image.close()
    if json:
        print_json(found)
    else:
        say("\n".join(f"{name}: {found[key]}" for key, name in NAMES.items() if key in found))
    return 0


def _check_subject(given: Given) -> None:
    """What is measured is either an image or a size. Raises OptionError."""
    if len(given.words) > 1:
        raise mistake("At most one filename argument is allowed.")
    if given.words and "size" in given:
        raise OptionError("--size N cannot be used together with a filename.")
    if not given.words and "size" not in given:
        raise OptionError("Either --size N or one filename must be specified.")
    for option, name in (("--image-opts", "image-opts"), ("-f", "f"), ("-l", "l")):
        if not given.words and name in given:
            raise OptionError(f"{option} can only be used with a filename.")


def _own_values(driver: Driver, format: str, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The options of the new image that are the format's own. Raises OptionError."""
    try:
        check_keys(creation_keys(driver, find_driver("file")), pairs)
    except OptionError as error:
        warn(str(error))
        raise OptionError(f"Invalid options for file format '{format}'") from None
    own = {key.name for key in driver.creation} - {"size"}
    chosen = {name: value for name, value in pairs if name in own}
    return typed(chosen, driver.creation, f"Format '{format}'")


def _check_secret(session: Session, format: str, values: dict[str, Any]) -> None:
    """A new LUKS header needs its passphrase, also where none is made. Raises OptionError."""
    name = "key-secret" if format == "luks" else "encrypt.key-secret"
    if format != "luks" and values.get("encrypt.format") != "luks":
        return
    if values[name] is None:
        raise OptionError(f"Parameter '{name}' is required for cipher")
    secret(session.graph.objects, values[name])
