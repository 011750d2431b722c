"""Media that the user changes while the machine runs: discs and floppy disks."""

from __future__ import annotations

from typing import Literal, Protocol

from pemu.block.graph import Graph
from pemu.block.opening import Mode
from pemu.machine.drives import Drive
from pemu.options.error import OptionError

ReadOnly = Literal["retain", "read-only", "read-write"]


class Tray(Protocol):
    """A device whose medium is in a tray, which the guest may lock."""

    tray_open: bool
    locked: bool

    def request_eject(self) -> None:
        """Tell the guest that somebody wants the medium."""


FLOPPIES = ("isa-fdc", "floppy")
"""Drivers of drives from which a medium can simply be taken."""


def tray(drive: Drive) -> Tray | None:
    """The tray of a drive, if there is one."""
    owner = drive.owner
    return owner if hasattr(owner, "tray_open") else None  # type: ignore[return-value]


def is_removable(drive: Drive) -> bool:
    """Whether the medium of a drive can be changed."""
    return tray(drive) is not None or getattr(drive.owner, "driver", "") in FLOPPIES


def eject(drive: Drive, force: bool) -> None:
    """Open the tray and take the medium out; the user has it then. Raises OptionError."""
    _open(drive, force)
    if drive.backend.image is not None:
        drive.backend.insert(None)
    held = tray(drive)
    if held is not None:
        held.tray_open = True


def change(
    drive: Drive, file: str, format: str, mode: ReadOnly = "retain", force: bool = False
) -> None:
    """Put another medium in. Raises OptionError; then the old one stays."""
    if not is_removable(drive):
        raise OptionError(f"Device '{drive.id}' is not removable")
    old = drive.backend.image
    readonly = drive.readonly if old is None else old.readonly
    if mode != "retain":
        readonly = mode == "read-only"
    image = Graph().open_name(file, format=format, mode=Mode(readonly=readonly))
    try:
        _open(drive, force)
    except OptionError:
        image.close()
        raise
    drive.backend.insert(image)


def _open(drive: Drive, force: bool) -> None:
    """Open a drive's tray. Raises OptionError where it has none, or the guest has locked it."""
    if not is_removable(drive):
        raise OptionError(f"Device '{drive.id}' is not removable")
    held = tray(drive)
    if held is None or held.tray_open:
        return
    if held.locked:
        held.request_eject()
        if force:
            held.locked = False
        else:
            raise OptionError(
                f"Device '{drive.id}' is locked and force was not specified, wait for tray to open "
                "and try again"
            )
