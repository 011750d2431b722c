"""Parallels' images with a format extension: its dirty bitmaps are read, and dropped by writes."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from pemu.block.error import ImageError
from pemu.block.formats.parallels import Header
from pemu.block.formats.parallels_extension import BITMAP, BitmapHeader, ExtensionHeader, Feature
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.opening import Mode
from tests.block.formats.exchange import create, open_image
from tests.block.mutation import entries, exercise, fields_of, mutations
from tests.patience import LONG

CLUSTER = 4096
SIZE = 8 << 20
NAME = "12345678-1234-5678-1234-567812345678"
DIRTY = [(0, 1024), (3072, 512), (1 << 20, 4096), (4 << 20, (4 << 20) - 512)]


def feature(magic: int, data: bytes, flags: int = 0) -> bytes:
    header = Feature(magic=magic, flags=flags, length=len(data)).emit()
    return header + data + bytes(-len(data) % 8)


def with_extension(path: Path, features: bytes | None = None) -> Path:
    """An image with data and a bitmap of 512 bytes a bit that notes DIRTY."""
    create("parallels", path, SIZE, {"cluster_size": str(CLUSTER)})
    image = open_image(path, "parallels")
    image.write(0, b"x" * 10000)
    image.close()
    data = bytearray(path.read_bytes())
    data += bytes(-len(data) % CLUSTER)
    place = len(data)
    bits = bytearray(SIZE // 512 // 8)
    for offset, length in DIRTY:
        for bit in range(offset // 512, (offset + length) // 512):
            bits[bit // 8] |= 1 << bit % 8
    assert len(bits) == CLUSTER // 2
    head = BitmapHeader(size=SIZE // 512, id=uuid.UUID(NAME).bytes, granularity=1, entries=1)
    table = ((place + CLUSTER) // 512).to_bytes(8, "little")
    if features is None:
        features = feature(BITMAP, head.emit() + table)
    body = (features + feature(0, b"")).ljust(CLUSTER - ExtensionHeader.SIZE, b"\0")
    data += ExtensionHeader(checksum=hashlib.md5(body).digest()).emit() + body
    data += bits.ljust(CLUSTER, b"\xee")  # what is behind the disk's end means nothing
    at = Header.OFFSETS["extension"]
    data[at : at + 8] = (place // 512).to_bytes(8, "little")
    path.write_bytes(data)
    return path


def readable(path: Path) -> Image:
    return open_image(path, "parallels", Mode(readonly=True))


def test_bitmap_is_that_which_qemu_reads(tmp_path: Path) -> None:
    path = with_extension(tmp_path / "disk")
    image = readable(path)
    assert [(one.name, one.granularity) for one in image.bitmaps()] == [(NAME, 512)]
    ours = list(image.dirty_ranges(NAME))
    image.close()
    assert ours == DIRTY
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img (package qemu-utils) is not installed")
    copy = tmp_path / "copy.qcow2"
    lines: list[list[str | Path]] = [
        ["create", "-q", "-f", "qcow2", copy, str(SIZE)],
        ["bitmap", "--add", "-g", "512", copy, "b"],
        ["bitmap", "--merge", NAME, "-b", path, "-F", "parallels", copy, "b"],
    ]
    for words in lines:
        subprocess.run(["qemu-img", *words], check=True, timeout=LONG)
    other = open_image(copy, "qcow2", Mode(readonly=True))
    assert list(other.dirty_ranges("b")) == ours
    other.close()


def test_check_and_repair_leave_the_bitmap(tmp_path: Path) -> None:
    path = with_extension(tmp_path / "disk")
    image = open_image(path, "parallels")
    found = image.check_image("all")
    image.close()
    assert (found.leaks, found.corruptions) == (0, 0)
    image = readable(path)
    assert list(image.dirty_ranges(NAME)) == DIRTY
    image.close()


@pytest.mark.parametrize("change", ["write", "write_zeroes", "discard"])
def test_change_drops_the_bitmap(tmp_path: Path, change: str) -> None:
    path = with_extension(tmp_path / "disk")
    warnings: list[str] = []
    graph = Graph(warn=warnings.append)
    image = graph.open_name(str(path), format="parallels")
    if change == "write":
        image.write(5000, b"y")
    elif change == "discard":
        image.discard(0, CLUSTER)
    else:
        image.write_zeroes(0, CLUSTER)
    assert not image.bitmaps()
    image.close()
    assert "has a format extension (dirty bitmaps), which is dropped" in warnings[0]
    image = readable(path)
    assert (image.bitmaps(), image.read(4096, 8)) == ([], b"xxxxxxxx")
    image.close()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (feature(0x1234, b"abc"), "Unknown feature: 0x1234"),
        (feature(BITMAP, b"", flags=1), "Flags for extension feature are unsupported"),
        (feature(BITMAP, b"abc"), "a dirty bitmap of the format extension is cut short"),
    ],
)
def test_what_is_unknown_is_named(tmp_path: Path, features: bytes, message: str) -> None:
    path = with_extension(tmp_path / "disk", features)
    with pytest.raises(ImageError, match=message):
        readable(path)
    open_image(path, "parallels").close()


@pytest.mark.parametrize("each", [8, pytest.param(800, marks=pytest.mark.slow)])
def test_each_field_changed(tmp_path: Path, each: int) -> None:
    data = with_extension(tmp_path / "disk").read_bytes()
    place = Header.parse(data).extension * 512
    after = place + ExtensionHeader.SIZE
    fields = [
        *fields_of(Header),
        *fields_of(ExtensionHeader, place),
        *fields_of(Feature, after),
        *fields_of(BitmapHeader, after + Feature.SIZE),
        *entries("place", after + Feature.SIZE + BitmapHeader.SIZE, 8, 1),
    ]
    for number, (what, changed) in enumerate(mutations(data, fields, 1, each)):
        sealed = bytearray(changed)
        sealed[place + 8 : place + 24] = hashlib.md5(sealed[after : place + CLUSTER]).digest()
        exercise("parallels", bytes(sealed), what, writes=bool(number % 2), seed=number)
        graph = Graph()
        changed_file = tmp_path / "changed"
        changed_file.write_bytes(sealed)
        try:
            image = graph.open_name(str(changed_file), format="parallels", mode=Mode(readonly=True))
        except ImageError:
            continue
        for one in image.bitmaps():
            list(image.dirty_ranges(one.name))
        image.close()


def test_bits_of_large_bitmaps_are_read_in_pieces(tmp_path: Path) -> None:
    """Ranges at random, with a granule of a sector and clusters of the usual size."""
    chance = random.Random(4)
    path = tmp_path / "disk"
    create("parallels", path, 8 << 30, {})
    data = bytearray(path.read_bytes())
    place = len(data)
    bits = bytearray(2 << 20)
    expected = sorted(chance.sample(range(len(bits) * 8), 50))
    for bit in expected:
        bits[bit // 8] |= 1 << bit % 8
    head = BitmapHeader(size=16 << 20, id=uuid.UUID(NAME).bytes, granularity=1, entries=2)
    table = b"".join((place // 512 + n * 2048).to_bytes(8, "little") for n in (1, 2))
    body = feature(BITMAP, head.emit() + table).ljust((1 << 20) - ExtensionHeader.SIZE, b"\0")
    data += ExtensionHeader(checksum=hashlib.md5(body).digest()).emit() + body + bits
    at = Header.OFFSETS["extension"]
    data[at : at + 8] = (place // 512).to_bytes(8, "little")
    path.write_bytes(data)
    image = readable(path)
    ranges = list(image.dirty_ranges(NAME))
    image.close()
    found = [n // 512 for start, length in ranges for n in range(start, start + length, 512)]
    assert found == expected
