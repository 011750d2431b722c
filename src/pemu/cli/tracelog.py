"""The log that -d, -D and -trace ask for, in all commands."""

from __future__ import annotations

from pemu.cli import outcome
from pemu.log import TRACE, Log
from pemu.options.error import OptionError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def open_log(
    program: str,
    items: Sequence[str],
    path: str,
    trace: Sequence[dict[str, Any]],
    *,
    append: bool = False,
    ranges: Sequence[tuple[int, int]] = (),
) -> Log:
    """The log of `items` (of -d) and what the -trace options `trace` name, in file `path`.

    ranges: of -dfilter.

    Raises OptionError; warns of patterns that name nothing.
    """
    plain = [item for item in items if not item.startswith(TRACE)]
    events: list[str] = []
    patterns = [item.removeprefix(TRACE) for item in items if item not in plain]
    if trace or patterns:
        from pemu.log import trace_events

        patterns += [given["enable"] for given in trace if given["enable"]]
        for given in trace:
            path = given["file"] or path
            if given["events"]:
                patterns += _lines(given["events"])
        events, unmatched = trace_events(patterns)
        for name in unmatched:
            outcome.fail(program, f"warning: trace event {quoted(name)} does not exist")
    return Log(plain, path, append=append, events=events, ranges=ranges)


def _lines(path: str) -> list[str]:
    """The patterns in an events file; what follows '#' is a comment."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            words = [line.partition("#")[0].strip() for line in file]
    except OSError as error:
        raise OptionError(
            f"-trace: events file {quoted(path)} cannot be read ({error.strerror}); give a text "
            "file with one pattern a line"
        ) from None
    return [word for word in words if word]
