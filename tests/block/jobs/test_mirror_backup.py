"""Mirrors and backups of an image that is written to meanwhile."""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pemu.block.backend import Backend
from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.jobs.backup import Backup
from pemu.block.jobs.job import Job
from pemu.block.jobs.mirror import Mirror
from tests.patience import LONG

SIZE = (1 << 20) + 512 * 3


class Guest:
    """A disk with a guest that writes to it; `post` takes the lock that the guest holds, too."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lock = threading.RLock()
        self.chance = random.Random(5)
        self.contents = bytearray(self.chance.randbytes(SIZE))
        (directory / "source").write_bytes(self.contents)
        self.backend = Backend(self.open("source"), post=self.post)

    def open(self, name: str) -> Image:
        path = self.directory / name
        if not path.exists():
            path.write_bytes(bytes(SIZE))
        return Graph().open_name(str(path), format="raw")

    def post(self, function: Callable[[], object]) -> None:
        with self.lock:
            function()

    def write(self) -> None:
        length = self.chance.choice((512, 5000, 70000))
        offset = self.chance.randrange(SIZE - length)
        data = self.chance.randbytes(length)
        self.contents[offset : offset + length] = data
        with self.lock:
            assert self.backend.image is not None
            self.backend.image.write(offset, data)

    def write_until(self, condition: Callable[[], bool]) -> None:
        """Go on writing until `condition` holds, at least once."""
        end = time.monotonic() + LONG
        while True:
            self.write()
            if condition():
                return
            assert time.monotonic() < end
            time.sleep(0.005)

    def read(self, name: str) -> bytes:
        return (self.directory / name).read_bytes()


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


def start(job: Job) -> Job:
    job.start()
    return job


def test_guest_goes_on_with_the_mirror(guest: Guest) -> None:
    job = start(Mirror("m", guest.backend, guest.open("target"), speed=100 << 20))
    guest.write_until(lambda: job.status == "ready")
    for _ in range(20):
        guest.write()
    job.complete()
    assert job.wait(LONG)
    assert (job.status, job.error) == ("concluded", "")
    before = bytes(guest.contents)
    guest.write()
    guest.backend.close()
    assert guest.read("target") == guest.contents
    assert guest.read("source") == before


def test_cancelled_mirror_is_a_copy_of_that_moment(guest: Guest) -> None:
    job = start(Mirror("m", guest.backend, guest.open("target")))
    guest.write_until(lambda: job.status == "ready")
    job.cancel()
    assert job.wait(LONG)
    before = bytes(guest.contents)
    guest.write()
    guest.backend.close()
    assert guest.read("target") == before
    assert guest.read("source") == guest.contents


def test_mirror_cannot_be_completed_before_it_is_ready(guest: Guest) -> None:
    job = Mirror("m", guest.backend, guest.open("target"), speed=1)
    start(job)
    with pytest.raises(ImageError, match="cannot be completed"):
        job.complete()
    job.cancel()
    assert job.wait(LONG)
    guest.backend.close()


def test_paused_job_waits(guest: Guest) -> None:
    job = Mirror("m", guest.backend, guest.open("target"))
    job.pause()
    start(job)
    end = time.monotonic() + LONG
    while job.status != "paused":
        assert time.monotonic() < end
        time.sleep(0.01)
    job.resume()
    guest.write_until(lambda: job.status == "ready")
    job.complete()
    assert job.wait(LONG)
    guest.backend.close()
    assert guest.read("target") == guest.contents


def test_backup_is_of_the_moment_when_it_began(guest: Guest) -> None:
    before = bytes(guest.contents)
    job = start(Backup("b", guest.backend, guest.open("target"), speed=20 << 20))
    guest.write_until(lambda: job.status == "concluded")
    guest.write()
    guest.backend.close()
    assert (job.error, guest.read("target")) == ("", before)
    assert guest.read("source") == guest.contents


def test_backup_of_what_is_changed_only(guest: Guest) -> None:
    before = bytes(guest.contents)
    job = start(Backup("b", guest.backend, guest.open("target"), sync="none"))
    guest.contents[70000:70003] = b"new"
    assert guest.backend.image is not None
    guest.backend.image.write(70000, b"new")
    job.cancel()
    assert job.wait(LONG)
    guest.backend.close()
    copied = bytearray(SIZE)
    copied[1 << 16 : 2 << 16] = before[1 << 16 : 2 << 16]
    assert guest.read("target") == copied


def test_backup_fails_and_the_guest_does_not(guest: Guest) -> None:
    target = guest.open("target")

    def fail(offset: int, pieces: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target._write_from = fail  # type: ignore[method-assign]
    job = start(Backup("b", guest.backend, target))
    guest.write_until(lambda: job.status == "concluded")
    guest.write()
    guest.backend.close()
    assert job.error == "No space left on device"
    assert guest.read("source") == guest.contents


def test_target_must_be_large_enough(guest: Guest) -> None:
    (guest.directory / "small").write_bytes(bytes(512))
    with pytest.raises(ImageError, match="make it larger"):
        Mirror("m", guest.backend, guest.open("small"))
    guest.backend.close()
