"""A command line as one table of options, from which parsing, help and the way back derive.

An option is `-name`, `-name value`, `--name value` or `--name=value`. What an option means is not
decided here: `Command.parse` returns what was given, in order, and `assign` stores it.
"""

from __future__ import annotations

from pemu.options.error import OptionError, quoted, unknown
from pemu.options.types import ValueType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any


class Option:
    """One option of a command.

    `type` is None for a switch, which takes no value. `metavar` is the value's name in help texts.
    `env` are the environment variables that set it, the first that exists counting. The value of
    `dest` is the attribute that `Parsed.assign` sets, empty for none. `repeat` gathers values in a
    list. `final` ends parsing at once, as for -h. `aliases` are further names.
    """

    __slots__ = ("aliases", "dest", "env", "final", "help", "metavar", "name", "repeat", "type")

    def __init__(
        self,
        name: str,
        type: ValueType | None = None,
        metavar: str = "",
        help: str = "",
        *,
        dest: str = "",
        env: Sequence[str] = (),
        repeat: bool = False,
        final: bool = False,
        aliases: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.type = type
        self.metavar = metavar
        self.help = help
        self.dest = dest
        self.env = env
        self.repeat = repeat
        self.final = final
        self.aliases = aliases


class Parsed:
    """What a command line gave: `given` in order as (option, value), and the words that follow.

    The value of a switch is True. `final` is the option that ended parsing, or None.
    """

    __slots__ = ("final", "given", "rest")

    def __init__(self) -> None:
        self.given: list[tuple[Option, Any]] = []
        self.rest: list[str] = []
        self.final: Option | None = None

    def assign(self, target: object) -> None:
        """Set the attribute named by each given option's `dest`; the last value counts."""
        for option, value in self.given:
            if not option.dest:
                continue
            if option.repeat:
                getattr(target, option.dest).append(value)
            else:
                setattr(target, option.dest, value)


class Command:
    """The options of one command. With `mixed`, options may also follow other words."""

    __slots__ = ("mixed", "names", "options")

    def __init__(self, options: Iterable[Option], *, mixed: bool = False) -> None:
        self.options = tuple(options)
        self.mixed = mixed
        self.names: dict[str, Option] = {}
        for option in self.options:
            for name in (option.name, *option.aliases):
                if name in self.names:
                    raise ValueError(f"option -{name} is declared twice")
                self.names[name] = option

    def parse(self, words: Sequence[str], environ: Mapping[str, str] | None = None) -> Parsed:
        """Read the options' environment variables, then the words of a command line.

        Raises `OptionError` for a mistake and `HelpRequest` where a value asks for help.
        """
        parsed = Parsed()
        if environ:
            for option in self.options:
                for variable in option.env:
                    text = environ.get(variable)
                    if text is not None:
                        self._give(parsed, option, text, variable)
                        break
                if parsed.final:
                    return parsed
        at = 0
        while at < len(words):
            word = words[at]
            if word[:1] != "-":
                if self.mixed:
                    parsed.rest.append(word)
                    at += 1
                    continue
                break
            at += 1
            if word == "--":
                break
            option, text = self._option(word)
            if option.type is None:
                if text is not None:
                    raise OptionError(f"{quoted(word)} has a value; -{option.name} takes none")
            elif text is None:
                if at == len(words):
                    raise OptionError(
                        f"-{option.name} lacks its value; write -{option.name} {option.metavar}"
                    )
                text = words[at]
                at += 1
            self._give(parsed, option, text, f"-{option.name}")
            if parsed.final:
                return parsed
        parsed.rest += words[at:]
        return parsed

    def words(self, source: object, defaults: object) -> list[str]:
        """A command line that sets what differs between `source` and `defaults`.

        The inverse of `Parsed.assign`, for handing the same options on to another process.
        """
        words: list[str] = []
        for option in self.options:
            if not option.dest:
                continue
            value = getattr(source, option.dest)
            if value == getattr(defaults, option.dest):
                continue
            if option.type is None:
                words.append(f"-{option.name}")
                continue
            for one in value if option.repeat else (value,):
                words += (f"-{option.name}", option.type.format(one))
        return words

    def _option(self, word: str) -> tuple[Option, str | None]:
        """The option that `word` names, and its value if `word` holds that, too."""
        name, equals, value = word[1:], "", ""
        if name[:1] == "-":
            name, equals, value = name[1:].partition("=")
        option = self.names.get(name)
        if option:
            return option, value if equals else None
        bare, equals, value = name.partition("=")
        if equals and bare in self.names:
            wanted = self.names[bare]
            remedy = f"write -{bare} {value}" if wanted.type else f"-{bare} takes no value"
            raise OptionError(f"{quoted(word)} is not an option; {remedy}")
        dashed = ["-" + known for known in self.names]
        raise unknown(f"unknown option {quoted(word)}", "-" + bare, dashed, "-h lists the options")

    def _give(self, parsed: Parsed, option: Option, text: str | None, said: str) -> None:
        if option.type is None:
            value: Any = True
        else:
            try:
                value = option.type.parse(text or "")
            except OptionError as error:
                raise error.within(said) from None
        parsed.given.append((option, value))
        if option.final:
            parsed.final = option
