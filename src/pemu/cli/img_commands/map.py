"""`pemu-img map`: where an image's contents are."""

from __future__ import annotations

from pemu.block.extents import mapped
from pemu.block.image import Image
from pemu.cli.img_commands.session import (
    COMMON,
    Session,
    number,
    one_file,
    output_format,
    say,
    usage,
)
from pemu.options.error import OptionError
from pemu.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SYNTAX = (
    "[--object objectdef] [--image-opts] [-f fmt] [--start-offset=offset] [--max-length=len] "
    "[--output=ofmt] [-U] filename"
)

HELP = """Show where in which file each part of the image's contents is.

  -s, --start-offset offset  from there on
  -l, --max-length len       so many bytes
  --output=json              all parts, also zeros and what is nowhere, for programs
"""

OPTIONS = COMMON + "f|format= output= s|start-offset= l|max-length= U|force-share"

LINES = 500
"""Lines that are printed at a time."""


class Part(NamedTuple):
    """A part of the contents, as QMP's MapEntry."""

    start: int
    length: int
    depth: int
    present: bool
    zero: bool
    data: bool
    offset: int | None
    file: str


def run(words: Sequence[str]) -> int:
    """Carry out `pemu-img map`."""
    given = usage(words, OPTIONS, help=HELP)
    start = number(given.get("s", "0"), "start offset")
    longest = number(given.get("l"), "max length") if "l" in given else None
    json = output_format(given)
    name = one_file(given)
    image = Session(given).open(name, format=given.get("f"))
    try:
        end = image.size if longest is None else min(image.size, start + longest)
        parts = merged(image, start, end)
        _show(_json(parts) if json else _human(parts))
    finally:
        image.close()
    return 0


def merged(image: Image, start: int, end: int) -> Iterator[Part]:
    """The parts of a range, those that belong together as one. Raises OptionError."""
    last: Part | None = None
    while start < end:
        part = _part(image, start, end - start)
        start += part.length
        if last is not None and _joins(last, part):
            last = last._replace(length=last.length + part.length)
            continue
        if last is not None:
            yield last
        last = part
    if last is not None:
        yield last


def _part(image: Image, start: int, length: int) -> Part:
    try:
        _, depth, found = mapped(image, start, length)
    except OSError as error:
        raise OptionError(
            f"Failed to get status of {length} bytes at {start}: {error.strerror}"
        ) from None
    if not found.zero and not found.data:  # a hole of unknown contents: QEMU calls it absent
        found = found._replace(present=False, offset=None)
    file = found.file.name if found.offset is not None and found.file is not None else ""
    return Part(
        start, found.length, depth, found.present, found.zero, found.data, found.offset, file
    )


def _joins(one: Part, other: Part) -> bool:
    if one[2:6] != other[2:6] or one.file != other.file:
        return False
    if one.offset is None or other.offset is None:
        return one.offset is other.offset
    return one.offset + one.length == other.offset


def _human(parts: Iterator[Part]) -> Iterator[str]:
    row = "{:<16}{:<16}{:<16}{}"
    yield row.format("Offset", "Length", "Mapped to", "File")
    for part in parts:
        if part.data and part.offset is None:
            raise OptionError("File contains external, encrypted or compressed clusters.")
        if part.data and not part.zero:
            numbers = (part.start, part.length, part.offset or 0)
            yield row.format(*(f"{one:#x}" if one else "0" for one in numbers), part.file)


def _json(parts: Iterator[Part]) -> Iterator[str]:
    text = "["
    for part in parts:
        if text != "[":
            yield text + ","
            text = ""
        present, zero, data = ("true" if one else "false" for one in part[3:6])
        text += (
            f'{{ "start": {part.start}, "length": {part.length}, "depth": {part.depth}, '
            f'"present": {present}, "zero": {zero}, "data": {data}'
        )
        text += f', "offset": {part.offset}}}' if part.offset is not None else "}"
    yield text + "]"


def _show(lines: Iterator[str]) -> None:
    """Print lines, many with one system call; before an error, those that there are."""
    waiting: list[str] = []
    try:
        for line in lines:
            waiting.append(line)
            if len(waiting) == LINES:
                say("\n".join(waiting))
                waiting.clear()
    finally:
        if waiting:
            say("\n".join(waiting))
