"""Terminals: those that Pemu makes, and those of the host (here: one made by the test)."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import termios
import threading
import time
import tty
from collections.abc import Iterator

import pytest

from pemu.chardev.interface import Event, LineSettings
from pemu.chardev.pty import Pty
from pemu.options.error import OptionError
from tests.chardev.conftest import Front, World
from tests.patience import LONG, until


class Line:
    """A `pty` back end with its front end, and another program's end of it."""

    def __init__(self, world: World) -> None:
        made = world.chardevs.create("pty,id=serial0")
        assert isinstance(made, Pty)
        self.port, self.front = made, Front()
        made.attach(self.front)
        world.start()

    def open(self) -> int:
        """Open the terminal as another program does."""
        fd = os.open(self.port.path, os.O_RDWR | os.O_NOCTTY)
        self.front.expect_event(Event.OPENED)
        return fd


@pytest.fixture
def line(world: World) -> Line:
    return Line(world)


def read(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(fd, size - len(data))
    return data


def test_user_is_told_which_terminal_it_is(world: World, line: Line) -> None:
    assert world.said == [f"char device redirected to {line.port.path} (label serial0)"]
    assert world.chardevs.info() == f"serial0: filename=pty:{line.port.path}\n"


def test_every_byte_passes_unchanged(line: Line) -> None:
    fd = line.open()
    every = bytes(range(256))
    line.port.write(every)
    assert read(fd, 256) == every
    os.write(fd, every)
    line.front.expect(every)
    os.close(fd)


def test_output_while_nobody_has_it_open_is_lost(line: Line) -> None:
    assert line.port.write(b"x" * 100000) == 100000
    fd = line.open()
    line.port.write(b"seen")
    assert read(fd, 4) == b"seen"
    os.close(fd)


def test_output_at_once_after_an_opening_is_not_lost(line: Line) -> None:
    fd = os.open(line.port.path, os.O_RDWR | os.O_NOCTTY)
    line.port.write(b"seen")
    assert read(fd, 4) == b"seen"
    os.close(fd)


def test_terminal_can_be_left_and_opened_again(line: Line) -> None:
    for text in (b"one", b"two"):
        fd = line.open()
        os.write(fd, text)
        line.front.expect(text)
        os.close(fd)
        line.front.expect_event(Event.CLOSED)


def test_megabytes_reach_a_slow_reader_whole(line: Line) -> None:
    fd = line.open()
    data = os.urandom(1 << 20) * 2
    sent, got = 0, bytearray()
    while sent < len(data):
        line.front.writable_again.clear()
        taken = line.port.write(data[sent : sent + 50000])
        sent += taken
        if taken < 50000 and sent < len(data):
            while not line.front.writable_again.is_set():
                if select.select([fd], [], [], 0.01)[0]:
                    got += os.read(fd, 3000)
    while len(got) < len(data):
        got += os.read(fd, 1 << 16)
    assert got == data
    os.close(fd)


def test_reader_who_leaves_takes_the_backlog_along(line: Line) -> None:
    fd = line.open()
    line.front.room = 0
    while line.port.write(b"x" * 10000):
        pass
    os.close(fd)
    line.front.expect_event(Event.CLOSED)
    until(lambda: not line.port.backlog, "the end of the backlog")
    assert line.front.writable_again.wait(LONG)
    assert line.port.write(b"y") == 1


def test_closing_writes_what_is_queued(world: World, line: Line) -> None:
    fd = line.open()
    line.port.send(b"x" * 100000)
    got = bytearray()

    def read_all() -> None:
        with contextlib.suppress(OSError):  # the hang-up
            while data := os.read(fd, 5000):
                got.extend(data)

    reader = threading.Thread(target=read_all)
    reader.start()
    world.stop()
    reader.join()
    os.close(fd)
    assert len(got) == 100000


def test_closing_does_not_wait_for_ever_for_a_reader(world: World, line: Line) -> None:
    fd = line.open()
    line.port.send(b"x" * 100000)
    start = time.monotonic()
    world.stop(patience=0.5)
    assert time.monotonic() - start >= 0.5
    os.close(fd)


def test_closing_waits_no_longer_for_a_user_in_a_hurry(world: World, line: Line) -> None:
    fd = line.open()
    line.port.send(b"x" * 100000)
    threading.Timer(0.2, setattr, (world.host, "hurried", True)).start()
    world.stop()
    os.close(fd)


@pytest.fixture
def device() -> Iterator[tuple[int, str]]:
    """A terminal for the `serial` back end: its other end, and its path."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    yield master, os.ttyname(slave)
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize("name", ["serial", "tty"])
def test_serial_device_carries_both_directions(
    world: World, device: tuple[int, str], name: str
) -> None:
    master, path = device
    port, front = world.connect(f"{name},id=s,path={path}")
    port.write(b"out")
    assert read(master, 3) == b"out"
    os.write(master, b"in\r\x03")
    front.expect(b"in\r\x03")
    assert port.filename == "serial"


def test_serial_line_is_driven_as_the_guest_says(world: World, device: tuple[int, str]) -> None:
    _, path = device
    port, _ = world.connect(f"serial,id=s,path={path}")
    port.set_line(LineSettings(speed=9600, parity="E", data_bits=7, stop_bits=2))
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    held = termios.tcgetattr(fd)
    os.close(fd)
    assert held[4] == held[5] == termios.B9600
    assert held[2] & termios.CSTOPB
    assert not held[2] & termios.PARODD


def test_terminal_without_modem_lines_says_so(world: World, device: tuple[int, str]) -> None:
    port, _ = world.connect(f"serial,id=s,path={device[1]}")
    port.set_modem_lines(rts=True, dtr=False)
    port.set_break(True)
    assert port.modem_lines() is None


def test_missing_device_is_named(world: World) -> None:
    with pytest.raises(OptionError, match="cannot open '/dev/nope': No such file or directory"):
        world.chardevs.open("/dev/nope", "serial0")
