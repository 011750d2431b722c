"""Images named by the keys of their nodes: filters before them, data files, secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.sidebyside import Answer, Pair, first_line

_THROTTLED = "driver=throttle,throttle-group=g,file."
_GROUP = ("--object", "throttle-group,id=g", "--image-opts")
_SECRET = ("--object", "secret,id=s,data=x")


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Two folders, with a qcow2 image whose contents are in another file."""
    pair = Pair("img", tmp_path)
    for words in (
        "create -f qcow2 -o data_file=data.raw split.qcow2 1M",
        "create -f qcow2 disk.qcow2 1M",
    ):
        for answer in pair.both(*words.split()):
            assert answer.status == 0
    return pair


def expect_same(ours: Answer, theirs: Answer) -> None:
    """Both have said the same, but for remedies."""
    assert (ours.status, first_line(ours.error)) == (theirs.status, first_line(theirs.error))
    assert ours.output == theirs.output


@pytest.mark.parametrize(
    "words",
    [
        ("map", "split.qcow2"),
        ("check", "split.qcow2"),
        ("convert", "split.qcow2", "x.raw"),
        ("rebase", "-u", "-b", "", "split.qcow2"),
    ],
)
def test_missing_data_file_is_named(pair: Pair, words: tuple[str, ...]) -> None:
    for folder in (pair.pemu, pair.qemu):
        (folder / "data.raw").unlink()
    expect_same(*pair.both(*words))


def test_image_without_its_data_file_is_described(pair: Pair) -> None:
    (pair.pemu / "data.raw").unlink()
    answer = pair.ours("info", "split.qcow2")
    assert answer.status == 0
    assert "data file: data.raw\n" in answer.output


@pytest.mark.parametrize("driver", ["throttle,throttle-group=g", "blkdebug"])
def test_what_a_filter_has_is_a_file_as_it_is(pair: Pair, driver: str) -> None:
    """Where the keys say no format, none is guessed."""
    key = "image" if driver == "blkdebug" else "file"
    answer = pair.ours(
        "map", "--output=json", *_GROUP, f"driver={driver},{key}.filename=disk.qcow2"
    )
    assert '"start": 0, "length": 262144, "depth": 0, "present": true' in answer.output


def test_snapshots_are_made_through_filters(pair: Pair) -> None:
    node = f"{_THROTTLED}driver=qcow2,file.file.filename=disk.qcow2"
    for option, name in (("-c", "a"), ("-a", "a"), ("-d", "a"), ("-d", "a")):
        expect_same(*pair.both("snapshot", *_GROUP, option, name, node))


@pytest.mark.parametrize(
    "words",
    [
        ("-O", "luks"),
        ("-O", "luks", "-o", "key-secret=s"),
        ("-O", "luks", "-o", "key-secret=t"),
        ("-O", "qcow2", "-o", "encrypt.format=luks"),
        ("-O", "qcow2", "-o", "encrypt.format=luks,encrypt.key-secret=s"),
        ("-O", "qcow2", "-o", "encrypt.format=luks,encrypt.key-secret=t"),
    ],
)
def test_encrypted_image_is_measured_with_its_secret(pair: Pair, words: tuple[str, ...]) -> None:
    expect_same(*pair.both("measure", *_SECRET, *words, "--size", "1M"))


@pytest.mark.parametrize(
    ("tool", "words"), [("img", ("info",)), ("img", ("create",)), ("io", ()), ("nbd", ())]
)
def test_objects_are_listed(pair: Pair, tool: str, words: tuple[str, ...]) -> None:
    answer = pair.ours(*words, "--object", "help", tool=tool)
    assert answer.status == 0
    assert "\n  secret\n" in answer.output


def test_keys_of_an_object_are_listed(pair: Pair) -> None:
    answer = pair.ours("info", "--object", "secret,help")
    assert answer.status == 0
    assert answer.output.startswith("secret options:\n")


@pytest.mark.parametrize(
    "node",
    [
        "driver=null-co,size=65536",
        "driver=file,filename=data.raw",
        "driver=raw,file.driver=null-co",
        "driver=blkdebug,image.filename=data.raw",
        "driver=copy-on-read,file.driver=qcow2,file.file.filename=disk.qcow2",
        f"{_THROTTLED}driver=null-co",
    ],
)
def test_clusters_are_told_where_qemu_io_tells_them(pair: Pair, node: str) -> None:
    expect_same(*pair.both(*_GROUP, "-c", "info", node, tool="io"))


@pytest.mark.parametrize("mode", ["on", "off"])
def test_image_in_use_for_writing_cannot_become_readonly(pair: Pair, mode: str) -> None:
    ours, theirs = pair.both("-c", f"reopen -o read-only={mode}", "disk.qcow2", tool="io")
    assert ours.status == theirs.status == int(mode == "on")
