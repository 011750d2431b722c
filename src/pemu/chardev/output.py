"""Output to a descriptor that takes it at its own pace.

Whoever writes also makes the host's call, without waiting; so output comes at once, and costs no
switch between threads. What the host does not take is queued, and the I/O thread writes it when the
descriptor is ready. Serial ports write byte by byte, so what comes sooner than GATHER after the
last call is queued, too: the call and its reader's awakening cost more than all the rest.
"""

from __future__ import annotations

import os
import select
import time
from _thread import allocate_lock
from collections.abc import Callable

from pemu.chardev.interface import Host

LIMIT = 64 * 1024
"""Bytes queued before `write` refuses more: as much as a Linux pipe holds."""

LOOK = 0.1
"""Seconds between looks whether the user still wants to wait for a reader."""

GATHER = 0.002
"""Seconds after a call of the host during which `write` only queues: too few to be noticed."""


class Output:
    """The queue before one descriptor, which must be one that does not wait.

    `writable` is called on the I/O thread when there is room after a refusal; `failed`, once, with
    the error that the host has given. After an error what is written is lost.
    """

    def __init__(
        self,
        host: Host,
        fd: int,
        writable: Callable[[], None],
        failed: Callable[[OSError], None],
    ) -> None:
        self._host = host
        self._fd = fd
        self._on_writable = writable
        self._on_failure = failed
        self._lock = allocate_lock()
        self._queue = bytearray()
        self._expected = False  # `_ready` will be called
        self._watched = False
        self._refused = False
        self._failed = False
        self._unreported: OSError | None = None
        self._gathers_until = 0.0

    @property
    def backlog(self) -> int:
        """Bytes in the queue."""
        return len(self._queue)

    def write(self, data: bytes, whole: bool) -> int:
        """Take what there is room for, or with `whole` everything if there is room at all.

        Returns how many bytes were taken.
        """
        with self._lock:
            queued = len(self._queue)
            if self._expected and queued + len(data) <= LIMIT:
                self._queue += data
                return len(data)
            limit = queued + len(data) if whole and queued < LIMIT else LIMIT
            if time.monotonic() < self._gathers_until:
                return self._enqueue(data, limit)
            return self._take(data, limit)

    def send(self, data: bytes) -> None:
        """Take all of `data`, and have it and what was gathered written at once."""
        with self._lock:
            if self._queue:
                self._drain()
            self._take(data, len(self._queue) + len(data))

    def flush(self, patience: float) -> OSError | None:
        """Wait until all is written, but not longer than `patience` seconds for any of it.

        Returns the error that the host has given, if nobody has been told of it yet.
        """
        with self._lock:
            poller = select.poll()
            if self._fd >= 0:
                poller.register(self._fd, select.POLLOUT)
            end = time.monotonic() + patience
            while self._queue and self._fd >= 0:
                left = 0 if self._host.hurried else end - time.monotonic()
                if poller.poll(min(max(left, 0), LOOK) * 1000):
                    if self._drain():
                        end = time.monotonic() + patience
                elif left <= 0:
                    break
            error, self._unreported = self._unreported, None
            return error

    def discard(self) -> None:
        """Forget what is queued: who would have read it is gone."""
        with self._lock:
            self._forget()

    def stop(self) -> None:
        """Forget the descriptor, on the I/O thread; the caller closes it."""
        with self._lock:
            if self._watched and not self._host.loop.is_closed():
                self._host.loop.remove_writer(self._fd)
            self._fd = -1
            self._expected = False
            self._forget()

    def _forget(self) -> None:
        self._queue.clear()
        if self._refused:
            self._refused = False
            self._host.post(self._on_writable)

    def _take(self, data: bytes, limit: int) -> int:
        if self._fd < 0:
            return len(data)
        written = 0 if self._queue else self._host_write(data)
        if written == len(data):
            return written
        return written + self._enqueue(data[written:], limit)

    def _enqueue(self, data: bytes, limit: int) -> int:
        if self._fd < 0:
            return len(data)
        taken = min(len(data), max(limit - len(self._queue), 0))
        self._queue += data[:taken]
        self._refused |= taken < len(data)
        if not self._expected:
            self._expected = True
            self._host.post(self._host.loop.call_later, GATHER, self._ready)
        return taken

    def _ready(self) -> None:
        with self._lock:
            if self._queue:
                self._drain()
            if self._fd >= 0:
                self._expected = bool(self._queue)
                self._watch(self._expected)
            room = self._refused and len(self._queue) <= LIMIT // 2
            self._refused &= not room
        if room:
            self._on_writable()

    def _watch(self, wanted: bool) -> None:
        """Have `_ready` called when the descriptor takes more, or no longer."""
        if wanted and not self._watched:
            self._host.loop.add_writer(self._fd, self._ready)
        elif self._watched and not wanted:
            self._host.loop.remove_writer(self._fd)
        self._watched = wanted

    def _drain(self) -> int:
        with memoryview(self._queue) as queue, queue[:LIMIT] as part:
            written = self._host_write(part)
        del self._queue[:written]
        return written

    def _host_write(self, data: bytes | memoryview) -> int:
        """Write what the host takes now. After an error everything counts as written."""
        self._gathers_until = time.monotonic() + GATHER
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._unreported = error
                self._host.post(self._report)
            return len(data)

    def _report(self) -> None:
        with self._lock:
            error, self._unreported = self._unreported, None
        if error is not None and self._fd >= 0:  # or else somebody has noticed otherwise
            self._on_failure(error)
