"""A terminal with somebody at it: what a person types, and what the screen shows."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
from collections.abc import Mapping, Sequence

from tests.patience import LONG, until


class Terminal:
    """A program on a terminal of its own, of which it is the session leader."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str]) -> None:
        self.shown = ""
        self.pid, self.fd = pty.fork()
        if not self.pid:
            try:
                os.execvpe(words[0], list(words), dict(environ))
            finally:
                os._exit(127)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, text: str) -> str:
        """Read until the screen shows `text` anew; returns what came up to and with it."""
        end = time.monotonic() + LONG
        while text not in self.shown:
            ready, _, _ = select.select([self.fd], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"the terminal shows {self.shown!r}, not {text!r}"
            try:
                self.shown += os.read(self.fd, 4096).decode(errors="replace")
            except OSError:
                raise AssertionError(f"it ended with {self.shown!r}, without {text!r}") from None
        before, found, self.shown = self.shown.partition(text)
        return before + found

    def until_foreground_leaves(self, group: int) -> None:
        """Wait until another process group than `group` has the terminal."""
        until(lambda: os.tcgetpgrp(self.fd) != group, f"the end of group {group} as foreground")

    def status(self) -> int:
        """The program's exit status, when it has ended by itself."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        """End whatever still runs: the hang-up reaches the whole session."""
        os.close(self.fd)
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
