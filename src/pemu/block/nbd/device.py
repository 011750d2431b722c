"""The kernel as an NBD client: /dev/nbd0 and its kin. Source: nbd.h of Linux."""

from __future__ import annotations

import fcntl
import os
import socket
import threading

from pemu.block.nbd.channel import Channel
from pemu.block.nbd.client import Negotiation

_SET_SOCK, _SET_BLKSIZE, _DO_IT, _CLEAR_SOCK = 0xAB00, 0xAB01, 0xAB03, 0xAB04
_SET_SIZE_BLOCKS, _DISCONNECT, _SET_FLAGS = 0xAB07, 0xAB08, 0xAB0A

_BLKROSET = 0x125D

_BLOCK = 512

_KNOWN = 0x1FF
"""Flags that the kernel may be given."""


class Device:
    """A device that is open. Raises OSError."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._thread: threading.Thread | None = None

    def connect(self, sock: socket.socket, name: str) -> None:
        """Have the kernel use the export `name` through `sock`, until `close`. Raises OSError."""
        info = Negotiation(Channel(sock)).go(name)
        fcntl.ioctl(self._fd, _SET_SOCK, sock.fileno())
        fcntl.ioctl(self._fd, _SET_BLKSIZE, _BLOCK)
        fcntl.ioctl(self._fd, _SET_SIZE_BLOCKS, info.size // _BLOCK)
        fcntl.ioctl(self._fd, _SET_FLAGS, info.flags & _KNOWN)
        fcntl.ioctl(self._fd, _BLKROSET, (info.flags >> 1 & 1).to_bytes(4, "little"))
        self._thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
        self._thread.start()

    def _serve(self, sock: socket.socket) -> None:
        """Be the kernel's thread; it comes back when the device is disconnected."""
        try:
            fcntl.ioctl(self._fd, _DO_IT)
        except OSError:
            pass  # how it ends where the server has gone
        fcntl.ioctl(self._fd, _CLEAR_SOCK)
        sock.close()

    def close(self) -> None:
        """Take the device from the kernel."""
        if self._thread is not None:
            fcntl.ioctl(self._fd, _DISCONNECT)
            self._thread.join()
        os.close(self._fd)


def disconnect(path: str) -> None:
    """Take the device `path` from the kernel, whoever serves it. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for request in (_CLEAR_SOCK, _DISCONNECT):
            try:
                fcntl.ioctl(fd, request)
            except OSError:
                pass  # as QEMU's: a file that is no device has nothing to take away
    finally:
        os.close(fd)
