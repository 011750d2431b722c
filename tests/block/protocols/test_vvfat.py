"""Directories as FAT disks: read by mtools and fsck.fat, changed by mtools, damaged."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.opening import Mode
from pemu.block.protocols.fat_layout import SECTOR
from tests.patience import LONG

NAMES = ("hello.txt", "UPPER.TXT", "a long name with ünïcode.text", "two.dots.here", ".hidden")


def need(*names: str) -> None:
    for name in names:
        if not shutil.which(name):
            package = "dosfstools" if name == "fsck.fat" else "mtools"
            pytest.skip(f"{name} (package {package}) is missing")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "host"
    (path / "sub" / "deeper").mkdir(parents=True)
    chance = random.Random(1)
    for number, name in enumerate(NAMES):
        (path / name).write_bytes(chance.randbytes(number * 5000 + 5))
    (path / "sub" / "data.bin").write_bytes(chance.randbytes(100_000))
    (path / "sub" / "empty").touch()
    (path / "sub" / "link").symlink_to("data.bin")
    os.mkfifo(path / "sub" / "pipe")
    return path


def opened(name: str, *, writes: bool = False) -> Image:
    return Graph().open_name(name, format="raw", mode=Mode(readonly=not writes))


def save(image: Image, kind: str, path: Path) -> None:
    """Copy the file system, of which only the beginning is used."""
    start = 0 if "floppy" in kind else 63 * SECTOR
    path.write_bytes(image.read(start, min(image.size - start, 4 << 20)))
    os.truncate(path, image.size - start)


def run(*words: str | Path) -> bytes:
    env = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(list(map(str, words)), capture_output=True, env=env, timeout=LONG)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(one.relative_to(directory)): one.read_bytes()
        for one in directory.rglob("*")
        if one.is_file()
    }


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("", 528482304),
        ("12:", 33030144),
        ("16:", 528482304),
        ("32:", 528482304),
        ("floppy:", 2949120),
        ("floppy:12:", 1474560),
        ("floppy:16:", 2949120),
    ],
)
def test_other_programs_read_the_file_system(
    tmp_path: Path, directory: Path, kind: str, size: int
) -> None:
    need("fsck.fat", "mcopy")
    image = opened(f"fat:{kind}{directory}")
    assert image.size == size
    save(image, kind, tmp_path / "raw")
    image.close()
    run("fsck.fat", "-n", tmp_path / "raw")
    (tmp_path / "out").mkdir()
    run("mcopy", "-s", "-Q", "-i", tmp_path / "raw", "::", tmp_path / "out")
    assert files(tmp_path / "out") == files(directory)


def test_random_reads_are_those_of_the_whole(directory: Path) -> None:
    image = opened(f"fat:floppy:{directory}")
    whole = image.read(0, image.size)
    chance = random.Random(2)
    for _ in range(200):
        length = chance.randrange(1, 100) * SECTOR
        offset = chance.randrange(0, image.size - length, SECTOR)
        assert image.read(offset, length) == whole[offset : offset + length]
    image.close()


def test_directory_that_is_too_large(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(600 << 20)
    with pytest.raises(ImageError, match=r"does not fit in FAT16 \(capacity 516.06 MB\)"):
        opened(f"fat:{tmp_path}")
    with pytest.raises(ImageError, match="Could not read directory"):
        opened(f"fat:{tmp_path / 'none'}")
    with pytest.raises(ImageError, match="FAT32 does not fit on a floppy"):
        opened(f"fat:floppy:32:{tmp_path}")


def test_writing_needs_rw(directory: Path) -> None:
    with pytest.raises(ImageError, match="Block node is read-only"):
        opened(f"fat:{directory}", writes=True)
    with pytest.raises(ImageError, match="Unable to set VVFAT to 'rw'"):
        opened(f"fat:rw:{directory}")


def write_changes(image: Image, kind: str, path: Path) -> None:
    """Write those sectors that differ from the ones in `path`, in no order."""
    start = 0 if "floppy" in kind else 63 * SECTOR
    with path.open("rb") as file:
        raw = file.read(4 << 20)
    before = image.read(start, len(raw))
    places = [
        at for at in range(0, len(raw), SECTOR) if raw[at : at + SECTOR] != before[at : at + SECTOR]
    ]
    random.Random(3).shuffle(places)
    for at in places:
        image.write(start + at, raw[at : at + SECTOR])


@pytest.mark.parametrize("kind", ["", "12:", "32:", "floppy:"])
def test_changes_are_written_back(tmp_path: Path, directory: Path, kind: str) -> None:
    need("mcopy")
    expected = files(directory)
    raw, new = tmp_path / "raw", tmp_path / "a new file with a long name.bin"
    new.write_bytes(random.Random(4).randbytes(70_001))
    image = opened(f"fat:rw:{kind}{directory}", writes=True)
    save(image, kind, raw)
    run("mcopy", "-o", "-i", raw, new, "::/sub/deeper/")
    run("mcopy", "-o", "-i", raw, new, "::/hello.txt")
    run("mmd", "-i", raw, "::/sub/made")
    run("mcopy", "-i", raw, new, "::/sub/made/SHORT.BIN")
    run("mdel", "-i", raw, "::/UPPER.TXT")
    write_changes(image, kind, raw)
    image.flush()
    expected["hello.txt"] = expected["sub/made/SHORT.BIN"] = new.read_bytes()
    expected[f"sub/deeper/{new.name}"] = new.read_bytes()
    assert files(directory) == expected
    image.close()
    del expected["UPPER.TXT"]
    assert files(directory) == expected
    image = opened(f"fat:{kind}{directory}")
    save(image, kind, raw)
    image.close()
    (tmp_path / "out").mkdir()
    run("mcopy", "-s", "-Q", "-i", raw, "::", tmp_path / "out")
    assert files(tmp_path / "out") == expected


def test_unchanged_files_are_left_alone(directory: Path) -> None:
    before = {one: one.stat().st_ino for one in directory.rglob("*")}
    image = opened(f"fat:rw:floppy:{directory}", writes=True)
    image.write(image.size - 4096, b"x" * 4096)
    image.close()
    assert {one: one.stat().st_ino for one in directory.rglob("*")} == before


def test_file_that_the_host_has_made_meanwhile_is_not_replaced(
    tmp_path: Path, directory: Path
) -> None:
    need("mcopy")
    raw = tmp_path / "raw"
    image = opened(f"fat:rw:floppy:{directory}", writes=True)
    save(image, "floppy", raw)
    run("mcopy", "-i", raw, directory / "hello.txt", "::/both.txt")
    (directory / "both.txt").write_text("the host's")
    write_changes(image, "floppy", raw)
    with pytest.raises(OSError, match="not everything could be written back: 'both.txt'"):
        image.close()
    assert (directory / "both.txt").read_text() == "the host's"


@pytest.mark.parametrize("seed", range(6))
def test_damaged_file_systems_harm_nothing(tmp_path: Path, directory: Path, seed: int) -> None:
    (tmp_path / "outside").write_text("safe")
    expected = files(directory)
    chance = random.Random(seed)
    image = opened(f"fat:rw:floppy:{directory}", writes=True)
    metadata = 40 * SECTOR
    for _ in range(20):
        at = chance.randrange(SECTOR, metadata)
        sector = bytearray(image.read(at // SECTOR * SECTOR, SECTOR))
        for _ in range(chance.randrange(1, 8)):
            place = at % SECTOR if chance.randrange(2) else chance.randrange(SECTOR)
            sector[place] = chance.choice((0, 0xFF, 0xE5, 0x2E, 0x2F, chance.randrange(256)))
        image.write(at // SECTOR * SECTOR, bytes(sector))
        image.flush()
    said = ""
    try:
        image.close()
    except OSError as error:
        said = str(error)
    assert not said or "not everything could be written back" in said
    assert (tmp_path / "outside").read_text() == "safe"
    assert sorted(os.listdir(tmp_path)) == ["host", "outside"]
    if said:
        assert set(files(directory)) >= set(expected)
