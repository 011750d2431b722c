"""The drivers `file` and `host_device`: how files of the host are opened and made."""

from __future__ import annotations

import os

from pemu.block.creation import Creation
from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.image import Image
from pemu.block.opening import Opening
from pemu.block.protocols.attributes import hint_extents, turn_off_copying
from pemu.block.protocols.file import PREALLOCATION, File, set_length
from pemu.block.protocols.locks import lock
from pemu.options.keyval import Key
from pemu.options.types import Bool, Enum, Size, Text

DEFAULT_HINT = 1 << 20
"""Bytes by which a new file's room grows where nobody says otherwise, as with QEMU: clusters are
small, and without it a file of XFS would have as many extents."""


def _open(opening: Opening) -> Image:
    kind = File
    if opening.mode.direct:
        from pemu.block.protocols.direct import DirectFile

        kind = DirectFile
    if (opening.options["aio"] or opening.mode.aio) == "native" and not opening.mode.direct:
        raise ImageError(
            "aio=native was specified, but it requires cache.direct=on, which was not specified."
        )
    path = opening.options["filename"]
    image = kind(path, opening.mode, locks=opening.options["locking"] != "off")
    if image.device != (opening.driver == "host_device"):
        image.close()
        wanted = "a regular file" if image.device else "either a character or block device"
        raise ImageError(f"'{opening.driver}' driver requires '{path}' to be {wanted}")
    return image


def _create(creation: Creation) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        fd = os.open(creation.name, flags, 0o644)
    except OSError as error:
        raise ImageError(f"Could not create '{creation.name}': {error.strerror}") from None
    try:
        lock(fd, creation.name, readonly=False, grows=True)
        os.ftruncate(fd, 0)
        if creation.options["nocow"]:
            turn_off_copying(fd)
        hint = creation.options["extent_size_hint"]
        if not hint_extents(fd, DEFAULT_HINT if hint is None else hint) and hint:
            creation.graph.warn(f"warning: '{creation.name}' takes no extent size hint\n")
        set_length(fd, 0, creation.size, creation.options["preallocation"] or "off")
    except OSError as error:
        raise ImageError(f"Could not resize file '{creation.name}': {error.strerror}") from None
    finally:
        os.close(fd)


_CREATION = (
    Key("nocow", Bool(), "Turn off copy-on-write (valid only on btrfs)"),
    Key(
        "preallocation",
        Enum(PREALLOCATION),
        "Preallocation mode (allowed values: off, falloc, full)",
    ),
    Key(
        "extent_size_hint",
        Size(maximum=0xFFFFFFFF),
        "Extent size hint for the image file, 0 to disable",
    ),
)

_KEYS = (
    Key("filename", Text("filename"), "path of the file", required=True),
    Key("locking", Enum(("auto", "on", "off")), "keep others away", default="auto"),
    Key("aio", Enum(("threads", "native", "io_uring")), "how the host is asked"),
)

DRIVERS = {
    "file": Driver("file", _open, keys=_KEYS, children=(), create=_create, creation=_CREATION),
    "host_device": Driver("host_device", _open, keys=_KEYS, children=(), create=Creation.reuse),
}
