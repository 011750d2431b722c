"""`stdio`: Pemu's standard input and output, in raw mode where they are a terminal."""

from __future__ import annotations

import os
import stat
from typing import Any

from pemu.chardev.descriptor import DescriptorChardev
from pemu.chardev.interface import Host
from pemu.chardev.terminal import Terminal
from pemu.options.error import OptionError
from pemu.options.keyval import Key
from pemu.options.types import Bool

KEYS = (
    Key(
        "signal",
        Bool(),
        "off: Ctrl-C, Ctrl-Z and Ctrl-\\ go to the guest",
        default=True,
    ),
)

_INPUT, _OUTPUT = 0, 1


class Stdio(DescriptorChardev):
    """Standard input and output. There is one only."""

    kind = "stdio"
    _in_use = False

    def __init__(self, host: Host, label: str, options: dict[str, Any]) -> None:
        super().__init__(host, label, options)
        if host.daemonize:
            raise OptionError("stdio is not there with -daemonize; use pty or a socket")
        if Stdio._in_use:
            raise OptionError(
                "stdio is in use by another character device; share it: "
                "-chardev stdio,id=<id>,mux=on, then chardev:<id>"
            )
        self._terminal: Terminal | None = None
        if os.isatty(_INPUT):
            self._terminal = Terminal(_INPUT, signals=options["signal"])
            # Not before the loop runs: Ctrl-C ends what comes before, such as waiting for a client.
            host.post(self._terminal.enter)
        self._own, self._was_blocking = _not_waiting(_OUTPUT)
        Stdio._in_use = True
        self._connect(_INPUT, self._own if self._own >= 0 else _OUTPUT)

    def set_echo(self, on: bool) -> None:
        """Have the terminal show what is typed."""
        if self._terminal:
            self._terminal.set_echo(on)

    def close(self, patience: float = 0) -> None:
        """Write what is queued, and restore terminal and descriptors."""
        if not Stdio._in_use:
            return
        super().close(patience)
        if self._own >= 0:
            os.close(self._own)
        elif self._was_blocking:
            os.set_blocking(_OUTPUT, True)
        if self._terminal:
            self._terminal.leave()
        Stdio._in_use = False


def _not_waiting(fd: int) -> tuple[int, bool]:
    """A way to write to what `fd` is without waiting: a descriptor for it, or -1 for `fd` itself.

    Not to wait is a property that all processes see which share an open file, such as the shell
    that started this one. So the file is opened anew where that can be done; else the property is
    changed, and the second value says whether to change it back.
    """
    try:
        kind = os.fstat(fd).st_mode
        if stat.S_ISREG(kind):
            return -1, False  # never waits, and its position is to stay shared
        if not stat.S_ISSOCK(kind):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            return os.open(f"/proc/self/fd/{fd}", flags), False
    except OSError:
        pass  # not open at all, or another user's terminal, or a pipe without a reader
    try:
        was_blocking = os.get_blocking(fd)
        os.set_blocking(fd, False)
    except OSError:
        return -1, False
    return -1, was_blocking


BACKEND = Stdio
