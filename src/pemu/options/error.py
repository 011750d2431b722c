"""How a user's mistake is worded: one sentence with the offending value and what to do instead."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN = 60  # characters of an offending value; more would bury the sentence around it


class OptionError(Exception):
    """A user's mistake; its text is the sentence about it, without the program's name.

    `status` is the exit status that goes with it.
    """

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status

    def within(self, context: str) -> OptionError:
        """The same mistake, said of the option or key `context`."""
        return OptionError(f"{context}: {self}", self.status)


class HelpRequest(Exception):
    """`help` was given where a value could stand; its text is the answer, for standard output.

    `status` is the exit status that goes with it: QEMU's user mode answers some with 1.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


def quoted(text: str) -> str:
    """`text` as error messages show it: in quotes, on one line, and not too long."""
    if len(text) > _SHOWN:
        text = text[:_SHOWN] + "..."
    return f"'{text}'" if text.isprintable() else repr(text)


def listed(names: Iterable[str], last: str = "and") -> str:
    """`names` as a list in a sentence: 'a, b and c'."""
    items = list(names)
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that `name` is most likely a misspelling of, or None."""
    from difflib import get_close_matches

    candidates = {candidate.lower(): candidate for candidate in names}
    wanted = name.lower()
    found = get_close_matches(wanted, candidates, n=1, cutoff=0.6)
    if not found and len(wanted) >= 3:
        found = [candidate for candidate in candidates if candidate.startswith(wanted)]
    return candidates[found[0]] if found else None


def unknown(problem: str, name: str, names: Iterable[str], otherwise: str) -> OptionError:
    """An error for a name that is none of `names`.

    `problem` is the sentence so far; it ends with the nearest of `names`, or with `otherwise`
    (what the user can do) where none is near.
    """
    match = nearest(name, names)
    return OptionError(f"{problem}; " + (f"did you mean '{match}'?" if match else otherwise))
