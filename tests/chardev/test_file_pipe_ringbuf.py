"""Files, named pipes, memory, and what is common to all back ends."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from pemu.chardev.interface import Event
from pemu.chardev.ringbuf import RingBuffer
from pemu.options.error import OptionError
from tests.chardev.conftest import Front, World
from tests.patience import LONG, until


def test_file_has_everything_that_was_written(world: World, tmp_path: Path) -> None:
    port, _ = world.connect(f"file,id=f,path={tmp_path}/out")
    assert port.write(b"one\n") == 4
    port.send(b"two\n")
    world.stop()
    assert (tmp_path / "out").read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize(("append", "content"), [("off", b"new"), ("on", b"old new")])
def test_file_is_replaced_or_appended_to(
    world: World, tmp_path: Path, append: str, content: bytes
) -> None:
    (tmp_path / "out").write_bytes(b"old ")
    port, _ = world.connect(f"file,id=f,path={tmp_path}/out,append={append}")
    port.write(b"new")
    world.stop()
    assert (tmp_path / "out").read_bytes() == content


def test_file_that_cannot_be_made_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot open '.*/none/out': No such file or directory"):
        world.chardevs.create(f"file,id=f,path={tmp_path}/none/out")


def test_log_file_is_a_copy_of_the_output(world: World, tmp_path: Path) -> None:
    port, _ = world.connect(f"null,id=n,logfile={tmp_path}/log")
    port.write(b"shown\n")
    world.stop()
    assert (tmp_path / "log").read_bytes() == b"shown\n"


def test_a_full_disk_is_reported_once_and_does_not_stop_the_guest(world: World) -> None:
    port, _ = world.connect("file,id=f,path=/dev/full")
    assert port.write(b"a") == port.write(b"b") == 1
    until(lambda: world.warned, "a warning")
    world.on_loop(lambda: None)
    assert world.warned == ["f: file: No space left on device; output is lost"]


def test_named_pipes_carry_both_directions(world: World, tmp_path: Path) -> None:
    for end in ("in", "out"):
        os.mkfifo(tmp_path / f"p.{end}")
    port, front = world.connect(f"pipe,id=p,path={tmp_path}/p")
    port.write(b"from the guest")
    with open(tmp_path / "p.out", "rb", buffering=0) as out:
        assert out.read(100) == b"from the guest"
    for text in (b"first", b"second"):
        (tmp_path / "p.in").write_bytes(text)
        front.expect(text)
    assert front.events == [Event.OPENED]


def test_pipe_that_nobody_reads_stops_the_guest_writing_but_not_the_machine(
    world: World, tmp_path: Path
) -> None:
    for end in ("in", "out"):
        os.mkfifo(tmp_path / f"p.{end}")
    port, front = world.connect(f"pipe,id=p,path={tmp_path}/p")
    sent = 0

    def fill() -> None:
        nonlocal sent
        while taken := port.write(b"x" * 1000):
            sent += taken

    with open(tmp_path / "p.out", "r+b", buffering=0) as out:

        def is_full() -> bool:
            fill()
            return not select.select([], [out], [], 0)[1]

        until(is_full, "the end of the pipe's room")
        fill()
        world.on_loop(front.writable_again.clear)  # after what was still to be told of the pipe
        world.on_loop(lambda: None)
        assert not front.writable_again.is_set()
        got = 0
        while got < sent:
            got += len(out.read(1 << 16))
    assert front.writable_again.wait(LONG)
    assert port.write(b"more") == 4


def test_pipe_without_a_file_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot open '.*/p': No such file"):
        world.chardevs.create(f"pipe,id=p,path={tmp_path}/p")


@pytest.mark.parametrize("name", ["ringbuf", "memory"])
def test_ring_buffer_keeps_the_newest(world: World, name: str) -> None:
    made = world.chardevs.create(f"{name},id=r,size=8")
    assert isinstance(made, RingBuffer)
    made.write(b"0123456789")
    made.write(b"ab")
    assert made.read(3) == b"456"
    assert made.read(100) == b"789ab"
    assert made.read(100) == b""
    assert made.filename == name


def test_ring_buffer_wants_a_power_of_two(world: World) -> None:
    with pytest.raises(OptionError, match="size: '3' is not a power of two"):
        world.chardevs.create("ringbuf,id=r,size=3")


def test_no_more_is_delivered_than_the_front_end_takes(world: World, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    front = Front(room=0)
    port, _ = world.connect(f"pipe,id=p,path={tmp_path}/p", front)
    with open(tmp_path / "p", "wb", buffering=0) as into:
        into.write(b"0123456789")
        for expected in (b"0123", b"4567", b"89"):
            front.room = 4
            port.accept_input()
            front.expect(expected)


def test_front_end_is_called_on_the_io_thread_only(world: World, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    _, front = world.connect(f"pipe,id=p,path={tmp_path}/p")
    (tmp_path / "p").write_bytes(b"x")
    front.expect(b"x")
    assert front.threads == {world.thread.ident}
