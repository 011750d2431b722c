"""`pemu-img info`: what an image is."""

from __future__ import annotations

from pemu.block.describe import describe, human
from pemu.block.opening import Mode
from pemu.cli.img_commands.session import (
    COMMON,
    Session,
    one_file,
    output_format,
    say,
    usage,
)
from pemu.options.error import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SYNTAX = (
    "[--object objectdef] [--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] [-U] filename"
)

HELP = """Tell what the image is: format, sizes, what is below it, snapshots.

  --backing-chain  tell it of all images below, too
  --output=json    for programs
  -U               although somebody else is using it
"""

OPTIONS = COMMON + "f|format= output= backing-chain U|force-share"


def run(words: Sequence[str]) -> int:
    """Carry out `pemu-img info`."""
    given = usage(words, OPTIONS, help=HELP)
    json = output_format(given)
    name = one_file(given)
    session = Session(given)
    found = _chain(session, name, given.get("f"), "backing-chain" in given)
    if json:
        print_json(found if "backing-chain" in given else found[0])
        return 0
    say("\n".join(human(one) for one in found))
    return 0


def print_json(value: Any) -> None:
    """Print a value as programs read it."""
    import json

    say(json.dumps(value, indent=4))


def _chain(session: Session, name: str, format: str, whole: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    image_opts = session.image_opts
    while True:
        if name in seen:
            raise OptionError(f"Backing file '{name}' creates an infinite loop.")
        seen.add(name)
        mode = Mode(readonly=True, share=session.share, backing=False, describe=True)
        image = session.open(name, format=format, mode=mode, image_opts=image_opts)
        try:
            one = describe(image)
        finally:
            image.close()
        found.append(one)
        name = one.get("full-backing-filename", "")
        format = one.get("backing-filename-format", "")
        image_opts = False
        if not whole or not name:
            return found
