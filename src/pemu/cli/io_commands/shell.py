"""The shell of `pemu-io`: an image, and commands that are words between blanks."""

from __future__ import annotations

import os
import sys
import time
from _queue import Empty, SimpleQueue

from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.cli import outcome
from pemu.cli.io_commands.report import Failure
from pemu.modules import load
from pemu.options.error import OptionError
from pemu.records import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import ThreadPoolExecutor

    from pemu.block.filters.debug import Debug

PROGRAM = "pemu-io"

PARALLEL = 128
"""Requests that are under way at the same time; more wait."""

PROMPT = 0.2
"""Seconds that a request in the background is given to come to a breakpoint."""

_MODULES = ("transfer", "files", "breakpoints", "process")


@dataclass(frozen=True)
class Command:
    """A command. least, most: how many words follow its name (most None: any number).

    arguments, summary: what help shows of it; text: its long help. needs: whether an image must be
    open; writes: and writable. waits: for the image, so that requests in the background go on.
    """

    name: str
    run: Callable[[Shell, list[str]], None]
    summary: str
    arguments: str | None = None
    least: int = 0
    most: int | None = 0
    text: str = ""
    aliases: Sequence[str] = ()
    needs: bool = True
    writes: bool = False
    waits: bool = False

    @property
    def line(self) -> str:
        """The one line of help."""
        parts = (self.name, self.arguments, "--", self.summary)
        return " ".join(one for one in parts if one is not None)


class Letters:
    """The options of one command, and the words that are none. Raises Failure."""

    def __init__(self, command: Command, words: Sequence[str], declared: str) -> None:
        self.values: dict[str, str] = {}
        self.words: list[str] = []
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word == "--":
                break
            if word[:1] != "-" or word == "-":
                self.words.append(word)
                continue
            at = 1
            while at < len(word):
                letter = word[at]
                at += 1
                place = declared.find(letter)
                if place < 0 or letter == ":":
                    self._wrong(command, f"{command.name}: invalid option -- '{letter}'")
                if declared[place + 1 : place + 2] != ":":
                    self.values[letter] = ""
                    continue
                value = word[at:] or (rest.pop(0) if rest else None)
                if value is None:
                    text = f"{command.name}: option requires an argument -- '{letter}'"
                    self._wrong(command, text)
                self.values[letter] = str(value)
                break
        self.words += rest

    def _wrong(self, command: Command, text: str) -> None:
        outcome.show_error(text)
        raise Failure(command.line)

    def __contains__(self, letter: str) -> bool:
        return letter in self.values


class Shell:
    """What the commands work on.

    image: what is open, or None. format: what -f says. writethrough: each write is flushed.
    """

    def __init__(self, graph: Graph, format: str = "") -> None:
        self.graph = graph
        self.format = format
        self.image: Image | None = None
        self.writethrough = True
        self.ended = False
        self.failed = False
        self.commands: dict[str, Command] = {}
        for name in _MODULES:
            module = load(f"pemu.cli.io_commands.{name}")
            self.commands.update((one.name, one) for one in module.COMMANDS)
        self._names = {
            name: one for one in self.commands.values() for name in (one.name, *one.aliases)
        }
        self._pool: ThreadPoolExecutor | None = None
        self._pending = 0
        self._finished: SimpleQueue[str | BaseException] = SimpleQueue()

    def opened(self) -> Image:
        """The image that is open. Raises Failure without one."""
        if self.image is None:
            raise Failure("no file open, try 'help open'", error=True)
        return self.image

    def find(self, name: str) -> Command | None:
        """The command called `name`."""
        return self._names.get(name)

    def say(self, text: str) -> None:
        """Print lines."""
        outcome.show(text + "\n")

    def run(self, line: str) -> None:
        """Carry out a line; notes whether it failed."""
        name, *words = line.split() or [""]
        if not name:
            return
        try:
            self._run(name, words)
        except Failure as failure:
            self.failed = True
            if failure.error and str(failure):
                sys.stdout.flush()
                outcome.show_error(str(failure))
            elif str(failure):
                self.say(str(failure))
        except OptionError as error:
            self.failed = True
            sys.stdout.flush()
            outcome.fail(PROGRAM, str(error))
        command = self.find(name)
        if command is not None and command.waits:
            self.collect(wait=False)
        _flush()

    def _run(self, name: str, words: list[str]) -> None:
        command = self.find(name)
        if command is None:
            raise Failure(f'command "{name}" not found', error=True)
        if command.needs:
            image = self.opened()
            if command.writes and image.readonly:
                raise OptionError("Block node is read-only")
        count, most = len(words), command.most
        if count < command.least or (most is not None and count > most):
            if most is None:
                wanted = f"at least {command.least} arguments"
            elif most == command.least:
                wanted = f"{most} arguments"
            else:
                wanted = f"between {command.least} and {most} arguments"
            raise Failure(f"bad argument count {count} to {name}, expected {wanted}", error=True)
        command.run(self, words)

    def debug(self) -> Debug | None:
        """What has breakpoints in the image, if anything."""
        image = self.image
        while image is not None:
            if image.format == "blkdebug":
                from pemu.block.filters.debug import Debug

                if isinstance(image, Debug):
                    return image
            image = image.file
        return None

    def running(self) -> int:
        """How many requests in the background are neither done nor suspended."""
        debug = self.debug()
        stopped = len(debug.stopped_threads()) if debug is not None else 0
        return self._pending - self._finished.qsize() - stopped

    def submit(self, work: Callable[[], str]) -> None:
        """Do `work` in the background; what it returns is printed when it is done."""
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(PARALLEL)

        def run() -> None:
            try:
                self._finished.put(work())
            except BaseException as error:
                self._finished.put(error)

        before = self.running()
        self._pending += 1
        self._pool.submit(run)
        if self.debug() is not None:  # what it says when it is suspended comes first
            end = time.monotonic() + PROMPT
            while self.running() > before and time.monotonic() < end:
                time.sleep(0.001)

    def collect(self, *, wait: bool) -> None:
        """Print what has become of work in the background; `wait` for all of it.

        Raises Failure where all that is left is suspended.
        """
        while self._pending:
            try:
                text = self._finished.get(wait, 0.1)
            except Empty:
                if not wait:
                    return
                if not self.running():
                    raise Failure("Requests are suspended at breakpoints; resume them") from None
                continue
            self._pending -= 1
            if isinstance(text, BaseException):
                raise text
            if text:
                self.say(text)

    def interact(self, lines: Iterable[str] | None = None) -> None:
        """Read commands from standard input, with a prompt, until it ends or `quit`."""
        prompt = f"{PROGRAM}> "
        if os.isatty(0):
            import readline  # noqa: F401  (input() edits lines with it)
        while not self.ended:
            try:
                line = input(prompt) if os.isatty(0) else _line(prompt)
            except EOFError:
                break
            self.run(line)
            self.collect(wait=False)

    def close(self) -> None:
        """Close the image, after all that is under way. Raises OptionError."""
        debug = self.debug()
        if debug is not None:
            debug.let_go()
        self.collect(wait=True)
        image, self.image = self.image, None
        if image is not None:
            try:
                image.close()
            except OSError as error:
                raise OptionError(f"Could not close the image: {error.strerror}") from None


def _line(prompt: str) -> str:
    """The next line of standard input, which is not a terminal. Raises EOFError."""
    outcome.write(1, prompt)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        pass
