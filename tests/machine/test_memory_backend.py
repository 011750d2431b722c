"""Where on the host the machine's RAM is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pemu.cli import system
from pemu.machine.memory_backend import MemoryBackend, backends
from pemu.machine.region import Ram
from pemu.options.error import OptionError

SIZE = 1 << 16


def test_file_that_is_shared_has_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "ram"
    Ram("ram", SIZE, backend=MemoryBackend(str(path), share=True)).write_bytes(8, b"here")
    assert path.read_bytes() == bytes(8) + b"here" + bytes(SIZE - 12)


def test_file_that_is_not_shared_is_only_read(tmp_path: Path) -> None:
    path = tmp_path / "ram"
    path.write_bytes(b"there".ljust(2 * SIZE, b"."))
    ram = Ram("ram", SIZE, backend=MemoryBackend(str(path)))
    assert ram.read_bytes(0, 6) == b"there."
    ram.write_bytes(0, b"here")
    assert path.read_bytes().startswith(b"there.")


def test_file_in_a_directory_has_no_name(tmp_path: Path) -> None:
    ram = Ram("ram", SIZE, backend=MemoryBackend(str(tmp_path), prealloc=True))
    assert not list(tmp_path.iterdir())
    found = os.fstat(ram.fd)
    assert (found.st_size, found.st_blocks * 512 >= SIZE) == (SIZE, True)
    assert found.st_dev == tmp_path.stat().st_dev


@pytest.mark.parametrize("kind", ["ram", "memfd"])
def test_memory_alone(kind: str) -> None:
    made = backends([f"memory-backend-{kind},id=r,size=64k,prealloc=on"])
    ram = Ram("ram", SIZE, backend=made["r"])
    assert (ram.read_bytes(0, 4), made["r"].size) == (bytes(4), SIZE)


def test_file_that_is_too_small(tmp_path: Path) -> None:
    path = tmp_path / "ram"
    path.write_bytes(bytes(100))
    with pytest.raises(OptionError, match="has 100 bytes, the machine's memory 65536"):
        Ram("ram", SIZE, backend=MemoryBackend(str(path)))


RAM_64K = ("-object", "memory-backend-ram,id=r,size=64k")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-object", "memory-backend-ram,id=r"], "-object memory-backend-ram,id=r: 'size' is"),
        ([*RAM_64K, *RAM_64K], "-object memory-backend-ram,id=r,size=64k: attempt to add dupl"),
        ([*RAM_64K, "-M", "memory-backend=q"], "-M memory-backend: there is no memory backend 'q'"),
        (
            [*RAM_64K, "-M", "memory-backend=r", "-m", "128"],
            "-m says 134217728 bytes, memory backend r has 65536",
        ),
        (
            [*RAM_64K, "-M", "memory-backend=r", "-mem-prealloc"],
            "-M memory-backend= has what -mem-path and -mem-prealloc say",
        ),
        (
            ["-m", "16", "-mem-path", "/nonexistent/x"],
            "cannot set up guest memory ram of 16777216 bytes in '/nonexistent/x' (No such file",
        ),
    ],
)
def test_mistakes(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert system.main("mips", ["-M", "none", *words]) == 1
    assert capfd.readouterr().err.startswith(f"pemu-system-mips: {message}")
