"""Editing of a line on a terminal: keys in, what the terminal is to show out.

Nothing here waits or writes; `LineEditor.feed` is given what has been typed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os.path import commonprefix

MOST_TYPED = 4095
"""Characters of a line; more are not taken."""

MOST_HISTORY = 64

Completer = Callable[[str], Sequence[str]]
"""From the line up to the cursor, what its last word may become."""

_LEFT, _ERASE = "\x1b[D", "\x1b[K"


class LineEditor:
    """One line under edit, and those before it.

    text, cursor: the line and where in it typing goes on. history: earlier lines, the newest last.
    """

    def __init__(self, prompt: str, complete: Completer = lambda text: ()) -> None:
        self.prompt = prompt
        self.text = ""
        self.cursor = 0
        self.history: list[str] = []
        self._complete = complete
        self._recalled = 0
        self._shown = ""
        self._shown_cursor = 0
        self._sequence = ""
        self._after_return = False

    def begin(self) -> str:
        """Begin a new line: what shows its prompt."""
        self.text, self.cursor = "", 0
        self._shown, self._shown_cursor = "", 0
        self._recalled = len(self.history)
        return self.prompt

    def resume(self) -> str:
        """Show the line under edit again, after something else was shown."""
        self._shown, self._shown_cursor = "", 0
        return self.prompt + self._update()

    def feed(self, typed: str) -> Iterator[tuple[str, str | None]]:
        """For what is typed, pairs of what to show and a line that is complete, or None."""
        for key in typed:
            if key == "\n" and self._after_return:
                self._after_return = False
                continue
            self._after_return = key == "\r"
            if key in "\r\n":
                self._sequence = ""
                self.cursor = len(self.text)
                yield self._update() + "\r\n", self._finish()
            elif key == "\t":
                yield self._tab(), None
            elif key == "\x0c":
                yield "\x1b[H\x1b[2J" + self.resume(), None
            else:
                self._key(key)
                yield self._update(), None

    def _finish(self) -> str:
        line = self.text
        if line.strip():
            if line in self.history:
                self.history.remove(line)
            self.history.append(line)
            del self.history[:-MOST_HISTORY]
        return line

    def _update(self) -> str:
        """What turns the line that is shown into the present one."""
        same = len(commonprefix((self._shown, self.text)))
        out = ""
        if self._shown != self.text:
            if same <= self._shown_cursor:
                out = _LEFT * (self._shown_cursor - same)
            else:
                same = self._shown_cursor
            out += self.text[same:] + (_ERASE if len(self._shown) > len(self.text) else "")
            at = len(self.text)
        else:
            at = self._shown_cursor
        out += _LEFT * (at - self.cursor) + self.text[at : self.cursor]
        self._shown, self._shown_cursor = self.text, self.cursor
        return out

    # Keys

    def _key(self, key: str) -> None:
        sequence = self._sequence + key
        if self._sequence:
            if len(sequence) == 2 and key in "[O":
                self._sequence = sequence
                return
            if key.isdigit() or key == ";":
                self._sequence = sequence[:16]
                return
            self._sequence = ""
            self._do(_SEQUENCES.get(sequence, ""))
        elif key == "\x1b":
            self._sequence = key
        elif key in _CONTROLS:
            self._do(_CONTROLS[key])
        elif key >= " " and len(self.text) < MOST_TYPED:
            self.text = self.text[: self.cursor] + key + self.text[self.cursor :]
            self.cursor += 1

    def _do(self, action: str) -> None:
        text, at = self.text, self.cursor
        if action == "left":
            self.cursor = max(at - 1, 0)
        elif action == "right":
            self.cursor = min(at + 1, len(text))
        elif action == "home":
            self.cursor = 0
        elif action == "end":
            self.cursor = len(text)
        elif action == "backspace":
            self._cut(max(at - 1, 0), at)
        elif action == "delete":
            self._cut(at, at + 1)
        elif action == "cut end":
            self._cut(at, len(text))
        elif action == "cut line":
            self._cut(0, len(text))
        elif action in ("cut word", "word left"):
            start = len(text[:at].rstrip())
            start = text.rfind(" ", 0, start) + 1
            if action == "cut word":
                self._cut(start, at)
            else:
                self.cursor = start
        elif action == "word right":
            start = at + len(text[at:]) - len(text[at:].lstrip())
            end = text.find(" ", start)
            self.cursor = end if end >= 0 else len(text)
        elif action in ("before", "after"):
            self._recall(-1 if action == "before" else 1)

    def _cut(self, start: int, end: int) -> None:
        self.text = self.text[:start] + self.text[end:]
        self.cursor = start

    def _recall(self, step: int) -> None:
        at = self._recalled + step
        if 0 <= at <= len(self.history):
            self._recalled = at
            self.text = self.history[at] if at < len(self.history) else ""
            self.cursor = len(self.text)

    # Completion

    def _tab(self) -> str:
        before = self.text[: self.cursor]
        word = before.split(" ")[-1]
        found = sorted({one for one in self._complete(before) if one.startswith(word)})
        if not found:
            return ""
        added = commonprefix(found)[len(word) :]
        if len(found) == 1 and not found[0].endswith("/"):
            added += " "
        self.text = before + added + self.text[self.cursor :]
        self.cursor += len(added)
        if added or len(found) == 1:
            return self._update()
        return "\r\n" + _columns(found) + self.resume()


_CONTROLS = {
    "\x01": "home",
    "\x02": "left",
    "\x04": "delete",
    "\x05": "end",
    "\x06": "right",
    "\x08": "backspace",
    "\x0b": "cut end",
    "\x0e": "after",
    "\x10": "before",
    "\x15": "cut line",
    "\x17": "cut word",
    "\x7f": "backspace",
}

_SEQUENCES = {
    **{f"\x1b{first}{last}": action for first in "[O" for last, action in (
        ("A", "before"), ("B", "after"), ("C", "right"), ("D", "left"), ("F", "end"), ("H", "home"),
    )},
    "\x1b[1~": "home",
    "\x1b[3~": "delete",
    "\x1b[4~": "end",
    "\x1bb": "word left",
    "\x1bf": "word right",
}  # fmt: skip


def _columns(words: Sequence[str], width: int = 80) -> str:
    """Words in columns, line by line."""
    cell = min(max(len(word) for word in words) + 2, width)
    each = width // cell
    lines = []
    for first in range(0, len(words), each):
        lines.append("".join(f"{word:<{cell}}" for word in words[first : first + each]).rstrip())
    return "".join(f"{line}\r\n" for line in lines)
