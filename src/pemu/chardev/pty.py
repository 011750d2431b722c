"""`pty`: a new terminal of the host, which another program opens to talk with the guest."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import time
from typing import Any

from pemu.chardev import line
from pemu.chardev.descriptor import DescriptorChardev
from pemu.chardev.interface import Host
from pemu.options.error import OptionError

KEYS = ()

INTERVAL = 0.2
"""Seconds between looks whether a program has opened or left the terminal. Linux reports that none
has it open as a hang-up, and nothing when that ends."""

STEP = 0.005
"""Seconds between looks whether all has been read, when the terminal is closed."""

QUIET = 10
"""Looks in a row that must find nothing: the kernel moves what was written to where it can be read
in pieces, by a worker of its own, and tells of what is there only. A poll has that worker finish;
it may begin again as soon as somebody has read, a little after what he has read is gone."""


class Pty(DescriptorChardev):
    """A terminal that is open while a program has it open; what is written otherwise is lost."""

    def __init__(self, host: Host, label: str, options: dict[str, Any]) -> None:
        super().__init__(host, label, options)
        try:
            self._master, slave = os.openpty()
        except OSError as error:
            raise OptionError(f"no terminal is to be had: {error.strerror}") from None
        held = termios.tcgetattr(slave)
        termios.tcsetattr(slave, termios.TCSANOW, line.raw(held, output=True, signals=False))
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        self.is_open = False
        self._connect(-1, self._master)
        host.say(f"char device redirected to {self.path} (label {label})")
        host.post(self._look)

    @property
    def filename(self) -> str:
        """The terminal's path."""
        return f"pty:{self.path}"

    def close(self, patience: float = 0) -> None:
        """Close the terminal: who has it open sees a hang-up."""
        if self._output and not self._is_hung_up():
            self._output.flush(patience)
            if not self.backlog:
                self._wait_for_reader(patience)
        super().close()
        os.close(self._master)
        self._master = -1

    def _look(self) -> None:
        """Note who has come or gone, and look again later."""
        if self._master < 0:
            return
        if self._is_hung_up():
            self._ended()
        elif not self.is_open:
            self._read_from(self._master)
            self._set_state(True)
        self.host.loop.call_later(INTERVAL, self._look)

    def _wait_for_reader(self, patience: float) -> None:
        """Let the other program read all: what it has not read is lost with the terminal.

        Gives it up when it reads nothing for `patience` seconds.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            return
        before, end, quiet = 0, time.monotonic() + patience, 0
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while quiet < QUIET and time.monotonic() < end and not self.host.hurried:
            poll.poll(0)
            unread = _unread(fd)
            quiet = 0 if unread else quiet + 1
            if unread != before:
                before, end = unread, time.monotonic() + patience
            time.sleep(STEP)
        os.close(fd)

    def _is_hung_up(self) -> bool:
        if self._master < 0:
            return True
        poll = select.poll()
        poll.register(self._master, 0)
        return bool(poll.poll(0))

    def _write(self, data: bytes, whole: bool) -> int:
        return len(data) if self._is_hung_up() else super()._write(data, whole)

    def _send(self, data: bytes) -> None:
        if not self._is_hung_up():
            super()._send(data)

    def _ended(self) -> None:
        """Forget the program that has left."""
        self._unwatch()
        self._reading = -1
        if self._output:
            self._output.discard()
        self._set_state(False)


def _unread(fd: int) -> int:
    (count,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))
    return int(count)


BACKEND = Pty
