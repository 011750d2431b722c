"""What a machine gives up before it runs: its root directory, its user, system calls."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pemu import latemodules
from pemu.cli.privileges import LATE, PACKAGES
from tests.cli.signals import catches
from tests.conftest import ROOT
from tests.linux.test_change_of_root import late_imports
from tests.patience import LONG

COMMANDS = {
    "pemu": [
        sys.executable,
        "-c",
        f"import sys; sys.path[:0]=[{str(ROOT / 'src')!r}]; import pemu.cli.system as s; "
        "s.entry('mips')",
    ],
    "qemu": ["qemu-system-mips"],
}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@contextmanager
def running(
    command: str, folder: Path, *words: str | Path, fds: tuple[int, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A machine that stands still, once it has a process number to tell."""
    if shutil.which(COMMANDS[command][0]) is None:
        pytest.skip("qemu-system-mips is missing (Debian package qemu-system-misc)")
    pid = folder / f"{command}.pid"
    process = subprocess.Popen(
        [*COMMANDS[command], *"-M none -display none -nodefaults -S -pidfile".split(), pid, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=fds,
        text=True,
    )
    try:
        wait_for(lambda: pid.exists() and bool(pid.read_text()), process)
        yield process
    finally:
        process.kill()
        process.communicate(timeout=LONG)


def wait_for(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something is true of a process that goes on."""
    end = time.monotonic() + LONG
    while not true():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)


def status(process: subprocess.Popen[str], key: str) -> list[str]:
    """A line of what the host says of a process."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{key}:")).split()[1:]


@needs_root
@pytest.mark.parametrize("command", COMMANDS)
def test_runas_by_name(command: str, tmp_path: Path) -> None:
    with running(command, tmp_path, "-runas", "nobody") as process:
        wait_for(lambda: status(process, "Uid") == ["65534"] * 4, process)
        assert status(process, "Gid") == ["65534"] * 4
        assert status(process, "Groups") == ["65534"]


@needs_root
@pytest.mark.parametrize("command", COMMANDS)
def test_runas_by_number(command: str, tmp_path: Path) -> None:
    with running(command, tmp_path, "-runas", "4321:1234") as process:
        wait_for(lambda: status(process, "Uid") == ["4321"] * 4, process)
        assert status(process, "Gid") == ["1234"] * 4
        assert status(process, "Groups") == ["1234"]


@needs_root
@pytest.mark.parametrize("command", COMMANDS)
def test_chroot(command: str, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with running(command, tmp_path, "-chroot", tmp_path / "root") as process:
        at = Path(f"/proc/{process.pid}")
        wait_for(lambda: os.readlink(at / "root") == str(tmp_path / "root"), process)
        wait_for(lambda: os.readlink(at / "cwd") == str(tmp_path / "root"), process)


@needs_root
def test_pid_file_goes_from_where_it_was_before_chroot(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with running("pemu", tmp_path, "-chroot", tmp_path / "root") as process:
        wait_for(lambda: catches(process.pid, signal.SIGHUP), process)  # the last handler
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONG) == 0
    assert os.listdir(tmp_path) == ["root"]


@pytest.mark.parametrize("command", COMMANDS)
def test_sandbox_is_a_filter_for_all_threads(command: str, tmp_path: Path) -> None:
    with running(command, tmp_path, "-sandbox", "on") as process:
        wait_for(lambda: status(process, "Seccomp") == ["2"], process)
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                assert re.search("^Seccomp:\t2$", (task / "status").read_text(), re.MULTILINE)


FORKS = "os.fork()"
STARTS_THREAD = "t = threading.Thread(target=print, args=('ran',)); t.start(); t.join()"
REFUSED = [
    ("spawn=deny", FORKS, -signal.SIGSYS),
    ("spawn=allow", FORKS, 0),
    ("spawn=deny", "os.execv('/bin/true', ['true'])", -signal.SIGSYS),
    ("spawn=deny", STARTS_THREAD, 0),
    ("elevateprivileges=deny", "os.setsid()", -signal.SIGSYS),
    ("elevateprivileges=children", "os.setuid(os.getuid())", 0),
    ("resourcecontrol=deny", "os.sched_setaffinity(0, {0})", 1),
    ("obsolete=deny", "ctypes.CDLL(None).syscall(139, 1, 0, 0)", -signal.SIGSYS),
    ("obsolete=allow", "ctypes.CDLL(None).syscall(139, 1, 0, 0)", 0),
    ("enable=off,spawn=deny", FORKS, 0),
]


@pytest.mark.parametrize(("wanted", "what", "result"), REFUSED)
def test_sandbox_refuses(wanted: str, what: str, result: int) -> None:
    code = f"""
import ctypes, os, sys, threading
sys.path[:0] = [{str(ROOT / "src")!r}]
from pemu.cli.privileges import give_up, sandbox_group
give_up("", None, sandbox_group().parse({"enable=on," + wanted!r}), None)
{what}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=LONG)
    assert done.returncode == result


def test_descriptors_stand_for_files_of_chardevs_and_drives_and_the_log(tmp_path: Path) -> None:
    disk, log, output = (tmp_path / name for name in ("disk", "log", "output"))
    disk.write_bytes(bytes(512))
    fds = (os.open(disk, os.O_RDWR), *(os.open(p, os.O_WRONLY | os.O_CREAT) for p in (log, output)))
    words = [f"-add-fd fd={fd},set={number}" for number, fd in enumerate(fds, 1)]
    words += ["-drive if=none,format=raw,file=/dev/fdset/1"]
    words += ["-d int -D /dev/fdset/2", "-chardev file,id=c,path=/dev/fdset/3"]
    os.truncate(log, 3)
    os.truncate(output, 3)
    with running("pemu", tmp_path, *" ".join(words).split(), fds=fds) as process:
        held = {os.path.realpath(link) for link in Path(f"/proc/{process.pid}/fd").iterdir()}
        assert {str(disk), str(log), str(output)} <= held
    assert (log.read_bytes(), output.read_bytes()) == (b"", b"")
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize(("value", "shared"), [("on", 2), ("off", 0)])
def test_guest_memory_in_core_dumps(value: str, shared: int, tmp_path: Path) -> None:
    with running("pemu", tmp_path, "-M", f"dump-guest-core={value}") as process:
        bits = Path(f"/proc/{process.pid}/coredump_filter").read_text()
        assert int(bits, 16) & 2 == shared


def test_modules_imported_late_are_listed() -> None:
    paths = latemodules.own(PACKAGES)
    optional = {"cryptography", "liblzfse", "paramiko", "urllib3", "zstandard"}
    late = {name for name in late_imports(paths) if name.partition(".")[0] not in optional}
    load = f"latemodules.load({LATE!r}, latemodules.own({PACKAGES!r}))"
    code = f"import sys; sys.path[:0] = {sys.path!r}; from pemu import latemodules; {load}"
    code += "; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert not late - set(run.stdout.split()), "to be added to LATE in pemu.cli.privileges"
