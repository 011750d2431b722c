"""Media that the user changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pemu.devices.storage.ide_cd import IdeCd
from pemu.machine import media
from pemu.machine.drives import Drive
from pemu.options.error import OptionError
from tests.devices.storage.host import Host, drive_of


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    path = tmp_path / "disc"
    path.write_bytes(bytes(4096))
    return path


@pytest.fixture
def host(disc: Path) -> Iterator[Host]:
    made = Host({}, {2: drive_of(disc, ",media=cdrom")})
    yield made
    made.close()


def drive_and_tray(host: Host) -> tuple[Drive, IdeCd]:
    device = host.ide.buses[1].units[0]
    assert isinstance(device, IdeCd)
    assert device.drive is not None
    return device.drive, device


def test_ejected_medium_is_gone_and_the_tray_open(host: Host) -> None:
    drive, device = drive_and_tray(host)
    media.eject(drive, force=False)
    assert (drive.backend.image, device.tray_open) == (None, True)


def test_new_medium_closes_the_tray(host: Host, tmp_path: Path) -> None:
    drive, device = drive_and_tray(host)
    media.eject(drive, force=False)
    other = tmp_path / "other"
    other.write_bytes(bytes(8192))
    media.change(drive, str(other), "raw")
    assert (drive.backend.size, drive.backend.readonly, device.tray_open) == (8192, True, False)


def test_medium_that_the_guest_holds_is_asked_for(host: Host) -> None:
    drive, device = drive_and_tray(host)
    device.locked = True
    with pytest.raises(OptionError, match="is locked and force was not specified"):
        media.eject(drive, force=False)
    host.channel = 1
    assert host.packet_data(0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8)[4] == 1  # eject requested
    media.eject(drive, force=True)
    assert (drive.backend.image, device.locked) == (None, False)


def test_medium_stays_where_the_new_one_cannot_be_opened(host: Host) -> None:
    drive, _ = drive_and_tray(host)
    with pytest.raises(OptionError, match="Could not open '/nonexistent'"):
        media.change(drive, "/nonexistent", "")
    assert drive.backend.size == 4096


def test_disk_cannot_be_changed(disc: Path, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(4096))
    drive = drive_of(path)
    host = Host({0: drive})
    with pytest.raises(OptionError, match="is not removable"):
        media.eject(drive, force=True)
    with pytest.raises(OptionError, match="is not removable"):
        media.change(drive, str(disc), "raw")
    host.close()


@pytest.mark.parametrize(("mode", "readonly"), [("read-only", True), ("read-write", False)])
def test_medium_is_writable_where_the_user_says_so(
    host: Host, tmp_path: Path, mode: media.ReadOnly, readonly: bool
) -> None:
    drive, _ = drive_and_tray(host)
    other = tmp_path / "other"
    other.write_bytes(bytes(8192))
    media.change(drive, str(other), "raw", mode)
    assert drive.backend.readonly == readonly
