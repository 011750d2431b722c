"""How the tools for disk images open them: cache modes, --image-opts, --object, warnings."""

from __future__ import annotations

import os

from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.objects import add_object
from pemu.block.opening import Mode
from pemu.block.tree import Tree, nested
from pemu.options.error import OptionError
from pemu.options.keyval import split

CACHE_MODES = {
    "none": (True, False),
    "off": (True, False),
    "directsync": (True, False),
    "writeback": (False, False),
    "unsafe": (False, True),
    "writethrough": (False, False),
}
"""What a cache mode says: cache.direct and cache.no-flush."""

AIO = ("threads", "native", "io_uring")
"""How the host can be asked."""

WRITETHROUGH = ("directsync", "writethrough")
"""Modes in which each write is flushed."""


def new_graph(objects: list[str]) -> Graph:
    """A graph whose warnings go to standard error. objects: what --object says."""
    graph = Graph(lambda text: os.write(2, text.encode("utf-8", "surrogateescape")))
    for text in objects:
        try:
            add_object(graph.objects, text)
        except OptionError as error:
            raise OptionError(str(error)) from None
    return graph


def cached(mode: Mode, cache: str, what: str = "cache option") -> Mode:
    """`mode` with a cache mode; '' for the default, writeback. Raises OptionError."""
    if cache and cache not in CACHE_MODES:
        raise OptionError(f"Invalid {what}: {cache}")
    direct, no_flush = CACHE_MODES[cache or "writeback"]
    return mode._replace(direct=direct, no_flush=no_flush)


def image_tree(text: str) -> Tree:
    """The keys of a node that --image-opts has as a comma list. Raises OptionError."""
    pairs: list[tuple[str, str]] = []
    for key, value in split(text, implied="file"):
        if value is None:
            raise OptionError(f"'{key}' has no value; write {key}=<value>")
        pairs.append((key, value))
    return nested(pairs)


def open_image(
    graph: Graph,
    name: str,
    *,
    format: str = "",
    mode: Mode,
    image_opts: bool = False,
    options: Tree | None = None,
) -> Image:
    """Open a path, an address, json:{...}, or with `image_opts` a comma list. Raises OptionError.

    options: keys of the node besides what a path or an address says.
    The message has the image's name in front, as QEMU's tools have it.
    """
    try:
        if not image_opts:
            return graph.open_name(name, format=format, mode=mode, options=options)
        if format:
            raise OptionError("--image-opts and --format are mutually exclusive")
        return graph.open_name("", mode=mode, options=image_tree(name))
    except ImageError as error:
        raise OptionError(f"Could not open '{name}': {error}") from None
