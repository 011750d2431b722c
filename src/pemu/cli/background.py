"""-daemonize and -pidfile."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pemu import fdsets
from pemu.options.error import OptionError, quoted


class Launcher:
    """The process that was started, which ends when the machine in the background is ready."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._null = os.open("/dev/null", os.O_RDWR)  # which another root directory may not have

    def ready(self) -> None:
        """Let the command end with success, and leave the terminal."""
        for fd in (0, 1, 2):
            os.dup2(self._null, fd)
        os.close(self._null)
        os.chdir("/")
        os.write(self._channel, b"\0")
        os.close(self._channel)


def leave_terminal(umask: int | None = None) -> Launcher:
    """Go on in a process of a session of its own; the caller's ends when `ready` is called there.

    To be called before there are threads. If what goes on fails before, the command fails too.
    umask: the new one.
    """
    waiting, channel = os.pipe()
    if os.fork():
        os.close(channel)
        told = os.read(waiting, 1)
        os._exit(0 if told else 1)
    os.close(waiting)
    os.setsid()
    if os.fork():
        os._exit(0)
    if umask is not None:
        os.umask(umask)
    return Launcher(channel)


@contextmanager
def pid_file(path: str, option: str = "-pidfile") -> Iterator[None]:
    """While the body runs, `path` (if not empty) holds this process's number, and is locked.

    option: what messages call it.
    """
    if not path:
        yield
        return
    try:
        fd = fdsets.open_path(path, os.O_WRONLY | os.O_CREAT, 0o600)
        folder = None if fdsets.names_one(path) else _folder(path)
    except OSError as error:
        raise OptionError(f"{option}: {quoted(path)} cannot be made ({error.strerror})") from None
    try:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OptionError(
                f"{option}: {quoted(path)} is that of a machine that runs; give another"
            ) from None
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        try:
            yield
        finally:
            if folder is not None:
                _remove(folder, os.path.basename(path))
    finally:
        if folder is not None:
            os.close(folder)
        os.close(fd)


def _folder(path: str) -> int:
    """A descriptor of the directory that a file is in, wherever paths lead to later."""
    return os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _remove(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        pass  # it is gone already, or the user of -runas may not
