"""What qcow2 images are made with and what is changed later, beside what qemu-img does."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from pemu.block.driver import find_driver
from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.image import Image, Snapshot
from pemu.block.opening import Mode
from pemu.block.tree import typed
from tests.block.formats.test_qcow2_reading import run

READONLY = Mode(readonly=True)
PLAIN = random.Random(5).randbytes(300000)


def secrets() -> Graph:
    graph = Graph()
    graph.objects |= {"s": b"open sesame", "t": b"another"}
    return graph


def values(**given: Any) -> dict[str, Any]:
    """Options of `amend` as a tool hands them over."""
    parsed = typed(given, find_driver("qcow2").amendment, "Format 'qcow2'")
    return {key: value for key, value in parsed.items() if key in given}


def amend(image: Image, **given: Any) -> None:
    for _ in image.amend(values(**given)):
        pass


def shown(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("qemu-img", "info", "--output=json", path))
    return found


@pytest.mark.parametrize(
    ("options", "opened"),
    [
        ("encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", "luks"),
        (
            "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,"
            "encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256,"
            "encrypt.cipher-alg=aes-128",
            "luks",
        ),
        ("encrypt.format=aes,encrypt.key-secret=s", "aes"),
    ],
)
@pytest.mark.parametrize("maker", ["qemu", "pemu"])
def test_encrypted(tmp_path: Path, options: str, opened: str, maker: str) -> None:
    path, raw = tmp_path / "disk", tmp_path / "raw"
    object = ("--object", "secret,id=s,data=open sesame")
    given = dict(one.split("=") for one in options.split(","))
    if maker == "pemu":
        secrets().create("qcow2", str(path), 1 << 20, given)
    else:
        run("qemu-img", "create", "-f", "qcow2", *object, "-o", options, path, "1M")
    image = secrets().open_name(str(path), options={"encrypt": {"key-secret": "s"}})
    image.write(1000, PLAIN)
    image.write(700001, b"x")
    image.write_zeroes(2000, 100000)
    image.close()
    expected = bytearray(1 << 20)
    expected[1000:301000] = PLAIN
    expected[2000:102000] = bytes(100000)
    expected[700001] = ord("x")
    raw.write_bytes(expected)
    spec = f"driver=qcow2,file.filename={path},encrypt.key-secret=s"
    run("qemu-img", "convert", *object, "--image-opts", spec, "-O", "raw", tmp_path / "plain")
    assert (tmp_path / "plain").read_bytes() == expected
    image = secrets().open_name(str(path), mode=READONLY, options={"encrypt": {"key-secret": "s"}})
    assert image.read(0, 1 << 20) == expected
    image.close()
    image = Graph().open_name(str(path), mode=Mode(readonly=True, describe=True))
    assert image.details() == shown(path)["format-specific"]["data"]
    image.close()
    assert "No errors" in run("qemu-img", "check", *object, "--image-opts", spec)
    with pytest.raises(ImageError, match="'encrypt.key-secret' is required"):
        Graph().open_name(str(path))
    if opened == "luks":
        with pytest.raises(ImageError, match="Invalid password"):
            secrets().open_name(str(path), options={"encrypt": {"key-secret": "t"}})


def test_passphrase_is_added(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    given = {"encrypt.format": "luks", "encrypt.key-secret": "s", "encrypt.iter-time": "10"}
    secrets().create("qcow2", str(path), 1 << 20, given)
    image = secrets().open_name(str(path), options={"encrypt": {"key-secret": "s"}})
    more = {"encrypt.state": "active", "encrypt.new-secret": "t", "encrypt.iter-time": "10"}
    amend(image, **more)
    image.close()
    image = secrets().open_name(str(path), options={"encrypt": {"key-secret": "t"}})
    image.close()


@pytest.mark.parametrize("below", [False, True], ids=["alone", "overlay"])
def test_version_is_changed_there_and_back(tmp_path: Path, below: bool) -> None:
    path = tmp_path / "disk"
    given = {"compat": "1.1", "lazy_refcounts": "on"}
    if below:
        (tmp_path / "below").write_bytes(b"b" * (1 << 20))
        given |= {"backing_file": "below", "backing_fmt": "raw"}
    Graph().create("qcow2", str(path), 1 << 20, given)
    image = Graph().open_name(str(path))
    image.write(0, PLAIN)
    image.write_zeroes(65536, 65536)
    image.create_snapshot(Snapshot("", "one"))
    image.write_zeroes(131072, 65536)
    image.write_zeroes(600000, 200000, unmap=True)
    now = image.read(0, 1 << 20)
    amend(image, compat="0.10")
    assert image.read(0, 1 << 20) == now
    image.close()
    assert shown(path)["format-specific"]["data"]["compat"] == "0.10"
    assert "No errors" in run("qemu-img", "check", path)
    image = Graph().open_name(str(path))
    assert image.read(0, 1 << 20) == now
    amend(image, compat="1.1", lazy_refcounts="on")
    image.close()
    assert shown(path)["format-specific"]["data"]["lazy-refcounts"]
    assert "No errors" in run("qemu-img", "check", path)
    image = Graph().open_name(str(path), mode=READONLY)
    image.show_snapshot("one")
    expected = PLAIN[:65536] + bytes(65536) + PLAIN[131072:]
    assert image.read(0, len(PLAIN)) == expected
    image.close()


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 32, 64])
def test_width_of_refcounts_is_changed(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "disk"
    Graph().create("qcow2", str(path), 8 << 20, {"cluster_size": "512"})
    image = Graph().open_name(str(path))
    image.write(0, PLAIN)
    amend(image, refcount_bits=str(bits))
    image.write(1 << 20, PLAIN)
    image.close()
    assert shown(path)["format-specific"]["data"]["refcount-bits"] == bits
    assert "No errors" in run("qemu-img", "check", path)
    image = Graph().open_name(str(path), mode=READONLY)
    assert image.read(1 << 20, len(PLAIN)) == PLAIN == image.read(0, len(PLAIN))
    image.close()


def test_width_that_is_too_small_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    Graph().create("qcow2", str(path), 1 << 20, {})
    image = Graph().open_name(str(path))
    image.write(0, PLAIN)
    image.create_snapshot(Snapshot("", "one"))
    with pytest.raises(ImageError, match="a cluster has 2 references"):
        amend(image, refcount_bits="1")
    image.close()


def test_name_of_what_is_below_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    (tmp_path / "below").write_bytes(b"b" * (1 << 20))
    Graph().create("qcow2", str(path), 1 << 20, {})
    image = Graph().open_name(str(path))
    image.set_backing("below", "raw")
    image.close()
    found = shown(path)
    assert (found["backing-filename"], found["backing-filename-format"]) == ("below", "raw")
    image = Graph().open_name(str(path))
    assert image.read(0, 4) == b"bbbb"
    with pytest.raises(ImageError, match="Cannot amend the backing file"):
        amend(image, backing_file="")
    image.set_backing("", "")
    image.close()
    assert "backing-filename" not in shown(path)


@pytest.mark.parametrize("size", ["0", "1M", "1G", "100G", "1T"])
@pytest.mark.parametrize(
    "options",
    [
        "compat=1.1",
        "compat=0.10",
        "cluster_size=4k",
        "cluster_size=2M",
        "refcount_bits=1",
        "extended_l2=on",
        "preallocation=full",
        "refcount_bits=64,cluster_size=4k",
    ],
)
def test_measured_as_qemu_does(size: str, options: str) -> None:
    driver = find_driver("qcow2")
    assert driver.measure is not None
    given = dict(one.split("=") for one in options.split(","))
    command = ("qemu-img", "measure", "--output=json", "-O", "qcow2", "-o", options)
    asked = json.loads(run(*command, "--size", size))
    number = int(size.rstrip("MGT")) << {"M": 20, "G": 30, "T": 40}.get(size[-1], 0)
    assert driver.measure(None, number, typed(given, driver.creation, "")) == asked


def test_source_is_measured(tmp_path: Path) -> None:
    path, top = tmp_path / "disk", tmp_path / "top"
    driver = find_driver("qcow2")
    assert driver.measure is not None
    Graph().create("qcow2", str(path), 8 << 20, {})
    image = Graph().open_name(str(path))
    image.write(100000, PLAIN)
    image.close()
    given = {"backing_file": "disk", "backing_fmt": "qcow2"}
    Graph().create("qcow2", str(top), 9 << 20, given)
    image = Graph().open_name(str(top))
    image.write(5 << 20, PLAIN)
    asked = json.loads(run("qemu-img", "measure", "-U", "--output=json", "-O", "qcow2", path))
    options = typed({}, driver.creation, "")
    assert image.backing is not None
    assert driver.measure(image.backing, 8 << 20, options) == asked
    measured = driver.measure(image, 9 << 20, options)
    image.close()
    assert measured == json.loads(run("qemu-img", "measure", "--output=json", "-O", "qcow2", top))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cluster_size": "1000"}, "power of two"),
        ({"cluster_size": "4M"}, "between 512 and 2048k"),
        ({"refcount_bits": "3"}, "power of two"),
        ({"compat": "0.10", "refcount_bits": "8"}, "compatibility level 1.1"),
        ({"compat": "0.10", "lazy_refcounts": "on"}, "Lazy refcounts"),
        ({"compat": "0.10", "compression_type": "zstd"}, "compression type"),
        ({"extended_l2": "on", "cluster_size": "8k"}, "at least 16384 bytes"),
        ({"data_file_raw": "on"}, "requires data-file"),
        ({"encrypt.key-secret": "s"}, "'encrypt.format' is missing"),
        ({"encrypt.format": "luks"}, "'encrypt.key-secret' is required"),
        ({"backing_file": "x", "preallocation": "full"}, "extended_l2"),
    ],
)
def test_options_that_are_refused(tmp_path: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Graph().create("qcow2", str(tmp_path / "disk"), 1 << 20, options)
    assert not (tmp_path / "disk").exists()
