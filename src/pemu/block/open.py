"""From what -drive and its kin say to an open image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pemu.block.error import ImageError
from pemu.block.filters.overlay import Overlay
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.opening import Mode


def open_image(
    name: str,
    *,
    format: str = "",
    readonly: bool = False,
    snapshot: bool = False,
    options: dict[str, Any] | None = None,
    warn: Callable[[str], object] = lambda text: None,
) -> Image:
    """Open the image `name`. Raises ImageError.

    format: empty to look. snapshot: writes go to a temporary file. options: further values of
    -drive ('cache', 'aio', 'discard', 'detect-zeroes', 'offset', 'size'). warn: is told of a format
    that was only guessed.
    """
    given = options or {}
    cache = given.get("cache")
    # cache=none is no direct access: that asks for aligned buffers, which guests need not have.
    if given.get("aio") == "native" and cache not in ("none", "directsync"):
        raise ImageError(
            "aio=native was specified, but it requires cache.direct=on, which was not specified."
        )
    mode = Mode(
        readonly=readonly or snapshot,
        direct=cache in ("none", "directsync"),
        no_flush=cache == "unsafe",
        discard=given.get("discard") in ("on", "unmap"),
        zeroes=given.get("detect-zeroes") or "off",
    )
    own = {key: given[key] for key in ("offset", "size") if given.get(key) is not None}
    image = Graph(warn).open_name(name, format=format, mode=mode, options=own)
    try:
        return Overlay(image) if snapshot else image
    except BaseException:
        image.close()
        raise
