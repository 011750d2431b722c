"""Descriptors under the names of files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pemu import fdsets


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A file that is in set 7, open for reading, and in set 8, open for reading and writing."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    for number, flags in ((7, os.O_RDONLY), (8, os.O_RDWR)):
        fd = os.open(path, flags)
        fdsets.add(number, fd)
        os.close(fd)
    yield path
    for number in (7, 8):
        for fd in fdsets._sets.pop(number):
            os.close(fd)


def test_a_set_gives_a_descriptor_that_is_open_for_what_is_wanted(file: Path) -> None:
    fd = fdsets.open_path("/dev/fdset/8", os.O_RDWR)
    os.pwrite(fd, b"C", 0)
    os.close(fd)
    assert file.read_bytes() == b"Content"


def test_truncation_and_appending(file: Path) -> None:
    fd = fdsets.open_path("/dev/fdset/8", os.O_RDWR | os.O_TRUNC | os.O_APPEND)
    os.write(fd, b"new")
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"er")
    os.close(fd)
    assert file.read_bytes() == b"newer"


@pytest.mark.parametrize(
    ("path", "flags", "error"),
    [
        ("/dev/fdset/7", os.O_RDWR, errno.EACCES),
        ("/dev/fdset/8", os.O_RDONLY, errno.EACCES),
        ("/dev/fdset/9", os.O_RDONLY, errno.ENOENT),
        ("/dev/fdset/", os.O_RDONLY, errno.EINVAL),
        ("/dev/fdset/7x", os.O_RDONLY, errno.EINVAL),
    ],
)
@pytest.mark.usefixtures("file")
def test_what_a_set_does_not_have(path: str, flags: int, error: int) -> None:
    with pytest.raises(OSError, match=path) as caught:
        fdsets.open_path(path, flags)
    assert caught.value.errno == error


def test_other_paths_are_files(tmp_path: Path) -> None:
    fd = fdsets.open_path(str(tmp_path / "new"), os.O_WRONLY | os.O_CREAT)
    assert not os.get_inheritable(fd)
    os.close(fd)
