"""Breakpoints of blkdebug: requests that are suspended and resumed."""

from __future__ import annotations

from pemu.block.filters.debug import Debug
from pemu.cli.io_commands.report import Failure
from pemu.cli.io_commands.shell import Command, Shell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _asked(shell: Shell, doing: str, ask: Callable[[Debug], object]) -> None:
    """Ask the image's blkdebug. Raises Failure."""
    debug = shell.debug()
    try:
        if debug is None:
            raise OSError(0, "Operation not supported")
        ask(debug)
    except OSError as error:
        raise Failure(f"Could not {doing}: {error.strerror}") from None


def _break(shell: Shell, words: list[str]) -> None:
    _asked(shell, "set breakpoint", lambda debug: debug.set_breakpoint(*words))


def _remove_break(shell: Shell, words: list[str]) -> None:
    doing = f"remove breakpoint {words[0]}"
    _asked(shell, doing, lambda debug: debug.remove_breakpoint(words[0]))


def _resume(shell: Shell, words: list[str]) -> None:
    _asked(shell, "resume request", lambda debug: debug.resume(words[0]))


def _wait_break(shell: Shell, words: list[str]) -> None:
    tag = words[0]

    def wait(debug: Debug) -> None:
        with debug.changed:
            while not debug.suspended(tag):
                if not shell.running():
                    raise Failure(f"No request is under way that could come to breakpoint {tag}")
                debug.changed.wait(0.02)

    _asked(shell, f"wait for breakpoint {tag}", wait)


COMMANDS = (
    Command(
        "break",
        _break,
        "sets a breakpoint on event and tags the stopped request as tag",
        "event tag",
        2,
        2,
    ),
    Command("remove_break", _remove_break, "remove a breakpoint by tag", "tag", 1, 1),
    Command("resume", _resume, "resumes the request tagged as tag", "tag", 1, 1),
    Command(
        "wait_break",
        _wait_break,
        "waits for the suspension of a request",
        "tag",
        1,
        1,
        waits=True,
    ),
)
