"""The comma list of `-chardev`, and the table of back ends.

Each back end is a module with `KEYS`, the keys of its comma list beside those that all have, and
`BACKEND`, its class. A module is imported when its back end is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from pemu.chardev.interface import Chardev
from pemu.options.error import OptionError
from pemu.options.keyval import Group, Key, Select
from pemu.options.types import Bool, Id, Text

BACKENDS = {
    "file": "file",
    "memory": "ringbuf",
    "mux": "mux",
    "null": "null",
    "pipe": "pipe",
    "pty": "pty",
    "ringbuf": "ringbuf",
    "serial": "serial",
    "socket": "socket",
    "stdio": "stdio",
    "tty": "serial",
    "udp": "udp",
}
"""The module of each back end."""

MISSING = {
    "vc": "a text console on the display",
    "msmouse": "a serial mouse that the display moves",
    "wctablet": "a serial tablet that the display moves",
    "parallel": "a parallel port of the host",
    "parport": "a parallel port of the host",
    "braille": "a Braille terminal",
    "testdev": "a device for QEMU's own tests",
    "spicevmc": "a SPICE channel",
    "spiceport": "a SPICE channel",
    "qemu-vdagent": "a SPICE agent",
    "console": "a console of Windows",
}
"""What QEMU has besides, so that a message can say what is not there."""


def keys(name: str) -> Sequence[Key] | None:
    """The keys of one back end, None where QEMU has none either; raises OptionError."""
    if name in MISSING:
        raise not_supported(name)
    if name not in BACKENDS:
        return None
    module = import_module(f"pemu.chardev.{BACKENDS[name]}")
    found: Sequence[Key] = module.KEYS
    return found


def backend(name: str) -> type[Chardev]:
    """The class of one back end."""
    module = import_module(f"pemu.chardev.{BACKENDS[name]}")
    found: type[Chardev] = module.BACKEND
    return found


def not_supported(name: str) -> OptionError:
    """The error for a back end that only QEMU has."""
    return OptionError(
        f"'{name}' ({MISSING[name]}) is not supported yet; use stdio, pty, socket, file or null"
    )


CHARDEV = Group(
    "-chardev",
    (
        Key("id", Id(), "the name by which other options call it", required=True),
        Key("mux", Bool(), "let several front ends share it, with Ctrl-A keys", default=False),
        Key("logfile", Text("path", empty=False), "a file that gets a copy of all output"),
        Key("logappend", Bool(), "keep what the log file holds already", default=False),
    ),
    implied="backend",
    select=Select("backend", lambda: sorted(BACKENDS), keys, "what stands behind it"),
)
"""The grammar of `-chardev`."""
