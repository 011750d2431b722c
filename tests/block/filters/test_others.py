"""copy-on-read, blkverify, blklogwrites, null-co."""

from __future__ import annotations

from pathlib import Path

import pytest

from pemu.block.error import ImageError
from pemu.block.filters.copy_on_read import CopyOnRead
from pemu.block.filters.logwrites import DISCARD, FLUSH, Entry, Superblock
from pemu.block.graph import Graph
from pemu.block.opening import Mode


def test_what_is_read_is_copied(tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(b"abcd" * 65536)
    graph = Graph()
    options = {"backing_file": str(tmp_path / "base"), "backing_fmt": "raw"}
    graph.create("qcow2", str(tmp_path / "top"), 4 * 65536, options)
    image = graph.open_name(str(tmp_path / "top"), format="qcow2")
    copying = CopyOnRead(image)
    assert copying.read(65536, 10) == b"abcd" * 2 + b"ab"
    present = [image.status(at, 65536).present for at in range(0, 4 * 65536, 65536)]
    assert present == [False, True, False, False]
    copying.close()


def test_images_that_differ_are_found(tmp_path: Path) -> None:
    for name in ("raw", "test"):
        (tmp_path / name).write_bytes(bytes(4096))
    warnings: list[str] = []
    tree = {
        "driver": "blkverify",
        "raw": {"driver": "file", "filename": str(tmp_path / "raw")},
        "test": {"driver": "raw", "file": {"driver": "file", "filename": str(tmp_path / "test")}},
    }
    image = Graph(warnings.append).open(tree)
    image.write(100, b"same")
    assert image.read(100, 4) == b"same"
    (tmp_path / "test").open("r+b").write(b"\1")
    assert image.read(100, 4) == b"same"
    with pytest.raises(OSError, match="contents mismatch at offset 0"):
        image.read(0, 512)
    assert "mismatch at offset 0" in warnings[0]
    image.close()


def test_writes_are_logged_and_a_log_goes_on(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(65536))
    (tmp_path / "log").write_bytes(b"")
    tree = {
        "driver": "blklogwrites",
        "file": {"driver": "file", "filename": str(tmp_path / "disk")},
        "log": {"driver": "file", "filename": str(tmp_path / "log")},
    }
    graph = Graph()
    image = graph.open(tree, Mode(discard=True))
    image.write(1024, b"a" * 512)
    image.discard(4096, 1024)
    image.close()
    image = graph.open({**tree, "log-append": True})
    image.flush()
    image.close()
    log = (tmp_path / "log").read_bytes()
    assert Superblock.parse(log) == Superblock(entries=3, sector_size=512)
    assert Entry.parse(log, offset=512) == Entry(sector=2, sectors=1)
    assert log[1024:1536] == b"a" * 512
    assert Entry.parse(log, offset=1536) == Entry(sector=8, sectors=2, flags=DISCARD)
    assert Entry.parse(log, offset=2048) == Entry(sector=0, sectors=0, flags=FLUSH)


def test_log_that_is_none_is_not_appended_to(tmp_path: Path) -> None:
    for name in ("disk", "log"):
        (tmp_path / name).write_bytes(bytes(4096))
    tree = {
        "driver": "blklogwrites",
        "log-append": True,
        "file": {"driver": "file", "filename": str(tmp_path / "disk")},
        "log": {"driver": "file", "filename": str(tmp_path / "log")},
    }
    with pytest.raises(ImageError, match="is no log of writes"):
        Graph().open(tree)


def test_null_forgets_what_is_written() -> None:
    image = Graph().open({"driver": "null-co", "size": "1M", "read-zeroes": True})
    image.write(0, b"abc")
    assert (image.size, image.read(0, 3), image.status(0, 512).zero) == (1 << 20, bytes(3), True)
    image.close()


@pytest.mark.parametrize("name", ["null-co://x", "blkdebug:x", "blkverify:x", "host_cdrom:/dev/x"])
def test_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ImageError):
        Graph().open_name(name)
