"""Command lines as getopt_long reads them: letters may be joined, words may stand between options.

The tools for disk images have them (`-fraw`, `-qp`, `--output=json`, `--out json`).
"""

from __future__ import annotations

from pemu.options.error import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Given:
    """What a command line gave: `values` in their order as (option, value), and other words.

    An option is called by the first of its names. The value of a switch is ''.
    """

    def __init__(self) -> None:
        self.values: list[tuple[str, str]] = []
        self.words: list[str] = []

    def __contains__(self, name: str) -> bool:
        return any(given == name for given, _ in self.values)

    def get(self, name: str, default: str = "") -> str:
        """The value that was given last, or `default`."""
        return next((value for given, value in reversed(self.values) if given == name), default)

    def all(self, name: str) -> list[str]:
        """Every value that was given."""
        return [value for given, value in self.values if given == name]


def parse(words: Sequence[str], options: str, hint: str, *, mixed: bool = True) -> Given:
    """Read a command line. Raises OptionError, whose text ends with `hint`.

    options: names of options between blanks, other names of the same after '|', '=' at the end
    where it takes a value: 'f|format= q U|force-share'. Names of one character go with one dash.
    mixed: options may follow other words; otherwise the first of these ends them.
    """
    names: dict[str, tuple[str, bool]] = {}
    for declared in options.split():
        spelled = declared.removesuffix("=").split("|")
        for name in spelled:
            names[name] = (spelled[0], declared.endswith("="))
    given = Given()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
        if word[:1] != "-" or word == "-":
            given.words.append(word)
            if not mixed:
                break
        elif word[:2] == "--":
            _long(given, word, rest, names, hint)
        else:
            _short(given, word, rest, names, hint)
    given.words += rest
    return given


def _long(
    given: Given, word: str, rest: list[str], names: dict[str, tuple[str, bool]], hint: str
) -> None:
    said, equals, value = word[2:].partition("=")
    name = said if len(said) > 1 and said in names else ""
    if not name:
        near = [known for known in names if len(known) > 1 and known.startswith(said)]
        if len({names[known] for known in near}) != 1:
            raise OptionError(f"unrecognized option '{word}'{hint}")
        name = near[0]
    key, takes = names[name]
    if takes and not equals:
        if not rest:
            raise OptionError(f"missing argument for option '{word}'{hint}")
        value = rest.pop(0)
    elif equals and not takes:
        raise OptionError(f"unrecognized option '{word}'{hint}")
    given.values.append((key, value))


def _short(
    given: Given, word: str, rest: list[str], names: dict[str, tuple[str, bool]], hint: str
) -> None:
    for at, letter in enumerate(word[1:], 1):
        if letter not in names:
            raise OptionError(f"unrecognized option '-{letter}'{hint}")
        key, takes = names[letter]
        if not takes:
            given.values.append((key, ""))
            continue
        value = word[at + 1 :]
        if not value:
            if not rest:
                raise OptionError(f"missing argument for option '-{letter}'{hint}")
            value = rest.pop(0)
        given.values.append((key, value))
        return
