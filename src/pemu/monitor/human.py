"""The human monitor: runs command lines, and is a front end that a user types them at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pemu.chardev.interface import Event, FrontEnd
from pemu.chardev.mux import Channel
from pemu.monitor.commands import COMMANDS
from pemu.monitor.later import LATER
from pemu.monitor.schema import Command, Complaint, Format, MonitorError, Reader, Table
from pemu.options.error import HelpRequest, OptionError
from pemu.version import VERSION

if TYPE_CHECKING:
    from pemu.chardev.interface import Chardev
    from pemu.machine.processor import Processor
    from pemu.monitor.instance import Instance

from pemu.monitor.lineedit import LineEditor

BANNER = f"Pemu {VERSION} monitor - type 'help' for more information\n"

PROMPT = "(qemu) "
"""QEMU's: programs that drive its monitor wait for this."""


class Monitor:
    """Runs commands on `instance`; `write` is given what they show.

    history: earlier command lines, where there are any. format: see `Scope`. current: number of
    the processor that commands are about.
    """

    def __init__(self, instance: Instance, write: Callable[[str], object]) -> None:
        self.instance = instance
        self.write = write
        self.history: Sequence[str] = ()
        self.format = Format("fmt")
        self.current = 0

    def run(self, line: str) -> None:
        """Run a command line, under the machine's lock; what goes wrong is shown."""
        reader = Reader(line)
        reader.skip()
        if not reader.rest:
            return
        try:
            command, typed = find(reader)
            try:
                command.function(self, *command.parse(reader, self))
            except Complaint as complaint:
                self.write(f'{complaint}\nTry "help {typed}" for more information\n')
        except HelpRequest as request:
            self.write(str(request))
        except (MonitorError, OptionError) as error:
            self.write(f"{error}\n")
        except OSError as error:
            self.write(f"Error: {error.strerror or error}\n")

    def cpu(self) -> Processor:
        """The processor that commands are about. Raises MonitorError without one."""
        from pemu.machine.processor import Processor

        cpus = self.instance.machine.cpus
        if cpus and isinstance(chosen := cpus[self.current], Processor):
            return chosen
        raise MonitorError("No CPU available")

    def register(self, name: str) -> int:
        """The value of `$name`. Raises MonitorError."""
        with self.instance.machine.control.standing():
            value = self.cpu().named_register(name)
        if value is None:
            raise Complaint("unknown register")
        return value


def find(reader: Reader) -> tuple[Command, str]:
    """The command that a line begins with, and the words that it was called by.

    Raises MonitorError where there is none.
    """
    table: Table | dict[str, Command] = COMMANDS
    command: Command | None = None
    words: list[str] = []
    while table:
        reader.skip()
        rest = reader.rest
        end = next((at for at, char in enumerate(rest) if char.isspace() or char == "/"), len(rest))
        word = rest[:end]
        if not word and command is not None:
            break
        words.append(word)
        found = table.get(word)
        if found is None:
            text = " ".join(words)
            if word in LATER.get(" ".join(words[:-1]), ()):
                raise MonitorError(f"{text}: not supported yet")
            raise MonitorError(f"unknown command: '{text}'")
        reader.at += end
        command, table = found, found.subcommands
    assert command is not None
    return command, " ".join(words)


def complete(text: str) -> Sequence[str]:
    """What the last word of a command line may become."""
    words = text.split(" ")
    table: Table | dict[str, Command] = COMMANDS
    for place, word in enumerate(words[:-1]):
        command = table.get(word)
        if command is None:
            return ()
        table = command.subcommands
        if word in ("help", "?"):
            table = COMMANDS
        elif not table:
            at = len(words) - 2 - place
            given = [one for one in command.arguments if one.usage.startswith("[-") is False]
            return list(given[at].choices()) if at < len(given) else ()
    return list(table)


class Console(FrontEnd):
    """A monitor on a character device: prompt, editing of lines, history, completion.

    Output never waits: what the other end does not take is kept, and no further command is taken
    until it has gone.
    """

    def __init__(self, instance: Instance, chardev: Chardev) -> None:
        self._monitor = Monitor(instance, self._show)
        self._editor = LineEditor(PROMPT, complete)
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
