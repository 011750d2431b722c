"""`pemu-io`'s commands do and say what qemu-io's do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.sidebyside import Answer, Pair

MIB = 1 << 20

_RATES = re.compile(r"; \S+( sec)? \(.*|,\d+:\d\d:[\d.]+,.*")


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Two folders with a raw image of 10 MiB."""
    pair = Pair("io", tmp_path)
    pair.write("disk.raw", b"\0" * (10 * MIB))
    pair.write("pattern", b"some contents\n")
    return pair


def timeless(answer: Answer) -> Answer:
    return answer._replace(output=_RATES.sub("", answer.output))


@pytest.mark.parametrize(
    "command",
    [
        "foo",
        "read",
        "read x y",
        "read 30M 1k",
        "read 0 512",
        "r 0 1k",
        "read -q 0 512",
        "read -C 0 512",
        "read -p 0 512",
        "read -v 3 37",
        "read -P 4 0 512",
        "read -P 0 -s 256 -l 256 0 512",
        "read -P 3 -s 512 -l 512 0 512",
        "read -s 3 0 512",
        "read -P x 0 512",
        "read -P 300 0 512",
        "read -b 3 512",
        "read -b 0 512",
        "read 0 0",
        "readv 0 512 700",
        "readv 0 512 x",
        "write 0 64k",
        "write -P 0x55 3 7",
        "write -z 1M 64k",
        "write -zu 1M 64k",
        "write -zu 30M 64k",
        "write -z -P 3 0 512",
        "write -u 0 512",
        "write -n 0 512",
        "write -bz 0 512",
        "write -cf 0 512",
        "write -c 0 512",
        "write -s pattern 0 10k",
        "write -s missing 0 512",
        "write 0 4G",
        "writev -P 7 3 512 700",
        "writev -q 0 512",
        "writev 0 x",
        "aio_read 30M 1",
        "aio_write -v 0 1",
        "aio_write -u 0 512",
        "aio_write -z 0 512 512",
        "aio_read -i 0 512",
        "aio_write -i 0 512",
        "aio_flush x",
        "discard 3M 1M",
        "discard 30M 1k",
        "discard x 3",
        "discard 0 3G",
        "alloc 30M",
        "alloc 0 20M",
        "alloc x",
        "alloc 1 2 3",
        "map",
        "length",
        "length 1",
        "info",
        "flush",
        "truncate 5000",
        "truncate x",
        "truncate -m foo 1M",
        "open disk.raw",
        "close",
        "reopen -r -w",
        "reopen -c foo",
        "reopen -o foo=bar",
        "sleep 1",
        "sleep x",
        "sleep -1",
        "sleep 1 2",
        "sigraise x",
        "help foo",
        "quit",
    ],
)
def test_answers_and_contents_are_the_same(pair: Pair, command: str) -> None:
    ours, theirs = map(timeless, pair.both("-f", "raw", "-c", command, "disk.raw"))
    assert ours == theirs
    assert len(set(pair.read("disk.raw"))) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["-c", "read 0 1"],
        ["-f", "raw", "missing"],
        ["-f", "raw", "-t", "foo", "disk.raw"],
        ["-f", "raw", "-d", "foo", "disk.raw"],
        ["-f", "raw", "-i", "foo", "disk.raw"],
        ["-r", "-f", "raw", "disk.raw", "-c", "write 0 1", "-c", "discard 0 1"],
        ["--image-opts", "driver=raw,file.filename=disk.raw", "-c", "length"],
        ["-c", "open -r -o driver=raw disk.raw", "-c", "length", "-c", "write 0 1"],
        ["-f", "raw", "-s", "disk.raw", "-c", "write 0 1M", "-c", "read -P 0xcd 0 1M"],
        ["-f", "raw", "disk.raw", "-c", "reopen -r", "-c", "write 0 1", "-c", "reopen -w"],
        ["-f", "raw", "disk.raw", "-c", "aio_write 0 1M", "-c", "aio_flush", "-c", "map"],
        ["-f", "raw", "disk.raw", "-c", "quit", "-c", "length"],
        ["-f", "raw", "-U", "disk.raw", "-c", "length"],
        ["-f", "raw", "-r", "-U", "disk.raw", "-c", "length"],
        ["-f", "raw", "-k", "disk.raw", "-c", "length"],
        ["-f", "raw", "-i", "native", "disk.raw", "-c", "length"],
        ["-f", "raw", "-n", "-i", "native", "disk.raw", "-c", "length"],
        ["-c", "open -k -o driver=raw disk.raw"],
        ["-c", "open -U -o driver=raw disk.raw"],
    ],
)
def test_options_are_the_same(pair: Pair, words: list[str]) -> None:
    ours, theirs = map(timeless, pair.both(*words))
    assert ours == theirs
    assert len(set(pair.read("disk.raw"))) == 1


def test_commands_come_from_standard_input(pair: Pair) -> None:
    words = ("-f", "raw", "disk.raw")
    ours, theirs = pair.both(*words, input="write 0 1k\n\nread -P 5 0 1k\nlength\nquit\nlength\n")
    assert timeless(ours) == timeless(theirs)
    assert ours.output.count("TOOL> ") == 5


def test_requests_in_the_background_are_all_done(pair: Pair) -> None:
    words = ["-f", "raw", "disk.raw"]
    for i in range(40):
        words += ["-c", f"aio_write -P {i + 1} {i * 100_000} 100000"]
    answer = pair.ours(*words)
    assert answer.status == 0
    assert answer.output.count("wrote 100000/100000 bytes") == 40
    data = pair.read("disk.raw")[0]
    assert all(set(data[i * 100_000 : (i + 1) * 100_000]) == {i + 1} for i in range(40))


def test_signal_is_raised(pair: Pair) -> None:
    ours, theirs = pair.both("-c", "sigraise 9")
    assert ours.status == theirs.status == -9


@pytest.mark.parametrize(
    "text", ["64k", "1", "1025", "1536k", "999999999", "1.5G", "3T", "1048575"]
)
def test_sizes_are_shown_as_qemu_shows_them(pair: Pair, text: str) -> None:
    words = ("-f", "raw", "disk.raw", "-c", f"truncate {text}", "-c", "length", "-c", "map")
    ours, theirs = pair.both(*words)
    assert ours == theirs
