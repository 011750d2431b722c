"""What a driver is given to open an image with."""

from __future__ import annotations

import os

from pemu.block.error import ImageError
from pemu.block.image import Image
from pemu.block.tree import Tree
from pemu.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    class Opener(Protocol):
        """What drivers see of the graph: it opens and makes further images.

        nodes: those that have names. objects: what options refer to by id. warn: is told of what
        the user should know.
        """

        nodes: dict[str, Image]
        objects: dict[str, Any]
        warn: Callable[[str], object]

        def open_name(
            self, name: str, *, format: str = "", mode: Mode = ..., options: Tree | None = None
        ) -> Image:
            """Open what a name stands for. Raises ImageError."""

        def open_child(self, value: Any, mode: Mode) -> Image:
            """Open a child: keys of its own, or the name of a node that there is."""

        def open_protocol(self, name: str, mode: Mode) -> Image:
            """Open a path or address as it is, whatever is in it. Raises ImageError, OSError."""

        def create_file(self, name: str, size: int, options: Mapping[str, Any]) -> None:
            """Make what holds an image, `size` bytes long. Raises ImageError, OSError."""


LONGEST_CHAIN = 100
"""Images below each other: more are taken for a circle."""


class CircleError(ImageError):
    """Images are below each other in a circle."""


class Mode(NamedTuple):
    """How an image is opened.

    readonly: nothing is written. direct, no_flush: cache.direct, cache.no-flush. aio: how the host
    is asked for files whose keys say nothing ('threads', 'native', 'io_uring'). share: others may
    write meanwhile (-U). repair: to be checked; what only `check_image` can mend is no obstacle.
    describe: only what is to be told of it counts; no key is needed. backing: open what is below,
    too. grows: writes, if allowed, make the file longer where they are beyond its end.
    discard: `discard` has an effect. zeroes: 'off', 'on' or 'unmap': what becomes of writes of
    zeros. depth: how many images it is below the one that the user named. protocol: it holds an
    image, so that without a driver its file name decides, not what is in it.
    """

    readonly: bool = False
    direct: bool = False
    no_flush: bool = False
    aio: str = "threads"
    share: bool = False
    repair: bool = False
    describe: bool = False
    backing: bool = True
    grows: bool = False
    discard: bool = False
    zeroes: str = "off"
    depth: int = 0
    protocol: bool = False

    def of_file(self, *, grows: bool = True) -> Mode:
        """The mode of what holds an image that is opened in this mode."""
        return self._replace(grows=grows, discard=True, zeroes="off", protocol=True)

    def of_backing(self) -> Mode:
        """The mode of what is below an image that is opened in this mode."""
        return self._replace(
            protocol=False,
            readonly=True,
            discard=False,
            zeroes="off",
            repair=False,
            depth=self.depth + 1,
        )


class Opening:
    """One image being opened by its driver.

    name: what messages call it, as the user wrote it where that is known. options: values of the
    driver's keys. mode: how. graph: what opens other images, has secrets and takes warnings.
    """

    def __init__(
        self, graph: Opener, driver: str, name: str, options: dict[str, Any], children: Tree,
        mode: Mode, file: Image | None = None,
    ) -> None:  # fmt: skip
        self.graph = graph
        self.driver = driver
        self.name = name
        self.options = options
        self.mode = mode
        self._children = children
        self._file = file
        self._opened: list[Image] = [] if file is None else [file]

    def file(self, *, grows: bool = True) -> Image:
        """Open the image that holds this one. grows: whether writes may make it longer."""
        mode = self.mode.of_file(grows=grows)
        if self._file is not None:
            if mode.grows:
                self._file.grow()
            return self._file
        file = self.child("file", mode)
        self.name = self.name or file.name
        return file

    def child(self, key: str, mode: Mode) -> Image:
        """Open the image that the options call `key`. Raises ImageError without one."""
        if self._children.get(key) is None:
            raise ImageError(f'A block device must be specified for "{key}"')
        child = self.graph.open_child(self._children[key], mode)
        return self.own(child)

    def filtered(self, key: str) -> Image:
        """Open what a filter stands before: as it is, where the options name no format."""
        return self.child(key, self.mode._replace(protocol=True))

    def given(self, key: str) -> bool:
        """Whether the options say anything about the child `key`."""
        return key in self._children

    def backing(self, name: str, format: str, relative_to: str | None = None) -> Image | None:
        """Open what is below; None for nothing.

        name, format: what the image's header says. The options may say otherwise, or more.
        relative_to: the name of the file that `name` is relative to (default: the image's).
        """
        if not self.mode.backing:
            return None
        mode = self.mode.of_backing()
        if mode.depth > LONGEST_CHAIN:
            raise CircleError(
                f"'{self.name}': more than {LONGEST_CHAIN} images are below each other; one seems "
                "to be below itself"
            )
        chosen = self._children.get("backing", {})
        if chosen is None or chosen == "":
            return None
        if isinstance(chosen, str) or "driver" in chosen and not name:
            return self.own(self.graph.open_child(chosen, mode))
        if not name and not chosen:
            return None
        full = resolve(name, self.name if relative_to is None else relative_to) if name else ""
        try:
            below = self.graph.open_name(
                full, format=chosen.get("driver", format), mode=mode, options=dict(chosen)
            )
        except CircleError:
            raise
        except ImageError as error:
            raise ImageError(f"Could not open backing file: {error}") from None
        return self.own(below)

    def own(self, image: Image) -> Image:
        """An image that is closed if the opening fails; returned."""
        self._opened.append(image)
        return image

    def require_readonly(self) -> None:
        """Raise PermissionError where the image is to be written to: its format cannot be."""
        if not self.mode.readonly:
            raise PermissionError("Image is read-only")

    def abandon(self) -> None:
        """Close what has been opened: the image did not come about."""
        for image in self._opened:
            image.close()


def protocol_of(name: str) -> str:
    """The protocol that `name` begins with, as in nbd://host; '' for a plain path."""
    protocol, colon, _ = name.partition(":")
    plain = protocol.replace("+", "").replace(".", "").replace("_", "").replace("-", "")
    known = colon and protocol[:1].isalpha() and plain.isalnum() and protocol.isascii()
    return protocol if known else ""


def resolve(name: str, base: str) -> str:
    """`name` as seen from the image `base`: relative names are relative to its directory."""
    if protocol_of(name) or os.path.isabs(name) or base.startswith("json:"):
        return name
    start = base.rfind("/") + 1
    if not start and protocol_of(base):
        start = base.index(":") + 1
    return base[:start] + name
