"""`pemu-io` on damaged qcow2 images refuses to write over tables where qemu-io does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pemu.block.formats.qcow2.header import Fields, MoreFields
from pemu.block.formats.qcow2.snapshots import Entry
from tests.block.formats.test_qcow2_reading import run
from tests.cli.sidebyside import Pair

TABLES = (
    "header", "refcount table", "refcount block", "l1", "l2", "snapshots", "other l1", "other l2"
)  # fmt: skip

OPTIONS = (
    "",
    "overlap-check=none",
    "overlap-check=constant",
    "overlap-check=cached",
    "overlap-check.template=all",
    "overlap-check.template=none,overlap-check.active-l2=on",
    "overlap-check.active-l1=off",
)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An image with data and a snapshot."""
    path = tmp_path_factory.mktemp("images") / "disk"
    run("qemu-img", "create", "-f", "qcow2", path, "64M")
    run("qemu-io", "-c", "write -P 1 0 64k", path)
    run("qemu-img", "snapshot", "-c", "one", path)
    run("qemu-io", "-c", "write -P 2 64k 64k", path)
    return path.read_bytes()


def places(data: bytes | bytearray) -> dict[str, int]:
    """Where the tables are."""

    def pointer(at: int) -> int:
        return int.from_bytes(data[at : at + 8], "big") & 0x00FFFFFFFFFFFE00

    header = Fields.parse(data)
    other = Entry.parse(data, offset=header.snapshots_offset).l1_offset
    table = header.refcount_table_offset
    tables = [0, table, pointer(table), header.l1_table_offset, pointer(header.l1_table_offset)]
    return dict(zip(TABLES, [*tables, header.snapshots_offset, other, pointer(other)], strict=True))


def unused(data: bytearray, table: str) -> None:
    """Have the refcounts say that nobody uses a table."""
    where = places(data)
    at = where["refcount block"] + 2 * (where[table] >> 16)
    data[at : at + 2] = bytes(2)


def aimed(data: bytearray, table: str) -> None:
    """Have the second cluster of the disk lie in a table."""
    where = places(data)
    entry = where["l2"] + 8
    data[entry : entry + 8] = (where[table] | 1 << 63).to_bytes(8, "big")


@pytest.mark.parametrize("damage", [unused, aimed], ids=["unused", "aimed"])
@pytest.mark.parametrize("table", TABLES)
def test_write_over_a_table(
    image: bytes, tmp_path: Path, damage: Callable[[bytearray, str], None], table: str
) -> None:
    pair = Pair("io", tmp_path)
    data = bytearray(image)
    damage(data, table)
    marks = Fields.SIZE + MoreFields.OFFSETS["incompatible"]
    for options in OPTIONS:
        pair.write("disk", bytes(data))
        open = f"open -o {options} disk" if options else "open disk"
        place = "64k" if damage is aimed else "1M"
        words = ["-c", open, "-c", f"write -q -P 9 {place} 64k", "-c", "write -q 2M 64k"]
        ours, theirs = pair.both(*words)
        assert ours == theirs, options
        one, two = pair.read("disk", marks + 8)  # of up to 2 GiB, with holes
        assert one[marks : marks + 8] == two[marks : marks + 8], options


@pytest.mark.parametrize(
    "options",
    [
        "cache-size=1M,l2-cache-size=1M,refcount-cache-size=1M",
        "cache-size=1M,l2-cache-size=2M",
        "cache-size=1M,refcount-cache-size=2M",
        "cache-size=1M,l2-cache-size=512k",
        "l2-cache-entry-size=256",
        "l2-cache-entry-size=4k",
        "l2-cache-entry-size=128k",
        "l2-cache-entry-size=1000",
        "l2-cache-size=0",
        "refcount-cache-size=9P",
        "cache-size=9000P",
        "cache-clean-interval=10",
    ],
)
def test_sizes_of_caches_are_checked_as_qemu_checks_them(
    image: bytes, tmp_path: Path, options: str
) -> None:
    pair = Pair("io", tmp_path)
    pair.write("disk", image)
    ours, theirs = pair.both("-c", f"open -o {options} disk", "-c", "read -q 0 64k")
    assert ours == theirs
