"""Tools that are killed in the middle leave sources unharmed, and images consistent."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.opening import Mode
from tests.cli.sidebyside import command, pemu_tool

SIZE = 48 << 20


def run(folder: Path, *words: str) -> None:
    answer = pemu_tool("img", folder, *words)
    assert answer.status == 0, answer.error


def scatter(path: Path, seed: int, count: int = 150) -> None:
    """Write noise to many places of an image."""
    chance = random.Random(seed)
    image = Graph().open_name(str(path), format="qcow2")
    for _ in range(count):
        image.write(chance.randrange(SIZE >> 9) << 9, chance.randbytes(512) * 100)
    image.close()


def contents(path: Path) -> bytes:
    image = Graph().open_name(str(path), format="qcow2", mode=Mode(readonly=True))
    try:
        return image.read(0, image.size)
    finally:
        image.close()


def prepare(folder: Path) -> None:
    """A base, an image over it with a snapshot, and another base with other contents."""
    for name, below, seed in (("base", "", 1), ("other", "", 2), ("top", "base", 3)):
        backing = ("-b", below, "-F", "qcow2") if below else ()
        run(folder, "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", *backing, name,
            str(SIZE))  # fmt: skip
        scatter(folder / name, seed)
    run(folder, "snapshot", "-c", "first", "top")
    scatter(folder / "top", 4)


COMMANDS: dict[str, tuple[str, ...]] = {
    "convert": ("convert", "-O", "qcow2", "-o", "cluster_size=4k", "top", "new"),
    "convert compressed": ("convert", "-c", "-O", "qcow2", "top", "new"),
    "commit": ("commit", "-q", "top"),
    "rebase": ("rebase", "-b", "other", "-F", "qcow2", "top"),
    "snapshot create": ("snapshot", "-c", "second", "top"),
    "snapshot apply": ("snapshot", "-a", "first", "top"),
    "snapshot delete": ("snapshot", "-d", "first", "top"),
    "amend": ("amend", "-f", "qcow2", "-o", "refcount_bits=64", "top"),
    "resize": ("resize", "-q", "-f", "qcow2", "top", str(SIZE * 2)),
    "shrink": ("resize", "-q", "--shrink", "-f", "qcow2", "top", str(SIZE // 2)),
}


def qemu(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["qemu-img", *words], cwd=folder, capture_output=True, text=True)


def check(folder: Path, name: str) -> None:
    """There is nothing worse than clusters that nobody uses, or the image says that there may be.

    In that case whoever opens it for writing repairs it first, as is done here.
    """
    done = qemu(folder, "check", "-f", "qcow2", name)
    if done.returncode in (0, 3):
        return
    info = json.loads(qemu(folder, "info", "--output=json", name).stdout)
    assert info["dirty-flag"], done.stdout + done.stderr
    assert qemu(folder, "check", "-f", "qcow2", "-r", "all", name).returncode == 0
    assert qemu(folder, "check", "-f", "qcow2", name).returncode == 0


def kill_in_the_middle(folder: Path, words: tuple[str, ...], delay: float) -> None:
    """Run the command and kill it after `delay` seconds, if it has not ended."""
    process = subprocess.Popen(
        [*command("img"), *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        process.communicate(timeout=delay)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def after(name: str, folder: Path, before: dict[str, bytes]) -> None:
    """What must hold, wherever the command was killed."""
    check(folder, "top")
    check(folder, "base")
    assert contents(folder / "other") == before["other"]
    if name.startswith("convert"):
        assert contents(folder / "top") == before["top"]
        if (folder / "new").exists():
            try:
                contents(folder / "new")
            except ImageError:
                return  # it was not begun
            check(folder, "new")
        return
    if name != "commit":
        assert contents(folder / "base") == before["base"]
    now = contents(folder / "top")
    if name == "shrink":  # what is given up may be gone already
        assert now[: SIZE // 2] == before["top"][: SIZE // 2]
        return
    allowed = [before["top"]]
    if name == "snapshot apply":
        allowed.append(before["first"])
    elif name == "resize":
        allowed.append(before["top"] + bytes(SIZE))
    assert now in allowed


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A folder of images, and their contents; also those of the snapshot 'first'."""
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is missing (Debian package qemu-utils)")
    folder = tmp_path_factory.mktemp("fresh")
    prepare(folder)
    before = {one: contents(folder / one) for one in ("base", "other", "top")}
    run(folder, "convert", "-l", "first", "-O", "raw", "top", "raw")
    before["first"] = (folder / "raw").read_bytes()
    (folder / "raw").unlink()
    return folder, before


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("count", [1, pytest.param(25, marks=pytest.mark.slow)])
def test_killed_in_the_middle(
    fresh: tuple[Path, dict[str, bytes]], tmp_path: Path, name: str, count: int
) -> None:
    images, before = fresh
    whole = tmp_path / "whole"
    shutil.copytree(images, whole)
    start = time.monotonic()
    run(whole, *COMMANDS[name])
    longest = time.monotonic() - start
    chance = random.Random(5)
    for number in range(count):
        folder = tmp_path / str(number)
        shutil.copytree(images, folder)
        kill_in_the_middle(folder, COMMANDS[name], chance.uniform(0.1, longest))
        after(name, folder, before)
        shutil.rmtree(folder)
