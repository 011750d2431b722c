"""Drives: what -drive, -hda, -cdrom, -pflash and so on say, and the images that they open."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pemu.block.backend import Backend
from pemu.block.filters.copy_on_read import CopyOnRead
from pemu.block.filters.overlay import Overlay
from pemu.block.filters.throttle import take_limits, throttled
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.opening import Mode
from pemu.block.tree import Tree, from_json, nested
from pemu.options.error import OptionError, quoted
from pemu.options.keyval import Group, Key, split
from pemu.options.types import Bool, Enum, Id, Int, Text

if TYPE_CHECKING:
    from pemu.machine.control import State
    from pemu.machine.machine import Machine

INTERFACES = ("none", "ide", "scsi", "floppy", "pflash", "virtio", "mtd", "sd", "xen")

UNITS = {"ide": 2, "scsi": 7}
"""How many drives a bus of an interface holds, where that is limited."""

_MEDIA = {"disk": "hd", "cdrom": "cd"}

CACHE_MODES = {
    "none": (True, False),
    "writeback": (False, False),
    "unsafe": (False, True),
    "directsync": (True, False),
    "writethrough": (False, False),
}
"""What `cache` says: cache.direct and cache.no-flush."""

_ERROR_ACTIONS = ("ignore", "stop", "report", "enospc", "auto")


@dataclass
class Drive:
    """One drive, and the options for its image.

    interface, bus, unit: where it is: 'ide', bus 0, unit 1 is -hdb. media: 'disk' or 'cdrom'.
    file: path or address of the image, empty for a drive without a medium. format: empty to look.
    options: all keys of -drive, those of the image's node as pairs under 'node'.
    said: the option that it comes from, for messages.
    backend: what devices use; without a medium until `open_drive` has opened the image.
    owner: the device that has it.
    """

    id: str
    interface: str
    bus: int
    unit: int
    media: str = "disk"
    file: str = ""
    format: str = ""
    readonly: bool = False
    snapshot: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    said: str = ""
    backend: Backend = field(default_factory=Backend)
    owner: object = None


DRIVE = Group(
    "-drive",
    (
        Key("file", Text("file"), "the image", default=""),
        Key("if", Enum(INTERFACES, name="type"), "the interface (default: the board's)"),
        Key("index", Int(maximum=1 << 16), "which of the interface's drives"),
        Key("bus", Int(maximum=1 << 16), "which of the interface's buses"),
        Key("unit", Int(maximum=1 << 16), "which drive of the bus"),
        Key("id", Id(), "name of the drive"),
        Key("media", Enum(("disk", "cdrom")), "what is in it", default="disk"),
        Key("format", Text("format", empty=False), "format of the image (default: look)"),
        Key("snapshot", Bool(), "write to a temporary file"),
        Key("readonly", Bool(), "do not write", default=False),
        Key("read-only", Bool(), "do not write", default=False),
        Key("driver", Text("format", empty=False), "the same as format"),
        Key("cache", Enum(tuple(CACHE_MODES))),
        Key("aio", Enum(("threads", "native", "io_uring"))),
        Key("copy-on-read", Bool()),
        Key("rerror", Enum(_ERROR_ACTIONS)),
        Key("werror", Enum(_ERROR_ACTIONS)),
        Key("serial", Text(), "serial number that the guest sees"),
    ),
    rest="node",
)
"""The grammar of -drive; further keys are those of the image's node."""


class Drives:
    """The drives of a machine, in the order in which they were given.

    interface: the board's default. snapshot: what -snapshot says. graph: has the images, among
    them the nodes of -blockdev, which devices name as they name drives.
    """

    def __init__(self, interface: str, *, snapshot: bool = False) -> None:
        self.graph = Graph(sys.stderr.write)
        self.interface = interface
        self.snapshot = snapshot
        self.drives: list[Drive] = []

    def add(self, options: dict[str, Any], said: str = "-drive") -> Drive:
        """Add a drive from the values of `DRIVE`. Raises OptionError."""
        interface = options["if"] or self.interface
        bus, unit = self._place(options, interface, said)
        media = options["media"]
        kind = _MEDIA[media]
        most = UNITS.get(interface)
        number = f"{bus}-{kind}{unit}" if most else f"{unit}"
        id = options["id"] or f"{interface}{number}"
        for other in self.drives:
            if other.id == id:
                raise OptionError(f"{said}: there is a drive {quoted(id)} already; give another id")
        drive = Drive(
            id=id,
            interface=interface,
            bus=bus,
            unit=unit,
            media=media,
            file=options["file"],
            format=options["format"] or options["driver"] or "",
            readonly=options["readonly"] or options["read-only"] or media == "cdrom",
            snapshot=self.snapshot if options["snapshot"] is None else options["snapshot"],
            options=options,
            said=said,
        )
        self.drives.append(drive)
        return drive

    def add_file(self, file: str, said: str, **values: Any) -> Drive:
        """Add a drive as -hda, -cdrom, -pflash and so on do. Raises OptionError."""
        return self.add(DRIVE.parse("file=") | {"file": file} | values, said)

    def at(self, interface: str | None, index: int) -> Drive | None:
        """The drive with an index of an interface, None for the board's; None without one."""
        interface = interface or self.interface
        most = UNITS.get(interface)
        place = divmod(index, most) if most else (0, index)
        for drive in self.drives:
            if (drive.interface, (drive.bus, drive.unit)) == (interface, place):
                return drive
        return None

    def find(self, id: str) -> Drive:
        """The drive called `id`, or one for the node of that name. Raises OptionError."""
        for drive in self.drives:
            if drive.id == id:
                return drive
        raise OptionError(
            f"there is no drive {quoted(id)}; make it with -drive id={id},... or -blockdev "
            f"node-name={id},..."
        )

    def _place(self, options: dict[str, Any], interface: str, said: str) -> tuple[int, int]:
        most = UNITS.get(interface)
        index, bus, unit = options["index"], options["bus"], options["unit"]
        if index is not None:
            if bus is not None or unit is not None:
                raise OptionError(f"{said}: index cannot be used with bus and unit; leave it out")
            bus, unit = divmod(index, most) if most else (0, index)
        bus = bus or 0
        if unit is None:
            unit = 0
            while self._at(interface, bus, unit):
                unit += 1
                if most and unit >= most:
                    bus, unit = bus + 1, 0
        if most and unit >= most:
            raise OptionError(f"{said}: unit {unit} too big (max is {most - 1})")
        if self._at(interface, bus, unit):
            raise OptionError(
                f"{said}: drive with bus={bus}, unit={unit} (index={bus * (most or 0) + unit}) "
                "exists"
            )
        return bus, unit

    def _at(self, interface: str, bus: int, unit: int) -> bool:
        places: Iterable[tuple[str, int, int]] = (
            (one.interface, one.bus, one.unit) for one in self.drives
        )
        return (interface, bus, unit) in places


def open_node(text: str, drives: Drives, machine: Machine) -> None:
    """Open the node that -blockdev describes; devices find it as a drive. Raises OptionError."""
    tree = parse_node(text)
    if not tree.get("node-name"):
        raise OptionError("'node-name' must be specified for the root node")
    image = drives.graph.open(tree)
    drive = Drive(
        id=image.node_name, interface="none", bus=0, unit=0, readonly=image.readonly,
        file=image.name, format=image.format,
    )  # fmt: skip
    drive.backend = _backend(image, machine, {})
    drives.drives.append(drive)


def parse_node(text: str) -> Tree:
    """The keys of a node as -blockdev has them, as JSON or a comma list. Raises OptionError."""
    if text.startswith("{"):
        return from_json(text)
    return nested((key, "on" if value is None else value) for key, value in split(text, "driver"))


def open_drive(drive: Drive, drives: Drives, machine: Machine) -> None:
    """Open the image of a drive, if it has one, for the devices of `machine`. Raises OptionError.

    The lines of a warning go to stderr.
    """
    options = drive.options
    image = None
    try:
        tree = nested(options.get("node") or ())
        limits, group = take_limits(tree)
        if drive.file or tree:
            image = _open(drive, tree, drives.graph)
            image = throttled(image, limits, group, drives.graph)
    except OptionError as error:
        raise error.within(drive.said) from None
    drive.backend = _backend(image, machine, options)


def _open(drive: Drive, tree: Tree, graph: Graph) -> Image:
    options = drive.options
    cache = options.get("cache") or "writeback"
    direct, no_flush = CACHE_MODES[cache]
    inner = tree.get("cache")
    direct = direct or (isinstance(inner, dict) and inner.get("direct") == "on")
    mode = Mode(
        readonly=drive.readonly or drive.snapshot,
        direct=direct,
        no_flush=no_flush,
        aio=options.get("aio") or "threads",
    )
    image = graph.open_name(drive.file, format=drive.format, mode=mode, options=tree)
    try:
        if drive.snapshot:
            image = Overlay(image)
        elif options.get("copy-on-read") and not drive.readonly:
            image = CopyOnRead(image)
        return image
    except BaseException:
        image.close()
        raise


def _backend(image: Image | None, machine: Machine, options: dict[str, Any]) -> Backend:
    immediate = machine.icount is not None
    cache = options.get("cache") or "writeback"

    def post(function: Callable[[], object]) -> None:
        if immediate:  # at a time that depends on the guest's instructions alone
            machine.clocks.virtual.timer(function).arm_in(0)
        else:  # in the worker's thread: a switch to the I/O thread would cost more than most reads
            with machine.lock:
                function()

    def resumed(state: State) -> None:
        if state == "running":
            backend.retry()

    backend = Backend(
        image,
        post=post,
        immediate=immediate,
        unsafe=cache == "unsafe",
        writethrough=cache in ("writethrough", "directsync"),
        rerror=options.get("rerror") or "auto",
        werror=options.get("werror") or "auto",
        stop=lambda: machine.control.pause("io-error"),
    )
    machine.control.listeners.append(resumed)
    return backend


def _overlay(drive: Drive) -> Overlay | None:
    image = drive.backend.image
    while image is not None and not isinstance(image, Overlay):
        image = image.file
    return image


def is_temporary(drive: Drive) -> bool:
    """Whether what is written to a drive goes to a temporary file (-snapshot)."""
    return _overlay(drive) is not None


def commit(drive: Drive) -> None:
    """Give the image of a drive what has gone to a temporary file.

    While the processors stand. Raises OSError, ImageError.
    """
    overlay = _overlay(drive)
    if overlay is None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    drive.backend.drain()
    overlay.commit()
