"""qcow2 images that QEMU's tools have made, read."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.opening import Mode
from tests.patience import run_tool

READONLY = Mode(readonly=True)

OPTIONS = (
    "compat=0.10",
    "compat=1.1",
    "cluster_size=512",
    "cluster_size=2M",
    "refcount_bits=1",
    "refcount_bits=64",
    "extended_l2=on",
    "preallocation=metadata",
    "preallocation=full",
    "extended_l2=on,preallocation=metadata",
    "data_file=contents.raw",
    "data_file=contents.raw,data_file_raw=on",
)


def run(*command: str | Path) -> str:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is missing; scripts/system-packages.sh installs it")
    done = run_tool(command)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def contents(path: Path) -> bytes:
    """Data, zeros and what compresses well; writes it to `path`, too."""
    chance = random.Random(1)
    kinds = (lambda: bytes(65536), lambda: chance.randbytes(65536), lambda: b"ab" * 32768)
    data = b"".join(chance.choice(kinds)() for _ in range(60)) + chance.randbytes(1024)
    path.write_bytes(data)
    return data


def status(image: Image) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    at = 0
    while at < image.size:
        one = image.status(at, image.size - at)
        found.append((at, one.length, one.present, one.zero, one.data, one.offset))
        at += one.length
    return found


def mapped(path: Path) -> list[tuple[object, ...]]:
    names = ("start", "length", "present", "zero", "data", "offset")
    found = json.loads(run("qemu-img", "map", "--output=json", path))
    return [tuple(one.get(name) for name in names) for one in found]


@pytest.mark.parametrize(
    ("options", "compressed"),
    [(one, False) for one in OPTIONS]
    + [(one, True) for one in OPTIONS if "data_file" not in one and "preallocation" not in one],
)
def test_image_made_by_qemu_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, compressed: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = contents(tmp_path / "raw")
    path = tmp_path / "disk"
    flags = ["-c"] if compressed else []
    run("qemu-img", "convert", "-O", "qcow2", *flags, "-o", options, tmp_path / "raw", path)
    image = Graph().open_name(str(path), mode=READONLY)
    assert image.read(0, image.size) == expected
    assert image.read(65000, 200000) == expected[65000:265000]
    assert status(image) == mapped(path)
    shown = json.loads(run("qemu-img", "info", "--output=json", path))
    assert image.details() == shown["format-specific"]["data"]
    image.close()


def test_compression_with_zstd(tmp_path: Path) -> None:
    expected = contents(tmp_path / "raw")
    path = tmp_path / "disk"
    options = ("-c", "-o", "compression_type=zstd")
    run("qemu-img", "convert", "-O", "qcow2", *options, tmp_path / "raw", path)
    image = Graph().open_name(str(path), mode=READONLY)
    assert image.read(0, image.size) == expected
    image.close()


def test_what_is_below_is_read_where_nothing_is(tmp_path: Path) -> None:
    expected = contents(tmp_path / "raw")
    top = tmp_path / "top"
    run("qemu-img", "create", "-f", "qcow2", "-b", "raw", "-F", "raw", top, "8M")
    run("qemu-io", "-c", "write -P 5 64k 64k", "-c", "write -z 128k 64k", top)
    image = Graph().open_name(str(top), mode=READONLY)
    data = expected[:65536] + b"\5" * 65536 + bytes(65536) + expected[196608:]
    assert image.read(0, image.size) == data + bytes((8 << 20) - len(data))
    assert (image.backing_file, image.backing_format) == ("raw", "raw")
    image.close()


def test_unknown_incompatible_feature_is_named(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    run("qemu-img", "create", "-f", "qcow2", path, "1M")
    with path.open("r+b") as file:
        file.seek(72)
        file.write((1 << 40).to_bytes(8, "big"))
        file.seek(112 + 8)
        file.write(bytes([0, 40]) + b"time travel".ljust(46, b"\0"))
    with pytest.raises(ImageError, match=r"Unsupported qcow2 feature\(s\): time travel"):
        Graph().open_name(str(path), mode=READONLY)
