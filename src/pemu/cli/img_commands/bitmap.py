"""`pemu-img bitmap`: the dirty bitmaps that are kept in an image."""

from __future__ import annotations

from pemu.block.error import ImageError
from pemu.block.image import Image
from pemu.block.opening import Mode
from pemu.cli.img_commands.session import COMMON, Session, close, number, usage
from pemu.options.error import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SYNTAX = (
    "(--merge SOURCE | --add | --remove | --clear | --enable | --disable)... [-b source_file "
    "[-F source_fmt]] [-g granularity] [--object objectdef] [--image-opts | -f fmt] filename "
    "bitmap"
)

HELP = """Change a persistent dirty bitmap of an image: what is asked for, in that order.

  --add                  make it
  --remove               remove it
  --clear                note that nothing has been written
  --enable, --disable    note writes from now on, or not
  --merge source_bitmap  note what another bitmap has, too
  -b source_file         image that has the other bitmap
  -F source_fmt          format of that image
  -g granularity         bytes for each bit, with --add
"""

OPTIONS = COMMON + "add remove clear enable disable merge= b|source-file= g|granularity= f= F="

_ACTIONS = ("add", "remove", "clear", "enable", "disable", "merge")


def run(words: Sequence[str]) -> int:
    """Carry out `pemu-img bitmap`."""
    given = usage(words, OPTIONS, help=HELP)
    actions = [(name, value) for name, value in given.values if name in _ACTIONS]
    granularity = number(given.get("g", "0"), "granularity")
    if len(given.words) != 2:
        raise OptionError("Expecting filename and bitmap name")
    if not actions:
        raise OptionError(
            "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge"
        )
    names = [name for name, _ in actions]
    if granularity and "add" not in names:
        raise OptionError("granularity only supported with --add")
    if "b" in given and "merge" not in names:
        raise OptionError("Merge bitmap source file only supported with --merge")
    if "F" in given and "b" not in given:
        raise OptionError("-F only supported with -b")
    file, bitmap = given.words
    session = Session(given)
    image = session.open(file, format=given.get("f"), mode=Mode(backing=False))
    try:
        source = image
        if "b" in given:
            mode = Mode(readonly=True, backing=False)
            source = session.open(
                given.get("b"), format=given.get("F"), mode=mode, image_opts=False
            )
        try:
            for name, value in actions:
                _act(image, name, bitmap, granularity, source, value)
        finally:
            if source is not image:
                source.close()
    finally:
        close(image)
    return 0


def _act(
    image: Image, action: str, bitmap: str, granularity: int, source: Image, other: str
) -> None:
    calls: dict[str, Callable[[], None]] = {
        "add": lambda: image.add_bitmap(bitmap, granularity),
        "remove": lambda: image.remove_bitmap(bitmap),
        "clear": lambda: image.clear_bitmap(bitmap),
        "enable": lambda: image.enable_bitmap(bitmap, enabled=True),
        "disable": lambda: image.enable_bitmap(bitmap, enabled=False),
        "merge": lambda: image.merge_bitmap(bitmap, source, other),
    }
    try:
        calls[action]()
    except (ImageError, OSError) as error:
        text = error.strerror if isinstance(error, OSError) else error
        raise OptionError(f"Operation {action} on bitmap {bitmap} failed: {text}") from None
