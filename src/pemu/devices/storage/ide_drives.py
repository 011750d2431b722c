"""From the drives of the command line to devices on IDE buses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pemu.devices.storage.ide import IdeBus
from pemu.devices.storage.ide_cd import IdeCd
from pemu.devices.storage.ide_hd import IdeDisk
from pemu.machine.drives import Drive
from pemu.options.error import OptionError


def plug_drives(buses: Sequence[IdeBus], drives: Iterable[Drive]) -> None:
    """Make a device for each drive of the interface 'ide'. Raises OptionError."""
    for drive in drives:
        if drive.interface != "ide" or drive.bus >= len(buses):
            continue
        bus = buses[drive.bus]
        kind = IdeCd if drive.media == "cdrom" else IdeDisk
        try:
            bus.machine.create(kind, bus, unit=drive.unit, drive=drive)
        except OptionError as error:
            raise error.within(drive.said) from None
