"""Raw images, -snapshot, locks and what is said of files that cannot be used."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pemu.block.filters.overlay import CLUSTER, Overlay
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.opening import Mode
from pemu.block.pieces import Buffers, Pieces
from pemu.block.protocols.file import File
from pemu.options.error import OptionError


def made(path: Path, size: int) -> Path:
    path.write_bytes(random.Random(1).randbytes(size))
    return path


def opened(path: str | Path, format: str = "raw", *, readonly: bool = False) -> Image:
    return Graph().open_name(str(path), format=format, mode=Mode(readonly=readonly))


def test_file_is_read_and_written(tmp_path: Path) -> None:
    file = made(tmp_path / "disk", 8192)
    image = opened(file)
    assert (image.size, image.read(512, 1024)) == (8192, file.read_bytes()[512:1536])
    image.write(4096, b"abc")
    image.write_zeroes(1000, 100)
    image.flush()
    image.close()
    data = file.read_bytes()
    assert (data[4096:4099], data[1000:1100]) == (b"abc", bytes(100))


def test_part_of_a_sector_at_the_end_is_filled_with_zeros(tmp_path: Path) -> None:
    image = opened(made(tmp_path / "disk", 700))
    assert (image.size, image.read(512, 512)[188:]) == (1024, bytes(324))
    image.close()


def test_buffers_are_filled_one_after_the_other(tmp_path: Path) -> None:
    file = made(tmp_path / "disk", 1 << 20)
    image = opened(file)
    parts = [memoryview(bytearray(512)) for _ in range(2048)]
    image.read_into(0, parts)
    assert b"".join(parts) == file.read_bytes()
    image.write_from(0, parts[::-1])
    image.close()
    assert file.read_bytes() == b"".join(parts[::-1])


@pytest.mark.parametrize(("offset", "length"), [(8192, 1), (-1, 1), (8000, 512)])
def test_accesses_beyond_the_end_are_errors(tmp_path: Path, offset: int, length: int) -> None:
    image = opened(made(tmp_path / "disk", 8192))
    with pytest.raises(OSError, match="Invalid argument"):
        image.read(offset, length)
    with pytest.raises(OSError, match="Invalid argument"):
        image.write(offset, bytes(length))
    image.close()


def test_snapshot_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    size = 5 * CLUSTER + 1536
    file = made(tmp_path / "disk", size)
    before = file.read_bytes()
    expected = bytearray(before)
    image = Overlay(opened(file, readonly=True))
    chance = random.Random(2)
    for _ in range(200):
        length = chance.choice((512, 1024, CLUSTER, 2 * CLUSTER + 512))
        offset = chance.randrange(0, size - length + 1, 512)
        if chance.randrange(2):
            data = chance.randbytes(length)
            image.write(offset, data)
            expected[offset : offset + length] = data
        else:
            assert image.read(offset, length) == expected[offset : offset + length]
    assert image.read(0, size) == expected
    image.close()
    assert file.read_bytes() == before


def test_commit_gives_the_file_what_was_written(tmp_path: Path) -> None:
    size = 3 * CLUSTER + 1536
    file = made(tmp_path / "disk", size)
    expected = bytearray(file.read_bytes())
    image = Overlay(opened(file, readonly=True))
    for offset in (512, 3 * CLUSTER + 1024):
        image.write(offset, b"x" * 512)
        expected[offset : offset + 512] = b"x" * 512
        image.commit()
        assert file.read_bytes() == expected
        assert image.read(0, size) == expected
    image.write(0, b"y" * 512)
    assert image.below.readonly
    image.close()
    assert file.read_bytes() == expected


def test_guest_cannot_make_another_format_of_a_guessed_raw_image(tmp_path: Path) -> None:
    warnings: list[str] = []
    image = Graph(warnings.append).open_name(str(made(tmp_path / "disk", 4096)))
    assert "probing guessed raw" in warnings[0]
    image.write(0, bytes(512))
    with pytest.raises(PermissionError):
        image.write(0, b"QFI\xfb\0\0\0\3".ljust(512, b"\0"))
    image.close()


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        ("none", "raw", "Could not open '{path}': No such file or directory"),
        ("", "raw", "requires '{path}' to be a regular file"),
        ("qcow2", "", "Unsupported cluster size"),
        ("raw", "rwa", "Unknown driver 'rwa'"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, format: str, message: str) -> None:
    (tmp_path / "qcow2").write_bytes(b"QFI\xfb\0\0\0\3".ljust(4096, b"\0"))
    made(tmp_path / "raw", 512)
    path = str(tmp_path / name) if name else str(tmp_path)
    with pytest.raises(OptionError) as caught:
        opened(path, format)
    assert message.format(path=path) in str(caught.value)


def test_protocols_that_are_not_there() -> None:
    with pytest.raises(OptionError, match="Unknown protocol 'zz'"):
        opened("zz:disk", "")
    with pytest.raises(OptionError, match="iSCSI .* not supported yet"):
        opened("iscsi://host/target", "")


def opened_twice(file: Path, first: bool, second: bool) -> str:
    """What is said to who opens `file` as the second; the arguments are whether for reading."""
    image = opened(file, readonly=first)
    try:
        opened(file, readonly=second).close()
    except OptionError as error:
        return str(error)
    finally:
        image.close()
    return ""


def test_two_may_read_but_only_one_may_write(tmp_path: Path) -> None:
    file = made(tmp_path / "disk", 512)
    assert opened_twice(file, True, True) == ""
    assert 'Failed to get "write" lock' in opened_twice(file, False, False)
    assert 'Failed to get "write" lock' in opened_twice(file, True, False)
    assert 'Failed to get shared "write" lock' in opened_twice(file, False, True)


def test_holder_of_a_lock_is_named(tmp_path: Path) -> None:
    file = made(tmp_path / "disk", 512)
    code = (
        "import sys; from pemu.block.graph import Graph; "
        "image = Graph().open_name(sys.argv[1], format='raw'); print(flush=True); input()"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(file)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(OptionError, match=rf"locked by process {other.pid} \("):
            opened(file)
        other.stdin.close()


def test_file_past_the_hosts_cache(tmp_path: Path) -> None:
    size = (1 << 20) + 512 * 5
    file = made(tmp_path / "disk", size)
    expected = bytearray(file.read_bytes())
    try:
        image = Graph().open_name(str(file), format="raw", mode=Mode(direct=True))
    except OptionError as error:
        pytest.skip(f"direct access: {error}")
    opened_file = image.children["file"]
    assert isinstance(opened_file, File)
    assert fcntl.fcntl(opened_file.fd, fcntl.F_GETFL) & os.O_DIRECT
    chance = random.Random(3)
    for _ in range(100):
        length = chance.choice((1, 512, 4096, 70000, 1 << 20))
        offset = chance.randrange(0, size - length + 1)
        if chance.randrange(2):
            data = chance.randbytes(length)
            image.write(offset, data)
            expected[offset : offset + length] = data
        else:
            assert image.read(offset, length) == expected[offset : offset + length]
    image.close()
    assert file.read_bytes() == expected


def test_locks_are_those_of_qemu(tmp_path: Path) -> None:
    if not shutil.which("qemu-img"):
        pytest.skip("qemu-img (package qemu-utils) is missing")
    file = made(tmp_path / "disk", 4096)
    image = opened(file)
    command = ["qemu-img", "resize", "-f", "raw", str(file), "8192"]
    refused = subprocess.run(command, capture_output=True, text=True)
    image.close()
    assert 'Failed to get "write" lock' in refused.stderr
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_what_is_in_the_hosts_memory_is_read_at_once(tmp_path: Path) -> None:
    file = made(tmp_path / "disk", 1 << 20)
    image: Image = opened(file)
    data = bytearray(4096)
    deadline = time.monotonic() + 30
    while not image.read_cached(8192, [memoryview(data)]):
        image.read(8192, 4096)
        if time.monotonic() > deadline:
            pytest.skip(f"the file system of {os.path.dirname(file)} cannot tell what is cached")
    assert data == file.read_bytes()[8192 : 8192 + 4096]
    assert not image.read_cached((1 << 20) - 512, [memoryview(data)])
    image.close()


def test_requests_of_no_bytes_reach_nobody() -> None:
    """Servers of NBD refuse them."""

    class Refusing(Image):
        def _read_into(self, offset: int, buffers: Buffers) -> None:
            raise AssertionError

        def _write_from(self, offset: int, pieces: Pieces) -> None:
            raise AssertionError

    image = Refusing("refusing", 512, readonly=False)
    assert image.read(512, 0) == b""
    image.write(512, b"")
