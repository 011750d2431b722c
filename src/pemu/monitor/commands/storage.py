"""What drives have on their images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pemu.block.error import ImageError
from pemu.machine.drives import commit as commit_drive
from pemu.machine.drives import is_temporary
from pemu.monitor.schema import COMMANDS, MonitorError, Word

if TYPE_CHECKING:
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
