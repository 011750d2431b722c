"""Commit, stream and mirrors of the topmost image, on chains of qcow2 images in use."""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pemu.block.backend import Backend
from pemu.block.error import ImageError
from pemu.block.extents import chain
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.jobs.commit import ActiveCommit, Commit
from pemu.block.jobs.job import Job
from pemu.block.jobs.mirror import Mirror
from pemu.block.jobs.stream import Stream
from tests.patience import LONG

SIZE = 4 << 20
NAMES = ("base", "middle", "top")


class Guest:
    """A chain of three images with a guest that writes to the topmost one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lock = threading.RLock()
        self.chance = random.Random(7)
        self.contents = bytearray(SIZE)
        below = ""
        for name in NAMES:
            options = {"backing_file": below, "backing_fmt": "qcow2"} if below else {}
            Graph().create("qcow2", str(directory / name), SIZE, options)
            image = self.open(name)
            for _ in range(12):
                self.write_to(image)
            image.close()
            below = name
        self.backend = Backend(self.open("top"), post=self.post)

    def open(self, name: str) -> Image:
        return Graph().open_name(str(self.directory / name), format="qcow2")

    def post(self, function: Callable[[], object]) -> None:
        with self.lock:
            function()

    @property
    def image(self) -> Image:
        assert self.backend.image is not None
        return self.backend.image

    def write_to(self, image: Image) -> None:
        length = self.chance.choice((512, 5000, 200_000))
        offset = self.chance.randrange(SIZE - length)
        data = self.chance.randbytes(length)
        self.contents[offset : offset + length] = data
        image.write(offset, data)

    def run(self, job: Job, until: str) -> None:
        """Go on writing until the job's status is `until`."""
        with self.lock:
            job.start()
        end = time.monotonic() + LONG
        while job.status not in (until, "concluded"):
            with self.lock:
                self.write_to(self.image)
            assert time.monotonic() < end
            time.sleep(0.005)
        assert (job.status, job.error) == (until, "")

    def finish(self, *names: str) -> None:
        """Check what the guest sees, and the images of these names, from the top."""
        assert self.image.read(0, SIZE) == self.contents
        assert [Path(image.name).name for image in chain(self.image)] == list(names)
        self.backend.close()
        reopened = self.open(names[0])
        assert reopened.read(0, SIZE) == self.contents
        assert [Path(image.name).name for image in chain(reopened)] == list(names)
        reopened.close()
        if shutil.which("qemu-img"):
            for name in names:
                command = ["qemu-img", "check", "-q", str(self.directory / name)]
                assert subprocess.run(command).returncode == 0


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


def test_image_in_the_middle_is_committed(guest: Guest) -> None:
    top, middle, base = chain(guest.image)
    guest.run(Commit("c", guest.backend, middle, base), "concluded")
    guest.finish("top", "base")


@pytest.mark.parametrize("layer", [1, 2])
def test_guests_image_is_committed(guest: Guest, layer: int) -> None:
    job = ActiveCommit("c", guest.backend, chain(guest.image)[layer])
    guest.run(job, "ready")
    with guest.lock:
        guest.write_to(guest.image)
    job.complete()
    assert job.wait(LONG)
    assert job.error == ""
    guest.write_to(guest.image)
    guest.finish(*(("middle", "base"), ("base",))[layer - 1])


def test_commit_that_is_cancelled_changes_nothing_for_the_guest(guest: Guest) -> None:
    job = ActiveCommit("c", guest.backend, chain(guest.image)[1])
    guest.run(job, "ready")
    job.cancel()
    assert job.wait(LONG)
    guest.finish("top", "middle", "base")


@pytest.mark.parametrize("base", [None, 2])
def test_what_is_below_comes_into_the_image(guest: Guest, base: int | None) -> None:
    below = None if base is None else chain(guest.image)[base]
    guest.run(Stream("s", guest.backend, below), "concluded")
    guest.finish(*(("top",) if base is None else ("top", "base")))


def test_topmost_image_is_mirrored(guest: Guest) -> None:
    options = {"backing_file": "middle", "backing_fmt": "qcow2"}
    Graph().create("qcow2", str(guest.directory / "copy"), SIZE, options)
    job = Mirror("m", guest.backend, guest.open("copy"), sync="top")
    guest.run(job, "ready")
    job.complete()
    assert job.wait(LONG)
    guest.finish("copy", "middle", "base")


def test_base_must_be_below(guest: Guest) -> None:
    other = guest.image
    with pytest.raises(ImageError, match="is not below"):
        ActiveCommit("c", guest.backend, other)
    with pytest.raises(ImageError, match="is not below"):
        Stream("s", guest.backend, other)
    guest.backend.close()
