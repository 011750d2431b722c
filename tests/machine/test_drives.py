"""Where drives go, as QEMU places them."""

from __future__ import annotations

import pytest

from pemu.machine.drives import DRIVE, Drive, Drives
from pemu.options.error import OptionError


def add(drives: Drives, text: str) -> Drive:
    return drives.add(DRIVE.parse(text))


def test_drives_fill_buses_in_order() -> None:
    drives = Drives("ide")
    places = [add(drives, "file=x") for _ in range(3)]
    assert [(one.id, one.bus, one.unit) for one in places] == [
        ("ide0-hd0", 0, 0),
        ("ide0-hd1", 0, 1),
        ("ide1-hd0", 1, 0),
    ]


def test_short_options() -> None:
    drives = Drives("ide", snapshot=True)
    disk = drives.add_file("a,b", "-hdb", index=1)
    cd = drives.add_file("c", "-cdrom", index=2, media="cdrom")
    flash = drives.add_file("d", "-pflash", **{"if": "pflash"})
    assert (disk.file, disk.bus, disk.unit, disk.snapshot) == ("a,b", 0, 1, True)
    assert (cd.id, cd.readonly) == ("ide1-cd0", True)
    assert (flash.id, flash.interface, flash.unit) == ("pflash0", "pflash", 0)


def test_drive_without_interface() -> None:
    drive = add(Drives("ide"), "if=none,id=d0,file=x,format=raw,readonly=on")
    assert (drive.interface, drive.id, drive.format, drive.readonly) == ("none", "d0", "raw", True)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["index=1", "bus=0,unit=1"], "drive with bus=0, unit=1 (index=1) exists"),
        (["bus=0,unit=2"], "unit 2 too big (max is 1)"),
        (["index=1,unit=1"], "index cannot be used with bus and unit"),
        (["id=a", "id=a"], "there is a drive 'a' already"),
    ],
)
def test_places_that_cannot_be(texts: list[str], message: str) -> None:
    drives = Drives("ide")
    for text in texts[:-1]:
        add(drives, text)
    with pytest.raises(OptionError) as caught:
        add(drives, texts[-1])
    assert message in str(caught.value)


def test_unknown_drive() -> None:
    with pytest.raises(OptionError, match="there is no drive 'x'"):
        Drives("ide").find("x")
