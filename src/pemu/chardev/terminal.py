"""The terminal that Pemu was started on: raw while it is used, and restored however Pemu ends.

What restores it is `leave`, or the end of the interpreter, or the *guard*, a small process of its
own, for ends that leave a process no time: a crash of native code, `kill -9`. The guard waits for
Pemu's end of a pipe to close. It leaves a terminal alone that a shell has taken over meanwhile. It
is a shell that runs stty, as forking an interpreter that has threads is not safe, and starting
another one takes long.

While Pemu is stopped (Ctrl-Z where signals are on, or `kill -TSTP`) the terminal is as the shell
had it.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import signal
import termios
import threading
from typing import Any

from pemu.chardev import line

_GUARD = """trap '' HUP INT QUIT PIPE TERM TSTP TTIN TTOU
read word && exit
case $(stty -g <&3) in
({raw}|{echoing}) stty {saved} <&3
esac
"""
_LOWEST = 10
"""Descriptors from here on are not among those that the guard uses."""


class Terminal:
    """The terminal at descriptor `fd`, which must be one; raw from `enter` to `leave`.

    Where signals are off, Ctrl-C, Ctrl-Z and Ctrl-\\ are bytes for the guest. Stopping and going on
    is noticed if this is made on the interpreter's main thread, as Python wants it.
    """

    def __init__(self, fd: int, *, signals: bool) -> None:
        self._fd = fd
        self._saved = termios.tcgetattr(fd)
        self._raw = line.raw(self._saved, output=False, signals=signals)
        self._handlers: list[tuple[int, Any]] = []
        self._inside = False
        self._left = False
        self._guard = self._alarm = -1
        if threading.current_thread() is threading.main_thread():
            for number, handler in (
                (signal.SIGTSTP, self._on_stop),
                (signal.SIGCONT, self._on_continue),
            ):
                self._handlers.append((number, signal.signal(number, handler)))

    def enter(self) -> None:
        """Take the terminal, unless it has been left already."""
        if self._left:
            return
        self._inside = True
        atexit.register(self.leave)
        self._set(self._raw)
        self._guard, self._alarm = _start_guard(self._fd, self._saved, self._raw)

    def set_echo(self, on: bool) -> None:
        """Have the terminal show what is typed, or not."""
        self._raw[line.LFLAG] &= ~termios.ECHO
        if on:
            self._raw[line.LFLAG] |= termios.ECHO
        if self._inside:
            self._set(self._raw)

    def leave(self) -> None:
        """Restore the terminal for good."""
        if self._left:
            return
        self._left = True
        if self._inside:
            self._inside = False
            atexit.unregister(self.leave)
            self._set(self._saved)
            _dismiss_guard(self._guard, self._alarm)
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._handlers:
                signal.signal(number, handler)

    def _set(self, attributes: list[Any]) -> None:
        """Change the terminal, unless a shell has it that keeps this process in the background."""
        try:
            if os.tcgetpgrp(self._fd) != os.getpgrp():
                return
        except OSError:
            pass  # not the terminal that controls this process
        try:
            termios.tcsetattr(self._fd, termios.TCSANOW, attributes)
        except termios.error:
            pass  # the terminal has hung up

    def _on_stop(self, _number: int, _frame: object) -> None:
        if self._inside:
            self._set(self._saved)
        os.kill(os.getpid(), signal.SIGSTOP)

    def _on_continue(self, _number: int, _frame: object) -> None:
        if self._inside:
            self._set(self._raw)


def _start_guard(fd: int, saved: list[Any], raw: list[Any]) -> tuple[int, int]:
    """Start the guard; returns its process and the pipe that it listens to, or -1 and -1."""
    echoing = [*raw]
    echoing[line.LFLAG] |= termios.ECHO
    script = _GUARD.format(
        saved=_stty_form(saved), raw=_stty_form(raw), echoing=_stty_form(echoing)
    )
    near, alarm = os.pipe()
    listening = fcntl.fcntl(near, fcntl.F_DUPFD_CLOEXEC, _LOWEST)
    os.close(near)
    actions = [
        (os.POSIX_SPAWN_DUP2, fd, 3),
        (os.POSIX_SPAWN_DUP2, listening, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    try:
        pid = os.posix_spawn(
            "/bin/sh", ["sh", "-c", script], os.environ, file_actions=actions, setpgroup=0
        )
    except OSError:
        os.close(alarm)
        pid = alarm = -1
    finally:
        os.close(listening)
    return pid, alarm


def _dismiss_guard(pid: int, alarm: int) -> None:
    if pid < 0:
        return
    try:
        os.write(alarm, b"done\n")
    except OSError:
        pass  # somebody has killed it
    os.close(alarm)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # waited for elsewhere


def _stty_form(attributes: list[Any]) -> str:
    """The attributes as `stty` takes them: hexadecimal numbers with colons between."""
    flags = attributes[: line.LFLAG + 1]
    characters = [c[0] if isinstance(c, bytes) else c for c in attributes[line.CC]]
    return ":".join(f"{value:x}" for value in (*flags, *characters))
