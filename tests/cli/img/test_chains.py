"""`pemu-img` on qcow2 images above each other does and says what qemu-img does."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.sidebyside import Answer, Pair, command, first_line
from tests.patience import until

_DISK_SIZE = re.compile(r"disk size: .*\n")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a chain of three images, and a raw one; made by QEMU's tools."""
    for tool in ("qemu-img", "qemu-io"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing (Debian package qemu-utils)")
    folder = tmp_path_factory.mktemp("images")

    def run(*words: str) -> None:
        subprocess.run(words, cwd=folder, check=True, capture_output=True)

    run("qemu-img", "create", "-f", "qcow2", "base.qcow2", "10M")
    run("qemu-io", "-c", "write -P 5 1M 64k", "-c", "write -z 2M 64k", "base.qcow2")
    run("qemu-img", "create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "mid.qcow2", "12M")
    run("qemu-io", "-c", "write -P 7 1100k 64k", "-c", "write -c -P 3 5M 64k", "mid.qcow2")
    run("qemu-img", "create", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", "top.qcow2")
    run("qemu-io", "-c", "write -P 9 3M 64k", "top.qcow2")
    source = random.Random(1)
    data = source.randbytes(3 << 20) + bytes(5 << 20) + b"some text\n" * 100_000
    (folder / "disk.raw").write_bytes(data)
    return folder


@pytest.fixture
def pair(images: Path, tmp_path: Path) -> Pair:
    """Two folders with the images."""
    pair = Pair("img", tmp_path)
    for folder in (pair.pemu, pair.qemu):
        shutil.copytree(images, folder, dirs_exist_ok=True)
    return pair


def parsed(answer: Answer) -> object:
    return json.loads(answer.output)


def expect_same(pair: Pair, name: str) -> None:
    """Both have made the same of an image, and QEMU finds no fault with it."""
    other = str(pair.qemu / name)
    compared = pair.theirs("compare", str(pair.pemu / name), other)
    assert compared.status == 0, compared
    checked = pair.theirs("check", str(pair.pemu / name))
    assert checked.status in (0, 63), checked


@pytest.mark.parametrize(
    "words",
    [
        ["info", "top.qcow2"],
        ["info", "--backing-chain", "top.qcow2"],
        ["map", "top.qcow2"],
        ["map", "--output=json", "top.qcow2"],
        ["map", "--output=json", "-s", "64k", "-l", "3M", "mid.qcow2"],
        ["check", "mid.qcow2"],
        ["compare", "top.qcow2", "mid.qcow2"],
        ["compare", "-s", "base.qcow2", "mid.qcow2"],
        ["compare", "-s", "base.qcow2", "base.qcow2"],
        ["measure", "-O", "qcow2", "top.qcow2"],
        ["create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "new.qcow2"],
        ["create", "-f", "qcow2", "-b", "base.qcow2", "new.qcow2"],
        ["create", "-f", "qcow2", "-u", "-b", "missing", "-F", "raw", "new.qcow2"],
        ["create", "-f", "qcow2", "-b", "missing", "-F", "raw", "new.qcow2", "1M"],
        ["create", "-f", "qcow2", "-o", "compat=0.10,cluster_size=4k", "new.qcow2", "100M"],
        ["commit", "base.qcow2"],
        ["commit", "-b", "missing", "top.qcow2"],
        ["commit", "-r", "x", "top.qcow2"],
        ["rebase", "top.qcow2"],
        ["rebase", "-b", "missing", "-F", "raw", "top.qcow2"],
        ["rebase", "-b", "base.qcow2", "-F", "foo", "top.qcow2"],
        ["snapshot", "-a", "x", "-d", "y", "base.qcow2"],
        ["snapshot", "-l", "base.qcow2"],
        ["bitmap", "--add", "base.qcow2"],
        ["bitmap", "base.qcow2", "name"],
        ["bitmap", "--remove", "base.qcow2", "name"],
        ["bitmap", "-g", "32k", "--clear", "base.qcow2", "name"],
        ["bitmap", "-F", "qcow2", "--clear", "base.qcow2", "name"],
        ["amend", "base.qcow2"],
        ["amend", "-o", "foo=1", "base.qcow2"],
        ["convert", "--bitmaps", "disk.raw", "new.raw"],
        ["convert", "-O", "qcow2", "-B", "base.qcow2", "disk.raw", "new.qcow2"],
        ["dd", "if=top.qcow2"],
        ["dd", "if=top.qcow2", "of=new.raw", "bs=x"],
        ["dd", "if=disk.raw", "of=new.raw", "bs=1M", "skip=300"],
        ["bench", "-c", "x", "disk.raw"],
        ["bench", "--pattern=500", "-w", "disk.raw"],
        ["bench", "--flush-interval=1", "disk.raw"],
    ],
)
def test_answers_are_the_same(pair: Pair, words: list[str]) -> None:
    ours, theirs = pair.both(*words)
    assert ours.status == theirs.status
    assert _DISK_SIZE.sub("", ours.output) == _DISK_SIZE.sub("", theirs.output)
    assert (first_line(ours.error)) == first_line(theirs.error)


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (["convert", "-O", "qcow2", "top.qcow2", "new.qcow2"], "new.qcow2"),
        (["convert", "-O", "qcow2", "disk.raw", "new.qcow2"], "new.qcow2"),
        (["convert", "-O", "qcow2", "-c", "disk.raw", "new.qcow2"], "new.qcow2"),
        (
            [
                "convert",
                "-O",
                "qcow2",
                "-c",
                "-o",
                "compression_type=zstd",
                "disk.raw",
                "new.qcow2",
            ],
            "new.qcow2",
        ),
        (
            ["convert", "-O", "qcow2", "-B", "base.qcow2", "-F", "qcow2", "top.qcow2", "new.qcow2"],
            "new.qcow2",
        ),
        (["convert", "-O", "qcow2", "-S", "0", "disk.raw", "new.qcow2"], "new.qcow2"),
        (["convert", "disk.raw", "top.qcow2", "new.raw"], "new.raw"),
        (["commit", "top.qcow2"], "mid.qcow2"),
        (["commit", "top.qcow2"], "top.qcow2"),
        (["commit", "-d", "top.qcow2"], "mid.qcow2"),
        (["commit", "-b", "base.qcow2", "top.qcow2"], "base.qcow2"),
        (["rebase", "-b", "base.qcow2", "-F", "qcow2", "top.qcow2"], "top.qcow2"),
        (["rebase", "-b", "", "top.qcow2"], "top.qcow2"),
        (["rebase", "-b", "disk.raw", "-F", "raw", "top.qcow2"], "top.qcow2"),
        (["rebase", "-u", "-b", "disk.raw", "-F", "raw", "top.qcow2"], "top.qcow2"),
        (["resize", "base.qcow2", "+5M"], "base.qcow2"),
        (["resize", "--shrink", "base.qcow2", "5M"], "base.qcow2"),
        (["dd", "if=top.qcow2", "of=new.raw", "bs=1M", "skip=1", "count=4"], "new.raw"),
        (["amend", "-o", "compat=0.10", "base.qcow2"], "base.qcow2"),
    ],
)
def test_images_are_made_and_changed_as_by_qemu(pair: Pair, words: list[str], changed: str) -> None:
    ours, theirs = pair.both(*words)
    assert (ours.status, ours.error) == (theirs.status, theirs.error)
    expect_same(pair, changed)
    before = [_DISK_SIZE.sub("", one.output) for one in pair.both("info", changed)]
    assert before[0] == before[1]


def test_snapshots_are_listed_applied_and_deleted(pair: Pair) -> None:
    for words in (
        ["snapshot", "-c", "one", "base.qcow2"],
        ["snapshot", "-a", "one", "base.qcow2"],
        ["snapshot", "-d", "one", "base.qcow2"],
        ["snapshot", "-l", "base.qcow2"],
    ):
        ours, theirs = pair.both(*words)
        assert ours == theirs
        expect_same(pair, "base.qcow2")


def test_bitmaps_go_with_a_conversion(pair: Pair) -> None:
    for words in (
        ["bitmap", "--add", "--disable", "base.qcow2", "first"],
        ["convert", "--bitmaps", "-O", "qcow2", "base.qcow2", "new.qcow2"],
    ):
        assert pair.ours(*words) == Answer(0, "", "")
        pair.theirs(*words)
    ours, theirs = (parsed(one) for one in pair.both("info", "--output=json", "new.qcow2"))
    assert isinstance(ours, dict)
    assert isinstance(theirs, dict)
    assert ours["format-specific"] == theirs["format-specific"]


@pytest.mark.parametrize(
    "words",
    [
        ["convert", "-r", "8M", "-O", "qcow2", "disk.raw", "new.qcow2"],
        ["convert", "-r", "8M", "-c", "-O", "qcow2", "disk.raw", "new.qcow2"],
    ],
)
def test_killed_conversion_leaves_a_sound_image(pair: Pair, words: list[str]) -> None:
    before = (pair.pemu / "disk.raw").read_bytes()
    process = subprocess.Popen([*command("img"), *words], cwd=pair.pemu)
    new = pair.pemu / "new.qcow2"
    until(
        lambda: (new.exists() and new.stat().st_size > 1 << 20) or process.poll() is not None,
        "a part of the image",
    )
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (pair.pemu / "disk.raw").read_bytes() == before
    assert pair.theirs("check", str(new)).status in (0, 3)
