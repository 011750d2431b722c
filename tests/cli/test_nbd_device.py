"""pemu-nbd -c and -d: images as block devices. test_nbd_kernel.py has a kernel for them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pemu.block.nbd.device import PATIENCE, Device
from tests.cli.nbdserver import need, pemu_nbd, run
from tests.cli.sidebyside import command
from tests.patience import LONG, until

SIZE = 16 << 20
SECTOR = 512
MBR = bytearray(SECTOR)
"""A partition table: two partitions of 7 MiB each from 1 MiB on."""
for _place, _first in ((446, 2048), (462, 16384)):
    _entry = bytes(4) + b"\x83" + bytes(3) + _first.to_bytes(4, "little") + b"\0\x38\0\0"
    MBR[_place : _place + 16] = _entry
MBR[510:] = b"\x55\xaa"


class Disk:
    """A device of the kernel. name: 'nbd15'."""

    def __init__(self, name: str) -> None:
        self.path = Path("/dev", name)
        self.system = Path("/sys/block", name)

    def attribute(self, name: str) -> str:
        return (self.system / name).read_text().strip()

    @property
    def size(self) -> int:
        return int(self.attribute("size")) * SECTOR

    def write(self, data: bytes | bytearray, offset: int = 0) -> None:
        """Write as dd does: the kernel may keep it for later."""
        with self.path.open("r+b", buffering=0) as file:
            file.seek(offset)
            file.write(data)

    def read(self, length: int) -> bytes:
        """Read what is on the device, not what the kernel remembers."""
        run("blockdev", "--flushbufs", str(self.path))
        with self.path.open("rb") as file:
            return file.read(length)


@pytest.fixture
def device() -> Iterator[Disk]:
    disk = Disk("nbd15")
    try:
        Device(str(disk.path)).close()
        free = not disk.size
    except OSError:
        free = False
    if not free:
        pytest.skip("there is no free /dev/nbd15 (module nbd, user root)")
    yield disk
    pemu_nbd("-d", str(disk.path))
    until(lambda: not disk.size)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(MBR)
    os.truncate(path, SIZE)
    return path


def ends(number: int) -> bool:
    """Whether a process has gone."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def connect(device: Disk, image: Path, *words: str) -> int:
    """Have pemu-nbd go into the background with the device; returns its process number."""
    pid = image.parent / "pid"
    pid.unlink(missing_ok=True)
    words = ("-f", "raw", *words) if "-f" not in words else words
    assert pemu_nbd("-c", str(device.path), "--pid-file", str(pid), *words, str(image)) == ""
    return int(pid.read_text())


def test_file_system_in_a_partition_of_a_qcow2_image(device: Disk, tmp_path: Path) -> None:
    image, folder = tmp_path / "disk.qcow2", tmp_path / "mounted"
    folder.mkdir()
    run(need("qemu-img"), "create", "-q", "-f", "qcow2", str(image), str(SIZE))
    connect(device, image, "-f", "qcow2", "--discard=unmap")
    device.write(MBR)
    run("blockdev", "--rereadpt", str(device.path))
    partition = f"{device.path}p1"
    run(need("mkfs.ext4"), "-q", partition)
    run("mount", partition, str(folder))
    try:
        shutil.copytree(Path(__file__).parent, folder / "tests")
        run("fstrim", str(folder))
    finally:
        run("umount", str(folder))
    assert pemu_nbd("-d", str(device.path)) == f"{device.path} disconnected\n"
    until(lambda: not device.size)
    run("qemu-img", "check", "-q", str(image))
    connect(device, image, "-f", "qcow2", "-r")
    run("e2fsck", "-fn", partition)
    run("mount", "-o", "ro", partition, str(folder))
    try:
        run("diff", "-r", str(Path(__file__).parent), str(folder / "tests"))
    finally:
        run("umount", str(folder))


def test_partitions_are_there_when_it_returns(device: Disk, image: Path) -> None:
    connect(device, image)
    assert device.size == SIZE
    assert Path(f"{device.path}p2").is_block_device()


@pytest.mark.parametrize("words", [[], ["-r"], ["-o", "65536"], ["-e", "4", "-A"]])
def test_the_kernel_sees_it_as_qemu_nbds(device: Disk, image: Path, words: list[str]) -> None:
    def seen() -> dict[str, str]:
        names = [
            f"queue/{one.name}" for one in (device.system / "queue").iterdir() if one.is_file()
        ]
        return {name: device.attribute(name) for name in ("size", "ro", *names)}

    run(need("qemu-nbd"), "-f", "raw", "-c", str(device.path), *words, str(image))
    until(lambda: device.size > 0)
    expected = seen()
    run("qemu-nbd", "-d", str(device.path))
    until(lambda: not device.size)
    connect(device, image, *words)
    assert seen() == expected


def test_read_only_device_and_then_a_writable_one(device: Disk, image: Path) -> None:
    connect(device, image, "-r")
    with pytest.raises(PermissionError):
        device.write(b"x" * SECTOR)
    pemu_nbd("-d", str(device.path))
    until(lambda: not device.size)
    connect(device, image)
    device.write(b"x" * SECTOR)
    assert device.read(SECTOR) == b"x" * SECTOR


@pytest.mark.parametrize("how", ["-d", signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_the_kernel_has_not_written_yet_is_not_lost(
    device: Disk, image: Path, how: signal.Signals | str
) -> None:
    data = os.urandom(4 << 20)
    server = connect(device, image)
    device.write(data, 1 << 20)
    if isinstance(how, str):
        pemu_nbd("-d", str(device.path))
    else:
        os.kill(server, how)
    until(lambda: ends(server))
    assert not device.size
    assert not (image.parent / "pid").exists()
    assert image.read_bytes()[1 << 20 : 5 << 20] == data


def test_slow_server_is_given_the_time_it_needs(device: Disk, image: Path) -> None:
    data = os.urandom(1 << 20)
    group = "throttle-group,id=g,limits.bps-write=65536"
    options = f"driver=throttle,throttle-group=g,file.driver=file,file.filename={image}"
    pemu_nbd("-c", str(device.path), "--object", group, "--image-opts", options)
    device.write(data)
    began = time.monotonic()
    pemu_nbd("-d", str(device.path))
    assert time.monotonic() - began > PATIENCE
    assert image.read_bytes()[: len(data)] == data


def test_killed_server_leaves_errors_and_a_device_that_can_be_used_again(
    device: Disk, image: Path
) -> None:
    server = connect(device, image)
    with device.path.open("rb", buffering=0) as file:
        file.read(SECTOR)
        os.kill(server, signal.SIGKILL)
        until(lambda: ends(server))
        file.seek(8 << 20)
        with pytest.raises(OSError, match="Input/output error"):
            file.read(SECTOR)
    connect(device, image)
    assert device.read(SECTOR) == MBR


def test_busy_device_is_left_alone(device: Disk, image: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(SIZE))
    connect(device, image)
    words = ("-f", "raw", "-c", str(device.path), str(other))
    assert pemu_nbd(*words, status=1) == (
        f"pemu-nbd: Failed to set NBD socket of {device.path}: Device or resource busy\n"
    )
    assert device.read(SECTOR) == MBR


@pytest.mark.parametrize("disconnect", ["pemu-nbd", "qemu-nbd"])
def test_server_ends_when_its_device_is_disconnected(
    device: Disk, image: Path, disconnect: str
) -> None:
    server = connect(device, image, "-t", "-x", "name")
    if disconnect == "pemu-nbd":
        pemu_nbd("-d", str(device.path))
    else:
        run(need(disconnect), "-d", str(device.path))
    until(lambda: ends(server))


def test_verbose_server_stays_in_the_foreground(device: Disk, image: Path) -> None:
    words = [*command("nbd"), "-v", "-f", "raw", "-c", str(device.path), str(image)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = server.stderr.readline()
        assert line == f"NBD device {device.path} is now connected to {image}\n"
        assert device.size == SIZE
        pemu_nbd("-d", str(device.path))
        assert server.wait(LONG) == 0


def test_others_can_come_through_a_socket(device: Disk, image: Path, tmp_path: Path) -> None:
    server = connect(device, image, "-e", "2", "-k", str(tmp_path / "socket"))
    device.write(b"from the device".ljust(SECTOR))
    os.sync()
    uri = f"nbd+unix:///?socket={tmp_path / 'socket'}"
    run(need("qemu-img"), "convert", "-f", "raw", "-O", "raw", uri, str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes().startswith(b"from the device")
    pemu_nbd("-d", str(device.path))
    until(lambda: ends(server))
    assert not (tmp_path / "socket").exists()


def test_the_device_counts_as_a_client(device: Disk, image: Path, tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    connect(device, image, "-k", str(socket))
    assert "exports available: 1" in pemu_nbd("-L", "-k", str(socket))
    other = subprocess.Popen([need("qemu-img"), "info", f"nbd+unix:///?socket={socket}"])
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(2)
    other.kill()
    other.wait(LONG)


def test_errors_of_the_image_reach_programs(device: Disk, image: Path) -> None:
    options = f"driver=blkdebug,image.driver=file,image.filename={image}"
    options += ",inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.sector=4096"
    pemu_nbd("-c", str(device.path), "--image-opts", options)
    device.write(b"x" * SECTOR)
    with device.path.open("r+b", buffering=0) as file:
        os.fsync(file.fileno())
        file.seek(4096 * SECTOR)
        file.write(b"x" * SECTOR)
        with pytest.raises(OSError, match="Input/output error"):
            os.fsync(file.fileno())


def test_snapshot_leaves_the_image_alone(device: Disk, image: Path) -> None:
    before = image.read_bytes()
    server = connect(device, image, "-s")
    device.write(b"x" * (1 << 20))
    assert device.read(1 << 20) == b"x" * (1 << 20)
    pemu_nbd("-d", str(device.path))
    until(lambda: ends(server))
    assert image.read_bytes() == before


@pytest.mark.parametrize(("size", "seen"), [(1_000_001, 1_000_448), (100, SECTOR), (0, 0)])
def test_the_last_sector(device: Disk, image: Path, size: int, seen: int) -> None:
    os.truncate(image, size)
    connect(device, image)
    assert device.size == seen


def test_what_is_no_such_device(device: Disk, image: Path, tmp_path: Path) -> None:
    for name, reason in (
        ("/dev/nosuchnbd", "Failed to open /dev/nosuchnbd: No such file or directory"),
        ("/dev/null", "Failed to set NBD socket of /dev/null: Inappropriate ioctl for device"),
    ):
        assert pemu_nbd("-f", "raw", "-c", name, str(image), status=1) == f"pemu-nbd: {reason}\n"
