"""Which of the guest's paths are looked up below the directory of -L."""

from __future__ import annotations

from pathlib import Path

import pytest

from pemu.linux.loader import translate_path


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    for name in ("dev", "proc", "sys", "etc", "process"):
        (tmp_path / name).mkdir()
    (tmp_path / "etc" / "link").symlink_to("nowhere")
    return str(tmp_path)


@pytest.mark.parametrize("path", [b"/etc", b"/etc/link", b"/process"])
def test_what_exists_there_is_found_there(prefix: str, path: bytes) -> None:
    assert translate_path(prefix, path) == prefix.encode() + path


@pytest.mark.parametrize("path", [b"/etc/passwd", b"etc", b""])
def test_all_else_is_the_host_s(prefix: str, path: bytes) -> None:
    assert translate_path(prefix, path) == path


@pytest.mark.parametrize("path", [b"/dev", b"/proc", b"/proc/", b"/sys"])
def test_empty_mount_points_do_not_hide_what_the_kernel_provides(prefix: str, path: bytes) -> None:
    assert translate_path(prefix, path) == path
