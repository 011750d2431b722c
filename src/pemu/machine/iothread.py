"""The I/O thread: one asyncio loop for character devices, network, monitors, timers, signals.

What touches the machine there runs under the machine's lock: `call`, `watch` and timers take it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from pemu.machine.clock import SECOND, Clock, Clocks

R = TypeVar("R")

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK, _TFD_CLOEXEC = 0o4000, 0o2000000

_libc = ctypes.PyDLL(None, use_errno=True)


class _Itimerspec(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_long) for name in ("interval_s", "interval_ns", "value_s", "value_ns")
    )


class IoThread:
    """The loop, which runs in one thread: that of `run`, or one of its own by `start`."""

    def __init__(self, lock: threading.RLock, clocks: Clocks) -> None:
        self.lock = lock
        self.loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._clocks = [
            _ClockWatch(self, clock) for clock in (clocks.virtual, clocks.host, clocks.realtime)
        ]

    def run(self) -> None:
        """Run the loop in this thread until `stop` is called."""
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def start(self) -> None:
        """Run the loop in a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="I/O", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the loop, from any thread; does not wait for that."""
        self.loop.call_soon_threadsafe(self.loop.stop)

    def close(self) -> None:
        """Give back what the loop holds, after it has ended or to end it."""
        if self._thread is not None:
            self.stop()
            self._thread.join()
            self._thread = None
        for watch in self._clocks:
            watch.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call `function` in the loop, under the machine's lock, soon; from any thread."""
        self.loop.call_soon_threadsafe(self._locked, function, *arguments)

    def call_and_wait(self, function: Callable[..., R], *arguments: Any) -> R:
        """Call `function` in the loop, under the lock, and return what it does or raise its error.

        Not to be called by the loop's own thread, nor with the lock held.
        """
        future: Future[R] = Future()

        def body() -> None:
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)

        self.call(body)
        return future.result()

    def submit(self, coroutine: Coroutine[Any, Any, R]) -> Future[R]:
        """Run a coroutine in the loop (not under the lock); from any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def watch(self, fd: int, readable: Callable[[], object]) -> None:
        """Call `readable()` under the lock whenever `fd` can be read, until `unwatch`.

        In the loop's thread, or before the loop runs.
        """
        self.loop.add_reader(fd, self._locked, readable)

    def unwatch(self, fd: int) -> None:
        """Undo `watch`."""
        self.loop.remove_reader(fd)

    def _locked(self, function: Callable[..., object], *arguments: Any) -> None:
        with self.lock:
            function(*arguments)


class _ClockWatch:
    """Runs a clock's timers in the loop: a timerfd is armed for the clock's first deadline.

    asyncio's own timers are not exact enough, and arming them from another thread wakes the loop.
    """

    def __init__(self, thread: IoThread, clock: Clock) -> None:
        self._thread = thread
        self._clock = clock
        self._fd: int = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Itimerspec()
        clock.on_earlier.append(self._arm)
        thread.watch(self._fd, self._expired)
        self._arm()

    def close(self) -> None:
        if self._fd >= 0:
            self._clock.on_earlier.remove(self._arm)
            self._thread.unwatch(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _arm(self) -> None:
        deadline = self._clock.deadline() if self._clock.driven_by_host else None
        delay = 0 if deadline is None else max(deadline - self._clock.now(), 1)
        self._spec.value_s, self._spec.value_ns = divmod(delay, SECOND)
        _libc.timerfd_settime(self._fd, 0, ctypes.byref(self._spec), None)

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            pass  # armed anew since
        if self._clock.driven_by_host:
            self._clock.run_timers()
        self._arm()
