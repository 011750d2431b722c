"""The human monitor as a front end that a user types command lines at."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pemu.chardev.interface import Event, FrontEnd
from pemu.chardev.mux import Channel
from pemu.monitor.commands import COMMANDS
from pemu.monitor.lineedit import LineEditor
from pemu.monitor.monitor import Monitor, complete
from pemu.version import VERSION

if TYPE_CHECKING:
    from pemu.chardev.interface import Chardev
    from pemu.monitor.instance import Instance

BANNER = f"Pemu {VERSION} monitor - type 'help' for more information\n"

PROMPT = "(qemu) "
"""QEMU's: programs that drive its monitor wait for this."""


class Console(FrontEnd):
    """A monitor on a character device: prompt, editing of lines, history, completion.

    Output never waits: what the other end does not take is kept, and no further command is taken
    until it has gone.
    """

    def __init__(self, instance: Instance, chardev: Chardev) -> None:
        self._monitor = Monitor(instance, COMMANDS, self._show)
        self._editor = LineEditor(PROMPT, partial(complete, COMMANDS))
        self._monitor.history = self._editor.history
        self._out = bytearray()
        self._typed = ""
        self._greeted = False
        self._focused = True
        self._chardev = chardev.attach(self)
        self._shares = isinstance(self._chardev, Channel)
        if self._shares:
            self._focused = False

    # As a front end

    def can_receive(self) -> int:
        return 0 if self._out else 4096

    def receive(self, data: bytes) -> None:
        self._typed += data.decode("latin-1")  # a character a byte, as terminals send them
        self._obey()

    def event(self, event: Event) -> None:
        if event is Event.OPENED:
            if not self._shares and not self._greeted:
                self._greet()
        elif event is Event.CLOSED:
            self._greeted = False
            self._out.clear()
            self._typed = ""
        elif event is Event.MUX_IN:
            self._focused = True
            # Others may take the keyboard before the machine starts.
            self._chardev.host.post(self._enter)
        elif event is Event.MUX_OUT:
            if self._greeted:
                self._show("\n")
            self._focused = False

    def writable(self) -> None:
        self._flush()
        if not self._out:
            self._obey()
            self._chardev.accept_input()

    # The dialogue

    def _enter(self) -> None:
        with self._chardev.host.lock:
            if self._focused:
                if self._greeted:
                    self._put(self._editor.resume())
                else:
                    self._greet()

    def _greet(self) -> None:
        self._greeted = True
        self._show(BANNER)
        self._put(self._editor.begin())

    def _obey(self) -> None:
        """Take what was typed, up to a line whose answer has to wait for the other end."""
        while self._typed and not self._out:
            key, self._typed = self._typed[0], self._typed[1:]
            for shown, line in self._editor.feed(key):
                self._put(shown)
                if line is not None:
                    text = line.encode("latin-1").decode("utf-8", "surrogateescape")
                    self._monitor.run(text)
                    if not self._monitor.leaving:
                        self._put(self._editor.begin())

    def _show(self, text: str) -> None:
        data = text.replace("\n", "\r\n").encode("utf-8", "surrogateescape")
        self._out += data
        self._flush()

    def _put(self, shown: str) -> None:
        self._out += shown.encode("latin-1", "replace")
        self._flush()

    def _flush(self) -> None:
        if self._out:
            del self._out[: self._chardev.write(bytes(self._out))]
