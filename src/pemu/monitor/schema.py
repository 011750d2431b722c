"""How monitor commands are declared: a name, typed arguments, one line of help.

Parsing, error messages, help and completion derive from the declaration:

    @command("memsave", Expression("addr"), Expression("size", 32), Word("file"),
             help="save to disk virtual memory dump starting at 'addr' of size 'size'")
    def memsave(monitor: Monitor, addr: int, size: int, file: str) -> None: ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pemu.monitor.expression import Evaluator

Function = Callable[..., None]

LETTERS = "ocdxui"
"""Formats: octal, character, decimal, hexadecimal, unsigned, instruction."""

SIZES = {"b": 1, "h": 2, "w": 4, "g": 8}
MOST = 1 << 16
"""Things that a /fmt may ask for: the machine waits while they are put into words."""


class MonitorError(Exception):
    """What the user is told instead of a result."""


class Complaint(MonitorError):
    """A mistake in the text of a command, after which the command's help is pointed at."""


class Scope(Protocol):
    """What arguments depend on beside their text."""

    format: Format
    """Of the last /fmt, which counts where a command has none."""

    def register(self, name: str) -> int:
        """The value of `$name`. Raises MonitorError."""


class Reader:
    """The text of a command, read from the left."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.flags: set[str] = set()
        """Those that the command has."""

    @property
    def rest(self) -> str:
        """What has not been read."""
        return self.text[self.at :]

    def skip(self) -> None:
        """Pass white space."""
        while self.rest[:1].isspace():
            self.at += 1

    def word(self) -> str | None:
        """The next word, or what stands in double quotes; None without one or its end."""
        self.skip()
        rest = self.rest
        if not rest:
            return None
        if rest[0] != '"':
            word = rest.split(None, 1)[0]
            self.at += len(word)
            return word
        found, at = "", 1
        while at < len(rest) and rest[at] != '"':
            if rest[at] == "\\":
                at += 1
                found += {"n": "\n", "r": "\r"}.get(rest[at : at + 1], rest[at : at + 1])
            else:
                found += rest[at]
            at += 1
        if at >= len(rest):
            return None
        self.at += at + 1
        return found


@dataclass
class Argument(ABC):
    """One argument: `name` as help shows it. `optional`: None where it is not given."""

    name: str
    optional: bool = False

    @property
    def usage(self) -> str:
        """As it stands in the command's line of help."""
        return f"[{self.name}]" if self.optional else self.name

    @abstractmethod
    def read(self, command: str, reader: Reader, scope: Scope) -> Any:
        """Its value from the text. Raises MonitorError."""

    def choices(self) -> Iterable[str]:
        """What it may be, for completion."""
        return ()


@dataclass
class Word(Argument):
    """A word, or any text in double quotes. `among`: a function that lists what it may be."""

    among: Callable[[], Iterable[str]] | None = None
    kind: str = "string"

    def read(self, command: str, reader: Reader, scope: Scope) -> str | None:
        reader.skip()
        if self.optional and not reader.rest:
            return None
        found = reader.word()
        if found is None:
            raise Complaint(f"{command}: {self.kind} expected")
        return found

    def choices(self) -> Iterable[str]:
        return self.among() if self.among else ()


@dataclass
class Rest(Argument):
    """All that follows, as it stands."""

    def read(self, command: str, reader: Reader, scope: Scope) -> str | None:
        reader.skip()
        found = reader.rest
        reader.at = len(reader.text)
        if found:
            return found
        if self.optional:
            return None
        raise Complaint(f"{command}: string expected")


@dataclass
class Flag(Argument):
    """An option such as -a: True where it is given. Before what is no option, in their order."""

    optional: bool = True

    def read(self, command: str, reader: Reader, scope: Scope) -> bool:
        reader.skip()
        word = reader.rest.split(None, 1)[0] if reader.rest else ""
        if not word.startswith("-"):
            return False
        if word != self.name and word in reader.flags:
            return False
        if word != self.name:
            raise Complaint(f"{command}: unsupported option {word}")
        reader.at += len(word)
        return True


@dataclass
class Expression(Argument):
    """A number by an expression, as signed 64 bits; `bits`: 32 where it must fit those."""

    bits: int = 64

    def __init__(self, name: str, bits: int = 64, *, optional: bool = False) -> None:
        super().__init__(name, optional)
        self.bits = bits

    def read(self, command: str, reader: Reader, scope: Scope) -> int | None:
        reader.skip()
        if self.optional and not reader.rest:
            return None
        evaluator = Evaluator(reader.text, reader.at, scope.register)
        try:
            value = evaluator.evaluate()
        except ValueError as error:
            raise Complaint(str(error)) from None
        reader.at = evaluator.at
        if self.bits == 32 and value >> 32:
            raise Complaint(f"'{command}' has failed: integer is for 32-bit values")
        return value


@dataclass
class Format(Argument):
    """`/fmt`: a count, a letter of `LETTERS`, a size of `SIZES`; what is left out is as before.

    As a value: `count`, `letter`, and `size` in bytes.
    """

    count: int = 1
    letter: str = "x"
    size: int = 4

    @property
    def usage(self) -> str:
        return "/fmt"

    def read(self, command: str, reader: Reader, scope: Scope) -> Format:
        reader.skip()
        found = Format("fmt", letter=scope.format.letter, size=scope.format.size)
        if not reader.rest.startswith("/"):
            return found
        text = reader.rest[1:].split(None, 1)[0] if reader.rest[1:].strip() else ""
        text = "" if reader.rest[1:2].isspace() else text
        reader.at += 1 + len(text)
        digits = text[: len(text) - len(text.lstrip("0123456789"))]
        if digits:
            found.count = int(digits[:20])
            if found.count > MOST:
                raise Complaint(f"{digits} is too many; ask for {MOST} at most")
        for letter in text[len(digits) :]:
            if letter in LETTERS:
                found.letter = letter
            elif letter in SIZES:
                found.size = SIZES[letter]
            else:
                raise Complaint(f"invalid char in format: '{letter}'")
        scope.format = Format("fmt", letter=found.letter, size=found.size)
        return found


@dataclass
class Command:
    """A command. `name`: with its other names, `quit|q`."""

    name: str
    arguments: Sequence[Argument]
    help: str
    function: Function
    note: str = ""
    subcommands: dict[str, Command] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All its names."""
        return self.name.split("|")

    @property
    def usage(self) -> str:
        """Its line of help."""
        arguments = self.note or " ".join(one.usage for one in self.arguments)
        return f"{self.name} {arguments} -- {self.help}"

    def parse(self, reader: Reader, scope: Scope) -> list[Any]:
        """The values of its arguments. Raises MonitorError."""
        reader.flags = {one.name for one in self.arguments if isinstance(one, Flag)}
        values = [one.read(self.name, reader, scope) for one in self.arguments]
        if reader.rest.strip():
            raise Complaint(f"{self.name}: extraneous characters at the end of line")
        return values


class Table(dict[str, Command]):
    """Commands by each of their names; `command` declares one."""

    def command(
        self, name: str, *arguments: Argument, help: str, note: str = ""
    ) -> Callable[[Function], Function]:
        """Declare the function's command. `note`: help's words for the arguments, if others."""

        def enter(function: Function) -> Function:
            declared = Command(name, arguments, help, function, note)
            for each in declared.names:
                self[each] = declared
            return function

        return enter

    def listing(self, prefix: str = "") -> str:
        """The help of all, in order of their names."""
        rows = {command.name: command.usage for command in self.values()}
        return "".join(f"{prefix}{rows[name]}\n" for name in sorted(rows))


COMMANDS = Table()
INFO = Table()
"""The commands that follow `info`."""
