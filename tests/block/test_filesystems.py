"""File systems made by their own tools, put into every format and read back by QEMU's."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.sidebyside import pemu_tool
from tests.patience import LONG

FORMATS = (
    "qcow2 -o compat=1.1",
    "qcow2 -o compat=0.10,cluster_size=4k",
    "qcow2 -o extended_l2=on,cluster_size=128k",
    "qcow2 -c",
    "qcow",
    "qed",
    "vdi",
    "vmdk",
    "vmdk -o subformat=streamOptimized",
    "vmdk -o subformat=twoGbMaxExtentFlat",
    "vpc -o force_size=on",
    "vhdx",
    "parallels",
)
"""Formats of the image, as options of `convert`."""


def _needs(tool: str, package: str) -> str:
    path = shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{tool} is missing (Debian package {package})")
    return path


def _run(*words: str | Path) -> None:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 0, f"{words[0]}: {done.stdout}{done.stderr}"


def _empty(path: Path, mebibytes: int) -> Path:
    with path.open("wb") as file:
        file.truncate(mebibytes << 20)
    return path


def _iso(tree: Path, path: Path) -> None:
    _run(_needs("genisoimage", "genisoimage"), "-quiet", "-r", "-J", "-o", path, tree)


def _ext4(tree: Path, path: Path) -> None:
    _run(_needs("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", "-d", tree, _empty(path, 16))


def _check_ext4(path: Path) -> None:
    _run(_needs("e2fsck", "e2fsprogs"), "-f", "-n", path)


def _xfs(tree: Path, path: Path) -> None:
    _run(_needs("mkfs.xfs", "xfsprogs"), "-q", "-b", "size=4096", _empty(path, 320))


def _check_xfs(path: Path) -> None:
    _run(_needs("xfs_repair", "xfsprogs"), "-n", "-f", path)


def _ntfs(tree: Path, path: Path) -> None:
    _run(_needs("mkntfs", "ntfs-3g"), "-q", "-Q", "-F", _empty(path, 16))
    for file in sorted(tree.iterdir()):
        _run(_needs("ntfscp", "ntfs-3g"), "-q", path, file, f"/{file.name}")


def _check_ntfs(path: Path) -> None:
    _run(_needs("ntfsfix", "ntfs-3g"), "-n", path)


def _fat(tree: Path, path: Path) -> None:
    _run(_needs("mkfs.fat", "dosfstools"), _empty(path, 16))
    _run(_needs("mcopy", "mtools"), "-i", path, *sorted(tree.iterdir()), "::")


def _check_fat(path: Path) -> None:
    _run(_needs("fsck.fat", "dosfstools"), "-n", path)


def _nothing(path: Path) -> None:
    """A format without a tool that checks it."""


SYSTEMS: dict[str, tuple[Callable[[Path, Path], None], Callable[[Path], None]]] = {
    "iso9660": (_iso, _nothing),
    "ext4": (_ext4, _check_ext4),
    "xfs": (_xfs, _check_xfs),
    "ntfs": (_ntfs, _check_ntfs),
    "fat": (_fat, _check_fat),
}
"""What makes each file system from a folder, and what checks it."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with text, noise, and a file of zeros."""
    folder = tmp_path_factory.mktemp("tree")
    (folder / "text").write_text("a line of text\n" * 50_000)
    (folder / "noise").write_bytes(hashlib.shake_128(b"noise").digest(3 << 20))
    (folder / "zeros").write_bytes(bytes(1 << 20))
    return folder


@pytest.fixture(
    scope="module",
    params=[
        name if name == "ext4" else pytest.param(name, marks=pytest.mark.slow) for name in SYSTEMS
    ],
)
def made(request: pytest.FixtureRequest, tree: Path, tmp_path_factory: pytest.TempPathFactory
         ) -> tuple[str, Path]:  # fmt: skip
    """A file system: its name, and the raw image of it."""
    name = str(request.param)
    path = tmp_path_factory.mktemp(name) / "raw"
    SYSTEMS[name][0](tree, path)
    return name, path


def _sum(path: Path, size: int) -> str:
    """The hash of the first `size` bytes; all after them must be zeros."""
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(size)).hexdigest()
        assert not file.read().strip(b"\0")
    return digest


@pytest.mark.parametrize("format", FORMATS)
def test_file_system_comes_back(made: tuple[str, Path], tmp_path: Path, format: str) -> None:
    name, raw = made
    kind, *options = format.split()
    _needs("qemu-img", "qemu-utils")
    words = ("convert", "-f", "raw", "-O", kind, *options, str(raw), "image")
    answer = pemu_tool("img", tmp_path, *words)
    assert answer.status == 0, answer.error
    size = raw.stat().st_size
    _run("qemu-img", "convert", "-f", kind, "-O", "raw", tmp_path / "image", tmp_path / "theirs")
    answer = pemu_tool("img", tmp_path, "convert", "-f", kind, "-O", "raw", "image", "ours")
    assert answer.status == 0, answer.error
    sums = {_sum(path, size) for path in (raw, tmp_path / "theirs", tmp_path / "ours")}
    assert len(sums) == 1
    SYSTEMS[name][1](tmp_path / "ours")
