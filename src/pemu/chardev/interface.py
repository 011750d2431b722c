"""The two sides of a character device, and what all back ends share.

A *front end* is what the machine has: a serial port, a monitor, a gdb server. A *back end* (a
`Chardev`) is what stands behind it on the host: a terminal, a socket, a file. Between them goes a
stream of bytes in both directions.

Threads. Everything that waits for the host happens on the I/O thread, which runs `Host.loop`. A
front end's methods are called on that thread only, with `Host.lock` held and no other lock of this
package. The methods of a `Chardev` that a front end uses (`write`, `send`, `backlog`,
`accept_input`, `set_...`, `modem_lines`, `take_focus`) may be called from any thread, also by a
front end from within its own methods; none of them waits. What is written comes out in the order of
the calls. Making, attaching, detaching and closing is for the I/O thread, or for any
thread while the loop does not run.

Flow control. Towards the back end, `write` takes what there is room for and returns how much that
was; after it took less than all, `FrontEnd.writable` says when there is room again. Towards the
front end, no more is delivered than `FrontEnd.can_receive` allows; a front end that has answered 0
calls `accept_input` when it has room again.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from pemu import fdsets
from pemu.options.error import OptionError

LARGEST_READ = 4096
"""Bytes that a front end is given at a time: one page keeps each turn of the loop short."""


class Event(Enum):
    """What a front end is told besides bytes."""

    OPENED = "somebody is at the other end now"
    CLOSED = "nobody is there any more; what is written is lost"
    BREAK = "a break on the line"
    MUX_IN = "this front end of a multiplexer has the keyboard now"
    MUX_OUT = "it has lost the keyboard"


class FrontEnd:
    """What a serial port, monitor or gdb server is to its back end; called on the I/O thread."""

    def can_receive(self) -> int:
        """How many bytes `receive` would take now."""
        return 0

    def receive(self, data: bytes) -> None:
        """Take `data`, at most as many bytes as `can_receive` has just said."""

    def event(self, event: Event) -> None:
        """Note that something other than data has come."""

    def writable(self) -> None:
        """Note that a back end that took less than it was given has room again."""


class LineSettings(NamedTuple):
    """How a serial line is driven."""

    speed: int = 115200
    """Bits per second."""
    parity: str = "N"
    """N, E or O: none, even, odd."""
    data_bits: int = 8
    stop_bits: int = 1


class ModemLines(NamedTuple):
    """The lines beside the data that a serial port reads; True is asserted."""

    cts: bool
    dsr: bool
    ri: bool
    dcd: bool


def _to_stdout(text: str) -> None:
    with suppress(OSError):  # nobody is there to be told
        print(text, flush=True)


def _to_stderr(text: str) -> None:
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


@dataclass
class Host:
    """What all back ends share: the loop, and how they reach the machine and the user.

    `lock` is held whenever a front end is called; it must be one that its owner may take again, as
    `threading.RLock` is. `say` shows what was asked for (which terminal a
    `pty` is), `warn` what a user should know. `quit` and `save` are what Ctrl-A x and Ctrl-A s do;
    `escape` is the code of the character in the place of Ctrl-A (`-echr`). A process that leaves
    its terminal (`-daemonize`) has no use for stdio and refuses it. `hurried`: at the end, readers
    that take nothing are not waited for any longer.
    """

    loop: asyncio.AbstractEventLoop
    lock: AbstractContextManager[Any] = field(default_factory=nullcontext)
    say: Callable[[str], object] = _to_stdout
    warn: Callable[[str], object] = _to_stderr
    quit: Callable[[], object] = lambda: None
    save: Callable[[], object] = lambda: None
    escape: int = 1
    daemonize: bool = False
    hurried: bool = False

    def post(self, call: Callable[..., object], *arguments: object) -> None:
        """Have the I/O thread make a call soon; calls are made in the order they are posted."""
        try:
            self.loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            pass  # the loop is closed: the process is about to end


class Chardev:
    """A back end. This one discards what is written and delivers nothing.

    `label` is the id by which the user calls it, `options` the values of its keys. Raises
    OptionError where an option names what cannot be had.
    """

    kind = ""
    """What `info chardev` shows of it, where that is not more than its kind."""

    def __init__(self, host: Host, label: str, options: dict[str, Any]) -> None:
        self.host = host
        self.label = label
        self.front: FrontEnd | None = None
        self.is_open = True
        self._log = -1

    @property
    def filename(self) -> str:
        """What this is connected with, as `info chardev` shows it."""
        return self.kind

    # For front ends.

    def attach(self, front: FrontEnd) -> Chardev:
        """Connect a front end; returns what it writes to, which is not always this object.

        If the other end is open, the front end is told so. Raises OptionError if there is a front
        end already.
        """
        if self.front is not None:
            raise OptionError(
                f"chardev '{self.label}' is in use; only with mux=on it serves several"
            )
        self.front = front
        self.host.post(self._greet, front)
        return self

    def detach(self) -> None:
        """Take the front end away; another one may then be attached."""
        self.front = None

    def write(self, data: bytes, *, whole: bool = False) -> int:
        """Send bytes to the other end; returns how many of the first were taken.

        With `whole`, all are taken or none. Where nobody is there to read them, they are lost and
        count as taken.
        """
        taken = self._write(data, whole)
        if self._log >= 0 and taken:
            self._write_log(data[:taken])
        return taken

    def send(self, data: bytes) -> None:
        """Send bytes that are all taken, whatever the other end does.

        This is for front ends that answer requests, as monitors do, and that take no further
        requests while `backlog` is large.
        """
        self._send(data)
        if self._log >= 0:
            self._write_log(data)

    @property
    def backlog(self) -> int:
        """Bytes that were taken and have not reached the host yet."""
        return 0

    def accept_input(self) -> None:
        """Note that the front end, which could receive nothing, can receive again."""

    def set_line(self, settings: LineSettings) -> None:
        """Drive the line as `settings` say, where there is a real one."""

    def set_break(self, on: bool) -> None:
        """Begin or end a break on the line, where there is a real one."""

    def set_modem_lines(self, rts: bool, dtr: bool) -> None:
        """Assert or release the lines that a serial port drives, where there are any."""

    def modem_lines(self) -> ModemLines | None:
        """The lines that a serial port reads, or None where there are none."""
        return None

    def set_open(self, on: bool) -> None:
        """Say whether the guest listens, for back ends that pass this on."""

    def set_echo(self, on: bool) -> None:
        """Have a terminal show what is typed, for front ends that do not do it themselves."""

    def take_focus(self) -> None:
        """Give this front end the keyboard, if it shares one."""

    # For the registry.

    def log_to(self, path: str, append: bool) -> None:
        """Keep a copy of all output in the file `path`; raises OptionError."""
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
        self._log = open_file(path, flags, "logfile")

    def close(self, patience: float = 0) -> None:
        """Let go of the host's resources, having written what is under way.

        It is given up where the other end takes nothing for `patience` seconds.
        """
        self.front = None
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    def event(self, event: Event) -> None:
        """Pass an event on to the front end, on the I/O thread."""
        if self.front is not None:
            with self.host.lock:
                self.front.event(event)

    # For back ends.

    def _write(self, data: bytes, whole: bool) -> int:
        return len(data)

    def _send(self, data: bytes) -> None:
        self._write(data, True)

    def _write_log(self, data: bytes) -> None:
        try:
            os.write(self._log, data)
        except OSError:
            pass  # a full disk costs the log, not the connection

    def _greet(self, front: FrontEnd) -> None:
        if self.is_open and self.front is front:
            self.event(Event.OPENED)

    def _set_state(self, is_open: bool) -> None:
        """Note, on the I/O thread, that the other end has come or gone."""
        if self.is_open != is_open:
            self.is_open = is_open
            self.event(Event.OPENED if is_open else Event.CLOSED)

    def _room(self) -> int:
        """How many bytes may be delivered now."""
        if self.front is None:
            return 0
        with self.host.lock:
            return min(self.front.can_receive(), LARGEST_READ)

    def _deliver(self, data: bytes) -> None:
        if self.front is not None and data:
            with self.host.lock:
                self.front.receive(data)

    def _writable(self) -> None:
        if self.front is not None:
            with self.host.lock:
                self.front.writable()


def open_file(path: str, flags: int, what: str = "path") -> int:
    """A new descriptor of the file that the option `what` names; raises OptionError."""
    try:
        return fdsets.open_path(path, flags)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OptionError(f"{what}: cannot open {path!r}: {reason}") from None
