"""NBD servers in processes of their own: pemu-nbd, and those that others have made."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.sidebyside import command
from tests.patience import LONG, listens, until

PACKAGES = {
    "qemu-img": "qemu-utils",
    "qemu-io": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "nbdinfo": "libnbd-bin",
    "nbdcopy": "libnbd-bin",
    "nbdsh": "python3-libnbd",
    "nbdkit": "nbdkit",
    "openssl": "openssl",
    "nbd-client": "nbd-client",
    "mkfs.ext4": "e2fsprogs",
}


def need(program: str) -> str:
    """`program`, or the test is skipped and says which package has it."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is missing (Debian package {PACKAGES[program]})")
    return program


def nbdsh(script: str, *words: str) -> None:
    """Run a script of libnbd's shell, with the Python that Debian has made it for."""
    need("nbdsh")
    run("/usr/bin/python3", "-m", "nbd", *words, "-c", script)


def run(*words: str, status: int = 0) -> str:
    """What a command prints on standard output; it has to end with `status`."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout


def pemu_nbd(*words: str, status: int = 0) -> str:
    """What pemu-nbd prints on both outputs; it has to end with `status`."""
    done = subprocess.run(
        [*command("nbd"), *words], capture_output=True, text=True, timeout=LONG, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


@contextmanager
def process(words: Sequence[str], socket: Path) -> Iterator[subprocess.Popen[str]]:
    """A server while the body runs, which begins when clients can come to its socket."""
    server = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: listens(socket) or server.poll() is not None, str(socket))
        if server.poll() is not None:
            pytest.fail(f"{words[0]}: {server.communicate()[1]}")
        yield server
    finally:
        server.terminate()
        error = server.communicate(timeout=LONG)[1]
        assert "Traceback" not in error


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[str]:
    """pemu-nbd with `words`; the value is the URI of an export without a name."""
    socket = folder / "nbd"
    with process([*command("nbd"), "-t", "-k", str(socket), *words], socket) as server:
        yield f"nbd+unix:///?socket={socket}"
        server.terminate()
        assert server.wait(LONG) == 0
