"""Where drives go, as QEMU places them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pemu.block.filters.throttle import Throttled
from pemu.machine.drives import DRIVE, Drive, Drives, open_drive
from pemu.machine.machine import Machine
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


def opened(drives: Drives, text: str) -> Drive:
    drive = add(drives, text)
    open_drive(drive, drives, Machine())
    return drive


def test_drives_of_one_group_are_throttled_together(tmp_path: Path) -> None:
    drives = Drives("ide")
    groups = []
    for name, limits in (("a", "throttling.bps-total=1000,throttling.group=g"), ("b", "group=g")):
        (tmp_path / name).write_bytes(bytes(1024))
        drive = opened(drives, f"file={tmp_path / name},format=raw,{limits}")
        image = drive.backend.image
        assert isinstance(image, Throttled)
        groups.append(image.group)
        drive.backend.close()
    assert groups[0] is groups[1]


def test_limits_that_cannot_be_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(1024))
    with pytest.raises(OptionError, match="cannot be used at the same time"):
        opened(Drives("ide"), f"file={tmp_path / 'a'},format=raw,bps=1000,bps_rd=1000")


def test_drive_copies_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(b"abcd" * 256)
    drives = Drives("ide")
    options = {"backing_file": str(tmp_path / "base"), "backing_fmt": "raw"}
    drives.graph.create("qcow2", str(tmp_path / "top"), 1024, options)
    drive = opened(drives, f"file={tmp_path / 'top'},format=qcow2,copy-on-read=on")
    image = drive.backend.image
    assert image is not None
    assert not image.status(0, 512).present
    assert image.read(0, 4) == b"abcd"
    assert image.status(0, 512).present
    drive.backend.close()


def test_drive_without_a_medium_may_have_limits() -> None:
    assert opened(Drives("ide"), "media=cdrom,throttling.iops-total=10").backend.image is None
