"""From what -drive and its kin say to an open image."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from pemu.block.file import File
from pemu.block.image import Image
from pemu.block.overlay import Overlay
from pemu.block.probe import FORMATS, PROBED, probe
from pemu.block.raw import Raw
from pemu.options.error import OptionError, quoted

_PROTOCOLS = ("nbd", "ssh", "http", "https", "ftp", "ftps", "fat", "json", "blkdebug", "vvfat")

GUESSED = (
    "WARNING: Image format was not specified for '{}' and probing guessed raw.\n"
    "         Automatically detecting the format is dangerous for raw images, write operations on "
    "block 0 will be restricted.\n"
    "         Specify the 'raw' format explicitly to remove the restrictions.\n"
)


def open_image(
    name: str,
    *,
    format: str = "",
    readonly: bool = False,
    snapshot: bool = False,
    options: dict[str, Any] | None = None,
    warn: Callable[[str], object] = lambda text: None,
) -> Image:
    """Open the image `name`. Raises OptionError.

    format: empty to look. snapshot: writes go to a temporary file. options: further values of
    -drive ('cache', 'aio', 'offset', 'size'). warn: is told of a format that was only guessed.
    """
    given = options or {}
    # cache=none is no direct access: that asks for aligned buffers, which guests need not have.
    if given.get("aio") == "native" and given.get("cache") not in ("none", "directsync"):
        raise OptionError(
            "aio=native was specified, but it requires cache.direct=on, which was not specified."
        )
    if format and format not in ("raw", "file", "host_device"):
        if format not in FORMATS:
            raise OptionError(f"Unknown driver {quoted(format)}")
        raise OptionError(f"{format} images are not supported yet")
    file = File(_path(name), readonly=readonly or snapshot)
    try:
        found = format or probe(file.read(0, min(PROBED, file.size)))
        if found not in ("raw", "file", "host_device"):
            raise OptionError(f"{quoted(name)}: {found} images are not supported yet")
        if not format and not file.readonly:
            warn(GUESSED.format(name))
        image: Image = Raw(
            file, offset=given.get("offset") or 0, size=given.get("size"), guessed=not format
        )
        return Overlay(image) if snapshot else image
    except OSError as error:
        file.close()
        raise OptionError(f"Could not read '{name}': {error.strerror}") from None
    except BaseException:
        file.close()
        raise


def _path(name: str) -> str:
    """The path in `name`, which may say file: or host_device: before it. Raises OptionError."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+._-]*):", name)
    if not found or "/" in found[1]:
        return name
    protocol = found[1]
    if protocol in ("file", "host_device"):
        return name[len(protocol) + 1 :]
    if protocol in _PROTOCOLS:
        raise OptionError(f"{quoted(name)}: {protocol} images are not supported yet")
    if os.path.exists(name):
        raise OptionError(f"Unknown protocol '{protocol}'; write ./{name} for a file of that name")
    raise OptionError(f"Unknown protocol '{protocol}'")
