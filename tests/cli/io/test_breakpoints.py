"""`pemu-io`'s breakpoints suspend requests where qemu-io's do; nodes are changed while open."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.io.test_commands import timeless
from tests.cli.sidebyside import Pair, pemu_tool

DISK = "blkdebug::disk"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Two folders with an empty qcow2 image."""
    pair = Pair("io", tmp_path)
    for folder in (pair.pemu, pair.qemu):
        pemu_tool("img", folder, "create", "-f", "qcow2", "disk", "64M")
    return pair


def script(*commands: str) -> list[str]:
    return [word for command in commands for word in ("-c", command)]


@pytest.mark.parametrize(
    "commands",
    [
        ["break foo A"],
        ["break write_aio"],
        ["resume A"],
        ["remove_break A"],
        ["break write_aio A", "remove_break A", "aio_write 0 64k", "aio_flush"],
        [
            "break write_aio A", "aio_write -P 4 0 64k", "wait_break A",
            "write -P 5 64k 64k", "resume A", "aio_flush", "read -P 4 0 64k",
        ],
        ["break write_aio A", "aio_write 0 64k", "wait_break A", "aio_write -P 6 0 64k",
         "resume A", "aio_flush"],
        ["break write_aio A", "aio_write 0 64k", "wait_break A", "remove_break A", "aio_flush"],
        ["break write_aio A", "break write_aio B", "aio_write 0 64k", "wait_break A",
         "resume A", "wait_break B", "resume B", "aio_flush"],
        ["write -q 0 64k", "break read_aio A", "aio_read -P 205 0 4k", "wait_break A",
         "write -q -P 9 1M 64k", "resume A", "aio_flush"],
        ["break cluster_alloc A", "aio_write 3M 64k", "wait_break A", "resume A", "aio_flush"],
        ["break l2_update A", "aio_write 7M 64k", "wait_break A", "resume A", "aio_flush"],
        ["write -q 0 64k", "break pwritev A", "aio_write 0 64k", "wait_break A", "length",
         "resume A", "aio_flush", "length"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_requests_are_suspended_and_resumed(pair: Pair, commands: list[str]) -> None:
    ours, theirs = pair.both(*script(*commands), DISK)
    assert timeless(ours) == timeless(theirs)


@pytest.mark.parametrize("command", ["break write_aio A", "resume A", "remove_break A"])
def test_breakpoints_need_blkdebug(pair: Pair, command: str) -> None:
    ours, theirs = pair.both("-c", command, "disk")
    assert ours == theirs


def test_nobody_waits_for_what_cannot_come(pair: Pair) -> None:
    commands = ["break write_aio A", "wait_break A", "aio_write 0 64k", "aio_flush"]
    answer = pair.ours(*script(*commands), DISK)
    assert "No request is under way that could come to breakpoint A" in answer.output
    assert "Requests are suspended at breakpoints; resume them" in answer.output
    assert "wrote 65536/65536" in answer.output  # closing the image has let it go on
    assert answer.status == 1


@pytest.mark.parametrize(
    "options",
    [
        "-o lazy-refcounts=on",
        "-o overlap-check=none",
        "-o overlap-check.template=all",
        "-o l2-cache-size=1M",
        "-o l2-cache-entry-size=7",
        "-o discard=unmap",
        "-o detect-zeroes=on",
        "-o driver=qcow2",
        "-o driver=raw",
        "-o file.filename=disk",
        "-o file.filename=other",
        "-o file.locking=off",
        "-o node-name=x",
        "-o force-share=on",
        "-r -o read-only=off",
        "-c writeback -o cache.direct=on",
    ],
)
def test_reopen_changes_what_qemu_changes(pair: Pair, options: str) -> None:
    ours, theirs = pair.both(*script(f"reopen {options}", "write -q 0 64k", "length"), "disk")
    assert ours == theirs


def test_zeros_are_detected_from_now_on(pair: Pair) -> None:
    words = script("reopen -o detect-zeroes=on", "write -q -P 0 0 64k", "map")
    ours, theirs = pair.both(*words, "disk")
    assert ours == theirs


def test_all_commands_have_the_same_synopsis(pair: Pair) -> None:
    ours, theirs = pair.both("-c", "help")
    assert ours == theirs


def test_blocks_of_blkdebug_are_no_obstacle(pair: Pair) -> None:
    options = "driver=raw,file.driver=blkdebug,file.image.filename=disk,file.align=4096"
    ours, theirs = pair.both("--image-opts", options, *script("write 1M 1", "read -P 0xcd 1M 1"))
    assert timeless(ours) == timeless(theirs)
