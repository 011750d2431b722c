"""Dirty bitmaps in qcow2 images, made and read by Pemu and by QEMU's tools."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest

from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.image import Bitmap, Image
from pemu.block.opening import Mode
from tests.block.formats.test_qcow2_reading import run
from tests.patience import LONG, listens, until

SIZE = 10 << 20
GRAIN = 65536


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Graph().create("qcow2", str(tmp_path / "disk"), SIZE, {})
    return tmp_path / "disk"


def opened(path: Path, *, readonly: bool = False) -> Image:
    return Graph().open_name(str(path), mode=Mode(readonly=readonly, discard=True))


def ranges(path: Path, name: str) -> list[tuple[int, int]]:
    image = opened(path, readonly=True)
    found = list(image.dirty_ranges(name))
    image.close()
    return found


def qemu_ranges(path: Path, name: str) -> list[tuple[int, int]]:
    """What a server of QEMU's tells of a bitmap."""
    socket = path.with_name("socket")
    run("nbdinfo", "--version")
    server = subprocess.Popen(
        ["qemu-nbd", "-r", "-f", "qcow2", "-B", name, "-k", str(socket), "-t", str(path)]
    )
    try:
        until(lambda: listens(socket) or server.poll() is not None, str(socket))
        uri = f"nbd+unix:///?socket={socket}"
        told = json.loads(run("nbdinfo", f"--map=qemu:dirty-bitmap:{name}", "--json", uri))
    finally:
        server.terminate()
        server.wait(timeout=LONG)
    return [(one["offset"], one["length"]) for one in told if one["type"]]


def shown(path: Path) -> list[dict[str, object]]:
    found = json.loads(run("qemu-img", "info", "--output=json", path))
    bitmaps: list[dict[str, object]] = found["format-specific"]["data"].get("bitmaps", [])
    return bitmaps


def check(path: Path) -> None:
    assert "No errors" in run("qemu-img", "check", path)
    image = opened(path, readonly=True)
    found = image.check_image()
    image.close()
    assert (found.corruptions, found.leaks) == (0, 0), found.messages


def test_writes_are_noted(path: Path) -> None:
    image = opened(path)
    image.add_bitmap("b0")
    image.add_bitmap("fine", 512)
    image.write(GRAIN - 1, b"xy")
    image.write_zeroes(5 * GRAIN, 100)
    image.discard(8 << 20, GRAIN)
    image.write_compressed(9 << 20, b"a" * GRAIN)
    image.close()
    expected = [(0, 2 * GRAIN), (5 * GRAIN, GRAIN), (8 << 20, GRAIN), (9 << 20, GRAIN)]
    assert ranges(path, "b0") == expected == qemu_ranges(path, "b0")
    assert ranges(path, "fine")[0] == (GRAIN - 512, 1024)
    assert [one["flags"] for one in shown(path)] == [["auto"], ["auto"]]
    check(path)


def test_bitmap_of_qemu_is_carried_on(path: Path) -> None:
    run("qemu-img", "bitmap", "--add", "-g", "4k", path, "b0")
    run("qemu-io", "-c", "write 1M 4k", "-c", "write 3M 1M", path)
    assert ranges(path, "b0") == [(1 << 20, 4096), (3 << 20, 1 << 20)]
    image = opened(path)
    image.write(SIZE - 512, b"x" * 512)
    image.close()
    run("qemu-io", "-c", "write 0 512", path)
    expected = [(0, 4096), (1 << 20, 4096), (3 << 20, 1 << 20), (SIZE - 4096, 4096)]
    assert ranges(path, "b0") == expected == qemu_ranges(path, "b0")
    check(path)


def test_bitmaps_are_changed(path: Path) -> None:
    image = opened(path)
    image.add_bitmap("one", 4096)
    image.add_bitmap("two")
    image.write(0, b"x")
    image.enable_bitmap("one", enabled=False)
    image.write(1 << 20, b"x")
    image.close()
    assert ranges(path, "one") == [(0, 4096)]
    assert ranges(path, "two") == [(0, GRAIN), (1 << 20, GRAIN)]
    image = opened(path)
    image.merge_bitmap("one", image, "two")
    image.clear_bitmap("two")
    image.close()
    assert ranges(path, "one") == [(0, GRAIN), (1 << 20, GRAIN)] == qemu_ranges(path, "one")
    assert ranges(path, "two") == []
    assert [one["flags"] for one in shown(path)] == [[], ["auto"]]
    check(path)
    image = opened(path)
    image.remove_bitmap("one")
    image.remove_bitmap("two")
    image.close()
    assert shown(path) == []
    check(path)


def test_random_notes(tmp_path: Path) -> None:
    chance = random.Random(4)
    path = tmp_path / "disk"
    Graph().create("qcow2", str(path), SIZE, {"cluster_size": "512"})
    image = opened(path)
    image.add_bitmap("b0", 512)
    dirty = bytearray(SIZE // 512)
    for _ in range(100):
        first = chance.randrange(len(dirty))
        count = min(chance.randrange(1, 50), len(dirty) - first)
        image.write(first * 512, bytes(512) * count)
        dirty[first : first + count] = b"\1" * count
    image.close()
    found = bytearray(len(dirty))
    for offset, length in ranges(path, "b0"):
        found[offset // 512 : (offset + length) // 512] = b"\1" * (length // 512)
    assert found == dirty
    check(path)


def test_bitmap_in_use_cannot_be_trusted(path: Path) -> None:
    image = opened(path)
    image.add_bitmap("b0")
    image.write(0, b"x")
    image.flush()
    left = path.read_bytes()  # as if the power were cut now
    image.close()
    other = path.with_name("other")
    other.write_bytes(left)
    assert shown(other)[0]["flags"] == ["in-use", "auto"]
    image = opened(other)
    assert image.bitmaps() == [Bitmap("b0", GRAIN, enabled=True, inconsistent=True)]
    image.write(0, b"y")
    with pytest.raises(ImageError, match="inconsistent and cannot be used"):
        image.clear_bitmap("b0")
    image.remove_bitmap("b0")
    image.close()
    check(other)


def test_bitmaps_after_a_program_that_does_not_know_them(path: Path) -> None:
    image = opened(path)
    image.add_bitmap("b0")
    image.close()
    data = bytearray(path.read_bytes())
    data[95] = 0
    path.write_bytes(data)
    said: list[str] = []
    image = Graph(said.append).open_name(str(path))
    assert image.bitmaps() == []
    image.check_image("all")
    image.close()
    assert "lacking bitmap support" in said[0]
    check(path)


def test_bitmaps_follow_the_size_of_the_disk(path: Path) -> None:
    image = opened(path)
    image.add_bitmap("b0")
    image.write(SIZE - 1, b"x")
    image.truncate(2 * SIZE)
    image.write(2 * SIZE - 1, b"x")
    image.close()
    expected = [(SIZE - GRAIN, GRAIN), (2 * SIZE - GRAIN, GRAIN)]
    assert ranges(path, "b0") == expected == qemu_ranges(path, "b0")
    check(path)


@pytest.mark.parametrize(
    ("name", "granularity", "message"),
    [
        ("b0", 0, "Bitmap already exists: b0"),
        ("x", 1000, "power of 2"),
        ("x", 256, "512"),
        ("", 0, "1 to 1023 bytes"),
        ("x" * 1024, 0, "1 to 1023 bytes"),
    ],
)
def test_bitmaps_that_are_refused(path: Path, name: str, granularity: int, message: str) -> None:
    image = opened(path)
    image.add_bitmap("b0")
    with pytest.raises(ImageError, match=message):
        image.add_bitmap(name, granularity)
    image.close()
