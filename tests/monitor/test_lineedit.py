"""Editing of lines: keys in, what a terminal would show out."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from pemu.monitor.lineedit import LineEditor


class Screen:
    """One line of a terminal, that obeys what the editor sends."""

    def __init__(self, complete: Sequence[str] = ()) -> None:
        self.editor = LineEditor("> ", lambda text: complete)
        self.text = ""
        self.cursor = 0
        self.above: list[str] = []
        self.lines: list[str] = []
        self.show(self.editor.begin())

    def show(self, out: str) -> None:
        while out:
            if out.startswith("\x1b[D"):
                self.cursor -= 1
                assert self.cursor >= 2, "the cursor is in the prompt"
                out = out[3:]
            elif out.startswith("\x1b[K"):
                self.text = self.text[: self.cursor]
                out = out[3:]
            elif out.startswith("\r\n"):
                self.above.append(self.text)
                self.text, self.cursor, out = "", 0, out[2:]
            else:
                self.text = self.text[: self.cursor] + out[0] + self.text[self.cursor + 1 :]
                self.cursor, out = self.cursor + 1, out[1:]

    def type(self, keys: str) -> None:
        for out, line in self.editor.feed(keys):
            self.show(out)
            if line is not None:
                self.lines.append(line)
                self.show(self.editor.begin())

    def check(self) -> None:
        assert self.text == "> " + self.editor.text
        assert self.cursor == 2 + self.editor.cursor


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("stop\r", "stop"),
        ("stop\n", "stop"),
        ("sop\x1b[D\x1b[Dt\r", "stop"),
        ("op\x01st\r", "stop"),
        ("tops\x1bOD\x1bOD\x1bOD\x1bOD\x04s\r", "sops"),
        ("stop it\x17\x7f\r", "stop"),
        ("stopx\x1b[D\x0b\r", "stop"),
        ("foo\x15stop\r", "stop"),
        ("stopx\x08\r", "stop"),
        ("a b\x1bbst\x1bf!\r", "a stb!"),
    ],
)
def test_keys(keys: str, line: str) -> None:
    screen = Screen()
    screen.type(keys)
    assert screen.lines == [line]


def test_what_is_shown_is_the_line_whatever_is_typed() -> None:
    screen = Screen(("stop", "system_reset"))
    source = random.Random(1)
    keys = ["a", "b", " ", "s", "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x01", "\x05", "\x04"]
    keys += ["\x0b", "\x15", "\x17", "\x7f", "\r", "\t", "\x1b[3~", "\x1bb", "\x1bf", "\x0e"]
    for _ in range(5000):
        screen.type(source.choice(keys))
        screen.check()


def test_return_and_newline_together_end_one_line() -> None:
    screen = Screen()
    screen.type("a\r\nb\r\n")
    assert screen.lines == ["a", "b"]


def test_earlier_lines_come_back_with_arrow_keys() -> None:
    screen = Screen()
    screen.type("one\rtwo\r\x1b[A\x1b[A\x1b[B!\r")
    assert screen.lines[-1] == "two!"


def test_a_line_is_once_in_the_history() -> None:
    screen = Screen()
    screen.type("one\rtwo\rone\r")
    assert screen.editor.history == ["two", "one"]


def test_tab_completes_a_word() -> None:
    screen = Screen(("stop", "cont"))
    screen.type("st\t")
    assert screen.editor.text == "stop "


def test_tab_lists_what_a_word_may_become() -> None:
    screen = Screen(("stop", "stoop"))
    screen.type("s\t\t")
    assert screen.above[-1].split() == ["stoop", "stop"]
    screen.check()
