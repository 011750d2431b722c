"""Command lines of the human monitor: which command they name, and running it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pemu.monitor.later import LATER
from pemu.monitor.schema import Command, Complaint, Format, MonitorError, Reader, Table
from pemu.options.error import HelpRequest, OptionError

if TYPE_CHECKING:
    from pemu.machine.processor import Processor
    from pemu.monitor.instance import Instance


class Monitor:
    """Runs those of `commands` that lines name on `instance`; `write` is given what they show.

    history: earlier command lines, where there are any. format: see `Scope`. current: number of
    the processor that commands are about.
    """

    def __init__(self, instance: Instance, commands: Table, write: Callable[[str], object]) -> None:
        self.instance = instance
        self.commands = commands
        self.write = write
        self.history: Sequence[str] = ()
        self.format = Format("fmt")
        self.current = 0
        self.leaving = False
        """Whether the user has ended the emulator: nothing more is asked of him."""

    def run(self, line: str) -> None:
        """Run a command line, under the machine's lock; what goes wrong is shown."""
        reader = Reader(line)
        reader.skip()
        if not reader.rest:
            return
        try:
            command, typed = find(self.commands, reader)
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


def find(commands: Table, reader: Reader) -> tuple[Command, str]:
    """The one of `commands` that a line begins with, and the words that it was called by.

    Raises MonitorError where there is none.
    """
    table: Table | dict[str, Command] = commands
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


def complete(commands: Table, text: str) -> Sequence[str]:
    """What the last word of a command line may become."""
    words = text.split(" ")
    table: Table | dict[str, Command] = commands
    for place, word in enumerate(words[:-1]):
        command = table.get(word)
        if command is None:
            return ()
        table = command.subcommands
        if word in ("help", "?"):
            table = commands
        elif not table:
            at = len(words) - 2 - place
            given = [one for one in command.arguments if one.usage.startswith("[-") is False]
            return list(given[at].choices()) if at < len(given) else ()
    return list(table)
