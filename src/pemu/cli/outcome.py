"""How a command ends: answers on standard output, a mistake as one sentence on standard error."""

from __future__ import annotations

import os
import sys

from pemu.options.error import HelpRequest, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h: told apart from a guest's and a user's failure


prefix: Callable[[], str] = str
"""What stands before the lines of errors (-msg)."""


def run(program: str, body: Callable[[], int]) -> int:
    """Run a command's `body` and return its exit status; a user's mistake becomes its sentence.

    `program` stands before each message. An uncaught exception is an error inside Pemu: one line,
    and the traceback too if the environment has PEMU_DEBUG=1. An interrupt ends the process as
    SIGINT does.
    """
    try:
        try:
            return body()
        except HelpRequest as answer:
            return show(str(answer), answer.status)
        except OptionError as error:
            return fail(program, str(error), error.status)
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        return _broken(program, error)


def leave(status: int) -> NoReturn:
    """End the process without Python's clean-up, which takes milliseconds and changes nothing."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            status = status or 1
    os._exit(status)


def show(text: str, status: int = 0) -> int:
    """Write an answer that was asked for to standard output, and return `status`."""
    write(1, text if text.endswith("\n") else text + "\n")
    return status


def fail(program: str, message: str, status: int = 1) -> int:
    """Write one line of error to standard error, and return `status`."""
    write(2, f"{prefix()}{program}: {message}\n")
    return status


def show_error(text: str) -> None:
    """Write a line to standard error as it is."""
    write(2, text + "\n")


def write(fd: int, text: str) -> None:
    """Write all of `text`; where the stream is closed or full only the exit status tells."""
    data = text.encode("utf-8", "backslashreplace")
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:
        pass


def _interrupted() -> int:
    """End the process as an uncaught SIGINT does, so that a calling shell sees that, too."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    return 128 + signal.SIGINT


def _broken(program: str, error: Exception) -> int:
    debug = os.environ.get("PEMU_DEBUG") == "1"
    if debug:
        import traceback

        write(2, "".join(traceback.format_exception(error)))
    what = " ".join(f"{type(error).__name__}: {error}".split())
    hint = "" if debug else " (PEMU_DEBUG=1 shows where)"
    return fail(program, f"internal error: {what}{hint}", INTERNAL_ERROR)
