"""`pemu-img create`: options of what keeps the image, and images made in what is there already."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from tests.cli.nbdserver import serving
from tests.cli.sidebyside import Pair, pemu_tool

MIB = 1 << 20

FORMATS = ("raw", "qcow2", "luks", "parallels", "qcow", "qed", "vdi", "vhdx", "vmdk", "vpc")

IN_PLACE = ("raw", "qcow2", "vdi")
"""Formats that need no file which grows."""

FSXATTR, EXTSIZE = 0x801C581F, 0x800


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair("img", tmp_path)


def needed(format: str) -> list[str]:
    """What a new image of the format cannot do without."""
    if format != "luks":
        return []
    return ["--object", "secret,id=s,data=x", "-o", "key-secret=s,iter-time=10"]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "options", ["nocow=on", "nocow=off,preallocation=full,extent_size_hint=0", "preallocation=off"]
)
def test_options_of_the_file_are_shown_as_qemu_shows_them(
    pair: Pair, format: str, options: str
) -> None:
    ours, theirs = pair.both("create", "-f", format, *needed(format), "-o", options, "new", "2M")
    assert (ours.status, ours.error) == (0, "")
    assert ours.output == theirs.output  # QEMU fails now and then: it cannot measure its own time


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", [[], ["new"]])
def test_help_with_a_name_has_the_options_of_the_file(
    pair: Pair, format: str, name: list[str]
) -> None:
    ours, theirs = pair.both("create", "-f", format, "-o", "help", *name)
    assert ours._replace(output=ours.output.replace("qemu-img", "TOOL")) == theirs


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_convert_passes_options_of_the_file_on(pair: Pair, format: str) -> None:
    pair.write("source", bytes(MIB))
    words = ("convert", "-O", format, "-o", "nocow=on,extent_size_hint=0", "source", "new")
    ours, theirs = pair.both(*words)
    assert ours == theirs


def test_extent_size_hint_is_set(pair: Pair) -> None:
    pair.both("create", "-f", "raw", "-o", "extent_size_hint=2M", "new", "8M")
    hints = []
    for folder in (pair.pemu, pair.qemu):
        fd = os.open(folder / "new", os.O_RDONLY)
        try:
            found = fcntl.ioctl(fd, FSXATTR, bytes(28))
        except OSError:
            pytest.skip("the file system has no such attributes")
        finally:
            os.close(fd)
        hints.append((found[:4], found[4:8]))
    assert hints[0] == hints[1]


def test_options_of_the_file_do_not_fit_an_export(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(MIB))
    with serving(tmp_path, "-f", "raw", str(tmp_path / "disk")) as uri:
        answer = pemu_tool("img", tmp_path, "create", "-f", "qcow2", "-o", "nocow=on", uri, "1M")
    assert answer.status == 1
    assert "Invalid parameter 'nocow'" in answer.error


def test_image_in_an_export_cannot_be_larger_than_that(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(MIB))
    with serving(tmp_path, "-f", "raw", str(tmp_path / "disk")) as uri:
        answer = pemu_tool("img", tmp_path, "create", "-f", "raw", uri, "2M")
    assert answer.error == f"TOOL: {uri}: Cannot grow NBD nodes\n"


@pytest.mark.parametrize("format", IN_PLACE)
def test_image_in_an_export_does_not_show_what_was_there(
    pair: Pair, tmp_path: Path, format: str
) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"\x51" * (32 * MIB))
    pair.write("source", b"\x07" * 4096 + bytes(4 * MIB) + b"\x08" * 4096)
    with serving(tmp_path, "-f", "raw", str(disk)) as uri:
        made = pair.ours("convert", "-f", "raw", "-O", format, "source", uri)
        assert (made.status, made.error) == (0, "")
        back = pair.theirs("convert", "-f", format, "-O", "raw", uri, "back")
        assert back.status == 0, back.error
    source = (pair.qemu / "source").read_bytes()
    assert (pair.qemu / "back").read_bytes()[: len(source)] == source
