"""Hard disks and CD-ROM drives as a driver sees them."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pemu.block.image import Image
from pemu.devices.storage.ide_cd import IdeCd
from pemu.devices.storage.ide_hd import IdeDisk
from pemu.options.error import OptionError
from tests.devices.anyaccess import check_state
from tests.devices.storage.host import DRQ, ERROR, MEMORY, READY, Host, drive_of
from tests.machine.battering import batter

SECTORS = 3000


@pytest.fixture
def content() -> bytes:
    return random.Random(1).randbytes(SECTORS * 512)


@pytest.fixture
def path(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(content)
    return path


@pytest.fixture
def host(path: Path, tmp_path: Path, content: bytes) -> Iterator[Host]:
    disc = tmp_path / "disc"
    disc.write_bytes(content)
    made = Host({0: drive_of(path)}, {2: drive_of(disc, ",media=cdrom")})
    yield made
    made.close()


def words(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 2], "little") for at in range(0, len(data), 2)]


# Disks


def test_identify(host: Host) -> None:
    host.command(0xEC)
    assert (host.irq, host.read(7), host.irq) == (1, 0x58, 0)
    answer = words(host.pull(512))
    assert host.read(7) == 0x50
    assert answer[60] | answer[61] << 16 == SECTORS
    assert (answer[1], answer[3], answer[6]) == (2, 16, 63)
    assert b"".join(word.to_bytes(2, "big") for word in answer[27:47]).strip() == b"QEMU HARDDISK"
    assert b"".join(word.to_bytes(2, "big") for word in answer[10:20]).strip() == b"QM00001"


def test_identify_tells_of_the_medium(path: Path) -> None:
    host = Host({})
    values: Any = {"physical_block_size": 4096, "rotation_rate": 7200}
    host.machine.create(IdeDisk, host.ide.buses[0], unit=0, drive=drive_of(path), **values)
    host.command(0xEC)
    answer = words(host.pull(512))
    host.close()
    assert (answer[106], answer[217]) == (0x6003, 7200)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"logical_block_size": 4096}, "logical_block_size=4096: an IDE drive has sectors of 512"),
        ({"discard_granularity": 4096}, "discard_granularity=4096: an IDE drive has sectors of"),
        ({"min_io_size": 100}, "min_io_size=100 is no multiple of logical_block_size=512"),
        ({"share_rw": True}, "share-rw=on is not supported yet"),
        ({"physical_block_size": 1000}, "physical_block_size=1000: give a power of two from 512"),
    ],
)
def test_sizes_that_a_disk_cannot_have(path: Path, values: Any, message: str) -> None:
    host = Host({})
    with pytest.raises(OptionError, match=message):
        host.machine.create(IdeDisk, host.ide.buses[0], unit=0, drive=drive_of(path), **values)
    host.close()


@pytest.mark.parametrize(("cached", "kept"), [("on", True), ("off", False), ("auto", False)])
def test_write_cache_is_as_the_device_says_and_else_as_the_drive(
    path: Path, cached: str, kept: bool
) -> None:
    host = Host({})
    drive = drive_of(path, writethrough=True)
    host.machine.create(IdeDisk, host.ide.buses[0], unit=0, drive=drive, cached=cached)
    host.machine.reset()
    host.command(0xEC)
    answer = words(host.pull(512))
    host.close()
    assert (bool(answer[85] & 0x20), drive.backend.writethrough) == (kept, not kept)


def test_errors_are_handled_as_the_device_says(path: Path) -> None:
    host = Host({})
    drive = drive_of(path, rerror="ignore", werror="ignore")
    values: Any = {"rerror": "stop"}
    host.machine.create(IdeDisk, host.ide.buses[0], unit=0, drive=drive, **values)
    host.close()
    assert (drive.backend.rerror, drive.backend.werror) == ("stop", "ignore")


@pytest.mark.parametrize("size", [2, 4])
def test_sectors_are_read_one_by_one(host: Host, content: bytes, size: int) -> None:
    host.command(0x20, lba=5, count=3)
    data = b""
    for _ in range(3):
        assert host.irq
        assert host.read(7) & DRQ
        data += host.pull(512, size)
    assert data == content[5 * 512 : 8 * 512]
    assert (host.read(7), host.irq, host.read(2), host.read(3)) == (0x50, 0, 0, 8)


def test_multiple_sectors_to_an_interrupt(host: Host, content: bytes) -> None:
    host.command(0xC6, count=8)
    host.command(0xC4, lba=0, count=10)
    data = host.pull(8 * 512)
    assert host.irq
    data += host.pull(2 * 512)
    assert (data, host.read(7)) == (content[: 10 * 512], 0x50)


def test_sectors_are_written(host: Host, path: Path) -> None:
    data = random.Random(2).randbytes(1024)
    host.command(0x30, lba=7, count=2)
    irqs = [host.irq]
    host.push(data[:512])
    irqs.append(host.irq)
    assert irqs == [0, 1]
    assert host.read(7) & DRQ
    host.push(data[512:])
    assert (host.irq, host.read(7)) == (1, 0x50)
    assert path.read_bytes()[7 * 512 : 9 * 512] == data


def test_addresses_of_48_bits(host: Host, content: bytes) -> None:
    host.command_ext(0x24, 0x105, 1)
    assert host.pull(512) == content[0x105 * 512 : 0x106 * 512]
    host.command_ext(0x24, 1 << 40, 1)
    assert host.read(7) & ERROR
    assert host.read(1) == 0x10
    host.control(0x80)
    assert [host.read(register) for register in (3, 4, 5)] == [0, 0, 1]


def test_address_by_cylinder_head_and_sector(host: Host, content: bytes) -> None:
    host.command(0x20, lba=1 | 1 << 8, count=1, select=0xA2)
    place = (1 * 16 + 2) * 63 * 512
    assert host.pull(512) == content[place : place + 512]
    host.command(0x20, lba=0, count=1, select=0xA0)
    assert host.read(7) & ERROR


@pytest.mark.parametrize("order", ["little", "big"])
def test_dma_fills_scattered_memory(path: Path, content: bytes, order: str) -> None:
    host = Host({0: drive_of(path)}, order="big" if order == "big" else "little")
    host.table((MEMORY, 1024), (MEMORY + 8192, 512), (MEMORY + 4096, 512))
    host.command(0xC8, lba=3, count=4)
    irqs = [host.irq]
    host.master_write(0, 0x09)
    irqs.append(host.irq)
    assert (irqs, host.master_read(2), host.read(7)) == ([0, 1], 0x04, 0x50)
    data = [host.ram.read_bytes(MEMORY + at, size) for at, size in ((0, 1024), (8192, 512))]
    assert b"".join(data) == content[3 * 512 : 6 * 512]
    assert host.ram.read_bytes(MEMORY + 4096, 512) == content[6 * 512 : 7 * 512]
    host.master_write(2, 4)
    assert host.master_read(2) == 0
    host.close()


def test_dma_writes_and_host_may_start_first(host: Host, path: Path) -> None:
    host.ram.write_bytes(MEMORY, b"pemu" * 256)
    host.table((MEMORY, 1024))
    host.master_write(0, 0x01)
    host.command_ext(0x35, 9, 2)
    assert host.irq
    assert path.read_bytes()[9 * 512 : 11 * 512] == b"pemu" * 256


def test_table_that_is_too_short(host: Host, content: bytes) -> None:
    host.table((MEMORY, 512))
    host.command(0xC8, count=4)
    host.master_write(0, 0x09)
    assert (host.irq, host.master_read(2), host.read(7)) == (0, 0, 0x50)
    assert host.ram.read_bytes(MEMORY, 1024) == content[:512] + bytes(512)


def test_dma_to_where_no_memory_is(host: Host) -> None:
    host.table((0x8000_0000, 512), (MEMORY, 512))
    host.command(0xC8, count=2)
    host.master_write(0, 0x09)
    assert host.irq


def test_trim(host: Host) -> None:
    host.ram.write_bytes(MEMORY, (2 << 48 | 4).to_bytes(8, "little") + bytes(504))
    host.table((MEMORY, 512))
    host.write(1, 1)
    host.command_ext(0x06, 0, 1)
    host.master_write(0, 0x01)
    assert (host.irq, host.read(7)) == (1, 0x50)


def test_error_of_the_image_reaches_the_guest(path: Path) -> None:
    drive = drive_of(path, post=lambda function: function(), rerror="report")
    image = drive.backend.image
    assert image is not None

    def fail(self: Image, *arguments: object) -> None:
        raise OSError(errno.EIO, "failed")

    image.read_into = fail.__get__(image)  # type: ignore[method-assign]
    host = Host({0: drive})
    host.command(0x20, lba=5, count=1)
    assert (host.read(7), host.read(1), host.read(3)) == (0x41, 0x40, 5)
    host.close()


def test_soft_reset_shows_what_the_drives_are(host: Host) -> None:
    for channel, expected in enumerate(([1, 1, 0, 0, 0x50], [1, 1, 0x14, 0xEB, 0])):
        host.channel = channel
        host.control(4)
        assert host.read(7) & 0x80
        host.control(0)
        assert [host.read(register) for register in (2, 3, 4, 5, 7)] == expected


def test_absent_drive_reads_as_nothing(host: Host) -> None:
    host.write(6, 0xB0)
    assert [host.read(register) for register in (2, 7)] == [0, 0]
    host.write(6, 0xA0)
    assert host.read(7) == 0x50


def test_interrupt_can_be_disabled(host: Host) -> None:
    host.control(2)
    host.command(0xE7)
    irqs = [host.irq]
    host.control(0)
    assert [*irqs, host.irq] == [0, 1]


def test_unknown_command_is_aborted(host: Host) -> None:
    host.command(0xFF)
    assert (host.read(7), host.read(1)) == (0x41, 4)


def test_healthy_by_smart(host: Host) -> None:
    host.command(0xB0, lba=0xC24F00, features=0xDA)
    assert (host.read(7), host.read(4), host.read(5)) == (0x50, 0x4F, 0xC2)
    host.command(0xB0, lba=0xC24F00, features=0xD0)
    assert sum(host.pull(512)) % 256 == 0


def test_disk_without_a_medium_or_readonly_is_refused(path: Path) -> None:
    with pytest.raises(OptionError, match="drive is empty"):
        Host({0: drive_of(None)})
    with pytest.raises(OptionError, match="Block node is read-only"):
        Host({0: drive_of(path, ",readonly=on")})


def test_machine_ends_where_a_device_could_not_be_made(host: Host) -> None:
    for kind, bus in ((IdeDisk, host.ide.buses[1]), (IdeCd, host.ide.buses[0])):
        with pytest.raises(OptionError, match="drive property not set"):
            host.machine.create(kind, bus, unit=1)
        assert 1 not in bus.units
    host.machine.unplug_devices()


def test_drive_cannot_be_in_two_devices(path: Path) -> None:
    drive = drive_of(path)
    with pytest.raises(OptionError, match="already in use"):
        Host({0: drive, 1: drive})


# CD-ROM drives


def test_identify_of_a_cd_drive(host: Host) -> None:
    host.channel = 1
    host.command(0xEC)
    assert [host.read(register) for register in (7, 4, 5)] == [0x41, 0x14, 0xEB]
    host.command(0xA1)
    assert words(host.pull(512))[0] == 0x85C0


def test_cd_is_read(host: Host, content: bytes) -> None:
    host.channel = 1
    assert host.packet_data(0x25) == (SECTORS // 4 - 1).to_bytes(4, "big") + b"\0\0\x08\0"
    read = (0x28, 0, 0, 0, 0, 3, 0, 0, 2)
    assert host.packet_data(*read) == content[3 * 2048 : 5 * 2048]
    assert host.packet_data(*read, length=300) == content[3 * 2048 : 5 * 2048]
    assert (host.read(7), host.read(2)) == (0x50, 3)


def test_cd_is_read_by_dma(host: Host, content: bytes) -> None:
    host.channel = 1
    host.table((MEMORY, 4096))
    host.packet(0x28, 0, 0, 0, 0, 3, 0, 0, 2, dma=True)
    host.master_write(0, 0x09)
    assert (host.irq, host.read(7)) == (1, 0x50)
    assert host.ram.read_bytes(MEMORY, 4096) == content[3 * 2048 : 5 * 2048]


def test_answer_by_dma(host: Host) -> None:
    host.channel = 1
    host.table((MEMORY, 36))
    host.packet(0x12, 0, 0, 0, 36, dma=True)
    host.master_write(0, 0x09)
    assert host.ram.read_bytes(MEMORY + 8, 28) == b"QEMU    QEMU DVD-ROM    2.5+"


@pytest.mark.parametrize(
    ("packet", "sense"),
    [
        ((0xFF,), (5, 0x20)),
        ((0x28, 0, 0, 1, 0, 0, 0, 0, 1), (5, 0x21)),
        ((0x5A, 0, 0x3E, 0, 0, 0, 0, 0, 100), (5, 0x24)),
    ],
)
def test_failing_packets_leave_a_sense(
    host: Host, packet: tuple[int, ...], sense: tuple[int, int]
) -> None:
    host.channel = 1
    host.packet(*packet)
    assert host.read(7) == READY | ERROR
    assert host.read(1) >> 4 == sense[0]
    data = host.packet_data(0x03, 0, 0, 0, 18)
    assert (data[2], data[12]) == sense


def test_guest_is_told_of_a_new_disc(host: Host, tmp_path: Path) -> None:
    host.channel = 1
    drive = host.ide.buses[1].units[0]
    drive.backend.insert(None)
    host.packet(0)
    assert host.packet_data(0x03, 0, 0, 0, 18)[12] == 0x3A
    other = tmp_path / "other"
    other.write_bytes(bytes(8192))
    image = drive_of(other, ",media=cdrom").backend.image
    drive.backend.insert(image)
    assert host.packet_data(0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8)[4:6] == b"\x02\x02"
    host.packet(0)
    assert host.packet_data(0x03, 0, 0, 0, 18)[12] == 0x28
    host.packet(0)
    assert host.read(7) == 0x50
    assert host.packet_data(0x25)[:4] == (3).to_bytes(4, "big")


def test_tray_opens_unless_locked(host: Host) -> None:
    host.channel = 1
    host.packet(0x1E, 0, 0, 0, 1)
    host.packet(0x1B, 0, 0, 0, 2)
    assert host.read(7) & ERROR
    host.packet(0x1E, 0, 0, 0, 0)
    host.packet(0x1B, 0, 0, 0, 2)
    assert host.read(7) == 0x50
    host.packet(0)
    assert host.read(7) & ERROR
    host.packet(0x1B, 0, 0, 0, 3)
    host.packet(0)
    assert host.read(7) == 0x50


def test_disc_in_an_open_tray_is_not_there(host: Host) -> None:
    """Linux closes the tray when the drive is opened, where it is told that it is open."""
    host.channel = 1
    host.packet(0x1B, 0, 0, 0, 2)
    assert host.packet_data(0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8)[5] == 1
    host.packet(0x1B, 0, 0, 0, 3)
    assert host.packet_data(0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8)[5] == 2


def test_table_of_contents(host: Host) -> None:
    host.channel = 1
    data = host.packet_data(0x43, 0, 0, 0, 0, 0, 0, 0, 100)
    assert data.hex() == "001201010014010000000000" + "0014aa00" + f"{SECTORS // 4:08x}"


# All


def test_state_is_saved(host: Host) -> None:
    host.command(0x20, lba=5, count=3)
    host.pull(100)
    check_state(host.machine)


@pytest.mark.parametrize("order", ["little", "big"])
def test_random_accesses(path: Path, tmp_path: Path, content: bytes, order: str) -> None:
    disc = tmp_path / "disc"
    disc.write_bytes(content)
    host = Host(
        {0: drive_of(path, ",snapshot=on")},
        {1: drive_of(disc, ",media=cdrom"), 2: drive_of(None, ",media=cdrom")},
        order="big" if order == "big" else "little",
    )
    batter(host.machine, 30_000, seed=1)
    host.close()


def test_random_commands(host: Host) -> None:
    chance = random.Random(3)
    for _ in range(3000):
        host.channel = chance.randrange(2)
        host.table(*((chance.getrandbits(21), chance.getrandbits(12)) for _ in range(4)))
        for register in range(1, 7):
            host.write(register, chance.choice((0, 1, 2, chance.getrandbits(8))))
        command = chance.choice((0xA0, 0xC8, 0xCA, 0x25, 0x35, chance.getrandbits(8)))
        host.write(7, command)
        if chance.randrange(2):
            packet = chance.choice((0x28, 0xBE, 0x43, 0x46, 0x5A, chance.getrandbits(8)))
            host.push(bytes((packet, 0, 0, 0, 0, 1, 0, 0, 4, 0x10, 0, 0)))
        host.master_write(0, chance.choice((0x01, 0x09)))
        for _ in range(chance.randrange(300)):
            host.pull(4, 4)
        host.master_write(0, 0)
        host.read(7)
        if not chance.randrange(10):
            host.control(4)
            host.control(0)
    check_state(host.machine)


def test_pci_status_tells_of_fast_cycles(host: Host) -> None:
    assert host.pci.config_read(0, 0x51, 6, 2) == 0x0280
