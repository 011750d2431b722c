"""`pemu-img snapshot`: snapshots inside an image."""

from __future__ import annotations

import time

from pemu.block.describe import snapshot_table, snapshots_of
from pemu.block.error import ImageError
from pemu.block.image import Image, Snapshot
from pemu.block.opening import Mode
from pemu.cli.img_commands.session import COMMON, Session, close, mistake, one_file, say, usage
from pemu.options.error import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SYNTAX = (
    "[--object objectdef] [--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | -d snapshot] "
    "filename"
)

HELP = """List, make, apply or delete snapshots inside an image.

  -l  list them (this is what is done where nothing is said)
  -c  make one of now
  -a  make the contents what they were then
  -d  delete one
"""

OPTIONS = COMMON + "l a= c= d= q f|format= U|force-share"


def run(words: Sequence[str]) -> int:
    """Carry out `pemu-img snapshot`."""
    given = usage(words, OPTIONS, help=HELP)
    actions = [(name, value) for name, value in given.values if name in "lacd"]
    if len(actions) > 1:
        raise mistake("Cannot mix '-l', '-a', '-c', '-d'")
    action, name = actions[0] if actions else ("l", "")
    file = one_file(given)
    session = Session(given)
    mode = Mode(readonly=action == "l", share=session.share)
    image = session.open(file, format=given.get("f"), mode=mode)
    try:
        if action == "l":
            found = snapshots_of(image)
            if found:
                say("\n".join(["Snapshot list:", *snapshot_table(found)]))
        else:
            _change(image, action, name)
    finally:
        close(image)
    return 0


def _change(image: Image, action: str, name: str) -> None:
    word = {"a": "apply", "c": "create", "d": "delete"}[action]
    try:
        if action == "c":
            now = time.time_ns()
            image.create_snapshot(
                Snapshot("", name, now // 10**9, now % 10**9, size=image.size, instructions=0)
            )
        elif action == "a":
            image.apply_snapshot(name)
        else:
            image.delete_snapshot(_named(image, name).id)
    except (ImageError, OSError) as error:
        text = error.strerror if isinstance(error, OSError) else error
        raise OptionError(f"Could not {word} snapshot '{name}': {text}") from None


def _named(image: Image, name: str) -> Snapshot:
    """The first snapshot of that name: an id might be another one's. Raises ImageError."""
    for one in image.snapshots():
        if one.name == name:
            return one
    raise ImageError("snapshot not found")
