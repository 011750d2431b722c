"""`pemu-img` on exports of NBD servers."""

from __future__ import annotations

from pathlib import Path

from tests.cli.nbdserver import serving
from tests.cli.sidebyside import Pair, pemu_tool


def test_dirty_bitmap_of_an_export_is_shown_as_qemu_shows_it(tmp_path: Path) -> None:
    pair = Pair("img", tmp_path)
    disk = str(tmp_path / "disk")
    for words in (
        ("create", "-q", "-f", "qcow2", disk, "8M"),
        ("bitmap", "--add", "-g", "64k", disk, "b0"),
    ):
        assert pemu_tool("img", tmp_path, *words).status == 0
    pemu_tool("io", tmp_path, "-c", "write 1M 200k", "-c", "write 5M 64k", disk)
    node = f"driver=nbd,server.type=unix,server.path={tmp_path / 'nbd'},x-dirty-bitmap="
    with serving(tmp_path, "-f", "qcow2", "-B", "b0", disk):
        ours, theirs = pair.both(
            "map", "--output=json", "--image-opts", f"{node}qemu:dirty-bitmap:b0"
        )
        missing = pair.ours("map", "--image-opts", f"{node}qemu:dirty-bitmap:b1")
    assert ours == theirs
    assert ours.output.count('"data": false') == 2
    assert "requested x-dirty-bitmap not found" in missing.error
