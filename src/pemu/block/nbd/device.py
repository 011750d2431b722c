"""The kernel as an NBD client: /dev/nbd0 and its kin. Source: nbd.h of Linux."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

from pemu.block.nbd.channel import Channel
from pemu.block.nbd.client import Negotiation

_SET_SOCK, _SET_BLKSIZE, _DO_IT, _CLEAR_SOCK, _CLEAR_QUE = 0xAB00, 0xAB01, 0xAB03, 0xAB04, 0xAB05
_SET_SIZE_BLOCKS, _DISCONNECT, _SET_FLAGS = 0xAB07, 0xAB08, 0xAB0A

_GET_SIZE = 0x80081272
"""BLKGETSIZE64."""

_BLOCK = 512
"""Bytes; of an export whose size is no multiple of it the kernel does not see the rest."""

PATIENCE = 10.0
"""Seconds after which a server that the kernel waits for is taken to be stuck: that must not keep
its device from being disconnected."""


class Device:
    """A device that is open. Raises OSError."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._thread: threading.Thread | None = None

    def connect(self, sock: socket.socket, name: str, gone: Callable[[], object]) -> None:
        """Have the kernel use the export `name` through `sock`, until `close`.

        The device has its size and its partitions then. gone: is called, from another thread, when
        somebody has disconnected it. Raises OSError; ImageError where there is no such export.
        """
        info = Negotiation(Channel(sock), structured=False).go(name)
        fcntl.ioctl(self._fd, _SET_SOCK, sock.fileno())
        fcntl.ioctl(self._fd, _SET_BLKSIZE, _BLOCK)
        fcntl.ioctl(self._fd, _SET_SIZE_BLOCKS, info.size // _BLOCK)
        fcntl.ioctl(self._fd, _SET_FLAGS, info.flags)
        self._thread = threading.Thread(target=self._serve, args=(sock, gone), daemon=True)
        self._thread.start()
        self._await_size(info.size // _BLOCK * _BLOCK)
        os.close(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC))  # has partitions looked for

    def _serve(self, sock: socket.socket, gone: Callable[[], object]) -> None:
        """Be the kernel's thread; it comes back when the device is disconnected."""
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())  # they would end it
        try:
            fcntl.ioctl(self._fd, _DO_IT)
        except OSError:
            pass  # how it ends where the server has gone
        fcntl.ioctl(self._fd, _CLEAR_SOCK)
        sock.close()
        gone()

    def _await_size(self, size: int) -> None:
        """Wait until the kernel's thread has got so far as to set it."""
        assert self._thread is not None
        end = time.monotonic() + PATIENCE
        while self._thread.is_alive() and _size(self._fd) != size and time.monotonic() < end:
            time.sleep(0.001)

    def close(self) -> None:
        """Take the device from the kernel, once it has written what it must."""
        if self._thread is not None and self._thread.is_alive():
            _write_back(self._fd)
            fcntl.ioctl(self._fd, _DISCONNECT)
            self._thread.join()
        os.close(self._fd)


def disconnect(path: str) -> None:
    """Take the device `path` from the kernel, whoever serves it. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if _size(fd):
            _write_back(fd)
        for request in (_CLEAR_QUE, _DISCONNECT, _CLEAR_SOCK):
            try:
                fcntl.ioctl(fd, request)
            except OSError:
                pass  # as QEMU's: a file that is no device has nothing to take away
    finally:
        os.close(fd)


def _size(fd: int) -> int:
    """Bytes of a device; 0 where none is connected, or it is no device."""
    try:
        return int.from_bytes(fcntl.ioctl(fd, _GET_SIZE, bytes(8)), sys.byteorder)
    except OSError:
        return 0


def _write_back(fd: int) -> None:
    """Have the kernel write what programs have written to the device; nobody does it later."""

    def write() -> None:
        try:
            os.fsync(fd)
        except OSError:
            pass  # it is too late

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    before = -1
    while writer.is_alive() and before != (before := _writes(fd)):
        writer.join(PATIENCE)


def _writes(fd: int) -> int:
    """How many writes to a device have been carried out."""
    number = os.fstat(fd).st_rdev
    place = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat"
    try:
        with open(place, encoding="ascii") as file:
            return int(file.read().split()[4])
    except (OSError, ValueError, IndexError):
        return 0
