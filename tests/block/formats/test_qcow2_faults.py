"""qcow2 images that others have left in disorder, state of machines, checks of damage."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pemu.block.error import ImageError
from pemu.block.formats.qcow2.bitmaps import Entry
from pemu.block.formats.qcow2.header import Fields
from pemu.block.graph import Graph
from pemu.block.image import Image, Snapshot
from pemu.block.opening import Mode
from tests.block.formats.test_qcow2_reading import run
from tests.block.mutation import entries, exercise, fields_of, mutations

PLAIN = random.Random(5).randbytes(300000)


def opened(path: Path, *, readonly: bool = False, repair: bool = False) -> Image:
    return Graph().open_name(str(path), mode=Mode(readonly=readonly, repair=repair))


def test_refcounts_that_qemu_left_behind_are_repaired(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    run("qemu-img", "create", "-f", "qcow2", "-o", "lazy_refcounts=on", path, "10M")
    command = ["qemu-io", "-c", "write -P 5 0 1M", "-c", "flush", "-c", "sigraise 9", str(path)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    image = opened(path)
    assert image.read(0, 1 << 20) == b"\5" * (1 << 20)
    image.write(2 << 20, PLAIN)
    image.close()
    assert "No errors" in run("qemu-img", "check", path)


def test_refcounts_that_were_left_behind_are_repaired_by_qemu(tmp_path: Path) -> None:
    path, left = tmp_path / "disk", tmp_path / "left"
    Graph().create("qcow2", str(path), 10 << 20, {"lazy_refcounts": "on"})
    image = opened(path)
    image.write(0, PLAIN)
    image.flush()
    left.write_bytes(path.read_bytes())
    image.close()
    run("qemu-io", "-c", "write -P 5 2M 64k", left)
    assert "No errors" in run("qemu-img", "check", left)
    image = opened(left, readonly=True)
    assert image.read(0, len(PLAIN)) == PLAIN
    image.close()


def test_state_of_a_machine_goes_with_a_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    Graph().create("qcow2", str(path), 10 << 20, {})
    image = opened(path)
    image.write(0, PLAIN)
    image.write_vmstate(0, [b"\7" * 199680])
    image.create_snapshot(Snapshot("", "running", clock=5_000_000_000, state_size=199680))
    image.write(0, bytes(1000))
    image.apply_snapshot("running")
    buffer = bytearray(199680)
    image.read_vmstate(0, [memoryview(buffer)])
    assert buffer == b"\7" * 199680
    image.close()
    run("qemu-img", "snapshot", "-a", "running", path)
    assert "failed" not in run("qemu-io", "-c", "read -b -P 7 0 199680", path)
    told = json.loads(run("qemu-img", "info", "--output=json", path))["snapshots"][0]
    assert (told["vm-state-size"], told["vm-clock-sec"]) == (199680, 5)
    assert "No errors" in run("qemu-img", "check", path)


def test_state_that_qemu_wrote_is_read(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    run("qemu-img", "create", "-f", "qcow2", path, "10M")
    run("qemu-io", "-c", "write -b -P 9 0 100k", path)
    image = opened(path, readonly=True)
    buffer = bytearray(102400)
    image.read_vmstate(0, [memoryview(buffer)])
    assert buffer == b"\x09" * 102400
    image.close()


def damaged(path: Path, places: dict[str, int]) -> Path:
    """An image in which words are changed: 'l2+n' the nth of the first L2 table, and so on."""
    Graph().create("qcow2", str(path), 10 << 20, {})
    image = opened(path)
    image.write(0, PLAIN)
    image.close()
    data = bytearray(path.read_bytes())
    header = Fields.parse(data)
    bases = {"l1": header.l1_table_offset, "reftable": header.refcount_table_offset}
    for name, at in (("l2", header.l1_table_offset), ("refcounts", header.refcount_table_offset)):
        bases[name] = int.from_bytes(data[at : at + 8], "big") & ~(1 << 63)
    for place, value in places.items():
        name, _, number = place.partition("+")
        width = 2 if name == "refcounts" else 8
        at = bases[name] + int(number) * width
        data[at : at + width] = value.to_bytes(width, "big")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "places",
    [
        {"refcounts+6": 0},
        {"refcounts+6": 2},
        {"refcounts+6": 0, "refcounts+7": 3},
        {"l2+1": 1 << 63 | 7 << 16},
        {"l2+1": 1 << 63 | 0x70200},
        {"l2+1": 7 << 16},
        {"l2+1": 0},
        {"l1+0": 4 << 16},
        {"l2+2": 1 << 63 | 1 << 40},
        {"reftable+1": 2 << 16},
        {"l2+1": 1 << 63 | 2 << 16},
    ],
    ids=str,
)
def test_check_counts_what_qemu_counts(tmp_path: Path, places: dict[str, int]) -> None:
    path = damaged(tmp_path / "disk", places)
    command = ["qemu-img", "check", "--output=json", str(path)]
    asked: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True).stdout)
    image = opened(path, readonly=True, repair=True)
    found = image.check_image()
    image.close()
    assert found.leaks == asked.get("leaks", 0)
    assert found.corruptions == asked.get("corruptions", 0)
    names = ("allocated", "fragmented", "compressed")
    told = [asked.get(f"{name}-clusters", 0) for name in names]
    ours = [found.allocated_clusters, found.fragmented_clusters, found.compressed_clusters]
    assert (ours, found.total_clusters) == (told, asked["total-clusters"])


@pytest.mark.parametrize(
    "places",
    [
        {"refcounts+6": 0},
        {"refcounts+6": 2, "refcounts+9": 1},
        {"l2+1": 7 << 16},
        {"l2+1": 0},
        {"reftable+0": 0},
        {"reftable+1": 2 << 16},
        {"reftable+0": 0x70200},
    ],
    ids=str,
)
def test_damage_is_repaired(tmp_path: Path, places: dict[str, int]) -> None:
    path = damaged(tmp_path / "disk", places)
    image = opened(path, repair=True)
    image.check_image("all")
    assert image.check_image().corruptions == 0
    image.close()
    assert "No errors" in run("qemu-img", "check", path)


def test_leaks_are_given_back(tmp_path: Path) -> None:
    path = damaged(tmp_path / "disk", {"l2+1": 0})
    image = opened(path, repair=True)
    found = image.check_image("leaks")
    image.close()
    assert (found.leaks_fixed, found.leaks) == (1, 0)
    assert "No errors" in run("qemu-img", "check", path)


def test_damaged_bitmaps(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    Graph().create("qcow2", str(path), 4 << 20, {"cluster_size": "4k"})
    image = opened(path)
    image.add_bitmap("one", 512)
    image.add_bitmap("two", 512)
    image.write(0, PLAIN)
    image.close()
    data = path.read_bytes()
    at = data.index((0x23852875).to_bytes(4, "big")) + 8
    directory = int.from_bytes(data[at + 16 : at + 24], "big")
    table = Entry.parse(data, offset=directory).table_offset
    fields = entries("extension", at - 8, 8, 4, "big") + fields_of(Entry, directory)
    fields += entries("table", table, 8, 2, "big")
    for number, (what, changed) in enumerate(mutations(data, fields, 1, 8)):
        exercise("qcow2", changed, what, writes=bool(number % 2), seed=number)


def test_damaged_header_of_encryption(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    graph = Graph()
    graph.objects["s"] = b"sesame"
    given = {"encrypt.format": "luks", "encrypt.key-secret": "s", "encrypt.iter-time": "1"}
    graph.create("qcow2", str(path), 1 << 20, given)
    data = path.read_bytes()
    at = data.index((0x0537BE77).to_bytes(4, "big"))
    for what, changed in mutations(data, entries("extension", at, 8, 3, "big"), 1, 8):
        path.write_bytes(changed)
        try:
            mode = Mode(readonly=True, describe=True)
            Graph().open_name(str(path), mode=mode).close()
        except ImageError:
            continue
        except BaseException as error:
            error.add_note(what)
            raise
