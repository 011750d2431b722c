"""Formats that are only read: bochs, cloop, dmg. The images are made here; QEMU reads them, too."""

from __future__ import annotations

import bz2
import plistlib
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pemu.block.error import ImageError
from pemu.block.formats import bochs, cloop, dmg
from pemu.block.opening import Mode
from tests.block.formats.exchange import READONLY, open_image, qemu
from tests.block.mutation import Field, entries, exercise, fields_of, mutations, tangles

CONTENTS = (
    random.Random(1).randbytes(100 << 10)
    + bytes(300 << 10)
    + b"compressible " * 30000
    + random.Random(2).randbytes(64 << 10)
)
CONTENTS = CONTENTS[: len(CONTENTS) // 65536 * 65536]


def bochs_image(extent: int = 65536) -> bytes:
    """Only sectors that are not zeros are there."""
    count = len(CONTENTS) // extent
    header = bochs.Header(
        magic=b"Bochs Virtual HD Image", type=b"Redolog", subtype=b"Growing", version=bochs.NEW,
        header=512, catalog=count, bitmap=max(extent // 4096, 512), extent=extent,
    )  # fmt: skip
    head = header.emit() + struct.pack("<IQ", 0, len(CONTENTS))
    catalog, body = b"", b""
    used = 0
    for start in range(0, len(CONTENTS), extent):
        data = CONTENTS[start : start + extent]
        if not any(data):
            catalog += struct.pack("<I", bochs.UNALLOCATED)
            continue
        marks = bytearray(512)
        for sector in range(extent // 512):
            if any(data[sector * 512 : sector * 512 + 512]):
                marks[sector // 8] |= 1 << sector % 8
        catalog += struct.pack("<I", used)
        body += bytes(marks) + data
        used += 1
    return head.ljust(512, b"\0") + catalog + body


def cloop_image() -> bytes:
    block = 65536
    script = (
        b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"
    )
    packed = [zlib.compress(CONTENTS[at : at + block]) for at in range(0, len(CONTENTS), block)]
    header = cloop.Header(script=script, block_size=block, blocks=len(packed)).emit()
    place = len(header) + 8 * (len(packed) + 1)
    offsets = b""
    for one in [*packed, b""]:
        offsets += struct.pack(">Q", place)
        place += len(one)
    return header + offsets + b"".join(packed)


PACKERS: dict[int, Callable[[bytes], bytes]] = {
    dmg.RAW: bytes,
    dmg.ZLIB: zlib.compress,
    dmg.BZIP2: bz2.compress,
}


def dmg_image(*, resources: bool = False, third: int = dmg.BZIP2) -> bytes:
    """Two partitions; raw chunks, compressed ones and zeros. third: kind of every third chunk."""
    data, tables = b"", []
    half = len(CONTENTS) // 65536 // 2 * 65536
    for first, last in ((0, half), (half, len(CONTENTS))):
        chunks = b""
        for number, start in enumerate(range(first, last, 65536)):
            piece = CONTENTS[start : start + 65536]
            if not any(piece):
                kind, packed = (dmg.ZERO if number % 2 else dmg.IGNORED), b""
            else:
                kind = (dmg.RAW, dmg.ZLIB, third)[number % 3]
                packed = PACKERS[kind](piece)
            entry = dmg.ChunkEntry(
                kind=kind, comment=0, sector=(start - first) // 512, sectors=128,
                offset=len(data), length=len(packed),
            )  # fmt: skip
            chunks += entry.emit()
            data += packed
        chunks += dmg.ChunkEntry(
            kind=dmg.END, comment=0, sector=(last - first) // 512, sectors=0,
            offset=len(data), length=0,
        ).emit()  # fmt: skip
        mish = dmg.Mish(
            signature=b"mish", version=1, sector=first // 512, sectors=(last - first) // 512,
            data_offset=0, buffers=0, descriptors=0, reserved=b"", checksum=b"",
            count=len(chunks) // 40,
        )  # fmt: skip
        tables.append(mish.emit() + chunks)
    if resources:
        forks = b"".join(struct.pack(">I", len(one)) + one for one in tables)
        text = struct.pack(">IIII", 256, 256 + len(forks), len(forks), 0).ljust(256, b"\0") + forks
        text += bytes(64)
    else:
        blkx = [{"ID": str(n), "Name": "part", "Data": one} for n, one in enumerate(tables)]
        text = plistlib.dumps({"resource-fork": {"blkx": blkx}})
    place = (len(data), len(text))
    trailer = dmg.Trailer(
        signature=b"koly", version=4, header_size=512, flags=1, running_offset=0, data_offset=0,
        data_length=len(data), segment=b"", data_checksum=b"", rest=b"",
        reserved=b"", checksum=b"", variant=1, sectors=len(CONTENTS) // 512,
        resource_offset=place[0] if resources else 0, resource_length=place[1] if resources else 0,
        plist_offset=0 if resources else place[0], plist_length=0 if resources else place[1],
    )  # fmt: skip
    return data + text + trailer.emit()


IMAGES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "disk.bochs": ("bochs", bochs_image),
    "disk.cloop": ("cloop", cloop_image),
    "disk.dmg": ("dmg", dmg_image),
    "old.dmg": ("dmg", lambda: dmg_image(resources=True)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_image_is_found_and_read_as_by_qemu(tmp_path: Path, name: str) -> None:
    format, make = IMAGES[name]
    path, raw = tmp_path / name, tmp_path / "raw"
    path.write_bytes(make())
    raw.write_bytes(CONTENTS)
    theirs = tmp_path / f"theirs-{name}"  # its bzip2 is in a package of its own
    resources = name == "old.dmg"
    no_bzip2 = dmg_image(resources=resources, third=dmg.ZLIB)
    theirs.write_bytes(no_bzip2 if format == "dmg" else make())
    qemu("qemu-img", "compare", "-f", format, "-F", "raw", theirs, raw)
    assert f"file format: {format}" in qemu("qemu-img", "info", theirs).stdout
    image = open_image(path, mode=READONLY)
    assert (image.format, image.size) == (format, len(CONTENTS))
    assert image.read(0, image.size) == CONTENTS
    chance = random.Random(3)
    for _ in range(100):
        length = chance.randrange(1, 200) * 512
        offset = chance.randrange(0, image.size - length, 512)
        assert image.read(offset, length) == CONTENTS[offset : offset + length]
    at = 0
    while at < image.size:
        extent = image.status(at, image.size - at)
        assert not extent.zero or not any(CONTENTS[at : at + extent.length])
        at += extent.length
    image.close()


@pytest.mark.parametrize("name", IMAGES)
def test_image_cannot_be_opened_for_writing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(IMAGES[name][1]())
    with pytest.raises(ImageError, match="Image is read-only"):
        open_image(path)
    image = open_image(path, IMAGES[name][0], Mode(readonly=True))
    image.close()


@pytest.mark.parametrize("name", IMAGES)
def test_nothing_can_be_committed_to_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(IMAGES[name][1]())
    image = open_image(path, mode=READONLY)
    with pytest.raises(ImageError, match="is read only"):
        image.reopen(readonly=False)
    assert image.readonly
    image.close()


def fields(name: str, data: bytes) -> list[Field]:
    if name == "disk.bochs":
        tables = entries("catalog", 512, 4, len(CONTENTS) // 65536)
        return [*fields_of(bochs.Header), Field("size", bochs.Header.SIZE + 4, 8), *tables]
    if name == "disk.cloop":
        return [*fields_of(cloop.Header), *entries("offsets", 136, 8, 5, "big")]
    found = fields_of(dmg.Trailer, len(data) - dmg.Trailer.SIZE)
    if name == "old.dmg":
        at = data.index(b"mish")
        found += entries("resources", at - 260, 4, 4, "big")
        found += fields_of(dmg.Mish, at)
        for number in range(4):
            found += fields_of(dmg.ChunkEntry, at + dmg.Mish.SIZE + number * 40, f"{number} ")
    else:
        at = data.index(b"<?xml")
        found += [Field(f"plist[{place}]", place, 1) for place in range(at, at + 900, 13)]
    return found


@pytest.mark.parametrize("each", [6, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", IMAGES)
def test_each_field_changed(name: str, each: int) -> None:
    format, make = IMAGES[name]
    data = make()
    for number, (what, changed) in enumerate(mutations(data, fields(name, data), 1, each)):
        exercise(format, changed, what, writes=False, seed=number)


@pytest.mark.parametrize("name", IMAGES)
def test_files_that_end_too_early(name: str) -> None:
    format, make = IMAGES[name]
    data = make()
    for end in (0, 1, 511, 512, 700, 4096, len(data) - 1):
        exercise(format, data[:end], f"the first {end} bytes", writes=False)


@pytest.mark.parametrize("count", [50, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", IMAGES)
def test_structures_at_odds(name: str, count: int) -> None:
    format, make = IMAGES[name]
    data = make()
    for number, (what, changed) in enumerate(tangles(data, fields(name, data), 1, count)):
        exercise(format, changed, what, writes=False, seed=number)


def test_lzfse_needs_a_package(tmp_path: Path) -> None:
    data = bytearray(dmg_image(resources=True))
    at = data.index(struct.pack(">I", dmg.ZLIB))
    data[at : at + 4] = struct.pack(">I", dmg.LZFSE)
    (tmp_path / "disk.dmg").write_bytes(data)
    try:
        import liblzfse  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        with pytest.raises(ImageError, match="LZFSE need a Python package"):
            open_image(tmp_path / "disk.dmg", mode=READONLY)
    else:
        image = open_image(tmp_path / "disk.dmg", mode=READONLY)
        with pytest.raises(OSError, match="Input/output error"):
            image.read(0, image.size)
        image.close()
