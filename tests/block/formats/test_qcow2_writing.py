"""qcow2 images that are made and written here: a model in memory and QEMU's tools judge them."""

from __future__ import annotations

import os
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.image import Image, Snapshot
from pemu.block.opening import Mode
from tests.block.formats.test_qcow2_reading import run
from tests.patience import LONG

SIZE = (3 << 20) + 1536
BELOW = 2 << 20

OPTIONS = (
    "",
    "compat=0.10",
    "cluster_size=512",
    "cluster_size=2M",
    "refcount_bits=1",
    "refcount_bits=2",
    "refcount_bits=64",
    "cluster_size=4k,refcount_bits=8",
    "extended_l2=on",
    "extended_l2=on,cluster_size=16k",
    "data_file=contents.raw",
    "data_file=contents.raw,data_file_raw=on",
    "lazy_refcounts=on",
    "compression_type=zstd",
    "preallocation=metadata",
    "preallocation=falloc",
    "preallocation=full",
    "extended_l2=on,preallocation=metadata",
)


class Model:
    """An image beside what it should contain."""

    def __init__(self, path: Path, options: str, seed: int, *, below: bool) -> None:
        self.path = path
        self.chance = random.Random(seed)
        self.data = bytearray(SIZE)
        given = dict(one.split("=") for one in options.split(",") if one)
        self.old = given.get("compat") == "0.10"
        if below:
            base = path.with_name("below")
            base.write_bytes(self.chance.randbytes(BELOW))
            self.data[:BELOW] = base.read_bytes()
            given |= {"backing_file": "below", "backing_fmt": "raw"}
        self.below = below
        self.kept: dict[str, bytes] = {}
        self.number = 0
        self.packs = "data_file" not in given
        self.graph = Graph(self.complain)
        self.graph.create("qcow2", str(path), SIZE, given)
        self.image: Image = self.graph.open_name(str(path), mode=Mode(discard=True))
        self.cluster = self.image.limits().cluster

    def complain(self, text: str) -> None:
        raise AssertionError(text)

    def reopen(self) -> None:
        self.image.close()
        self.image = self.graph.open_name(str(self.path), mode=Mode(discard=True))

    def place(self) -> tuple[int, int]:
        """A range, of whole sectors more often than not."""
        offset = self.chance.randrange(len(self.data))
        length = self.chance.choice((1, 512, 4096, 65536, 200000, 1000000))
        if self.chance.random() < 0.6:
            offset, length = offset // 512 * 512, max(length // 512 * 512, 512)
        return offset, min(length, len(self.data) - offset)

    def write(self) -> None:
        offset, length = self.place()
        data = self.chance.randbytes(length)
        self.image.write(offset, data)
        self.data[offset : offset + length] = data

    def write_zeroes(self) -> None:
        offset, length = self.place()
        self.image.write_zeroes(offset, length, unmap=self.chance.random() < 0.5)
        self.data[offset : offset + length] = bytes(length)

    def discard(self) -> None:
        """Whole clusters read as zeros afterwards; version 2 cannot have that with one below."""
        offset, length = self.place()
        self.image.discard(offset, length)
        start = -(-offset // self.cluster) * self.cluster
        stop = offset + length
        if stop < len(self.data):
            stop = stop // self.cluster * self.cluster
        if start < stop and not (self.old and self.below):
            self.data[start:stop] = bytes(stop - start)

    def write_compressed(self) -> None:
        if not self.packs:
            return
        offset = self.place()[0] // self.cluster * self.cluster
        length = min(self.chance.choice((1, 1, 4)) * self.cluster, len(self.data) - offset)
        clusters = []
        for _ in range(0, length, self.cluster):  # some of them do not get any smaller
            part = self.chance.choice((8, 8, self.cluster))
            clusters.append(self.chance.randbytes(part) * (self.cluster // part))
        data = b"".join(clusters)[:length]
        self.image.write_compressed(offset, data)
        self.data[offset : offset + length] = data

    def read(self) -> None:
        offset, length = self.place()
        assert self.image.read(offset, length) == self.data[offset : offset + length]
        data = bytearray(length)
        if self.image.read_cached(offset, [memoryview(data)]):
            assert data == self.data[offset : offset + length]

    def flush(self) -> None:
        self.image.flush()

    def take_snapshot(self) -> None:
        if len(self.kept) < 4:
            self.number += 1
            self.image.create_snapshot(Snapshot("", f"s{self.number}"))
            self.kept[f"s{self.number}"] = bytes(self.data)

    def go_back(self) -> None:
        for name in self.some():
            if not self.old or len(self.kept[name]) == len(self.data):
                self.image.apply_snapshot(name)
                self.data[:] = self.kept[name]

    def forget(self) -> None:
        for name in self.some():
            self.image.delete_snapshot(name)
            del self.kept[name]

    def some(self) -> list[str]:
        return self.chance.sample(sorted(self.kept), min(len(self.kept), 1))

    def resize(self) -> None:
        """What was cut off and comes back reads as zeros."""
        if self.old and self.kept:
            return
        size = SIZE + self.chance.randrange(-(1 << 20), 1 << 20) // 512 * 512
        self.image.truncate(size)
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))

    def step(self, *, snapshots: bool = False) -> None:
        often = (self.write, self.write, self.write, self.read, self.write_zeroes, self.discard)
        rarely = (self.write_compressed, self.flush)
        more = (self.take_snapshot, self.go_back, self.forget, self.resize) if snapshots else ()
        self.chance.choice(often * 2 + rarely * 2 + more)()

    def judge(self) -> None:
        """Close it, and have it judged by QEMU's tools."""
        assert self.image.read(0, len(self.data)) == self.data
        assert sorted(one.name for one in self.image.snapshots()) == sorted(self.kept)
        self.image.close()
        for name, data in self.kept.items():
            image = self.graph.open_name(str(self.path), mode=Mode(readonly=True))
            image.show_snapshot(name)
            assert image.read(0, len(data)) == data
            image.close()
        image = self.graph.open_name(str(self.path), mode=Mode(readonly=True))
        check = image.check_image()
        image.close()
        assert (check.corruptions, check.leaks) == (0, 0)
        assert "No errors were found" in run("qemu-img", "check", self.path)
        expected = self.path.with_name("expected")
        expected.write_bytes(self.data)
        run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", expected, self.path)


@pytest.mark.parametrize("below", [False, True], ids=["alone", "overlay"])
@pytest.mark.parametrize("options", OPTIONS)
def test_random_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, below: bool
) -> None:
    if below and ("raw=on" in options or options.startswith("preallocation")):
        return  # such images cannot be made
    monkeypatch.chdir(tmp_path)
    model = Model(tmp_path / "disk", options, len(options), below=below)
    for _ in range(60):
        model.step()
        if model.chance.random() < 0.03:
            model.reopen()
    model.judge()


SNAPSHOT_OPTIONS = [one for one in OPTIONS if "data_file" not in one and "refcount_bits=1" != one]


@pytest.mark.parametrize("seed", range(len(SNAPSHOT_OPTIONS)))
def test_random_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.chdir(tmp_path)
    options = SNAPSHOT_OPTIONS[seed]
    below = seed % 2 == 1 and "preallocation" not in options
    model = Model(tmp_path / "disk", options, seed, below=below)
    for _ in range(80):
        model.step(snapshots=not options.startswith("refcount_bits=2"))
        if model.chance.random() < 0.03:
            model.reopen()
    model.judge()


def test_more_references_than_fit_are_refused(tmp_path: Path) -> None:
    graph = Graph()
    graph.create("qcow2", str(tmp_path / "disk"), 1 << 20, {"refcount_bits": "1"})
    image = graph.open_name(str(tmp_path / "disk"))
    image.write(0, b"x" * 100000)
    with pytest.raises(ImageError, match="more than 1 references"):
        image.create_snapshot(Snapshot("", "one"))
    image.write(0, b"y" * 100000)
    image.close()
    assert "No errors were found" in run("qemu-img", "check", tmp_path / "disk")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_many_random_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.chdir(tmp_path)
    options = OPTIONS[seed % 12]
    model = Model(tmp_path / "disk", options, seed, below="raw=on" not in options and seed % 2 == 1)
    for _ in range(1000):
        model.step(snapshots="data_file" not in options and "refcount_bits" not in options)
    model.judge()


def test_image_written_by_qemu_is_written_here(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    run("qemu-img", "create", "-f", "qcow2", path, "10M")
    run("qemu-io", "-c", "write -P 1 0 1M", path)
    image = Graph().open_name(str(path))
    image.write(500000, bytes(1000))
    image.write(5 << 20, b"\2" * 65536)
    image.close()
    for pattern in ("-P 1 0 500000", "-P 0 500000 1000", "-P 1 501000 500000", "-P 2 5M 64k"):
        assert "verification failed" not in run("qemu-io", "-c", f"read {pattern}", path)
    assert "No errors were found" in run("qemu-img", "check", path)


def test_write_to_a_cluster_of_tables_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    graph = Graph()
    graph.create("qcow2", str(path), 1 << 20, {})
    image = graph.open_name(str(path))
    image.write(0, b"x" * 65536)
    image.close()
    data = bytearray(path.read_bytes())
    l1 = int.from_bytes(data[40:48], "big")
    l2 = int.from_bytes(data[l1 : l1 + 8], "big") & ~(1 << 63)
    data[l2 : l2 + 8] = (1 << 63 | l1).to_bytes(8, "big")
    path.write_bytes(data)
    said: list[str] = []
    image = Graph(said.append).open_name(str(path))
    with pytest.raises(OSError, match="overlaps with active L1 table"):
        image.write(0, b"y" * 512)
    with pytest.raises(OSError, match="corrupt"):
        image.read(0, 1)
    image.close()
    assert "Marking image as corrupt" in said[0]
    with pytest.raises(Exception, match="corrupt; cannot be opened read/write"):
        Graph().open_name(str(path))
    command = ("qemu-io", "-c", "read 0 512", str(path))
    found = subprocess.run(command, capture_output=True, text=True, timeout=LONG)
    assert "corrupt" in found.stderr


def test_image_can_grow_and_shrink(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    graph = Graph()
    graph.create("qcow2", str(path), 1 << 20, {"cluster_size": "4k"})
    image = graph.open_name(str(path))
    image.write(0, b"a" * (1 << 20))
    image.truncate(700 * 512)
    image.truncate(5 << 20)
    assert image.read(0, 5 << 20) == b"a" * (700 * 512) + bytes((5 << 20) - 700 * 512)
    image.write((5 << 20) - 512, b"b" * 512)
    image.truncate(64 << 30)
    image.write((64 << 30) - 512, b"c" * 512)
    image.close()
    assert "No errors were found" in run("qemu-img", "check", path)
    assert os.path.getsize(path) < 2 << 20


@pytest.mark.parametrize("options", ["", "extended_l2=on", "cluster_size=512", "compat=0.10"])
def test_several_threads_at_once(tmp_path: Path, options: str) -> None:
    """Each thread has its own blocks, which share clusters with those of the others."""
    path, block, threads = tmp_path / "disk", 4096, 4
    given = dict(one.split("=") for one in options.split(",") if one)
    Graph().create("qcow2", str(path), SIZE, given)
    image = Graph().open_name(str(path), mode=Mode(discard=True))
    expected = bytearray(SIZE)
    blocks = SIZE // block

    def work(number: int) -> None:
        chance = random.Random(number)
        mine = range(number, blocks, threads)
        for count in range(300):
            at = chance.choice(mine) * block
            if chance.randrange(4):
                data = chance.randbytes(block)
                image.write(at, data)
                expected[at : at + block] = data
            elif chance.randrange(2):
                image.write_zeroes(at, block, unmap=True)
                expected[at : at + block] = bytes(block)
            else:
                assert image.read(at, block) == expected[at : at + block]
            if count % 50 == number:
                image.flush()

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, number) for number in range(threads)]:
            done.result(timeout=LONG)
    assert image.read(0, SIZE) == expected
    image.close()
    assert "No errors were found" in run("qemu-img", "check", path)
