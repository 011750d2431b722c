"""Standard input and output: pipes, files, and terminals that are restored whatever happens."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from shlex import join

import pytest

from pemu.chardev.interface import Host
from pemu.chardev.registry import Chardevs
from pemu.options.error import OptionError
from tests.chardev.conftest import World
from tests.chardev.on_stdio import LINES
from tests.conftest import ROOT
from tests.linux.terminal import Terminal
from tests.patience import LONG, until

LFLAG = 3
ENVIRON = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "PS1": "prompt> "}


def words(chardev: str, task: str = "echo", *patience: str) -> list[str]:
    return [sys.executable, "-m", "tests.chardev.on_stdio", chardev, task, *patience]


# Pipes and files.


def run(task: str, data: bytes, **arguments: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        words("stdio,id=s", task),
        input=data,
        stdout=arguments.pop("stdout", subprocess.PIPE),
        env=ENVIRON,
        timeout=LONG,
        **arguments,
    )


def test_pipes_carry_both_directions() -> None:
    assert run("echo", b"aq").stdout.startswith(b"<opened>[61][71]")


def test_end_of_input_closes_and_the_machine_goes_on() -> None:
    with subprocess.Popen(
        words("stdio,id=s"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRON,
    ) as program:
        assert program.stdin
        assert program.stdout
        program.stdin.close()
        assert program.stdout.read(16) == b"<opened><closed>"
        assert program.poll() is None
        program.kill()


@pytest.mark.parametrize("closed", [0, 1])
def test_standard_descriptors_may_be_closed(closed: int) -> None:
    script = f"exec {closed}{'<>'[closed]}&-; exec {join(words('stdio,id=s', 'flood'))}"
    done = subprocess.run(
        ["sh", "-c", script], input=b"q", stdout=subprocess.PIPE, env=ENVIRON, timeout=LONG
    )
    assert done.returncode == 0
    assert (b"line 19999\n" in done.stdout) == (closed == 0)


def test_input_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"a" * 1000 + b"q")
    with open(tmp_path / "keys", "rb") as keys:
        done = subprocess.run(
            words("stdio,id=s"),
            stdin=keys,
            stdout=subprocess.PIPE,
            env=ENVIRON,
            timeout=LONG,
        )
    assert done.stdout.startswith(b"<opened>" + b"[61]" * 1000 + b"[71]")


def test_output_into_a_file_is_whole_and_leaves_its_position_shared(tmp_path: Path) -> None:
    script = f"{join(words('stdio,id=s', 'flood'))} </dev/null; echo after"
    with open(tmp_path / "out", "wb") as out:
        subprocess.run(["sh", "-c", script], stdout=out, env=ENVIRON, timeout=LONG)
    lines = (tmp_path / "out").read_bytes().splitlines()
    assert lines[-2:] == [b"line %d" % (LINES - 1), b"after"]


def test_output_into_a_pipe_is_not_lost_at_the_end() -> None:
    script = f"{join(words('stdio,id=s', 'flood'))} </dev/null | (sleep 1; wc -l)"
    done = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, env=ENVIRON, timeout=LONG)
    assert int(done.stdout) == LINES


def test_reader_who_leaves_does_not_end_the_machine() -> None:
    script = f"({join(words('stdio,id=s', 'flood'))} </dev/null; echo $? >&2) | head -n 1"
    done = subprocess.run(["sh", "-c", script], capture_output=True, env=ENVIRON)
    assert b"output is lost" in done.stderr
    assert done.stderr.endswith(b"0\n")


def test_shared_pipe_still_waits_for_other_programs() -> None:
    """A program that shares the output must not find that it has become non-blocking."""
    reading, writing = os.pipe()
    program = subprocess.Popen(
        words("stdio,id=s"), stdin=subprocess.PIPE, stdout=writing, env=ENVIRON
    )
    assert os.read(reading, 8) == b"<opened>"
    assert os.get_blocking(writing)
    program.kill()
    program.communicate()
    os.close(reading)
    os.close(writing)


def test_output_into_a_socket_is_non_blocking_while_it_runs() -> None:
    ours, theirs = socket.socketpair()
    with subprocess.Popen(
        words("stdio,id=s"), stdin=subprocess.PIPE, stdout=theirs.fileno(), env=ENVIRON
    ) as program:
        assert ours.recv(8) == b"<opened>"
        assert not os.get_blocking(theirs.fileno())
        program.communicate(b"q")
    assert os.get_blocking(theirs.fileno())
    ours.close()
    theirs.close()


# Terminals.


def modes(fd: int) -> list[object]:
    return termios.tcgetattr(fd)


def is_raw(fd: int) -> bool:
    return not termios.tcgetattr(fd)[LFLAG] & (termios.ICANON | termios.ECHO)


class Desk(Terminal):
    """A terminal with a shell that leaves its modes alone, and in it a program on stdio."""

    def __init__(self) -> None:
        super().__init__(["/bin/sh", "-i"], ENVIRON)
        self.until("prompt> ")
        self.before = modes(self.fd)

    def start(self, chardev: str = "stdio,id=s", task: str = "echo") -> int:
        """Start the program, wait until it runs, and return its process id."""
        self.type(join(words(chardev, task)) + "\n")
        self.until("<opened>")
        assert is_raw(self.fd)
        return os.tcgetpgrp(self.fd)

    def expect_restored(self) -> None:
        until(lambda: modes(self.fd) == self.before, "the terminal as it was")


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.close()


def test_every_key_comes_at_once_and_is_not_shown(desk: Desk) -> None:
    desk.start("stdio,id=s,signal=off")
    desk.type("\x03\x1a\x1c\x13\r\n\x7f\x01.")
    assert desk.until("[2e]") == "[03][1a][1c][13][0d][0a][7f][01][2e]"


def test_output_is_still_processed_for_the_terminal(desk: Desk) -> None:
    desk.type(join(words("stdio,id=s", "flood")) + "\n")
    assert "line 1\r\nline 2\r\n" in desk.until(f"line {LINES - 1}\r\n")


def test_interrupt_key_works_until_the_machine_starts(desk: Desk) -> None:
    desk.type(join(words("stdio,id=s,signal=off", "idle")) + "\n")
    desk.until("<idle>")
    desk.type("\x03")
    desk.until("prompt> ")
    assert modes(desk.fd) == desk.before


def test_terminal_is_restored_at_the_end(desk: Desk) -> None:
    desk.start()
    desk.type("q")
    desk.until("prompt> ")
    assert modes(desk.fd) == desk.before


def test_terminal_is_restored_after_an_exception(desk: Desk) -> None:
    desk.start(task="raise")
    desk.type("q")
    desk.until("prompt> ")
    assert modes(desk.fd) == desk.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGSEGV])
def test_terminal_is_restored_after_a_deadly_signal(desk: Desk, number: int) -> None:
    os.kill(desk.start(), number)
    desk.until("prompt> ")
    desk.expect_restored()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_terminal_is_restored_after_the_end_of_the_process_group(desk: Desk, number: int) -> None:
    os.killpg(os.getpgid(desk.start()), number)
    desk.until("prompt> ")
    desk.expect_restored()


def test_terminal_is_restored_after_an_abort(desk: Desk) -> None:
    desk.start(task="abort")
    desk.type("q")
    desk.until("prompt> ")
    desk.expect_restored()


def test_interrupt_key_ends_the_program_where_signals_are_on(desk: Desk) -> None:
    desk.start("stdio,id=s,signal=on")
    desk.type("\x03")
    desk.until("prompt> ")
    desk.expect_restored()


def test_guard_goes_with_the_program(desk: Desk) -> None:
    program = desk.start()
    threads = Path(f"/proc/{program}/task").iterdir()
    guards = [child for one in threads for child in (one / "children").read_text().split()]
    assert len(guards) == 1
    desk.type("q")
    desk.until("prompt> ")
    until(lambda: not os.path.exists(f"/proc/{guards[0]}"), "the end of the guard")


def test_stopped_program_gives_the_terminal_back(desk: Desk) -> None:
    desk.start()
    desk.type("\x1a")
    desk.until("prompt> ")
    assert modes(desk.fd) == desk.before
    desk.type("echo i am h'e're\n")
    desk.until("i am here")
    desk.until("prompt> ")
    desk.type("fg\n")
    until(lambda: is_raw(desk.fd), "raw mode")
    desk.type("a")
    desk.until("[61]")
    desk.type("q")
    desk.until("prompt> ")
    assert modes(desk.fd) == desk.before


def test_program_in_the_background_leaves_the_terminal_alone(desk: Desk) -> None:
    program = desk.start()
    desk.type("\x1a")
    desk.until("prompt> ")
    desk.type("bg\n")
    desk.until("prompt> ")
    time.sleep(0.3)
    assert modes(desk.fd) == desk.before
    os.kill(program, signal.SIGKILL)


def test_program_killed_in_the_background_leaves_the_terminal_alone(desk: Desk) -> None:
    program = desk.start()
    desk.type("\x1a")
    desk.until("prompt> ")
    changed = termios.tcgetattr(desk.fd)
    changed[LFLAG] &= ~termios.ECHO
    termios.tcsetattr(desk.fd, termios.TCSANOW, changed)
    os.kill(program, signal.SIGKILL)
    time.sleep(0.5)
    assert modes(desk.fd) == changed


def test_slow_terminal_does_not_hold_the_machine_up() -> None:
    """Nobody reads the terminal; the program must yet see what is typed, and end."""
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    command = words("stdio,id=s", "flood", "0.1")
    program = subprocess.Popen(command, stdin=slave, stdout=slave, env=ENVIRON)
    assert program.wait(timeout=LONG) == 0
    assert termios.tcgetattr(slave) == before
    shown = b""
    while select.select([master], [], [], 0)[0]:
        shown += os.read(master, 1 << 16)
    assert b"line 0\r\nline 1\r\n" in shown
    os.close(slave)
    os.close(master)


# Mistakes.


def test_there_is_one_standard_input_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pemu.chardev.stdio.Stdio._in_use", True)
    with pytest.raises(OptionError, match="stdio is in use by another character device; share it"):
        world.chardevs.create("stdio,id=s")


def test_daemon_has_no_standard_input(world: World) -> None:
    chardevs = Chardevs(Host(world.loop, daemonize=True))
    with pytest.raises(OptionError, match="stdio is not there with -daemonize"):
        chardevs.create("stdio,id=s")
