"""Nodes, their names, and how images are opened and made from names and options."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.opening import Mode


def test_image_that_is_made_can_be_opened(tmp_path: Path) -> None:
    name = str(tmp_path / "disk")
    graph = Graph()
    graph.create("raw", name, 1000, {"preallocation": "full"})
    image = graph.open_name(name, format="raw")
    assert (image.size, image.read(0, 1024)) == (1024, bytes(1024))
    assert (image.allocated() or 0) >= 1024
    image.close()


def test_node_is_closed_after_its_last_user(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(1024))
    graph = Graph()
    file = graph.open({"driver": "file", "filename": str(tmp_path / "disk"), "node-name": "f0"})
    one = graph.open({"driver": "raw", "file": "f0", "node-name": "one"})
    other = graph.open({"driver": "raw", "file": "f0", "offset": "512"})
    assert (graph.nodes["f0"], graph.nodes["one"]) == (file, one)
    file.close()
    one.close()
    assert (list(graph.nodes), other.read(0, 4)) == (["f0"], bytes(4))
    other.close()
    assert graph.nodes == {}


def test_file_of_a_failed_image_is_closed(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(1024))
    before = len(os.listdir("/proc/self/fd"))
    tree = {"driver": "raw", "offset": 4096, "file": {"driver": "file"}}
    tree["file"] = {"driver": "file", "filename": str(tmp_path / "disk")}
    with pytest.raises(ImageError, match=r"Offset \(4096\) cannot be greater"):
        Graph().open(tree)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "'driver' is missing"),
        ({"driver": "raw"}, 'must be specified for "file"'),
        ({"driver": "raw", "file": "nobody"}, "node-name='nobody'"),
        ({"driver": "file"}, "'filename' is missing"),
        ({"driver": "file", "filename": "x", "offset": 5}, "does not support the option 'offset'"),
        ({"driver": "file", "filename": "/none/x"}, "Could not open '/none/x': No such file"),
        ({"driver": "null-co", "node-name": "1x"}, "Invalid node-name: '1x'"),
        ({"driver": "null-co", "node-name": "x" * 32}, "Node name too long"),
        (
            {"driver": "raw", "node-name": "x", "file": {"driver": "null-co", "node-name": "x"}},
            "Duplicate nodes with node-name='x'",
        ),
    ],
)
def test_mistakes_are_named(tree: dict[str, object], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Graph().open(tree)


def test_file_is_opened_for_reading_where_only_that_is_allowed(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write to every file")
    (tmp_path / "disk").write_bytes(bytes(1024))
    (tmp_path / "disk").chmod(0o400)
    tree = {"driver": "file", "filename": str(tmp_path / "disk"), "auto-read-only": True}
    image = Graph().open(tree)
    assert image.readonly
    image.close()


def test_reopened_for_writing(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(1024))
    image = Graph().open_name(str(tmp_path / "disk"), format="raw", mode=Mode(readonly=True))
    image.reopen(readonly=False)
    image.write(0, b"abc")
    image.reopen(readonly=True)
    with pytest.raises(PermissionError):
        image.write(0, b"def")
    image.close()
    assert (tmp_path / "disk").read_bytes()[:3] == b"abc"
