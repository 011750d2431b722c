"""`info block`: drives, and the images that they are made of."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pemu.block.describe import describe, human
from pemu.block.filters.overlay import Overlay
from pemu.block.filters.throttle import OLD_NAMES, Throttled
from pemu.machine.media import is_removable, tray
from pemu.monitor.schema import INFO, Flag, Word

if TYPE_CHECKING:
    from pemu.block.image import Image
    from pemu.machine.drives import Drive
    from pemu.monitor.monitor import Monitor

_numbers = itertools.count()

_LIMITS = [
    f"{unit}{way}{most}"
    for unit in ("bps", "iops")
    for most in ("", "_max")
    for way in ("", "_rd", "_wr")
]
"""What -drive calls the limits, in the order in which they are shown."""


@INFO.command(
    "block",
    Flag("-n"),
    Flag("-v"),
    Word("device", optional=True),
    help="show info of one block device or all block devices (-n: show named nodes; "
    "-v: show details)",
    note="[-n] [-v] [device]",
)
def block(monitor: Monitor, nodes: bool, verbose: bool, wanted: str | None) -> None:
    drives = list(monitor.instance.drives)
    shown = [drive for drive in drives if not _is_node(drive)]
    if nodes or wanted and all(drive.id != wanted for drive in shown):
        images = {name: one for drive in reversed(drives) for name, one in _nodes(drive).items()}
        texts = {name: _node(image) for name, image in images.items()}
    else:
        texts = {drive.id: _drive(drive) for drive in shown}
        images = {drive.id: image for drive in shown if (image := _contents(drive)) is not None}
    for place, (name, text) in enumerate(texts.items()):
        if wanted in (None, name):
            details = _images(images[name]) if verbose and name in images else ""
            monitor.write(("\n" if place else "") + text + details)


def _is_node(drive: Drive) -> bool:
    """Whether it is only a node of -blockdev, which no device uses."""
    image = drive.backend.image
    return drive.owner is None and image is not None and image.node_name == drive.id


def _drive(drive: Drive) -> str:
    """What there is to say of a drive."""
    backend = drive.backend
    image = _contents(drive)
    if image is None:
        text = f"{drive.id}: [not inserted]\n"
    else:
        name = _name(image)
        text = f"{drive.id}{f' ({name})' if name != drive.id else ''}: {_summary(image)}"
    if drive.owner is not None:
        text += f"    Attached to:      {getattr(drive.owner, 'path', drive.owner)}\n"
    if drive.owner is None or is_removable(drive) or image is None:
        held = tray(drive)
        locked = "locked" if held is not None and held.locked else "not locked"
        state = "open" if held is not None and held.tray_open else "closed"
        text += f"    Removable device: {locked}, tray {state}\n"
    if image is not None:
        text += _settings(image, writethrough=backend.writethrough, unsafe=backend.unsafe)
        limiter = backend.image
        if image is not limiter and isinstance(limiter, Throttled) and limiter.group.limited:
            limits = limiter.group.limits
            said = " ".join(
                f"{one}={limits.get(OLD_NAMES[one], 0)}" for one in (*_LIMITS, "iops_size")
            )
            text += f"    I/O throttling:   {said} group={limiter.group.name or drive.id}\n"
    return text


def _node(image: Image) -> str:
    """What there is to say of a node of the graph."""
    return f"{_name(image)}: {_summary(image)}{_settings(image)}"


def _summary(image: Image) -> str:
    notes = [image.format]
    notes += ["read-only"] * image.readonly + ["encrypted"] * image.encrypted
    return f"{image.name} ({', '.join(notes)})\n"


def _settings(image: Image, *, writethrough: bool = False, unsafe: bool = False) -> str:
    file = image
    while file.file is not None:
        file = file.file
    mode = "writethrough" if writethrough else "writeback"
    mode += ", direct" if getattr(file, "direct", False) else ""
    mode += ", ignore flushes" if unsafe or getattr(file, "no_flush", False) else ""
    text = f"    Cache mode:       {mode}\n"
    below = list(_backing(image))
    if below:
        text += f"    Backing file:     {below[0].name} (chain depth: {len(below)})\n"
    if image.detect_zeroes != "off":
        text += f"    Detect zeroes:    {image.detect_zeroes}\n"
    return text


def _images(image: Image) -> str:
    """What pemu-img says of an image and those below it."""
    return "\nImages:\n" + "".join(human(describe(one)) for one in (image, *_backing(image)))


def _contents(drive: Drive) -> Image | None:
    """The image of a drive, which the limits of -drive are no part of."""
    image = drive.backend.image
    return image.file if isinstance(image, Throttled) and not image.node_name else image


def _backing(image: Image) -> Iterator[Image]:
    below = image.file if isinstance(image, Overlay) else image.backing
    while below is not None:
        yield below
        below = below.backing


def _nodes(drive: Drive) -> dict[str, Image]:
    """The nodes that a drive is made of, by their names: what is below first, files last."""
    image = _contents(drive)
    return {} if image is None else {_name(one): one for one in _graph(image)}


def _graph(image: Image) -> Iterator[Image]:
    below = image.backing
    if below is not None:
        yield from _graph(below)
    yield image
    for child in image.children.values():
        if child is not below:
            yield from _graph(child)


def _name(image: Image) -> str:
    """The name of a node; one that the user has not named gets one."""
    if not image.node_name:
        image.node_name = f"#block{next(_numbers)}{random.randrange(100):02}"
    return image.node_name
