"""Images over others: qcow and qed (qcow2 has tests of its own), made and written by both."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.opening import Mode
from tests.block.formats.exchange import Contents, create, open_image, our_map, qemu, qemu_map

SIZE = 6 << 20

FORMATS = ["qcow", "qed"]


def base(path: Path) -> Contents:
    """A raw image, shorter than what is put over it."""
    contents = Contents(SIZE)
    contents.data[:] = random.Random(5).randbytes(SIZE - 70000).ljust(SIZE, b"\0")
    path.write_bytes(contents.data[: SIZE - 69632])
    return contents


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("maker", ["pemu", "qemu"])
def test_writes_over_another_image(tmp_path: Path, format: str, maker: str) -> None:
    contents = base(tmp_path / "base")
    path = tmp_path / "disk"
    if maker == "pemu":
        create(format, path, SIZE, {"backing_file": "base", "backing_fmt": "raw"})
    else:
        words = ["-o", "backing_file=base,backing_fmt=raw", str(path), str(SIZE)]
        qemu("qemu-img", "create", "-q", "-f", format, *words)
    image = open_image(path, format)
    assert image.backing_file == "base"
    contents.write(image, 30, 1 << 20)
    image.close()
    contents.check(path, format, tmp_path / "scratch")
    # QEMU's qed fills up a cluster of zeros, when it is written to, with what is below.
    unit = 65536 if format == "qed" else 512
    contents.write_with_qemu(path, format, 10, 1 << 18, unit)
    contents.check(path, format, tmp_path / "scratch")
    found = [one for one in our_map(path, format) if one[2]]
    assert {one[:5] for one in found} <= {one[:5] for one in qemu_map(path, format, depth=0)}
    before = (tmp_path / "base").read_bytes()
    assert base(tmp_path / "base").data[: len(before)] == before


def test_qed_says_that_what_is_below_is_raw(tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(bytes(SIZE))
    create("qed", tmp_path / "disk", SIZE, {"backing_file": "base", "backing_fmt": "raw"})
    said = qemu("qemu-img", "info", tmp_path / "disk").stdout
    assert "backing file: base" in said
    assert "backing file format: raw" in said


def test_qed_gets_another_image_below(tmp_path: Path) -> None:
    create("qed", tmp_path / "disk", SIZE, {})
    image = open_image(tmp_path / "disk")
    image.set_backing("other", "qcow2")
    image.close()
    assert "backing file: other" in qemu("qemu-img", "info", tmp_path / "disk").stdout
    image = open_image(tmp_path / "disk", mode=Mode(backing=False))
    image.set_backing("", "")
    image.close()
    assert "backing" not in qemu("qemu-img", "info", tmp_path / "disk").stdout


def test_qed_grows(tmp_path: Path) -> None:
    create("qed", tmp_path / "disk", SIZE, {})
    image = open_image(tmp_path / "disk")
    image.truncate(2 * SIZE)
    image.write(2 * SIZE - 512, b"x" * 512)
    with pytest.raises(ImageError, match="Shrinking images is currently not supported"):
        image.truncate(SIZE)
    image.close()
    qemu("qemu-io", "-c", f"read -P 120 {2 * SIZE - 512} 512", tmp_path / "disk")
    qemu("qemu-img", "check", tmp_path / "disk")


def test_qed_that_asks_for_a_check_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    create("qed", path, SIZE, {})
    image = open_image(path)
    image.write(0, b"x" * 512)
    image.close()
    data = bytearray(path.read_bytes())
    table = int.from_bytes(data[0x10000:0x10008], "little")
    data[16] |= 2
    data[table + 8 : table + 16] = (1 << 40).to_bytes(8, "little")
    path.write_bytes(data)
    image = open_image(path, mode=Mode(readonly=True))
    found = image.check_image()
    image.close()
    assert (found.corruptions, found.corruptions_fixed) == (1, 0)
    image = open_image(path)
    assert image.read(0, 512) == b"x" * 512
    assert image.read(65536, 512) == bytes(512)
    image.close()
    assert path.read_bytes()[16] == 0
    qemu("qemu-img", "check", path)


def test_qcow_compressed_clusters(tmp_path: Path) -> None:
    contents = Contents(SIZE)
    contents.data[:] = (b"compressible " * 1000).ljust(SIZE // 3, b"\0") * 3
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    create("qcow", theirs, SIZE, {})
    qemu("qemu-io", "-c", "write -c -P 7 4k 4k", "-c", "write -c -P 9 64k 4k", theirs)
    image = open_image(theirs)
    expected = b"\7" * 4096 + bytes(56 << 10) + b"\x09" * 4096
    assert image.read(4096, 64 << 10) == expected
    assert image.status(4096, 4096).compressed
    image.close()
    create("qcow", ours, SIZE, {})
    image = open_image(ours)
    cluster = image.limits().cluster
    for offset in range(0, SIZE, cluster):
        image.write_compressed(offset, bytes(contents.data[offset : offset + cluster]))
    image.close()
    contents.check(ours, "qcow", tmp_path / "scratch")
    image = open_image(ours)
    assert image.status(0, SIZE).compressed
    contents.write(image, 30, 1 << 20)
    image.close()
    contents.check(ours, "qcow", tmp_path / "scratch")


@pytest.mark.parametrize("maker", ["pemu", "qemu"])
def test_qcow_encryption(tmp_path: Path, maker: str) -> None:
    path = tmp_path / "disk"
    options = {"encrypt.format": "aes", "encrypt.key-secret": "s"}
    graph = Graph()
    graph.objects["s"] = b"a passphrase of more than 16"
    secret = ["--object", f"secret,id=s,data={graph.objects['s'].decode()}"]
    if maker == "pemu":
        graph.create("qcow", str(path), SIZE, options)
    else:
        words = ",".join(f"{key}={value}" for key, value in options.items())
        qemu("qemu-img", "create", "-q", *secret, "-f", "qcow", "-o", words, path, str(SIZE))
    image = graph.open_name(str(path), options={"encrypt": {"key-secret": "s"}})
    contents = Contents(SIZE)
    contents.write(image, 30, 1 << 20)
    image.close()
    (tmp_path / "scratch").write_bytes(contents.data)
    named = f"driver=qcow,encrypt.key-secret=s,file.filename={path}"
    raw = f"driver=raw,file.filename={tmp_path / 'scratch'}"
    qemu("qemu-img", "compare", *secret, "--image-opts", named, raw)
    with pytest.raises(ImageError, match="'encrypt.key-secret' is required"):
        open_image(path)
