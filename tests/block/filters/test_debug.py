"""blkdebug: which accesses fail, and when; what the user is told then."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from typing import Any

import pytest

from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.cli import img


def opened(tmp_path: Path, **options: Any) -> Image:
    path = tmp_path / "disk"
    path.write_bytes(bytes(65536))
    inner = {"driver": "file", "filename": str(path)}
    return Graph().open({"driver": "blkdebug", "image": inner, **options})


def fails(image: Image, offset: int = 0, length: int = 512) -> int:
    """The error of a read, or 0."""
    try:
        image.read(offset, length)
    except OSError as error:
        return error.errno or -1
    return 0


def rule(**keys: Any) -> dict[str, Any]:
    return {"inject-error": [{"event": "preadv", **keys}]}


def test_without_rules_it_is_the_image(tmp_path: Path) -> None:
    image = opened(tmp_path)
    image.write(1000, b"abc")
    assert image.read(999, 5) == b"\0abc\0"
    image.close()


def test_error_has_the_rules_number(tmp_path: Path) -> None:
    image = opened(tmp_path, **rule(errno=errno.ENOSPC))
    assert [fails(image), fails(image)] == [errno.ENOSPC, errno.ENOSPC]
    image.close()


def test_once_is_once(tmp_path: Path) -> None:
    image = opened(tmp_path, **rule(once=True))
    assert [fails(image), fails(image)] == [errno.EIO, 0]
    image.close()


def test_only_the_sector_fails(tmp_path: Path) -> None:
    image = opened(tmp_path, **rule(sector=3))
    found = [fails(image, offset, 1024) for offset in (0, 1024, 2048)]
    assert found == [0, errno.EIO, 0]
    image.close()


def test_only_the_kind_of_access_fails(tmp_path: Path) -> None:
    image = opened(tmp_path, **{"inject-error": [{"event": "none", "iotype": "flush"}]})
    assert fails(image) == 0
    image.write(0, b"abc")
    with pytest.raises(OSError, match="Input/output error"):
        image.flush()
    image.close()


def test_states_follow_each_other(tmp_path: Path) -> None:
    image = opened(
        tmp_path,
        **{
            "set-state": [
                {"event": "preadv", "state": 1, "new_state": 2},
                {"event": "pwritev", "state": 2, "new_state": 3},
            ],
            "inject-error": [{"event": "preadv", "state": 3}],
        },
    )
    assert [fails(image), fails(image)] == [0, 0]
    image.write(0, b"abc")
    assert fails(image) == errno.EIO
    image.close()


def test_unaligned_accesses_become_aligned(tmp_path: Path) -> None:
    image = opened(tmp_path, align=4096, **rule(sector=7))
    assert image.limits().alignment == 4096
    assert [fails(image, 10, 20), fails(image, 4096, 20)] == [errno.EIO, 0]
    image.close()
    image = opened(tmp_path, align=4096)
    image.write(1000, b"a" * 5000)
    image.write_zeroes(2000, 3000)
    assert image.read(0, 8192) == (
        bytes(1000) + b"a" * 1000 + bytes(3000) + b"a" * 1000 + bytes(2192)
    )
    image.close()


def test_long_accesses_come_in_pieces(tmp_path: Path) -> None:
    image = opened(tmp_path, **{"max-transfer": 4096})
    data = bytes(range(256)) * 100
    image.write(5000, data)
    assert image.read(5000, len(data)) == data
    image.close()


def test_rules_of_a_file(tmp_path: Path) -> None:
    config = tmp_path / "rules"
    config.write_text(
        '# comment\n[inject-error]\nevent = "preadv"\nerrno = "5"\nstate = "2"\n\n'
        '[set-state]\nevent = "pwritev"\nnew_state = "2"\n'
    )
    image = opened(tmp_path, config=str(config))
    assert fails(image) == 0
    image.write(0, b"abc")
    assert fails(image) == errno.EIO
    image.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("event = x", "rules:1: 'event = x' is neither a section"),
        ("[inject-error]\nevent = nothing", "'nothing' is none of"),
        ("[inject-error]\n", "'event' is missing"),
        ("[set-state]\nevent=preadv\n", "'new_state' is missing"),
    ],
)
def test_wrong_rules_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rules").write_text(text)
    with pytest.raises(ImageError, match=message):
        opened(tmp_path, config=str(tmp_path / "rules"))


def test_full_disk_is_told_with_its_place(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "source").write_bytes(b"abcd" * 65536)
    (tmp_path / "disk").write_bytes(bytes(4 * 65536))
    (tmp_path / "rules").write_text("[inject-error]\nevent=write_aio\nerrno=28\n")
    target = f"blkdebug:{tmp_path / 'rules'}:{tmp_path / 'disk'}"
    words = ["convert", "-n", "-f", "raw", "-O", "raw", str(tmp_path / "source"), target]
    assert img.main(words) == 1
    assert "error while writing at byte 0: No space left on device" in capfd.readouterr().err


def lose(image: Image) -> None:
    """Write where there are no clusters and no L2 table yet."""
    for at in (100_000, 1 << 29):
        image.write(at, b"lost")
        image.flush()


EVENTS = ("l2_update", "refblock_update", "l1_update", "pwritev", "write_aio", "flush_to_disk")


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("once", [False, True])
def test_failed_write_leaves_a_sound_qcow2(tmp_path: Path, event: str, once: bool) -> None:
    """Whatever fails, the image has no worse damage than leaks, and what was flushed."""
    name = str(tmp_path / "disk.qcow2")
    graph = Graph()
    graph.create("qcow2", name, 1 << 30, {})
    image = graph.open_name(name, format="qcow2")
    image.write(0, b"kept" * 1024)
    image.close()
    error = {"event": event, "errno": errno.ENOSPC, "once": once}
    file = {"driver": "file", "filename": name}
    broken = {"driver": "blkdebug", "inject-error": [error], "image": file}
    image = graph.open({"driver": "qcow2", "file": broken})
    with pytest.raises(OSError, match="No space left on device"):
        lose(image)
    with contextlib.suppress(OSError):
        image.close()
    image = graph.open_name(name, format="qcow2")
    assert image.check_image().corruptions == 0
    assert image.read(0, 1000) == b"kept" * 250
    image.close()
