"""pemu-nbd among clients that break off, lie about lengths, send nonsense or take no answers."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pemu.block.graph import Graph
from pemu.block.nbd import protocol as nbd
from pemu.block.opening import Mode
from tests.cli.nbdserver import need, process, run
from tests.cli.sidebyside import command
from tests.patience import LONG, until

SIZE = 64 << 20
OURS = 16 << 20
"""Bytes at the beginning that only the client writes to that behaves."""

ATTACKERS = 8
SECONDS = 20.0
MEMORY = 700 << 20
"""Bytes: what `IN_FLIGHT` allows to eight clients, and as much again for the rest."""

THREADS = 2
"""One that waits for signals and one that waits for clients."""

LENGTHS = (0, 1, 512, 4096, 1 << 20, 32 << 20, (32 << 20) + 1, 1 << 31, (1 << 32) - 1)
OFFSETS = (OURS, 2 * OURS, SIZE - 512, SIZE, 1 << 63, (1 << 64) - 1)


def conversation(dice: random.Random) -> bytes:
    """What a client says from its first word on: nearly right."""

    def option(number: int, data: bytes) -> bytes:
        return nbd.Option(option=number, length=len(data)).emit() + data

    said = [dice.choice((1, 3, 3, 3, 7)).to_bytes(4, "big")]
    contexts = nbd.string("disk") + b"\0\0\0\1" + nbd.string(nbd.BASE_ALLOCATION)
    for number, data in (
        (nbd.OPT_STRUCTURED_REPLY, b""),
        (nbd.OPT_LIST, b""),
        (nbd.OPT_SET_META_CONTEXT, contexts),
        (dice.randrange(14), dice.randbytes(dice.randrange(200))),
        (nbd.OPT_GO, nbd.string("disk") + b"\0\0"),
    ):
        if dice.random() < 0.8:
            said.append(option(number, data))
    for _ in range(dice.randrange(60)):
        kind, length, offset = dice.randrange(9), dice.choice(LENGTHS), dice.choice(OFFSETS)
        head = nbd.Request(
            flags=dice.choice((0, 0, 0, 1, 2, 4, 8, 16, 0xFFFF)), type=kind,
            cookie=dice.getrandbits(64), offset=offset, length=length,
        )  # fmt: skip
        said.append(head.emit())
        if kind == nbd.WRITE:
            said.append(bytes(min(length, dice.choice((32 << 20, 4096)))))
            if length > 1 << 20:
                break
    return b"".join(said)


def attack(dice: random.Random, path: Path) -> None:
    """One connection."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(2)
        sock.connect(str(path))
        data = bytearray(conversation(dice))
        manner = dice.randrange(6)
        if manner == 0:
            for _ in range(dice.randrange(1, 6)):  # not where the offset of a write could be
                data[dice.randrange(min(len(data), 80))] = dice.randrange(256)
        elif manner == 1:
            del data[dice.randrange(len(data)) :]
        elif manner == 2:
            for at in range(min(len(data), 60)):
                sock.sendall(data[at : at + 1])
                time.sleep(0.002)
            del data[:60]
        reader = threading.Thread(target=_drain, args=(sock,))
        if manner != 3:
            reader.start()
        try:
            sock.sendall(data)
            if manner == 4:
                sock.shutdown(socket.SHUT_WR)
            time.sleep(dice.random() / 5)
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the server has had enough
        if manner != 3:
            reader.join()


def _drain(sock: socket.socket) -> None:
    try:
        while sock.recv(1 << 20):
            pass
    except OSError:
        pass


@contextmanager
def attacked(path: Path) -> Iterator[None]:
    over = threading.Event()

    def attacker(seed: int) -> None:
        dice = random.Random(seed)
        while not over.is_set():
            try:
                attack(dice, path)
            except OSError:
                pass

    threads = [threading.Thread(target=attacker, args=(seed,)) for seed in range(ATTACKERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def status(number: int, key: str) -> int:
    text = Path(f"/proc/{number}/status").read_text()
    return int(text.partition(f"{key}:")[2].split()[0])


@pytest.mark.slow
def test_client_that_behaves_notices_nothing(tmp_path: Path) -> None:
    need("qemu-img")
    path, image = tmp_path / "socket", tmp_path / "disk.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", str(image), str(SIZE))
    words = [*command("nbd"), "-t", "-e", "0", "-x", "disk", "-f", "qcow2", "-k", str(path)]
    with process([*words, str(image)], path) as server:
        descriptors = len(os.listdir(f"/proc/{server.pid}/fd"))
        client = Graph().open_name(f"nbd+unix:///disk?socket={path}", format="raw", mode=Mode())
        dice = random.Random(1)
        longest = 0.0
        with attacked(path):
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                data = dice.randbytes(dice.randrange(1, 65536))
                offset = dice.randrange(OURS - len(data))
                began = time.monotonic()
                client.write(offset, data)
                assert client.read(offset, len(data)) == data
                longest = max(longest, time.monotonic() - began)
        client.close()
        assert longest < 60
        assert status(server.pid, "VmHWM") * 1024 < MEMORY
        until(
            lambda: (
                status(server.pid, "Threads") <= THREADS
                and len(os.listdir(f"/proc/{server.pid}/fd")) <= descriptors
            ),
            "the end of the attackers' connections",
        )
        server.terminate()
        assert server.wait(LONG) == 0
    run("qemu-img", "check", "-q", str(image))
