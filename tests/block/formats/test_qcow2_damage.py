"""qcow2 images with changed fields, and qcow2 images whose last writes are missing."""

from __future__ import annotations

import errno
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pemu.block.formats.qcow2.header import DIRTY, Fields, MoreFields, parse_header
from pemu.block.formats.qcow2.snapshots import Entry, Extra
from pemu.block.graph import Graph
from pemu.block.image import Image, Snapshot
from pemu.block.opening import Mode
from pemu.block.pieces import Pieces
from tests.block.formats.exchange import create, open_image
from tests.block.mutation import Field, entries, exercise, fields_of, mutations, tangles
from tests.block.recording import Recording

OPTIONS: list[dict[str, str]] = [
    {},
    {"compat": "0.10", "cluster_size": "4k"},
    {"cluster_size": "512", "refcount_bits": "64"},
    {"cluster_size": "4k", "refcount_bits": "1"},
    {"cluster_size": "16k", "extended_l2": "on"},
    {"cluster_size": "4k", "lazy_refcounts": "on", "compression_type": "zstd"},
]
SIZE = 4 << 20


def name_of(options: dict[str, str]) -> str:
    return "-".join(f"{key}={value}" for key, value in options.items()) or "default"


def image_with_data(path: Path, options: dict[str, str]) -> bytes:
    """An image with data, compressed data, zeros, and a snapshot where that can be."""
    create("qcow2", path, SIZE, options)
    image = open_image(path, "qcow2")
    chance = random.Random(1)
    cluster = image.limits().cluster
    image.write(0, chance.randbytes(70000))
    image.write_compressed(2 << 20, b"ab" * (cluster // 2))
    if options.get("refcount_bits") != "1":
        image.create_snapshot(Snapshot("", "one"))
    if image.keeps_bitmaps:
        image.add_bitmap("b0")
        image.add_bitmap("b1", 512)
    image.write(1000, chance.randbytes(30000))
    image.write_zeroes(40000, 70000)
    image.close()
    return path.read_bytes()


def fields(data: bytes) -> list[Field]:
    """The fields of all tables of an image."""
    header = Fields.parse(data)
    found = fields_of(Fields)
    if header.version >= 3:
        found += fields_of(MoreFields, Fields.SIZE)
        found += [Field(f"byte {at}", at, 1) for at in range(104, 140)]
    l2 = entry(data, header.l1_table_offset)
    found += entries("l1", header.l1_table_offset, 8, 2, "big")
    found += entries("l2", l2, 8, 6, "big")
    packed = (2 << 20) >> header.cluster_bits
    per = (1 << header.cluster_bits) // 8
    other = entry(data, header.l1_table_offset + packed // per * 8)
    found += entries("l2 packed", other + packed % per * 8, 8, 2, "big")
    found += entries("refcount table", header.refcount_table_offset, 8, 2, "big")
    found += entries("refcounts", entry(data, header.refcount_table_offset), 8, 4, "big")
    if header.nb_snapshots:
        at = header.snapshots_offset
        found += fields_of(Entry, at, "snapshot ") + fields_of(Extra, at + Entry.SIZE, "extra ")
        found += entries("snapshot l1", Entry.parse(data, offset=at).l1_offset, 8, 2, "big")
    bitmaps = parse_header(data[: max(4096, 1 << header.cluster_bits)]).bitmaps
    if bitmaps is not None:
        directory = bitmaps.directory_offset
        found += entries("bitmap directory", directory, 8, bitmaps.directory_size // 8, "big")
        table = int.from_bytes(data[directory : directory + 8], "big")
        found += entries("bitmap table", table, 8, 1, "big")
    return found


def entry(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 8], "big") & 0x00FFFFFFFFFFFE00


@pytest.mark.parametrize("each", [4, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
def test_each_field_changed(tmp_path: Path, options: dict[str, str], each: int) -> None:
    data = image_with_data(tmp_path / "disk", options)
    for number, (what, changed) in enumerate(mutations(data, fields(data), 1, each)):
        exercise("qcow2", changed, what, writes=bool(number % 2), seed=number)


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
def test_structures_at_odds(tmp_path: Path, options: dict[str, str], count: int) -> None:
    data = image_with_data(tmp_path / "disk", options)
    for number, (what, changed) in enumerate(tangles(data, fields(data), 1, count)):
        exercise("qcow2", changed, what, writes=bool(number % 3), seed=number)


@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
def test_files_that_end_too_early(tmp_path: Path, options: dict[str, str]) -> None:
    data = image_with_data(tmp_path / "disk", options)
    for end in (0, 4, 72, 104, 511, 512, 1024, 4096, 65536, len(data) // 2, len(data) - 1):
        exercise("qcow2", data[:end], f"the first {end} bytes", writes=True)


# Cuts


def opened(disk: Recording, *, readonly: bool = False) -> Image:
    graph = Graph()
    graph.nodes["disk"] = disk
    return graph.open({"driver": "qcow2", "file": "disk"}, Mode(readonly=readonly, discard=True))


class History:
    """What was done to an image: steps of the file at which each thing began, and what it left.

    flushed: (steps after the flush, contents then). changes: (steps before, offset, contents).
    """

    def __init__(self, disk: Recording, seed: int) -> None:
        self.disk = disk
        self.image = opened(disk)
        self.chance = random.Random(seed)
        self.data = bytearray(self.image.size)
        self.flushed = [(0, bytes(self.data))]
        self.changes: list[tuple[int, int, bytes]] = []

    def change(self, offset: int, data: bytes, act: Callable[[], None]) -> None:
        self.changes.append((len(self.disk.steps), offset, data))
        act()
        self.data[offset : offset + len(data)] = data

    def step(self) -> None:
        image, chance = self.image, self.chance
        cluster = image.limits().cluster
        offset = chance.randrange(len(self.data)) // 512 * 512
        length = min(chance.choice((512, 4096, 20000 // 512 * 512)), len(self.data) - offset)
        kind = chance.randrange(8)
        if kind < 4:
            data = chance.randbytes(length)
            self.change(offset, data, lambda: image.write(offset, data))
        elif kind == 4:
            self.change(offset, bytes(length), lambda: image.write_zeroes(offset, length))
        elif kind == 5:
            start = offset // cluster * cluster
            zeros = bytes(min(cluster, len(self.data) - start))
            self.change(start, zeros, lambda: image.discard(start, len(zeros)))
        elif kind == 6:
            start = offset // cluster * cluster
            data = (chance.randbytes(4) * (cluster // 4))[: len(self.data) - start]
            self.change(start, data, lambda: image.write_compressed(start, data))
        else:
            self.flush()

    def flush(self) -> None:
        self.image.flush()
        self.flushed.append((len(self.disk.steps), bytes(self.data)))

    def expect(self, steps: int, found: bytes) -> None:
        """After a cut there is what had been flushed, but for what was changed since."""
        begun, kept = [one for one in self.flushed if one[0] <= steps][-1]
        before = max((one[0] for one in self.flushed if one[0] < begun), default=0)
        expected = bytearray(kept)
        for at, offset, data in self.changes:
            if not before <= at <= steps:
                continue
            for place in range(offset, offset + len(data), 512):
                now = found[place : place + 512]
                if now == data[place - offset : place - offset + 512]:
                    expected[place : place + 512] = now
        assert found == expected, [
            place for place in range(0, len(found), 512)
            if found[place : place + 512] != expected[place : place + 512]
        ][:8]  # fmt: skip


def check_cut(left: bytes, steps: int) -> bytes:
    """What a cut image has; it must be sound, but for clusters that nobody uses."""
    dirty = left[4:8] != b"\0\0\0\2" and int.from_bytes(left[72:80], "big") & DIRTY
    image = opened(Recording(left), readonly=not dirty)
    check = image.check_image()
    assert check.corruptions == 0, (steps, check.messages[:5])
    found = image.read(0, image.size)
    image.close()
    return found


@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
def test_cut_at_any_moment(tmp_path: Path, options: dict[str, str]) -> None:
    create("qcow2", tmp_path / "disk", 1 << 20, options)
    disk = Recording((tmp_path / "disk").read_bytes())
    history = History(disk, 2)
    for _ in range(60):
        history.step()
    history.flush()
    history.image.close()
    for steps, left in disk.cuts(1):
        history.expect(steps, check_cut(left, steps))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_many_cuts(tmp_path: Path, seed: int) -> None:
    create("qcow2", tmp_path / "disk", 1 << 20, OPTIONS[seed % len(OPTIONS)])
    disk = Recording((tmp_path / "disk").read_bytes())
    history = History(disk, seed)
    for _ in range(200):
        history.step()
    history.flush()
    history.image.close()
    for steps, left in disk.cuts(seed):
        history.expect(steps, check_cut(left, steps))


WITH_SNAPSHOTS = [one for one in OPTIONS if one.get("refcount_bits") != "1"]


def expect_unmarked(left: bytes, steps: int) -> None:
    """No repair is needed before the image is used."""
    more = MoreFields.parse(left, offset=Fields.SIZE) if Fields.parse(left).version > 2 else None
    assert more is None or not more.incompatible & DIRTY, steps


@pytest.mark.parametrize("options", WITH_SNAPSHOTS, ids=name_of)
def test_cut_while_snapshots_are_changed(tmp_path: Path, options: dict[str, str]) -> None:
    create("qcow2", tmp_path / "disk", 1 << 20, options)
    disk = Recording((tmp_path / "disk").read_bytes())
    image = opened(disk)
    one, two = (random.Random(n).randbytes(300000) for n in range(2))
    image.write(0, one)
    image.create_snapshot(Snapshot("", "one"))
    image.write(0, two)
    image.flush()
    from_here = len(disk.steps)
    image.create_snapshot(Snapshot("", "two"))
    changed = len(disk.steps)
    image.apply_snapshot("one")
    back = len(disk.steps)
    image.delete_snapshot("one")
    image.delete_snapshot("two")
    image.truncate(2 << 20)
    image.truncate(512 << 10)
    image.close()
    for steps, left in disk.cuts(1):
        if steps >= from_here:
            if "lazy_refcounts" not in options:
                expect_unmarked(left, steps)
            found = check_cut(left, steps)[: len(one)]
            allowed = {two} if steps <= changed else {one} if steps > back else {one, two}
            assert found in allowed, steps


class Snapshots:
    """Writes and changes of snapshots of an image. known: contents, by name."""

    def __init__(self, disk: Recording, seed: int) -> None:
        self.disk = disk
        self.image = opened(disk)
        self.chance = random.Random(seed)
        self.known: dict[str, bytes] = {}
        self.states: list[tuple[int, bytes, dict[str, bytes]]] = []
        self.note()

    def note(self) -> None:
        found = self.image.read(0, self.image.size)
        self.states.append((len(self.disk.steps), found, dict(self.known)))

    def step(self, number: int) -> None:
        image, chance = self.image, self.chance
        kind = chance.choice(("write", "packed", "create", "apply", "delete"))
        cluster = image.limits().cluster
        if kind == "write":
            offset = chance.randrange(image.size - 40960)
            image.write(offset, chance.randbytes(40960))
        elif kind == "packed":
            offset = chance.randrange(image.size // cluster) * cluster
            image.write_compressed(offset, chance.randbytes(8) * (cluster // 8))
        elif kind == "create" or not self.known:
            self.known[f"s{number}"] = image.read(0, image.size)
            image.create_snapshot(Snapshot("", f"s{number}"))
        elif kind == "apply":
            image.apply_snapshot(chance.choice(list(self.known)))
        else:
            name = chance.choice(list(self.known))
            image.delete_snapshot(name)
            del self.known[name]
        image.flush()
        self.note()

    def expect(self, steps: int, left: bytes) -> None:
        """A cut image has the state before the step that was under way, or that after it; data
        that was being written may be there in part."""
        before = [one for one in self.states if one[0] <= steps][-1]
        after = next((one for one in self.states if one[0] > steps), before)
        found = check_cut(left, steps)
        for at in range(0, len(found), 512):
            piece = slice(at, at + 512)
            assert found[piece] in (before[1][piece], after[1][piece]), (steps, at)
        names = [one.name for one in opened(Recording(left), readonly=True).snapshots()]
        assert names in (list(before[2]), list(after[2])), steps
        for name in names:
            image = opened(Recording(left), readonly=True)
            image.show_snapshot(name)
            assert image.read(0, image.size) == {**after[2], **before[2]}[name], (steps, name)


def cut_many_changes(tmp_path: Path, options: dict[str, str], seed: int, count: int) -> None:
    create("qcow2", tmp_path / "disk", 1 << 20, options)
    disk = Recording((tmp_path / "disk").read_bytes())
    history = Snapshots(disk, seed)
    for number in range(count):
        history.step(number)
    history.image.close()
    for steps, left in disk.cuts(seed):
        history.expect(steps, left)
    path = tmp_path / "left"
    for steps, data in list(disk.cuts(seed))[:: max(len(disk.steps) // 10, 1)]:
        if Fields.parse(data).version == 2:
            path.write_bytes(data)
            answer = subprocess.run(["qemu-img", "check", path], capture_output=True, text=True)
            assert answer.returncode in (0, 3), (steps, answer.stdout)  # 3: leaks


@pytest.mark.parametrize("options", WITH_SNAPSHOTS[:3], ids=name_of)
def test_cut_in_a_history_of_snapshots(tmp_path: Path, options: dict[str, str]) -> None:
    cut_many_changes(tmp_path, options, 1, 16)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_many_cuts_in_histories_of_snapshots(tmp_path: Path, seed: int) -> None:
    cut_many_changes(tmp_path, WITH_SNAPSHOTS[seed % len(WITH_SNAPSHOTS)], seed, 40)


@pytest.mark.parametrize("options", [{"cluster_size": "512"}, {"cluster_size": "4k"}], ids=name_of)
def test_cut_while_refcounts_get_another_width(tmp_path: Path, options: dict[str, str]) -> None:
    create("qcow2", tmp_path / "disk", 1 << 20, options)
    disk = Recording((tmp_path / "disk").read_bytes())
    image = opened(disk)
    data = random.Random(1).randbytes(300000)
    image.write(0, data)
    image.flush()
    from_here = len(disk.steps)
    for _ in image.amend({"refcount_bits": 8}):
        pass
    image.close()
    for steps, left in disk.cuts(1):
        if steps >= from_here:
            assert check_cut(left, steps)[: len(data)] == data


class Faulty(Recording):
    """A file that fails now and then. odds: of a failure, per write or flush."""

    odds = 0.0
    chance = random.Random(7)

    def _fail(self) -> None:
        if self.chance.random() < self.odds:
            raise OSError(errno.ENOSPC, "No space left on device")

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        self._fail()
        super()._write_from(offset, pieces)

    def flush(self) -> None:
        self._fail()
        super().flush()


@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
def test_file_that_fails(tmp_path: Path, options: dict[str, str]) -> None:
    """After errors of the file an image is sound, and has what was written without one."""
    create("qcow2", tmp_path / "disk", 1 << 20, options)
    disk = Faulty((tmp_path / "disk").read_bytes())
    image = opened(disk)
    chance = random.Random(5)
    expected = bytearray(1 << 20)
    unknown = bytearray(1 << 11)
    for _ in range(300):
        length = chance.choice((512, 4096, 30208))
        offset = chance.randrange(0, (1 << 20) - length, 512)
        sectors = slice(offset // 512, (offset + length) // 512)
        data = chance.choice((chance.randbytes, bytes))(length)
        disk.odds = 0.2
        try:
            if any(data):
                image.write(offset, data)
            else:
                image.write_zeroes(offset, length, unmap=True)
            if chance.random() < 0.1:
                image.flush()
            unknown[sectors] = bytes(length // 512)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            unknown[sectors] = b"\1" * (length // 512)
        disk.odds = 0.0
        expected[offset : offset + length] = data
    found = image.read(0, 1 << 20)
    image.close()
    for sector in range(1 << 11):
        if not unknown[sector]:
            part = slice(sector * 512, sector * 512 + 512)
            assert found[part] == expected[part], sector
    assert check_cut(bytes(disk.data), 0) == found
