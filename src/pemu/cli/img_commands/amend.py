"""`pemu-img amend`: what was chosen when the image was made, otherwise."""

from __future__ import annotations

from pemu.block.driver import Driver, find_driver
from pemu.block.opening import Mode
from pemu.block.tree import typed
from pemu.cli.img_commands.creation import check_keys, option_lines, option_pairs
from pemu.cli.img_commands.progress import Progress
from pemu.cli.img_commands.session import (
    COMMON,
    Session,
    close,
    driver_of,
    mistake,
    one_file,
    say,
    usage,
)
from pemu.options.error import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SYNTAX = (
    "[--object objectdef] [--image-opts] [-p] [-q] [-f fmt] [-t cache] [--force] -o options "
    "filename"
)

HELP = """Change options of an image that were chosen when it was made.

  -o options  a comma list; -o help lists what can be changed
  --force     allow what may lose data, such as the last key of an encrypted image
"""

OPTIONS = COMMON + "p q f|format= t= force o="


def run(words: Sequence[str]) -> int:
    """Carry out `pemu-img amend`."""
    given = usage(words, OPTIONS, help=HELP)
    if "o" not in given:
        raise mistake("Must specify options (-o)")
    pairs = option_pairs(given.all("o"))
    format = given.get("f")
    if pairs is None and format:
        return _help(driver_of(format))
    name = one_file(given)
    session = Session(given)
    mode = Mode() if pairs is not None else Mode(readonly=True)
    image = session.open(name, format=format, mode=mode, cache=given.get("t"))
    try:
        driver = find_driver(image.format)
        if pairs is None:
            return _help(driver)
        _expect_amendable(driver)
        _expect_options_of_amendment(driver, pairs)
        values = typed(dict(pairs), driver.amendment, f"Format '{driver.name}'")
        wanted = {key: value for key, value in values.items() if key in dict(pairs)}
        with Progress(given, 1) as progress:
            done = 0
            for at, total in image.amend(wanted, force="force" in given):
                progress.grow(total)
                progress.add(at - done)
                done = at
        image.flush()
    except OSError as error:
        raise OptionError(f"Could not amend '{name}': {error.strerror}") from None
    finally:
        close(image)
    return 0


def _expect_amendable(driver: Driver) -> None:
    if not driver.amendment:
        raise OptionError(f"Format driver '{driver.name}' does not support option amendment")


def _expect_options_of_amendment(driver: Driver, pairs: Sequence[tuple[str, str]]) -> None:
    """Raise OptionError for what can only be chosen when an image is made, or not at all."""
    changeable = {key.name for key in driver.amendment}
    for key, _ in pairs:
        if key not in changeable and key in {one.name for one in driver.creation}:
            raise OptionError(
                f"Invalid parameter '{key}'\nThis option is only supported for image creation"
            )
    check_keys(driver.amendment, pairs)


def _help(driver: Driver) -> int:
    _expect_amendable(driver)
    say("\n".join([f"Amend options for '{driver.name}':", *option_lines(driver.amendment)]))
    return 0
