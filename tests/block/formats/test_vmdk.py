"""VMDK: several extents, images below, stream-optimized files, descriptors."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from pemu.block.error import ImageError
from pemu.block.formats.vmdk_extent import SparseHeader
from pemu.block.formats.vmdk_sesparse import ConstantHeader, VolatileHeader
from pemu.block.opening import Mode
from tests.block.formats.exchange import Contents, create, info, open_image, qemu

SIZE = 6 << 20


@pytest.mark.parametrize("subformat", ["twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
def test_writes_across_extents(tmp_path: Path, subformat: str) -> None:
    path = tmp_path / "disk.vmdk"
    create("vmdk", path, 5 << 30, {"subformat": subformat})
    names = sorted(one.name for one in tmp_path.iterdir())
    letter = subformat[14].lower()
    assert names == ["disk.vmdk", *(f"disk-{letter}00{n}.vmdk" for n in (1, 2, 3))][1:] + [
        "disk.vmdk"
    ]
    image = open_image(path)
    image.write((2 << 30) - 4096, b"ab" * 4096)
    image.write((5 << 30) - 512, b"z" * 512)
    image.close()
    qemu("qemu-io", "-c", f"read -P 122 {(5 << 30) - 512} 512", path)
    there = qemu("qemu-io", "-c", f"read -v {(2 << 30) - 16} 32", path).stdout
    assert there.count("61 62 61 62 61 62 61 62 61 62 61 62 61 62 61 62") == 2


@pytest.mark.parametrize("maker", ["pemu", "qemu"])
def test_image_over_another(tmp_path: Path, maker: str) -> None:
    base, path = tmp_path / "base.vmdk", tmp_path / "disk.vmdk"
    contents = Contents(SIZE)
    create("vmdk", base, SIZE, {})
    image = open_image(base)
    contents.write(image, 20, 1 << 20)
    image.close()
    if maker == "pemu":
        create("vmdk", path, SIZE, {"backing_file": "base.vmdk", "backing_fmt": "vmdk"})
    else:
        qemu("qemu-img", "create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", path)
    before = base.read_bytes()
    image = open_image(path)
    contents.write(image, 20, 1 << 20)
    image.close()
    contents.check(path, "vmdk", tmp_path / "scratch")
    contents.write_with_qemu(path, "vmdk", 10)
    contents.check(path, "vmdk", tmp_path / "scratch")
    assert base.read_bytes() == before


def test_image_below_that_has_changed_is_noticed(tmp_path: Path) -> None:
    base, path = tmp_path / "base.vmdk", tmp_path / "disk.vmdk"
    create("vmdk", base, SIZE, {})
    create("vmdk", path, SIZE, {"backing_file": "base.vmdk"})
    cid = info(base, "vmdk")["format-specific"]["data"]["cid"]
    image = open_image(base)
    image.write(0, b"x" * 512)
    image.close()
    assert info(base, "vmdk")["format-specific"]["data"]["cid"] != cid
    image = open_image(path)
    with pytest.raises(OSError, match="has been changed since"):
        image.read(0, 512)
    image.close()
    assert qemu("qemu-io", "-r", "-c", "read 0 512", path, check=False).returncode == 1


@pytest.mark.parametrize("subformat", ["monolithicSparse", "twoGbMaxExtentSparse"])
def test_extents_of_an_image_whose_base_is_gone_are_closed(tmp_path: Path, subformat: str) -> None:
    base, path = tmp_path / "base.vmdk", tmp_path / "disk.vmdk"
    create("vmdk", base, SIZE, {})
    create("vmdk", path, SIZE, {"backing_file": "base.vmdk", "subformat": subformat})
    base.unlink()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ImageError, match="Could not open backing file"):
        open_image(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_stream_optimized(tmp_path: Path) -> None:
    contents = Contents(SIZE)
    contents.data[:] = (b"compressible " * 1000).ljust(SIZE // 3, b"\0") * 3
    raw, theirs, ours = tmp_path / "raw", tmp_path / "theirs.vmdk", tmp_path / "ours.vmdk"
    raw.write_bytes(contents.data)
    options = ["-O", "vmdk", "-o", "subformat=streamOptimized"]
    qemu("qemu-img", "convert", "-f", "raw", *options, raw, theirs)
    contents.check(theirs, "vmdk", tmp_path / "scratch")
    create("vmdk", ours, SIZE, {"subformat": "streamOptimized"})
    image = open_image(ours)
    cluster = image.limits().cluster
    for offset in range(0, SIZE, cluster):
        image.write_compressed(offset, bytes(contents.data[offset : offset + cluster]))
    assert image.details() == {
        **image.details(),
        "create-type": "streamOptimized",
    }
    image.close()
    contents.check(ours, "vmdk", tmp_path / "scratch")
    image = open_image(ours)
    contents.write(image, 30, 1 << 20)
    image.close()
    contents.check(ours, "vmdk", tmp_path / "scratch")


@pytest.mark.parametrize("options", [{}, {"subformat": "twoGbMaxExtentFlat"}])
def test_details_are_those_of_qemu(tmp_path: Path, options: dict[str, str]) -> None:
    path = tmp_path / "disk.vmdk"
    create("vmdk", path, 3 << 30, options)
    image = open_image(path)
    details = image.details()
    image.close()
    assert details == info(path, "vmdk")["format-specific"]["data"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("createType", "invalid VMDK image descriptor"),
        ('createType="other"', "Unsupported image type 'other'"),
        ('createType="custom"\nRW 1 FLAT', "Invalid extent line: 'RW 1 FLAT'"),
        ('createType="custom"\nRW x FLAT "a"', "Invalid extent line"),
        ('createType="custom"\nRW 1 OTHER "a"', "Unsupported extent type 'OTHER'"),
        ('createType="custom"\nRW 1 FLAT "missing" 0', "Could not open 'missing': No such file"),
        ('createType="custom"', "names no extents"),
        ('createType="custom"\nRW 900 FLAT "disk.vmdk" 0', "."),
        ('CID=xyz\ncreateType="custom"', "CID=xyz is no content id"),
    ],
)
def test_descriptors_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "disk.vmdk"
    path.write_text(f"# Disk DescriptorFile\n{text}\n")
    with pytest.raises(ImageError, match=message):
        open_image(path)


def test_zero_extent(tmp_path: Path) -> None:
    path = tmp_path / "disk.vmdk"
    (tmp_path / "part").write_bytes(b"a" * 1024)
    path.write_text(
        '# Disk DescriptorFile\ncreateType="custom"\nRW 2 ZERO\nRDONLY 2 FLAT "part" 0\n'
    )
    image = open_image(path)
    assert image.read(0, 2048) == bytes(1024) + b"a" * 1024
    assert image.readonly
    image.close()


def test_directory_in_a_footer(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain.vmdk", tmp_path / "disk.vmdk"
    create("vmdk", plain, SIZE, {"subformat": "streamOptimized"})
    contents = Contents(SIZE)
    image = open_image(plain)
    contents.write(image, 20, 1 << 20)
    image.close()
    data = bytearray(plain.read_bytes())
    data += bytes(-len(data) % 512)
    footer = struct.pack("<QII", 1, 0, 3).ljust(512, b"\0") + data[:512]
    place = SparseHeader.OFFSETS["directory"]
    data[place : place + 8] = b"\xff" * 8
    path.write_bytes(data + footer + bytes(512))
    contents.check(path, "vmdk", tmp_path / "scratch")
    image = open_image(path)
    with pytest.raises(PermissionError):
        image.write(0, bytes(512))
    with pytest.raises(ImageError, match="is read only"):
        image.reopen(readonly=False)
    image.close()


def test_sparse_file_of_a_server(tmp_path: Path) -> None:
    path = tmp_path / "disk.vmdk"
    data = bytearray(1 << 20)
    data[:28] = b"COWD" + struct.pack("<6I", 1, 3, 4096, 1, 4, 1)
    data[2048:2052] = struct.pack("<I", 8)
    data[4096 : 4096 + 12] = struct.pack("<3I", 0, 200, 0)
    data[200 * 512 : 201 * 512] = b"a" * 512
    (tmp_path / "part.vmdk").write_bytes(data)
    path.write_text(
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
        'createType="vmfsSparse"\n\nRW 4096 VMFSSPARSE "part.vmdk"\n'
    )
    image = open_image(path)
    assert (image.format, image.size) == ("vmdk", 4096 * 512)
    assert image.read(0, 1536) == bytes(512) + b"a" * 512 + bytes(512)
    image.write(1024, b"b" * 512)
    image.close()
    qemu("qemu-io", "-r", "-f", "vmdk", "-c", "read -P 97 512 512", path)
    qemu("qemu-io", "-r", "-f", "vmdk", "-c", "read -P 98 1024 512", path)


def se_sparse(folder: Path, *, replay: int = 0, **changes: Any) -> Path:
    """An image of 40 MiB with one SE sparse extent: data in two tables, zeros, unmapped grains."""
    sectors = (40 << 20) // 512
    header = ConstantHeader(
        capacity=sectors, volatile_offset=1, directory_offset=2, directory_size=1,
        tables_offset=64, grains_offset=512, **changes,
    )  # fmt: skip
    data = bytearray(header.emit() + VolatileHeader(replay=replay).emit().ljust(512, b"\0"))
    data += bytes(1 << 20)
    for which in (0, 2):  # the second table is missing
        number = which // 2
        at = 2 * 512 + which * 8
        data[at : at + 8] = (0x1000_0000 << 32 | number).to_bytes(8, "little")
        entries = {0: 3 << 60 | number + 1, 1: 2 << 60, 2: 1 << 60, 5: 3 << 60 | 1 << 48}
        for index, entry in entries.items():
            if index != 5 or not which:
                place = (64 + number * 64) * 512 + index * 8
                data[place : place + 8] = entry.to_bytes(8, "little")
    for number in (0, 1):
        place = (512 + ((number + 1) << 12) * 8) * 512
        data[len(data) :] = bytes(place - len(data))
        data += bytes([number + 3]) * 4096
    place = (512 + 8) * 512
    data[place : place + 4096] = b"\x09" * 4096
    (folder / "disk-flat.vmdk").write_bytes(data)
    path = folder / "disk.vmdk"
    path.write_text(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        'createType="seSparse"\n\n'
        f'RW {sectors} SESPARSE "disk-flat.vmdk"\n\nddb.virtualHWVersion = "4"\n'
    )
    return path


def test_se_sparse_extents_are_read_as_qemu_reads_them(tmp_path: Path) -> None:
    path = se_sparse(tmp_path)
    qemu("qemu-img", "convert", "-O", "raw", path, tmp_path / "raw")
    image = open_image(path, mode=Mode(readonly=True))
    found = image.read(0, image.size)
    assert found == (tmp_path / "raw").read_bytes()[: image.size]  # QEMU 7.2 has it all twice
    assert {found[0], found[5 * 4096], found[32 << 20]} == {3, 4, 9}
    image.close()


def test_se_sparse_extents_are_not_written(tmp_path: Path) -> None:
    path = se_sparse(tmp_path)
    with pytest.raises(ImageError, match="No write support for seSparse images available"):
        open_image(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replay": 1}, "Image is dirty, Replaying journal not supported"),
        ({"magic": 1}, "no magic number"),
        ({"version": 3}, "version 0x3"),
        ({"grain": 16}, "grains of 16 sectors"),
        ({"table": 8}, "tables of 8 sectors"),
        ({"flags": 1}, "flags 0x1"),
    ],
)
def test_unknown_se_sparse_extents_are_named(
    tmp_path: Path, changes: dict[str, int], message: str
) -> None:
    path = se_sparse(tmp_path, **changes)
    with pytest.raises(ImageError, match=message):
        open_image(path, mode=Mode(readonly=True))
    command = qemu("qemu-img", "info", path, check=False)
    assert command.stderr
