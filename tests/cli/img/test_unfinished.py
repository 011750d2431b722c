"""What `pemu-img convert` leaves behind where it fails in the middle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.sidebyside import pemu_tool

MIB = 1 << 20


@pytest.mark.parametrize("options", [(), ("-W",), ("-o", "preallocation=full"), ("-S", "0")])
def test_unfinished_raw_target_has_a_byte_too_many(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "source").write_bytes(b"\7" * (9 * MIB))
    rule = {"event": "none", "iotype": "read", "sector": 8 * MIB // 512}
    file = {"driver": "blkdebug", "image.filename": "source", "inject-error": [rule]}
    broken = "json:" + json.dumps({"driver": "raw", "file": file})
    words = ("convert", "-O", "raw", *options)
    failed = pemu_tool("img", tmp_path, *words, broken, "new")
    assert failed.status == 1
    assert (tmp_path / "new").stat().st_size == 9 * MIB + 1
    done = pemu_tool("img", tmp_path, *words, "-f", "raw", "source", "new")
    assert (done.status, done.error) == (0, "")
    assert (tmp_path / "new").read_bytes() == (tmp_path / "source").read_bytes()
