"""The multiplexer: two front ends on one pipe, and every key after Ctrl-A."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pemu.chardev import mux
from pemu.chardev.interface import Chardev, Event
from pemu.chardev.registry import Chardevs
from pemu.options.error import OptionError
from tests.chardev.conftest import Front, World
from tests.patience import until


class Desk:
    """A console and a monitor on a multiplexer, a keyboard and a screen. The console came last."""

    def __init__(self, world: World, place: Path) -> None:
        for end in ("in", "out"):
            os.mkfifo(place / f"p.{end}")
        self.world = world
        self.base = world.chardevs.create(f"pipe,id=p,path={place}/p,mux=on")
        self.monitor, self.console = Front(), Front()
        self.monitor_port = self.base.attach(self.monitor)
        self.console_port = self.base.attach(self.console)
        world.start()
        self.keyboard = os.open(place / "p.in", os.O_WRONLY)
        self._screen = os.open(place / "p.out", os.O_RDONLY | os.O_NONBLOCK)
        self._shown = b""
        self.console.expect_event(Event.MUX_IN)

    def type(self, keys: bytes) -> None:
        os.write(self.keyboard, keys)

    def shows(self, text: bytes) -> bool:
        try:
            self._shown += os.read(self._screen, 1 << 16)
        except BlockingIOError:
            pass
        return text in self._shown

    def expect(self, text: bytes) -> bytes:
        """Wait for `text` on the screen; returns what came before it, and forgets both."""
        until(lambda: self.shows(text), f"{text!r} (there is {self._shown!r})")
        before, _, self._shown = self._shown.partition(text)
        return before

    def close(self) -> None:
        os.close(self.keyboard)
        os.close(self._screen)


@pytest.fixture
def desk(world: World, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(world, tmp_path)
    yield made
    made.close()


def test_last_front_end_has_the_keyboard_first(desk: Desk) -> None:
    desk.type(b"ls\r")
    desk.console.expect(b"ls\r")
    assert not desk.monitor.got


def test_c_switches_the_keyboard_and_tells_both(desk: Desk) -> None:
    desk.monitor.events.clear()
    desk.type(b"\x01cinfo")
    desk.monitor.expect(b"info")
    assert desk.monitor.events == [Event.MUX_IN]
    assert desk.console.events == [Event.MUX_OUT]
    desk.type(b"\x01cback")
    desk.console.expect(b"back")
    assert desk.monitor.events == [Event.MUX_IN, Event.MUX_OUT]


def test_keys_before_a_switch_reach_the_one_before(desk: Desk) -> None:
    desk.type(b"one\x01ctwo\x01cthree")
    desk.monitor.expect(b"two")
    desk.console.expect(b"onethree")


def test_output_of_both_is_shown(desk: Desk) -> None:
    desk.console_port.write(b"console ")
    desk.monitor_port.write(b"monitor\n")
    assert desk.expect(b"\n") == b"console monitor"


def test_doubled_escape_sends_one(desk: Desk) -> None:
    desk.type(b"a\x01\x01b")
    desk.console.expect(b"a\x01b")


def test_escape_and_its_key_may_come_apart(desk: Desk) -> None:
    desk.type(b"\x01")
    desk.type(b"b")
    desk.console.expect_event(Event.BREAK)
    assert not desk.console.got


def test_b_is_a_break_for_who_has_the_keyboard(desk: Desk) -> None:
    desk.type(b"\x01b")
    desk.console.expect_event(Event.BREAK)
    assert Event.BREAK not in desk.monitor.events


def test_x_says_farewell_and_ends_the_machine(desk: Desk) -> None:
    desk.type(b"\x01x")
    until(lambda: desk.world.quits, "the end")
    desk.expect(b"Pemu: Terminated\r\n")


def test_s_saves_the_disks(desk: Desk) -> None:
    desk.type(b"\x01s")
    until(lambda: desk.world.saves, "the save")


@pytest.mark.parametrize("key", [b"h", b"?"])
def test_help_lists_the_keys(desk: Desk, key: bytes) -> None:
    desk.type(b"\x01" + key)
    text = desk.expect(b"sends C-a\r\n")
    assert re.findall(rb"C-a (\S+) ", text) == [b"h", b"x", b"s", b"t", b"b", b"c", b"C-a"]


def test_unknown_keys_do_nothing(desk: Desk) -> None:
    desk.type(b"\x01q.")
    desk.console.expect(b".")


def test_t_stamps_each_line_until_it_is_typed_again(desk: Desk) -> None:
    desk.type(b"\x01t.")
    desk.console.expect(b".")
    desk.console_port.write(b"rest\none\ntw")
    desk.console_port.write(b"o\n")
    desk.monitor_port.send(b"three\nfour\n")
    shown = desk.expect(b"four\n") + b"four\n"
    stamp = rb"\[00:\d\d:\d\d\.\d{3}\] "
    lines = (b"rest\n", b"one\n", b"two\n", b"three\n", b"four\n")
    assert re.fullmatch(stamp.join(lines), shown), shown
    desk.type(b"\x01t.")
    desk.console.expect(b".")
    desk.console_port.write(b"plain\nlines\n")
    assert desk.expect(b"lines\n") == b"plain\n"


def test_whole_text_is_stamped_or_refused(desk: Desk) -> None:
    desk.type(b"\x01t.")
    desk.console.expect(b".")
    text = b"\none\ntwo\n"
    count = 0
    while taken := desk.console_port.write(text, whole=True):
        assert taken == len(text)
        count += 1
    desk.console_port.send(b"end")
    shown = desk.expect(b"end") + b"end"
    stamp = rb"\[00:\d\d:\d\d\.\d{3}\] "
    first = b"\n" + stamp + b"one\n" + stamp + b"two\n"
    wanted = first + b"(?:" + stamp + first + b"){%d}" % (count - 1) + stamp + b"end"
    assert re.fullmatch(wanted, shown)


def test_stamps_survive_a_slow_reader(desk: Desk) -> None:
    desk.type(b"\x01t.")
    desk.console.expect(b".")
    text = b"\n" + b"".join(b"line %d\n" % number for number in range(20000)) + b"end\n"
    sent = 0
    shown = b""
    while sent < len(text):
        desk.console.writable_again.clear()
        taken = desk.console_port.write(text[sent:])
        sent += taken
        if not taken:
            shown += desk.expect(b"\n") + b"\n"
            desk.console.writable_again.wait(0.01)
    shown += desk.expect(b"end\n") + b"end\n"
    assert re.sub(rb"(?m)^\[00:\d\d:\d\d\.\d{3}\] ", b"", shown) == text


def test_what_one_front_end_does_not_take_waits_for_it(desk: Desk) -> None:
    desk.console.room = 2
    desk.type(b"abcd\x01cm")
    desk.monitor.expect(b"m")
    desk.console.expect(b"ab")
    desk.console.room = 10
    desk.console_port.accept_input()
    desk.console.expect(b"cd")


def test_keys_of_the_multiplexer_work_while_a_guest_hangs(desk: Desk) -> None:
    desk.console.room = 0
    desk.type(b"are you there?\r" * 100)
    desk.type(b"\x01x")
    until(lambda: desk.world.quits, "the end")


def test_what_is_typed_ahead_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mux, "TYPED_AHEAD", 100)
    desk.console.room = 0
    desk.type(b"x" * 300)
    for count in (100, 100, 100):
        until(lambda: len(desk.console_port.typed) == 100)  # type: ignore[attr-defined]
        desk.console.room = count
        desk.console_port.accept_input()
        desk.console.expect(b"x" * count)


def test_front_end_that_leaves_gives_the_keyboard_to_another(desk: Desk) -> None:
    desk.world.on_loop(desk.console_port.detach)
    desk.type(b"quit")
    desk.monitor.expect(b"quit")


def test_keys_of_the_multiplexer_work_without_front_ends(desk: Desk) -> None:
    desk.world.on_loop(desk.console_port.detach)
    desk.world.on_loop(desk.monitor_port.detach)
    desk.type(b"lost\x01x")
    until(lambda: desk.world.quits, "the end")


def test_front_end_can_take_the_keyboard(desk: Desk) -> None:
    desk.monitor_port.take_focus()
    desk.monitor.expect_event(Event.MUX_IN)
    desk.type(b"m")
    desk.monitor.expect(b"m")


def test_each_front_end_learns_once_that_the_other_end_is_open(desk: Desk) -> None:
    desk.world.on_loop(lambda: None)
    assert desk.monitor.events.count(Event.OPENED) == 1


@pytest.mark.parametrize(
    ("escape", "first"),
    [
        (0x14, b"\r\nC-t h    print this help\r\n"),
        (0, b"\r\nEscape-Char set to Ascii: 0x00\r\nEscape-Char h "),
    ],
)
def test_escape_character_can_be_another(tmp_path: Path, escape: int, first: bytes) -> None:
    world = World(escape)
    desk = Desk(world, tmp_path)
    desk.type(b"\x01" + bytes([escape]) + b"h")
    desk.expect(first)
    desk.console.expect(b"\x01")
    world.stop()
    desk.close()


def test_info_shows_multiplexer_and_base(desk: Desk) -> None:
    assert desk.world.chardevs.info() == "p-base: filename=pipe\np: filename=mux\n"


def test_multiplexer_can_be_put_over_a_chardev_by_its_id(world: World) -> None:
    world.chardevs.create("null,id=n")
    made = world.chardevs.create("mux,id=m,chardev=n")
    made.attach(Front())
    made.attach(Front())
    with pytest.raises(OptionError, match="'n' is in use; only with mux=on it serves several"):
        world.chardevs.find("n").attach(Front())


def test_multiplexer_over_nothing_is_refused(world: World) -> None:
    with pytest.raises(OptionError, match="there is no chardev 'x'; make it with -chardev"):
        world.chardevs.create("mux,id=m,chardev=x")


def test_mon_makes_a_multiplexer_that_wants_a_monitor(world: World) -> None:
    chardevs: Chardevs = world.chardevs
    made: Chardev | None = chardevs.open("mon:null", "serial0")
    assert chardevs.monitored == [made]
    assert chardevs.info() == "serial0-base: filename=null\nserial0: filename=mux\n"
