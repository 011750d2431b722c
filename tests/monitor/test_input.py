"""Keys and mice by commands of the monitor."""

from __future__ import annotations

from pemu.machine.clock import MILLISECOND
from tests.monitor.conftest import Typed


class Desk:
    """A keyboard and a mouse, which note what happens to them."""

    description = "a mouse"
    absolute = False

    def __init__(self, typed: Typed) -> None:
        self.events: list[object] = []
        typed.machine.input.add_keyboard(self)
        typed.machine.input.add_pointer(self)

    def key(self, name: str, down: bool) -> None:
        self.events.append((name, down))

    def move(self, x: int, y: int) -> None:
        self.events.append((x, y))

    def wheel(self, clicks: int) -> None:
        self.events.append(clicks)

    def button(self, name: str, down: bool) -> None:
        if down:
            self.events.append(name)

    def sync(self) -> None:
        self.events.append("sync")


class Tablet:
    """A pointer that says where it is."""

    description = "a tablet"
    absolute = True

    def move(self, x: int, y: int) -> None:
        raise AssertionError("commands only tell distances")

    def wheel(self, clicks: int) -> None: ...
    def button(self, name: str, down: bool) -> None: ...
    def sync(self) -> None: ...


def later(typed: Typed, milliseconds: int) -> None:
    clock = typed.machine.clocks.virtual
    clock.set(clock.now() + milliseconds * MILLISECOND)
    clock.run_timers()


def test_keys_are_pressed_in_turn_and_let_go_in_the_opposite_order(typed: Typed) -> None:
    desk = Desk(typed)
    typed.machine.control.resume()
    typed.says("sendkey ctrl-a 1000")
    assert desk.events == [("ctrl", True)]
    for _ in range(4):
        later(typed, 1000)
    assert desk.events == [("ctrl", True), ("a", True), ("a", False), ("ctrl", False)]


def test_what_is_typed_waits_for_what_was_before(typed: Typed) -> None:
    desk = Desk(typed)
    typed.machine.control.resume()
    typed.says("sendkey a")
    typed.says("sendkey b")
    for _ in range(4):
        later(typed, 100)
    assert desk.events == [("a", True), ("a", False), ("b", True), ("b", False)]


def test_keys_have_numbers(typed: Typed) -> None:
    desk = Desk(typed)
    typed.machine.control.resume()
    typed.says("sendkey 0x9c-0x1e 1000")
    later(typed, 1000)
    assert desk.events == [("kp_enter", True), ("a", True)]


def test_a_machine_that_stands_has_no_keys(typed: Typed) -> None:
    desk = Desk(typed)
    typed.says("sendkey a")
    typed.says("mouse_move 1 1")
    assert desk.events == []


def test_much_is_not_kept(typed: Typed) -> None:
    Desk(typed)
    typed.machine.control.resume()
    for _ in range(5000):
        typed.says("sendkey a-b-c")
    assert len(typed.machine.input._waiting) <= 1024


def test_the_mouse_moves_and_clicks(typed: Typed) -> None:
    desk = Desk(typed)
    typed.machine.control.resume()
    typed.says("mouse_move 3 -4 -1")
    typed.says("mouse_button 5")
    assert desk.events == [(3, -4), -1, "sync", "left", "right", "sync"]


def test_the_mouse_is_chosen(typed: Typed) -> None:
    desk = Desk(typed)
    typed.machine.input.remove(desk)
    typed.machine.input.add_pointer(desk)
    typed.machine.input.add_pointer(Tablet())
    assert typed.says("info mice") == "  Mouse #3: a mouse\n* Mouse #4: a tablet (absolute)\n"
    typed.machine.control.resume()
    assert typed.says("mouse_move 1 1") == ""
    assert typed.says("mouse_set 3") == ""
    assert typed.says("info mice") == "* Mouse #3: a mouse\n  Mouse #4: a tablet (absolute)\n"
    typed.says("mouse_move 1 1")
    assert desk.events == [(1, 1), "sync"]


def test_without_a_mouse(typed: Typed) -> None:
    assert typed.says("info mice") == "No mouse devices connected\n"
    assert typed.says("mouse_set 1") == "Mouse at index '1' not found\n"
    assert typed.says("mouse_move 1 1") == ""
