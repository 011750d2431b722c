"""Images of QEMU's tools and of Pemu side by side, filled with the same random requests."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.opening import Mode
from tests.patience import LONG

READONLY = Mode(readonly=True)


def qemu(*words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one of QEMU's tools; skips the test where it is missing."""
    if not shutil.which(str(words[0])):
        pytest.skip(f"{words[0]} (package qemu-utils) is missing")
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=LONG)
    assert not check or done.returncode == 0, done.stderr
    return done


def qemu_create(format: str, path: Path, size: int, options: dict[str, str]) -> str:
    """Have qemu-img make an image; what it complains of, '' where all was well."""
    words = [f"{key}={value}" for key, value in options.items()]
    extra = ["-o", ",".join(words)] if words else []
    done = qemu("qemu-img", "create", "-q", "-f", format, *extra, path, str(size), check=False)
    return done.stderr.strip()


def create(format: str, path: Path, size: int, options: dict[str, str]) -> None:
    """Have Pemu make an image."""
    Graph().create(format, str(path), size, options)


def open_image(path: Path, format: str = "", mode: Mode = Mode()) -> Image:  # noqa: B008
    """Open an image; an empty format is looked for."""
    return Graph().open_name(str(path), format=format, mode=mode)


class Contents:
    """What an image of `size` bytes should hold, and how random requests change it."""

    def __init__(self, size: int, seed: int = 1) -> None:
        self.data = bytearray(size)
        self.chance = random.Random(seed)

    def request(self, largest: int = 3 << 20) -> tuple[int, int]:
        """Where, and how long: in sectors, small ones more often, ends of the image, too."""
        chance, size = self.chance, len(self.data)
        length = chance.choice((512, 4096, 65536, chance.randrange(512, largest)))
        length = min(length // 512 * 512, size)
        if not chance.randrange(12):
            return size - length, length
        return chance.randrange(0, size - length + 1, 512), length

    def write(self, image: Image, count: int, largest: int = 3 << 20) -> None:
        """Do `count` random things with `image`; what is read is compared."""
        for _ in range(count):
            offset, length = self.request(largest)
            kind = self.chance.randrange(20)
            end = offset + length
            if kind < 11:
                data = self.chance.randbytes(length)
                image.write(offset, data)
                self.data[offset:end] = data
            elif kind < 14:
                image.write_zeroes(offset, length, unmap=bool(kind % 2))
                self.data[offset:end] = bytes(length)
            elif kind == 14:
                image.flush()
            else:
                assert image.read(offset, length) == self.data[offset:end], (offset, length)

    def write_with_qemu(
        self, path: Path, format: str, count: int, largest: int = 1 << 20, unit: int = 512
    ) -> None:
        """Have qemu-io do random writes, all of whole units."""
        commands = []
        for _ in range(count):
            offset, length = (-(-one // unit) * unit for one in self.request(largest))
            length = min(length, len(self.data) - offset)
            kind = self.chance.randrange(1, 5)
            value = 0 if kind == 1 else self.chance.randrange(256)
            self.data[offset : offset + length] = bytes([value]) * length
            flags = "-z" if kind == 1 else f"-P {value}"
            commands += ["-c", f"write -q {flags} {offset} {length}"]
        qemu("qemu-io", "-f", format, *commands, path)

    def check(self, path: Path, format: str, scratch: Path) -> None:
        """Both Pemu and QEMU read these contents."""
        image = open_image(path, format, READONLY)
        try:
            assert image.format == format
            assert image.size == len(self.data)
            assert image.read(0, image.size) == self.data
        finally:
            image.close()
        scratch.write_bytes(self.data)
        qemu("qemu-img", "compare", "-f", format, "-F", "raw", path, scratch)


def info(path: Path, format: str) -> dict[str, Any]:
    """What qemu-img says of an image, but what two images of one kind do not have in common."""
    done = qemu("qemu-img", "info", "--output=json", "-f", format, path)
    found: dict[str, Any] = json.loads(done.stdout)
    for key in ("filename", "actual-size"):
        found.pop(key, None)
    return found


Stretch = tuple[int, int, bool, bool, bool, int | None]
"""Part of a map: start, length, present, zero, data, offset."""


def qemu_map(path: Path, format: str, depth: int | None = None) -> list[Stretch]:
    """What qemu-img map says of an image, or of the image `depth` below it."""
    done = qemu("qemu-img", "map", "--output=json", "-f", format, path)
    keys = ("start", "length", "present", "zero", "data")
    return [
        (*(one[key] for key in keys), one.get("offset"))
        for one in json.loads(done.stdout)
        if depth is None or one["depth"] == depth
    ]


def our_map(path: Path, format: str) -> list[Stretch]:
    """The same from the status that an image has in Pemu."""
    image = open_image(path, format, READONLY)
    found: list[Stretch] = []
    at = 0
    while at < image.size:
        extent = image.status(at, image.size - at)
        place = extent.offset
        now = (at, extent.length, extent.present, extent.zero, extent.data, place)
        if found:
            start, length, *flags, offset = found[-1]
            follows = place is None if offset is None else place == offset + length
            if flags == [*now[2:5]] and follows:
                now = (start, length + extent.length, *now[2:5], offset)
                found.pop()
        found.append(now)
        at += extent.length
    image.close()
    return found
