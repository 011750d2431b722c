"""Monitors on character devices."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import time
from pathlib import Path

from tests.monitor.test_human import PROMPT, ask
from tests.patience import LONG

BANNER = b"monitor - type 'help' for more information\r\r\n(qemu) "


def until(fd: int, wanted: bytes) -> bytes:
    """Read until `wanted` has come."""
    got = b""
    end = time.monotonic() + LONG
    while wanted not in got:
        assert time.monotonic() < end, got
        got += os.read(fd, 4096)
    return got


def test_keys_of_the_terminal_lead_to_the_monitor(pemu_system: list[str]) -> None:
    ours, theirs = pty.openpty()
    words = ["-M", "none", "-nographic"]
    process = subprocess.Popen([*pemu_system, *words], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        until(ours, BANNER)
        os.write(ours, b"info st\t\r")
        until(ours, b"VM status: running\r\r\n" + PROMPT)
        os.write(ours, b"quit\r")
        assert process.wait(LONG) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_monitors_beside_each_other(pemu_system: list[str], tmp_path: Path) -> None:
    path = str(tmp_path / "other")
    words = ["-M", "none", "-display", "none", "-name", "two"]
    words += ["-monitor", f"unix:{path},server=on,wait=off"]
    assert ask([*pemu_system, *words], ("info name",)) == ["two\r\n"]


def test_output_that_nobody_reads_does_not_stop_the_machine(pemu_system: list[str]) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(LONG)
    with ours:
        monitor = ["-chardev", f"socket,id=m,fd={theirs.fileno()}", "-mon", "m"]
        process = subprocess.Popen(
            [*pemu_system, "-M", "none", "-m", "16", "-display", "none", *monitor],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        try:
            lines = b"xp /65536xb 0\r" * 3
            ours.sendall(lines + b"quit\r")
            got = 0
            while data := ours.recv(65536):
                got += len(data)
            assert got > 3 * 65536 * 5
            assert process.wait(LONG) == 0
        finally:
            process.kill()
            process.wait()


def test_mode_control_is_refused(pemu_system: list[str]) -> None:
    words = ["-M", "none", "-chardev", "null,id=q", "-mon", "chardev=q,mode=control"]
    done = subprocess.run(
        [*pemu_system, *words], capture_output=True, text=True, timeout=LONG, check=False
    )
    assert (done.returncode, "not supported yet" in done.stderr) == (1, True)


def test_no_prompt_after_quit(pemu_system: list[str]) -> None:
    done = subprocess.run(
        [*pemu_system, "-M", "none", "-display", "none", "-monitor", "stdio"],
        input=b"quit\n",
        capture_output=True,
        timeout=LONG,
    )
    assert done.stdout.endswith(PROMPT + b"quit\r\n")
