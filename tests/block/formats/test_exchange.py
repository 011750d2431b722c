"""Each writable format with its options: images that QEMU and Pemu make, fill and read in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pemu.block.error import ImageError
from pemu.block.probe import probe
from tests.block.formats.exchange import (
    Contents,
    create,
    info,
    open_image,
    our_map,
    qemu,
    qemu_create,
    qemu_map,
)


class Case(NamedTuple):
    """A format, options of creation, bytes of the disk."""

    format: str
    options: dict[str, str] = {}
    size: int = 21 << 20

    def __str__(self) -> str:
        words = [f"{key}={value}" for key, value in self.options.items()]
        return "-".join([self.format, *words, str(self.size)])


CASES = [
    Case("vdi"),
    Case("vdi", {"static": "on"}),
    Case("vdi", {}, 3000001),
    Case("vdi", {}, 512),
    Case("parallels"),
    Case("parallels", {"cluster_size": "4k"}),
    Case("parallels", {"cluster_size": "1000"}, 5000001),
    Case("qcow"),
    Case("qcow", {}, 3000001),
    Case("qcow2"),
    Case("qcow2", {"compat": "0.10"}, 3000001),
    Case("qcow2", {"cluster_size": "512", "refcount_bits": "64"}, 3000001),
    Case("qcow2", {"cluster_size": "2M", "refcount_bits": "1"}),
    Case("qcow2", {"extended_l2": "on"}),
    Case("qcow2", {"lazy_refcounts": "on", "compression_type": "zstd"}),
    Case("qcow2", {"preallocation": "metadata"}),
    Case("qcow2", {"preallocation": "full"}, 3000001),
    Case("qcow2", {"extended_l2": "on", "preallocation": "falloc"}, 3000001),
    Case("qed"),
    Case("qed", {"cluster_size": "4k", "table_size": "2"}, 2000001),
    Case("vmdk"),
    Case("vmdk", {"zeroed_grain": "on"}, 3000001),
    Case("vmdk", {"adapter_type": "lsilogic", "compat6": "on"}),
    Case("vmdk", {"subformat": "monolithicFlat"}),
    Case("vmdk", {"subformat": "twoGbMaxExtentSparse"}),
    Case("vmdk", {"subformat": "twoGbMaxExtentFlat", "hwversion": "7"}),
    Case("vhdx"),
    Case("vhdx", {"subformat": "fixed"}),
    Case("vhdx", {"block_size": "1M", "log_size": "2M", "block_state_zero": "off"}, 3000001),
    Case("vpc"),
    Case("vpc", {"force_size": "on"}, 3000001),
    Case("vpc", {"subformat": "fixed"}),
    Case("vpc", {"subformat": "fixed", "force_size": "on"}, 512),
]

CHECKED = {"parallels", "qcow2", "qed", "vdi", "vhdx", "vmdk"}
"""Formats that have checks."""


UNSIGNED = {str(case) for case in CASES if case.format == "vpc" and "subformat" in case.options}
"""What begins with the disk itself."""


def alike(found: dict[str, Any]) -> dict[str, Any]:
    """Without what is random, or follows from the file's name."""
    data = found.get("format-specific", {}).get("data", {})
    data.pop("cid", None)
    for extent in data.get("extents", []):
        extent.pop("filename")
    return found


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def checked(path: Path, format: str) -> None:
    """Neither Pemu nor QEMU finds errors."""
    if format in CHECKED:
        image = open_image(path, format)
        found = image.check_image()
        image.close()
        assert not found.messages
        qemu("qemu-img", "check", "-f", format, path)


def test_images_made_by_both_are_the_same_to_qemu(tmp_path: Path, case: Case) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    assert qemu_create(case.format, theirs, case.size, case.options) == ""
    create(case.format, ours, case.size, case.options)
    assert alike(info(ours, case.format)) == alike(info(theirs, case.format))
    format = case.format if str(case) not in UNSIGNED else "raw"
    assert probe(ours.read_bytes()[:512]) == format


def test_image_made_by_pemu(tmp_path: Path, case: Case) -> None:
    path = tmp_path / "disk"
    create(case.format, path, case.size, case.options)
    image = open_image(path, case.format)
    contents = Contents(image.size)
    contents.write(image, 60)
    image.close()
    contents.check(path, case.format, tmp_path / "scratch")
    contents.write_with_qemu(path, case.format, 20)
    contents.check(path, case.format, tmp_path / "scratch")
    checked(path, case.format)
    if case.format != "vhdx":  # QEMU takes all of it for data
        assert our_map(path, case.format) == qemu_map(path, case.format)


def test_image_made_by_qemu(tmp_path: Path, case: Case) -> None:
    path = tmp_path / "disk"
    qemu_create(case.format, path, case.size, case.options)
    contents = Contents(open_and_close(path, case.format), 2)
    contents.write_with_qemu(path, case.format, 10)
    contents.check(path, case.format, tmp_path / "scratch")
    image = open_image(path, case.format)
    contents.write(image, 60)
    image.close()
    contents.check(path, case.format, tmp_path / "scratch")
    checked(path, case.format)
    if case.format != "vhdx":  # QEMU takes all of it for data
        assert our_map(path, case.format) == qemu_map(path, case.format)


def open_and_close(path: Path, format: str) -> int:
    """Open an image for writing and close it at once; its size."""
    image = open_image(path, format)
    image.close()
    return image.size


@pytest.mark.parametrize(
    ("format", "size", "options"),
    [
        ("vdi", 600 << 40, {}),
        ("parallels", 4 << 50, {}),
        ("parallels", 1 << 20, {"cluster_size": "2G"}),
        ("parallels", 1 << 20, {"cluster_size": "0"}),
        ("qcow", 0, {}),
        ("qed", 100 << 40, {}),
        ("qed", 1 << 20, {"cluster_size": "3000"}),
        ("qed", 1 << 20, {"cluster_size": "1k"}),
        ("qed", 1 << 20, {"table_size": "32"}),
        ("vmdk", 1 << 20, {"subformat": "monolithicFlat", "zeroed_grain": "on"}),
        ("vmdk", 1 << 20, {"hwversion": "5", "compat6": "on"}),
        ("vhdx", 65 << 40, {}),
        ("vhdx", 1 << 20, {"block_size": "3M"}),
        ("vhdx", 1 << 20, {"log_size": "5G"}),
        ("vpc", (2040 << 30) + 512, {}),
    ],
)
def test_images_that_neither_can_make(
    tmp_path: Path, format: str, size: int, options: dict[str, str]
) -> None:
    said = qemu_create(format, tmp_path / "disk", size, options)
    with pytest.raises(ImageError) as caught:
        create(format, tmp_path / "disk", size, options)
    assert said == f"qemu-img: {tmp_path / 'disk'}: {caught.value}"


@pytest.mark.parametrize(
    "size",
    [0, 1, 512, 34817, 10 << 20, (504 << 20) + 1, 3 << 30, 127 << 30, 130 << 30, 2040 << 30],
)
@pytest.mark.parametrize("force", ["on", "off"])
def test_vpc_sizes(tmp_path: Path, size: int, force: str) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    options = {"force_size": force}
    assert qemu_create("vpc", theirs, size, options) == ""
    create("vpc", ours, size, options)
    assert info(ours, "vpc") == info(theirs, "vpc")
    assert ours.read_bytes()[40:64] == theirs.read_bytes()[40:64]
