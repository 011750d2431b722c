"""Disk images: pemu-img and pemu-nbd beside qemu-img and qemu-nbd."""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.measure import Failed, environment, pemu_command, qemu_command

MIB = 1 << 20

DEPTH = 16
"""Requests under way at the same time."""

REQUESTS = 20_000
"""Requests of one measurement of random access."""

HEADER = (
    "| what | QEMU | Pemu | ratio | goal | QEMU's slowest | processor time: QEMU | Pemu | ratio |",
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
)


@dataclass(frozen=True)
class Row:
    """A figure: its name, words of the tool whose time is taken, and the greatest ratio wanted.

    before: makes what the words need, and is not counted. measure: takes it otherwise, from what
    starts the tool and the folder.
    """

    name: str
    words: str = ""
    goal: float | None = None
    tool: str = "img"
    before: Callable[[Path], object] = lambda folder: None
    measure: Callable[[list[str], Path], float] | None = None


def tools(name: str) -> tuple[list[str], list[str]]:
    """The words that start QEMU's and Pemu's tool. Raises Failed where QEMU's is missing."""
    return qemu_command(name, "qemu-utils"), pemu_command(name, name)


def mixed(path: Path, size: int) -> None:
    """A raw image of `size` bytes: a third each of noise, text and holes, and some zeros."""
    source = random.Random(1)
    text = b"".join(b"%d bottles of beer on the wall\n" % i for i in range(200_000))
    with path.open("wb") as file:
        file.truncate(size)
        at = 0
        while at < size:
            length = source.choice((64, 256, 1024, 4096)) << 10
            kind = source.random()
            start = source.randrange(len(text) - (4096 << 10))
            file.seek(at)
            if kind < 0.33:
                file.write(source.randbytes(length)[: size - at])
            elif kind < 0.63:
                file.write(text[start : start + length][: size - at])
            elif kind < 0.7:
                file.write(bytes(length)[: size - at])
            at += length


def qemu_img(folder: Path, words: str) -> None:
    """Run qemu-img in a folder. Raises Failed."""
    done = subprocess.run(["qemu-img", *words.split()], cwd=folder, capture_output=True)
    if done.returncode:
        raise Failed(f"qemu-img {words}: {done.stderr.decode(errors='replace').strip()}")


def prepare(folder: Path, size: int) -> None:
    """Make the images that the rows use: raw, qcow2, and an overlay that has a quarter of it."""
    mixed(folder / "raw", size)
    qemu_img(folder, "convert -O qcow2 raw qcow2")
    qemu_img(folder, f"create -q -f qcow2 empty.qcow2 {size}")
    qemu_img(folder, "create -q -f qcow2 -b empty.qcow2 -F qcow2 overlay.qcow2")
    commands: list[str] = []
    for at in range(0, size, 8 * MIB):
        commands += ["-c", f"write -q -P {at // MIB % 255 + 1} {at} 2M"]
    subprocess.run(["qemu-io", "-t", "unsafe", *commands, "overlay.qcow2"], cwd=folder, check=True)


def fresh_overlay(folder: Path) -> None:
    """Copies of the overlay and of what is below it, to be changed."""
    for name in ("empty.qcow2", "overlay.qcow2"):
        shutil.copyfile(folder / name, folder / f"work-{name}")
    qemu_img(folder, "rebase -u -b work-empty.qcow2 -F qcow2 work-overlay.qcow2")


def room(folder: Path) -> None:
    """A raw image that has all its room, on the disk and in memory."""
    if not (folder / "room").exists():
        qemu_img(folder, "convert raw room")


def rows() -> list[Row]:
    """All figures, in their order."""
    bulk, pack = 1.1, 1.0
    return [
        Row("start-up of info", "info qcow2"),
        Row("start-up of map", "map --output=json empty.qcow2"),
        Row("convert raw to raw", "convert raw new", bulk),
        Row("convert raw to qcow2", "convert -O qcow2 raw new", bulk),
        Row("convert qcow2 to raw", "convert qcow2 new", bulk),
        Row("convert qcow2 to qcow2", "convert -O qcow2 qcow2 new", bulk),
        Row("the same, in place: raw to raw", "convert -n raw room", bulk, before=room),
        Row("the same, in place: qcow2 to raw", "convert -n qcow2 room", bulk, before=room),
        Row("convert -c (zlib)", "convert -c -O qcow2 qcow2 new", pack),
        Row("convert -c -m 8 -W (zlib)", "convert -c -m 8 -W -O qcow2 qcow2 new", pack),
        Row("convert -c (zstd)", "convert -c -O qcow2 -o compression_type=zstd qcow2 new", pack),
        Row("convert -c -m 8 -W (zstd)",
            "convert -c -m 8 -W -O qcow2 -o compression_type=zstd qcow2 new", pack),
        Row("compare raw with qcow2", "compare raw qcow2", bulk),
        Row("check", "check qcow2", bulk),
        Row("commit", "commit work-overlay.qcow2", bulk, before=fresh_overlay),
        Row("rebase to nothing", "rebase -b  work-overlay.qcow2", bulk, before=fresh_overlay),
        Row("nbd: read in sequence", tool="nbd", goal=bulk, measure=sequential),
        Row("nbd: read 4k at random", tool="nbd", goal=3.0, measure=scattered),
    ]  # fmt: skip


def timed(command: list[str], row: Row, folder: Path) -> float:
    """Seconds that a row's command takes. Raises Failed."""
    begun = time.monotonic()
    words = row.words.split(" ")
    done = subprocess.run(
        [*command, *words], cwd=folder, capture_output=True, env=environment(), timeout=3600
    )
    seconds = time.monotonic() - begun
    if done.returncode:
        raise Failed(f"{row.name}: {done.stderr.decode(errors='replace').strip()}")
    return seconds


class Server:
    """An NBD server for the qcow2 image on a socket; ends with the `with` statement."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.socket = folder / "socket"
        self.socket.unlink(missing_ok=True)
        words = [*command, "-r", "-t", "-e", "4", "-f", "qcow2", "-k", str(self.socket), "qcow2"]
        self._process = subprocess.Popen(words, cwd=folder, env=environment())

    def __enter__(self) -> Server:
        end = time.monotonic() + 30
        while not self.socket.exists():
            if self._process.poll() is not None or time.monotonic() > end:
                raise Failed("the NBD server does not start")
            time.sleep(0.01)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(20)


def sequential(command: list[str], folder: Path) -> float:
    """Seconds for nbdcopy to read all."""
    if shutil.which("nbdcopy") is None:
        raise Failed("nbdcopy is not installed (package libnbd-bin)")
    with Server(command, folder) as server:
        words = ["nbdcopy", f"nbd+unix:///?socket={server.socket}", "null:"]
        begun = time.monotonic()
        subprocess.run(words, check=True)
        return time.monotonic() - begun


def scattered(command: list[str], folder: Path) -> float:
    """Seconds for requests of 4 KiB anywhere, several at a time."""
    size = (folder / "raw").stat().st_size
    with Server(command, folder) as server, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.socket))
        stream = client.makefile("rb")
        stream.read(18)
        client.sendall(struct.pack(">IQII", 3, 0x49484156454F5054, 1, 0))
        stream.read(10)
        places = random.Random(2)
        begun = time.monotonic()
        for number in range(REQUESTS + DEPTH):
            if number >= DEPTH:
                magic, error, _ = struct.unpack(">IIQ", stream.read(16))
                if magic != 0x67446698 or error:
                    raise Failed(f"the NBD server answers with error {error}")
                stream.read(4096)
            if number < REQUESTS:
                offset = places.randrange(size // 4096) * 4096
                client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, number, offset, 4096))
        return time.monotonic() - begun


class Figures:
    """What runs of one tool took: seconds by the clock, and of processors."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def take(self, run: Callable[[], float]) -> None:
        """Run once more."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.wall.append(run())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def compare(row: Row, folder: Path, repeat: int) -> tuple[Figures, Figures]:
    """QEMU's and Pemu's figures, taken in turn, each of them first in every other turn.

    New images are written over the one before, of which the first is not counted: in a virtual
    machine that gives unused memory back to its host, pages that were not in use cost several times
    as much as the copying, and whoever came first would pay.
    """
    figures = (Figures(), Figures())
    take = row.measure or (lambda command, place: timed(command, row, place))
    (folder / "new").unlink(missing_ok=True)
    if row.words.endswith(" new"):
        take(tools(row.tool)[0], folder)
    turn = list(zip(figures, tools(row.tool), strict=True))
    for number in range(repeat):
        for found, command in turn[:: -1 if number % 2 else 1]:
            row.before(folder)
            found.take(partial(take, command, folder))
    return figures


def main(words: Sequence[str]) -> int:
    """Run `python -m bench images` with `words`; the exit status."""
    parser = argparse.ArgumentParser(prog="bench images", description=__doc__)
    parser.add_argument("rows", nargs="*", help="parts of rows' names (default: all rows)")
    parser.add_argument("--size", type=int, default=1024, help="MiB of the image (default: 1024)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument("--folder", help="where images are made (default: a temporary folder)")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="pemu-bench-", dir=given.folder) as place:
        folder = Path(place)
        try:
            prepare(folder, given.size * MIB)
            print(f"{os.cpu_count()} processors, image of {given.size} MiB\n", flush=True)
            print("\n".join(HEADER), flush=True)
            for row in rows():
                if not given.rows or any(part in row.name for part in given.rows):
                    _show(row, folder, given.repeat)
        except Failed as failure:
            print(f"bench: {failure}", file=sys.stderr)
            return 1
    return 0


def _show(row: Row, folder: Path, repeat: int) -> None:
    theirs, ours = compare(row, folder, repeat)
    cells = [row.name, *_pair(theirs.wall, ours.wall), f"{row.goal:.1f}" if row.goal else ""]
    cells.append(f"{max(theirs.wall):.2f} s")
    print(f"| {' | '.join([*cells, *_pair(theirs.cpu, ours.cpu)])} |", flush=True)


def _pair(theirs: list[float], ours: list[float]) -> list[str]:
    """The least of each, as what else goes on only adds to them, and their ratio."""
    one, other = min(theirs), min(ours)
    return [f"{one:.2f} s", f"{other:.2f} s", f"{other / one:.2f}"]
