"""Images with a changed field, and images of which the end of the writes is missing."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pemu.block.formats import parallels, qcow, qed, vdi, vhdx_layout, vmdk_extent, vpc
from pemu.block.graph import Graph
from tests.block.formats.exchange import create, open_image
from tests.block.mutation import Field, entries, exercise, fields_of, mutations, tangles
from tests.block.recording import Recording


class Damage(NamedTuple):
    """How a format is tested: options and bytes of the image, the fields that are changed."""

    format: str
    fields: Callable[[bytes], list[Field]]
    options: dict[str, str] = {}
    size: int = 6 << 20
    checks: bool = True
    seal: Callable[[bytearray], None] | None = None
    """Makes checksums right again."""
    cases: int = 20_000
    """Of the long test."""

    def __str__(self) -> str:
        return "-".join([self.format, *(f"{key}={one}" for key, one in self.options.items())])


def vdi_fields(data: bytes) -> list[Field]:
    return [*fields_of(vdi.Header), *entries("map", 512, 4, 6)]


def vpc_fields(data: bytes) -> list[Field]:
    start = vpc.Footer.SIZE
    header = fields_of(vpc.DynamicHeader, start)
    return [*fields_of(vpc.Footer), *header, *entries("table", 1536, 4, 3, "big")]


def fixed_vpc_fields(data: bytes) -> list[Field]:
    return fields_of(vpc.Footer, len(data) - 512)


def seal_vpc(data: bytearray) -> None:
    """Make the checksum of the first footer, or the last one, right again."""
    at = 0 if data[:8] == b"conectix" else len(data) - 512
    data[at : at + 512] = vpc.Footer.parse(data, offset=at).sealed()


def parallels_fields(data: bytes) -> list[Field]:
    return [*fields_of(parallels.Header), *entries("table", parallels.Header.SIZE, 4, 6)]


def qed_fields(data: bytes) -> list[Field]:
    l1 = qed.Header.parse(data).l1_offset
    l2 = int.from_bytes(data[l1 : l1 + 8], "little")
    return [*fields_of(qed.Header), *entries("l1", l1, 8, 2), *entries("l2", l2, 8, 3)]


def qcow_fields(data: bytes) -> list[Field]:
    l1 = qcow.Header.parse(data).l1_offset
    l2 = int.from_bytes(data[l1 : l1 + 8], "big")
    tables = [*entries("l1", l1, 8, 2, "big"), *entries("l2", l2, 8, 3, "big")]
    return [*fields_of(qcow.Header), *tables]


def vmdk_fields(data: bytes) -> list[Field]:
    header = vmdk_extent.SparseHeader.parse(data)
    directory = header.directory * 512
    table = int.from_bytes(data[directory : directory + 4], "little") * 512
    tables = [*entries("directory", directory, 4, 1), *entries("table", table, 4, 3)]
    text = [Field(f"descriptor[{at}]", at, 1) for at in range(512, 512 + 340, 7)]
    return [*fields_of(vmdk_extent.SparseHeader), *tables, *text]


def vhdx_fields(data: bytes) -> list[Field]:
    start = vhdx_layout.REGION_TABLES[0]
    places = [
        int.from_bytes(data[start + at : start + at + 8], "little") for at in (16 + 16, 48 + 16)
    ]
    layout = vhdx_layout
    fields = [Field("identifier", 0, 8)]
    for offset in layout.HEADERS:
        fields += fields_of(layout.Header, offset, f"header at {offset}: ")
    fields += fields_of(layout.RegionHeader, start)
    fields += fields_of(layout.Region, start + 16, "bat ")
    fields += fields_of(layout.Region, start + 48, "metadata ")
    fields += entries("bat", places[0], 8, 3)
    fields += fields_of(layout.MetadataHeader, places[1])
    for number in range(5):
        fields += fields_of(layout.MetadataItem, places[1] + 32 + number * 32, f"item {number} ")
    return [*fields, *entries("metadata", places[1] + layout.ITEMS_START, 4, 10)]


def seal_vhdx(data: bytearray) -> None:
    for offset in vhdx_layout.HEADERS:
        data[offset : offset + 4096] = vhdx_layout.sealed(bytes(data[offset : offset + 4096]))
    for offset in vhdx_layout.REGION_TABLES:
        data[offset : offset + 65536] = vhdx_layout.sealed(bytes(data[offset : offset + 65536]))


CASES = [
    Damage("vhdx", vhdx_fields, {"block_size": "1M"}, seal=seal_vhdx, cases=5000),
    Damage("vmdk", vmdk_fields),
    Damage("vmdk", vmdk_fields, {"subformat": "streamOptimized"}),
    Damage("qcow", qcow_fields, checks=False),
    Damage("qed", qed_fields, {"table_size": "1"}),
    Damage("parallels", parallels_fields),
    Damage("vdi", vdi_fields),
    Damage("vpc", vpc_fields, seal=seal_vpc, checks=False),
    Damage("vpc", fixed_vpc_fields, {"subformat": "fixed"}, seal=seal_vpc, checks=False),
]


def image_with_data(path: Path, case: Damage) -> bytes:
    """An image with something in it."""
    create(case.format, path, case.size, case.options)
    image = open_image(path, case.format)
    chance = random.Random(1)
    for part in (0, 1, 3):
        image.write(image.size // 4 * part // 512 * 512, chance.randbytes(70000 // 512 * 512))
    image.close()
    return path.read_bytes()


@pytest.mark.parametrize("often", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_field_changed(tmp_path: Path, case: Damage, often: bool) -> None:
    data = image_with_data(tmp_path / "disk", case)
    fields = case.fields(data)
    each = case.cases // len(fields) if often else 6
    for number, (what, changed) in enumerate(mutations(data, fields, 1, each)):
        exercise(case.format, changed, what, writes=bool(number % 2), seed=number)
        if case.seal is not None:
            sealed = bytearray(changed)
            case.seal(sealed)
            what += ", checksums right"
            exercise(case.format, bytes(sealed), what, writes=bool(number % 2), seed=number)


@pytest.mark.parametrize("share", [200, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_structures_at_odds(tmp_path: Path, case: Damage, share: int) -> None:
    data = image_with_data(tmp_path / "disk", case)
    found = tangles(data, case.fields(data), 1, case.cases // share)
    for number, (what, changed) in enumerate(found):
        sealed = bytearray(changed)
        if case.seal is not None and number % 4 and len(changed) == len(data):
            case.seal(sealed)
        exercise(case.format, bytes(sealed), what, writes=bool(number % 3), seed=number)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_files_that_end_too_early(tmp_path: Path, case: Damage) -> None:
    data = image_with_data(tmp_path / "disk", case)
    for end in (0, 1, 511, 512, 513, 700, 1024, 1536, 2048, 4096, 65536, len(data) - 1):
        exercise(case.format, data[:end], f"the first {end} bytes", writes=True)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cut_at_any_moment(tmp_path: Path, case: Damage) -> None:
    create(case.format, tmp_path / "disk", case.size, case.options)
    disk = Recording((tmp_path / "disk").read_bytes())
    history = write_history(disk, case.format)
    for steps, left in disk.cuts(1):
        check_cut(case, left, steps, history)


class Written(NamedTuple):
    """A write of one sector: when it began and was flushed (in steps of the file), what it was."""

    begun: int
    flushed: int
    data: bytes


def opened(format: str, disk: Recording) -> Any:
    graph = Graph()
    graph.nodes["disk"] = disk
    return graph.open({"driver": format, "file": "disk"})


def write_history(disk: Recording, format: str) -> dict[int, list[Written]]:
    """Random writes and flushes; for each sector what was written there in turn."""
    chance = random.Random(3)
    image = opened(format, disk)
    history: dict[int, list[Written]] = {}
    waiting: list[tuple[int, int, bytes]] = []

    def flushed() -> None:
        for sector, begun, data in waiting:
            history.setdefault(sector, []).append(Written(begun, len(disk.steps), data))
        waiting.clear()

    for _ in range(24):
        first = chance.randrange(image.size // 512 - 8)
        begun = len(disk.steps)
        count = chance.randrange(1, 8)
        data = chance.randbytes(512 * count)
        image.write(first * 512, data)
        waiting += [(first + n, begun, data[n * 512 : n * 512 + 512]) for n in range(count)]
        if not chance.randrange(4):
            image.flush()
            flushed()
    image.flush()
    flushed()
    image.close()
    return history


def check_cut(case: Damage, left: bytes, steps: int, history: dict[int, list[Written]]) -> None:
    """What was flushed before the cut is there, and no table is wrong."""
    image = opened(case.format, Recording(left))
    if case.checks:
        found = image.check_image()
        assert (found.corruptions, found.errors) == (0, 0), (steps, found.messages)
    for sector, writes in history.items():
        allowed = {bytes(512)}
        for one in writes:
            if one.flushed <= steps:
                allowed = {one.data}
            elif one.begun < steps:
                allowed.add(one.data)
        assert image.read(sector * 512, 512) in allowed, (sector, steps)
    image.close()
