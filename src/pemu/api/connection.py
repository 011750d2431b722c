"""The host process that a program runs in, and the messages it takes and sends.

`pemu.linux.debugging.control` is the other end, and lists the messages.
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import Any, NoReturn

from pemu.api.errors import BusyError, EndedError, MemoryFault, StartError, UnknownNameError
from pemu.cli.user import launch
from pemu.options.error import HelpRequest, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LARGEST_MESSAGE = 1 << 18

Message = Any


class Interrupted(Exception):
    """SIGINT has come while waiting for the program."""


class Connection:
    """A program's host process. `returncode` is None while it is there, else as `subprocess`'s."""

    def __init__(
        self,
        target: str,
        words: Sequence[str],
        environ: list[bytes],
        cwd: str | None,
        stdio: Sequence[int | None],
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        self._serial = 0
        self._events: deque[Message] = deque()
        self._owner: int | None = None
        self._wake = _Wake()
        try:
            with theirs:
                command, variables = launch(target, words, environ, theirs.fileno())
                self._process = subprocess.Popen(
                    command,
                    stdin=stdio[0],
                    stdout=stdio[1],
                    stderr=stdio[2],
                    cwd=cwd,
                    env=dict(_pair(entry) for entry in variables),
                    pass_fds=(theirs.fileno(),),
                )
        except (HelpRequest, OptionError) as error:
            self._close()
            raise StartError(str(error)) from None
        except OSError as error:
            self._close()
            raise StartError(f"{error.filename or command[0]}: {error.strerror}") from None

    # Messages.

    @property
    def returncode(self) -> int | None:
        """The process's exit status as `subprocess` has it; None while it is there."""
        return self._process.returncode

    @property
    def pid(self) -> int:
        """The process's number on the host."""
        return self._process.pid

    def ended(self) -> None:
        """The socket is closed: wait for the process, however it goes on without it."""
        self._process.wait()
        self._close()

    def _close(self) -> None:
        self._socket.close()
        self._wake.close()

    def hello(self) -> Message:
        """What the process says first; raises StartError for one that cannot run its program."""
        message = self._receive()
        if message is None:
            self.ended()
            raise StartError(f"its process has ended with status {self.returncode}")
        if message[1] == "refused":
            self.ended()
            raise StartError(message[2])
        return message[2:]

    def _receive(self) -> Message | None:
        """The next message; None if the process has gone."""
        try:
            data = self._socket.recv(LARGEST_MESSAGE)
        except ConnectionError:
            data = b""
        return marshal.loads(data) if data else None

    def _send(self, *message: Any) -> None:
        self._socket.send(marshal.dumps(message))

    def post(self, verb: str, *arguments: object) -> None:
        """Send what is not answered."""
        try:
            self._send(0, verb, *arguments)
        except OSError:
            pass  # the process has gone, as whoever receives next will notice

    def request(self, verb: str, *arguments: object) -> Any:
        """Ask the process for something while its threads wait."""
        if self.returncode is not None:
            raise EndedError("the program has ended")
        if self.is_running_elsewhere():
            raise BusyError("the program is running in another thread")
        with self._wake.deferred():
            return self._ask(verb, arguments)

    def _ask(self, verb: str, arguments: tuple[object, ...]) -> Any:
        self._serial += 1
        serial = self._serial
        try:
            self._send(serial, verb, *arguments)
        except OSError:
            self._gone()
        while True:
            message = self._receive()
            if message is None:
                self._gone()
            if message[0] == serial:
                if message[1] == "value":
                    return message[2]
                _raise(verb, message, arguments)
            if message[0] == 0:
                self._events.append(message)

    def _gone(self) -> NoReturn:
        self.ended()
        raise EndedError("the program has ended")

    # Waiting while the program runs.

    @contextmanager
    def running(self) -> Iterator[None]:
        """What happens inside belongs to a run of the program by the calling thread."""
        if self.returncode is not None:
            raise EndedError("the program has ended")
        if self._owner is not None:
            raise BusyError("the program is running already")
        self._owner = threading.get_ident()
        try:
            with self._wake.watching():
                yield
        finally:
            self._owner = None

    def is_running_elsewhere(self) -> bool:
        """True during a run that another thread of Python has begun."""
        return self._owner not in (None, threading.get_ident())

    def event(self, deadline: float | None) -> Message | None:
        """The next event; None if the process has gone.

        `deadline`: of `time.monotonic`; raises TimeoutError at it, and Interrupted for a SIGINT.
        """
        if self._events:
            return self._events.popleft()
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            sources: list[Any] = [self._socket, self._wake]
            ready = select.select(sources, [], [], left)[0]
            if self._socket in ready:
                message = self._receive()
                if message is None or message[0] == 0:
                    return message
            elif self._wake in ready:
                self._wake.clear()
                raise Interrupted
            elif deadline is not None:
                raise TimeoutError

    def later(self, events: Sequence[Message]) -> None:
        """Put back events that are to be handled in the next run."""
        self._events.extend(events)

    def let_interrupt(self) -> Any:
        """A context in which SIGINT interrupts at once: the program's hooks run in it."""
        return self._wake.immediate()

    def raise_interrupt(self) -> None:
        """Do now what SIGINT does without the program."""
        self._wake.deliver()

    def kill(self) -> None:
        """End the process, if it is still there."""
        self._process.kill()
        self._process.wait()
        self._close()


class _Wake:
    """Keeps SIGINT from coming between two steps of the protocol, where Python handles it."""

    def __init__(self) -> None:
        self._pipe = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._previous: Any = None
        self._pending = False
        self._immediate = False

    def fileno(self) -> int:
        return self._pipe

    def close(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def clear(self) -> None:
        os.eventfd_read(self._pipe)

    def _handle(self, number: int, frame: Any) -> None:
        if self._immediate:
            self._previous(number, frame)
            return
        self._pending = True
        if self._pipe >= 0:
            os.eventfd_write(self._pipe, 1)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take SIGINT over, where it would be handled by Python in the calling thread."""
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler) or threading.current_thread() is not threading.main_thread():
            yield
            return
        self._previous = handler
        signal.signal(signal.SIGINT, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, handler)
            self._previous = None

    @contextmanager
    def immediate(self) -> Iterator[None]:
        self._immediate = True
        try:
            yield
        finally:
            self._immediate = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let SIGINT wait, inside of `immediate`."""
        before, self._immediate = self._immediate, False
        try:
            yield
        finally:
            self._immediate = before
        if before:
            self.deliver()

    def deliver(self) -> None:
        """Handle a SIGINT that has come, as if it came now."""
        if self._pending:
            self._pending = False
            self._previous(signal.SIGINT, None)


def _raise(verb: str, message: Message, arguments: tuple[object, ...]) -> NoReturn:
    if message[2] == "fault" and verb in ("read", "write"):
        address, second = arguments
        assert isinstance(address, int)
        size = len(second) if isinstance(second, bytes) else second
        assert isinstance(size, int)
        raise MemoryFault(address, size)
    raise UnknownNameError(message[3])


def _pair(entry: bytes) -> tuple[bytes, bytes]:
    name, _, value = entry.partition(b"=")
    return name, value
