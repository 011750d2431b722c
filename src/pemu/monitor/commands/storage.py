"""What drives have on their images."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pemu.block.error import ImageError
from pemu.machine.drives import commit as commit_drive
from pemu.machine.drives import is_temporary
from pemu.machine.media import ReadOnly, change, eject
from pemu.monitor.schema import COMMANDS, Flag, MonitorError, Word
from pemu.options.error import OptionError

if TYPE_CHECKING:
    from pemu.machine.drives import Drive
    from pemu.monitor.monitor import Monitor


@COMMANDS.command(
    "commit",
    Word("device", kind="block device name"),
    help="commit changes to the disk images (if -snapshot is used) or backing files",
    note="device|all",
)
def commit(monitor: Monitor, name: str) -> None:
    drives = [one for one in monitor.instance.drives if name in ("all", one.id)]
    if name == "all":
        drives = [one for one in drives if is_temporary(one)]
    elif not drives:
        raise MonitorError(f"Device '{name}' not found")
    with monitor.instance.machine.control.standing():
        for drive in drives:
            if drive.backend.image is None:
                raise MonitorError(f"Device '{name}' has no medium")
            try:
                commit_drive(drive)
            except (OSError, ImageError) as error:
                why = error.strerror if isinstance(error, OSError) else str(error)
                raise MonitorError(f"'commit' error for '{name}': {why}") from None


def _drive(monitor: Monitor, name: str) -> Drive:
    for drive in monitor.instance.drives:
        if drive.id == name:
            return drive
    raise MonitorError(f"Error: Device '{name}' not found")


@COMMANDS.command(
    "eject",
    Flag("-f"),
    Word("device", kind="block device name"),
    help="eject a removable medium (use -f to force it)",
    note="[-f] device",
)
def take_medium(monitor: Monitor, force: bool, name: str) -> None:
    try:
        eject(_drive(monitor, name), force)
    except OptionError as error:
        raise MonitorError(f"Error: {error}") from None


_MODES = ("retain", "read-only", "read-write")


@COMMANDS.command(
    "change",
    Word("device", kind="block device name"),
    Flag("-f"),
    Word("filename", kind="filename"),
    Word("format", optional=True),
    Word("read-only-mode", optional=True),
    help="change a removable medium, optional format, use -f to force the operation",
    note="device [-f] filename [format [read-only-mode]]",
)
def change_medium(
    monitor: Monitor, name: str, force: bool, file: str, format: str | None, mode: str | None
) -> None:
    if name == "vnc":
        raise MonitorError("change vnc: not supported yet")
    if mode is not None and mode not in _MODES:
        raise MonitorError(
            f"Error: invalid parameter value: {mode}; use one of {', '.join(_MODES)}"
        )
    try:
        change(_drive(monitor, name), file, format or "", cast(ReadOnly, mode or "retain"), force)
    except OptionError as error:
        raise MonitorError(f"Error: {error}") from None
