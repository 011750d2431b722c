"""Which of the guest's paths are looked up below the directory of -L."""

from __future__ import annotations

from pathlib import Path

import pytest

from pemu.linux.programs.loader import translate_path
from tests.conftest import Run
from tests.linux.test_call_programs import COMPILERS, PROGRAMS, compile_program


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


@pytest.mark.parametrize("target", COMPILERS)
def test_native_code_finds_what_python_finds(target: str, pemu: Run, tmp_path: Path) -> None:
    inside = tmp_path / "root" / "inside"
    inside.mkdir(parents=True)
    (inside / "file").write_text("content\n")
    (inside / "link").symlink_to("file")
    (inside / "dangling").symlink_to("nowhere")
    (tmp_path / "root" / "dev").mkdir()
    (tmp_path / "root" / "device").write_text("device\n")
    program = tmp_path / "program"
    compile_program(COMPILERS[target], PROGRAMS / "prefixed.c", program, "-static")
    result = pemu(target, "-L", tmp_path / "root", program, cwd=tmp_path)
    first, *others = result.stdout.split("round\n")[1:]
    assert "/inside/file: 0 1 content\n EINVAL 0" in first
    assert "/inside/link: 0 1 content\n file 0" in first
    assert "/inside/dangling: -1 0  nowhere -1" in first
    assert "/device: 0 1 device\n EINVAL 0" in first
    assert "/dev/null: 0 1  EINVAL 0" in first
    assert others == [first, first]
