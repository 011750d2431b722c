"""`pemu-img` on raw images answers as qemu-img does."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.sidebyside import Pair, command, first_line
from tests.cli.signals import catches
from tests.patience import until

MIB = 1 << 20


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Two folders with a raw image of 8 MiB that has data, zeros and holes."""
    pair = Pair("img", tmp_path)
    pair.write("disk.raw", mixed(8 * MIB))
    return pair


def mixed(size: int) -> bytes:
    """Contents with data and zeros in pieces of many lengths."""
    source = random.Random(1)
    data = bytearray(source.randbytes(4096))  # qemu-img gives the first block room in any case
    while len(data) < size:
        length = source.choice((512, 4096, 70_000, 300_000))
        data += source.randbytes(length) if source.random() < 0.5 else bytes(length)
    return bytes(data[:size])


@pytest.mark.parametrize(
    "words",
    [
        ["info", "-x", "disk.raw"],
        ["info", "--foo", "disk.raw"],
        ["info", "-f"],
        [],
        ["-x"],
        ["info", "missing"],
        ["info", "one", "two"],
        ["info", "--output=foo", "disk.raw"],
        ["create", "new.raw", "10M"],
        ["create", "new.raw", "1"],
        ["create", "-q", "new.raw", "1k"],
        ["create", "new.raw"],
        ["create", "new.raw", "foo"],
        ["create", "new.raw", "99999999999999999999"],
        ["create", "new.raw", "1", "2"],
        ["create", "-f", "foo", "new.raw", "1"],
        ["create", "-o", "size=3M", "new.raw"],
        ["create", "-o", "preallocation=falloc", "-f", "raw", "new.raw", "1M"],
        ["create", "/missing/new.raw", "1"],
        ["create", "-f", "raw", "-b", "disk.raw", "-F", "raw", "new.raw", "1M"],
        ["map", "-s", "foo", "disk.raw"],
        ["map", "-s", "20M", "disk.raw"],
        ["check", "disk.raw"],
        ["check", "--output=json", "disk.raw"],
        ["check", "-r", "foo", "disk.raw"],
        ["compare", "disk.raw", "disk.raw"],
        ["compare", "disk.raw"],
        ["compare", "disk.raw", "missing"],
        ["measure", "--size", "10M"],
        ["measure", "disk.raw"],
        ["measure", "--size", "1", "disk.raw"],
        ["measure", "--size", "foo"],
        ["measure", "-O", "foo", "--size", "1"],
        ["measure"],
        ["resize", "-f", "raw", "disk.raw", "20M"],
        ["resize", "-f", "raw", "disk.raw", "+1M"],
        ["resize", "-f", "raw", "disk.raw", "-1M"],
        ["resize", "-f", "raw", "disk.raw", "--shrink", "-1M"],
        ["resize", "--shrink", "-f", "raw", "disk.raw", "-100M"],
        ["resize", "-f", "raw", "disk.raw"],
        ["resize", "--preallocation=full", "-f", "raw", "disk.raw", "+1M"],
        ["resize", "--preallocation=full", "--shrink", "-f", "raw", "disk.raw", "-1M"],
        ["resize", "--preallocation=foo", "-f", "raw", "disk.raw", "+1M"],
        ["resize", "disk.raw", "10M"],
        ["convert", "disk.raw"],
        ["convert", "missing", "new.raw"],
        ["convert", "-c", "disk.raw", "new.raw"],
        ["convert", "-O", "foo", "disk.raw", "new.raw"],
        ["convert", "-n", "disk.raw", "missing"],
        ["convert", "-S", "3", "disk.raw", "new.raw"],
        ["convert", "-S", "x", "disk.raw", "new.raw"],
        ["convert", "-m", "17", "disk.raw", "new.raw"],
        ["convert", "-r", "x", "disk.raw", "new.raw"],
        ["convert", "--target-is-zero", "disk.raw", "new.raw"],
        ["convert", "-C", "-S", "4k", "disk.raw", "new.raw"],
        ["convert", "-C", "-c", "disk.raw", "new.raw"],
        ["convert", "--salvage", "-C", "disk.raw", "new.raw"],
        ["convert", "--skip-broken-bitmaps", "disk.raw", "new.raw"],
        ["convert", "--target-image-opts", "disk.raw", "new.raw"],
        ["convert", "-B", "disk.raw", "-F", "raw", "disk.raw", "new.raw"],
        ["convert", "-t", "foo", "disk.raw", "new.raw"],
        ["convert", "-T", "foo", "disk.raw", "new.raw"],
        ["convert", "disk.raw", "/missing/new.raw"],
        ["convert", "-n", "--target-image-opts", "disk.raw", "driver=raw,file.filename=disk.raw"],
    ],
)
def test_answers_are_the_same(pair: Pair, words: list[str]) -> None:
    ours, theirs = pair.both(*words)
    assert ours.status == theirs.status
    assert ours.output == theirs.output
    assert first_line(ours.error) == first_line(theirs.error)


def test_info_is_the_same(pair: Pair) -> None:
    ours, theirs = (
        json.loads(one.output) for one in pair.both("info", "--output=json", "disk.raw")
    )
    del ours["actual-size"], theirs["actual-size"]
    assert ours == theirs


def test_size_is_shown_as_three_digits_and_a_unit(pair: Pair) -> None:
    for size in ("1000", "1023k", "1500M", "999G"):
        pair.both("create", "new.raw", size)
        shown = [one.output.splitlines()[2] for one in pair.both("info", "new.raw")]
        assert shown[0] == shown[1]


@pytest.mark.parametrize("words", [[], ["-S", "64k"], ["-S", "0"], ["-W", "-m", "16"], ["-C"]])
def test_conversion_copies_everything(pair: Pair, words: list[str]) -> None:
    ours, theirs = pair.both("convert", *words, "disk.raw", "new.raw")
    assert (ours.status, ours.error) == (0, "")
    assert theirs.status == 0
    assert pair.read("new.raw")[0] == pair.read("disk.raw")[0]


def test_conversion_leaves_holes_where_zeros_are(pair: Pair) -> None:
    pair.both("convert", "disk.raw", "new.raw")
    ours, theirs = pair.both("map", "--output=json", "new.raw")
    assert json.loads(ours.output) == json.loads(theirs.output)


def test_sources_are_joined(pair: Pair) -> None:
    pair.write("odd.raw", b"x" * 3 * 512)
    ours, _ = pair.both("convert", "odd.raw", "disk.raw", "odd.raw", "new.raw")
    assert (ours.status, ours.error) == (0, "")
    assert len(set(pair.read("new.raw"))) == 1


def test_conversion_onto_an_image_overwrites_it(pair: Pair) -> None:
    pair.write("old.raw", b"\xff" * 8 * MIB)
    ours, _ = pair.both("convert", "-n", "disk.raw", "old.raw")
    assert (ours.status, ours.error) == (0, "")
    assert pair.read("old.raw")[0] == pair.read("disk.raw")[0]


def test_failed_conversion_to_itself_leaves_the_image(pair: Pair) -> None:
    before = pair.read("disk.raw")[0]
    ours, theirs = pair.both("convert", "disk.raw", "disk.raw")
    assert ours.status == theirs.status == 1
    assert pair.read("disk.raw")[0] == before


def test_comparison_tells_the_first_sector_that_differs(pair: Pair) -> None:
    data = bytearray(pair.read("disk.raw")[0])
    data[5 * MIB + 700] ^= 1
    pair.write("other.raw", bytes(data))
    ours, theirs = pair.both("compare", "disk.raw", "other.raw")
    assert ours == theirs
    assert ours.status == 1


@pytest.mark.parametrize("rest", [b"", bytes(MIB), b"x" * MIB])
def test_comparison_with_a_longer_image(pair: Pair, rest: bytes) -> None:
    pair.write("other.raw", pair.read("disk.raw")[0] + rest)
    ours, theirs = pair.both("compare", "disk.raw", "other.raw")
    assert ours == theirs


def test_percent_lines_end_at_a_hundred(pair: Pair) -> None:
    answer = pair.ours("convert", "-p", "disk.raw", "new.raw")
    assert answer.output.startswith("    (0.00/100%)\r")
    assert answer.output.endswith("    (100.00/100%)\r\n")


def test_signal_asks_how_far_it_is(pair: Pair) -> None:
    words = [*command("img"), "convert", "-r", "2M", "disk.raw", "new.raw"]
    process = subprocess.Popen(words, cwd=pair.pemu, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    until(lambda: catches(process.pid, signal.SIGUSR1), "a handler of the signal")
    process.send_signal(signal.SIGUSR1)
    assert process.stderr.readline().endswith("/100%)\n")
    process.kill()
    process.wait()
    process.stderr.close()


def test_salvage_reads_what_can_be_read(pair: Pair) -> None:
    sector = 5000
    broken = {
        "driver": "raw",
        "file": {
            "driver": "blkdebug",
            "image": {"driver": "file", "filename": "disk.raw"},
            "inject-error": [{"event": "read_aio", "sector": sector}],
        },
    }
    name = "json:" + json.dumps(broken)
    answer = pair.ours("convert", name, "new.raw")
    assert (answer.status, answer.output) == (1, "")
    assert "error while reading at byte" in answer.error
    answer = pair.ours("convert", "--salvage", name, "new.raw")
    place = sector * 512
    assert answer.status == 0
    assert f"error while reading offset {place}" in answer.error
    wanted = bytearray((pair.pemu / "disk.raw").read_bytes())
    wanted[place : place + 512] = bytes(512)
    assert (pair.pemu / "new.raw").read_bytes() == wanted
