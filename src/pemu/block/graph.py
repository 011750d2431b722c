"""The graph: opens and makes images from names and options, and knows the nodes that have names."""

from __future__ import annotations

import os

from pemu.block.creation import Creation
from pemu.block.driver import ABSENT, FILTERS, FORMATS, PROTOCOLS, Driver, find_driver
from pemu.block.error import ImageError
from pemu.block.image import Image
from pemu.block.opening import Mode, Opening, protocol_of
from pemu.block.probe import PROBED, probe
from pemu.block.tree import Tree, from_json, typed
from pemu.options.error import OptionError, quoted
from pemu.options.keyval import Group, Key
from pemu.options.types import Bool, Enum, Id, Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

GUESSED = (
    "WARNING: Image format was not specified for '{}' and probing guessed raw.\n"
    "         Automatically detecting the format is dangerous for raw images, write operations on "
    "block 0 will be restricted.\n"
    "         Specify the 'raw' format explicitly to remove the restrictions.\n"
)

CACHE = Group(
    "cache",
    (
        Key("direct", Bool(), "pass the host's page cache by"),
        Key("no-flush", Bool(), "do not flush when asked to"),
    ),
)

LONGEST_NAME = 31
"""Letters of a node's name."""

AS_IS = Mode()
"""For reading and writing."""

NODE_KEYS = (
    Key("driver", Text("driver"), "format, protocol or filter"),
    Key("node-name", Text("name"), "name of the node"),
    Key("read-only", Bool(), "do not write"),
    Key("auto-read-only", Bool(), "do not write where that is not allowed"),
    Key("force-share", Bool(), "let others write meanwhile"),
    Key("cache", CACHE, "what is kept in the host's memory"),
    Key("discard", Enum(("ignore", "unmap"), {"off": "ignore", "on": "unmap"})),
    Key("detect-zeroes", Enum(("off", "on", "unmap"))),
)
"""The keys that every node has."""


class Graph:
    """The images of one process.

    nodes: those that have names. objects: what options refer to by id (secrets as bytes, throttle
    groups, credentials). warn: is told of what the user should know, with a line end.
    """

    def __init__(self, warn: Callable[[str], object] = lambda text: None) -> None:
        self.nodes: dict[str, Image] = {}
        self.objects: dict[str, Any] = {}
        self.warn = warn

    # Opening

    def open_name(
        self, name: str, *, format: str = "", mode: Mode = AS_IS, options: Tree | None = None
    ) -> Image:
        """Open what a name stands for: a path, an address, or json:{...}.

        format: empty to look at how the file begins. options: keys of the node besides, nested.
        Raises ImageError.
        """
        tree: Tree = dict(options or {})
        if name.startswith("json:"):
            tree = {**from_json(name[5:]), **tree}
        if format:
            tree["driver"] = format
        said = _plain(name) if name and not name.startswith("json:") else _said(tree) or name
        try:
            return self._open_named("" if name.startswith("json:") else name, said, tree, mode)
        except OSError as error:
            raise ImageError(f"Could not open '{said}': {error.strerror or error}") from None

    def open(self, tree: Tree, mode: Mode = AS_IS) -> Image:
        """Open the node that the keys of -blockdev describe. Raises ImageError."""
        if not tree.get("driver"):
            raise ImageError("'driver' is missing; write driver=<format or protocol>")
        try:
            return self._open(tree, _said(tree), mode)
        except OSError as error:
            raise ImageError(f"Could not open '{_said(tree)}': {error.strerror or error}") from None

    def open_child(self, value: Any, mode: Mode) -> Image:
        """Open a child: keys of its own, or the name of a node that there is."""
        if isinstance(value, dict):
            tree = dict(value)
            if mode.protocol and not tree.get("driver") and isinstance(tree.get("filename"), str):
                tree = {**_protocol_tree(tree["filename"]), **tree}
            if not tree.get("driver"):
                return self._open_named(str(tree.pop("filename", "")), _said(value), tree, mode)
            return self._open(tree, _said(value), mode)
        if str(value) not in self.nodes:
            raise ImageError(f"Cannot find device='{value}' nor node-name='{value}'")
        return self.nodes[str(value)].retain()

    def open_protocol(self, name: str, mode: Mode) -> Image:
        """Open a path or address as it is, whatever is in it. Raises ImageError, OSError."""
        return self._open(_protocol_tree(name), name, mode)

    def _open_named(self, name: str, said: str, tree: Tree, mode: Mode) -> Image:
        format = tree.get("driver") or ""
        if format in PROTOCOLS or (format in FILTERS and not name):
            if name:
                tree = {**_protocol_tree(name), **tree}
            return self._open(tree, said, mode)
        if name:
            inner = tree.get("file")
            if inner is not None and not isinstance(inner, dict):
                raise ImageError(f"{quoted(name)} and 'file' cannot be given at the same time")
            tree["file"] = {**_protocol_tree(name), **(inner or {})}
        if format:
            return self._open(tree, said, mode)
        return self._open_probed(tree, said, mode)

    def _open_probed(self, tree: Tree, said: str, mode: Mode) -> Image:
        """Open an image whose format its beginning tells."""
        inner = tree.pop("file", None)
        if inner is None:
            raise ImageError("Must specify either driver or file")
        now = self._mode(typed(_common(tree), NODE_KEYS, "A node"), mode)
        file = self.open_child(inner, now.of_file(grows=False))
        try:
            format = probe(file.read(0, min(PROBED, file.size)), said)
        except BaseException:
            file.close()
            raise
        if format == "raw" and not now.readonly:
            self.warn(GUESSED.format(said))
            tree["guessed"] = True
        return self._open({**tree, "driver": format}, said, mode, file)

    def _open(self, tree: Tree, said: str, mode: Mode, file: Image | None = None) -> Image:
        try:
            driver = find_driver(str(tree["driver"]))
            common = typed(_common(tree), NODE_KEYS, "A node")
            mode = self._mode(common, mode)
            children = {key: tree[key] for key in driver.children if key in tree}
            own = {k: one for k, one in tree.items() if k not in _COMMON and k not in children}
            what = f"Block {'protocol' if driver.name in PROTOCOLS else 'format'} '{driver.name}'"
            options = typed(own, driver.keys, what)
            name = common["node-name"]
            if name:
                self._expect_free(name)
        except BaseException:
            if file is not None:
                file.close()
            raise
        try:
            image = self._driven(driver, said, options, children, mode, file)
        except PermissionError:
            if not common["auto-read-only"] or mode.readonly or file is not None:
                raise
            mode = mode._replace(readonly=True)
            image = self._driven(driver, said, options, children, mode, None)
        image.unmap = mode.discard
        image.detect_zeroes = mode.zeroes
        if name:
            try:
                self._expect_free(name)
            except ImageError:  # an image below has taken it
                image.close()
                raise
            image.node_name = name
            self.nodes[name] = image
            image.closed = lambda: self.nodes.pop(name)
        return image

    def _expect_free(self, name: str) -> None:
        """Raise ImageError where a node cannot be called `name`."""
        try:
            Id().parse(name)
        except OptionError:
            raise ImageError(
                f"Invalid node-name: '{name}'; start with a letter and go on with letters, digits, "
                "'-', '.' and '_'"
            ) from None
        if len(name) > LONGEST_NAME:
            raise ImageError(f"Node name too long: '{name}' has more than {LONGEST_NAME} letters")
        if name in self.nodes:
            raise ImageError(f"Duplicate nodes with node-name='{name}'")

    def _driven(
        self,
        driver: Driver,
        said: str,
        options: dict[str, Any],
        children: Tree,
        mode: Mode,
        file: Image | None,
    ) -> Image:
        """What a driver makes of it; where it fails, all that it has opened is closed."""
        opening = Opening(self, driver.name, said, options, children, mode, file)
        try:
            return driver.open(opening)
        except BaseException:
            opening.abandon()
            raise

    def _mode(self, common: dict[str, Any], mode: Mode) -> Mode:
        """`mode` with what a node's own keys say."""
        cache = common["cache"] or {}
        changes: dict[str, Any] = {
            "readonly": common["read-only"],
            "share": common["force-share"],
            "direct": cache.get("direct"),
            "no_flush": cache.get("no-flush"),
            "discard": common["discard"] and common["discard"] == "unmap",
            "zeroes": common["detect-zeroes"],
        }
        mode = mode._replace(**{key: one for key, one in changes.items() if one is not None})
        if mode.share and not mode.readonly:
            raise ImageError("force-share=on can only be used with read-only images")
        return mode

    # Making

    def create(self, format: str, name: str, size: int, options: Mapping[str, Any]) -> None:
        """Make a new image. options: values of the format's creation keys, or their texts; those
        of the protocol that keeps it may be among them.

        Raises ImageError; what was begun is then removed, unless it was there before.
        """
        driver = find_driver(format)
        if driver.create is None:
            raise ImageError(f"Format driver '{format}' does not support image creation")
        own = {key.name for key in driver.creation}
        below = {key.name for key in creating_protocol(name).creation} - own
        values = typed(
            {key: value for key, value in options.items() if key not in below},
            driver.creation,
            f"Format '{format}'",
        )
        rest = {key: value for key, value in options.items() if key in below}
        creation = Creation(self, name, size, values, rest)
        try:
            driver.create(creation)
        except OSError as error:
            creation.discard()
            raise ImageError(f"{name}: {error.strerror or error}") from None
        except BaseException:
            creation.discard()
            raise

    def create_file(self, name: str, size: int, options: Mapping[str, Any]) -> None:
        """Make what holds an image, `size` bytes long. Raises ImageError, OSError."""
        tree = _protocol_tree(name)
        driver = creating_protocol(name)
        assert driver.create is not None
        path = str(tree.get("filename", name))
        values = typed(options, driver.creation, f"Protocol '{driver.name}'")
        driver.create(Creation(self, path, size, values, {}))


def creating_protocol(name: str) -> Driver:
    """The driver of what would keep a new image of that name. Raises ImageError."""
    driver = find_driver(_protocol_tree(name)["driver"])
    if driver.create is None:
        raise ImageError(f"Protocol driver '{driver.name}' does not support image creation")
    return driver


_COMMON = {key.name for key in NODE_KEYS}


def _common(tree: Tree) -> Tree:
    return {key: value for key, value in tree.items() if key in _COMMON}


def _said(tree: Mapping[str, Any]) -> str:
    """What messages call the image that a tree describes."""
    inner: Any = tree
    while isinstance(inner, dict):
        for key in ("filename", "url"):
            if isinstance(inner.get(key), str):
                return str(inner[key])
        inner = inner.get("file")
    return inner if isinstance(inner, str) else ""


def _plain(name: str) -> str:
    """A path or address without file: or host_device: in front."""
    path = name.removeprefix("file:").removeprefix("host_device:")
    return f"./{path}" if path != name and protocol_of(path) else path


def _protocol_tree(name: str) -> Tree:
    """The keys that a path or address stands for. Raises ImageError for an unknown protocol."""
    protocol = protocol_of(name)
    scheme = protocol.partition("+")[0]
    if not protocol or "/" in name[: len(protocol)]:
        return {"driver": _kind_of_file(name), "filename": name}
    if scheme in ("file", "host_device"):
        path = name[len(protocol) + 1 :]
        return {"driver": _kind_of_file(path), "filename": path}
    if scheme in ABSENT:
        find_driver(scheme)
    driver: Driver | None = find_driver(scheme) if scheme in {**PROTOCOLS, **FILTERS} else None
    if driver is None or driver.parse_name is None:
        hint = f"; write ./{name} for a file of that name" if os.path.exists(name) else ""
        raise ImageError(f"Unknown protocol '{protocol}'{hint}")
    return {"driver": driver.name, **driver.parse_name(name)}


def _kind_of_file(path: str) -> str:
    import stat

    try:
        kind = os.stat(path).st_mode
        return "host_device" if stat.S_ISBLK(kind) or stat.S_ISCHR(kind) else "file"
    except (OSError, ValueError):
        return "file"


__all__ = ["CACHE", "FORMATS", "GUESSED", "NODE_KEYS", "Graph", "creating_protocol"]
