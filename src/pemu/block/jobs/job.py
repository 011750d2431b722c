"""What all jobs have: a thread, progress, a limit of speed; pause, cancel, complete."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

from pemu.block.backend import Backend
from pemu.block.error import ImageError

Status = Literal["created", "running", "paused", "ready", "aborting", "concluded"]

SLICE = 0.1
"""Seconds over which a limit of speed is kept."""


class Cancelled(Exception):
    """Raised in a job's thread where it is to come to an end."""


class Job(ABC):
    """One job on the image of `backend`.

    kind: as QMP calls it. speed: bytes a second, 0 for no limit. offset, length: bytes done and to
    do, which may grow. error: why it failed, '' otherwise. changed: called, in the job's thread,
    when `status` is another.

    A job that is ready goes on keeping its target up to date until `complete` or `cancel`.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        id: str,
        backend: Backend,
        *,
        speed: int = 0,
        changed: Callable[[Job], object] = lambda job: None,
    ) -> None:
        self.id = id
        self.backend = backend
        self.speed = speed
        self.changed = changed
        self.status: Status = "created"
        self.offset = 0
        self.length = 0
        self.error = ""
        self._wake = threading.Condition()
        self._paused = False
        self._cancelled = False
        self._completing = False
        self._began = 0.0
        self._spent = 0
        self._thread = threading.Thread(target=self._run, name=f"{self.kind} {id}", daemon=True)

    # What the monitor calls

    def start(self) -> None:
        """Set to work. Raises ImageError where that cannot be."""
        self._prepare()
        self._set("running")
        self._thread.start()

    def pause(self) -> None:
        """Stop until `resume`; what has been begun is finished."""
        with self._wake:
            self._paused = True

    def resume(self) -> None:
        """Go on after `pause`."""
        with self._wake:
            self._paused = False
            self._wake.notify_all()

    def cancel(self) -> None:
        """Come to an end soon, leaving the guest's image as it was."""
        with self._wake:
            self._cancelled = True
            self._wake.notify_all()

    def complete(self) -> None:
        """Finish a job that is ready. Raises ImageError for one that is not."""
        with self._wake:
            if self.status != "ready":
                raise ImageError(
                    f"The active block job '{self.id}' cannot be completed: it is {self.status}; "
                    "wait until it is ready"
                )
            self._completing = True
            self._wake.notify_all()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end; False where it has not come in time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    # What kinds of jobs define

    def _prepare(self) -> None:
        """Called under the machine's lock before the thread runs."""

    @abstractmethod
    def _work(self) -> None:
        """Do it. Raises OSError, ImageError, Cancelled."""

    def _finish(self, succeeded: bool) -> None:
        """Called under the machine's lock at the end. Raises OSError, ImageError."""

    # What they call

    def _advance(self, count: int) -> None:
        """Note that `count` bytes are done; keeps the speed, and pauses. Raises Cancelled."""
        self.offset += count
        self._spent += count
        while True:
            with self._wake:
                if self._cancelled:
                    raise Cancelled
                if self._paused:
                    before = self.status
                    self._set("paused")
                    self._wake.wait_for(lambda: not self._paused or self._cancelled)
                    self._set(before)
                    self._began, self._spent = time.monotonic(), 0
                    continue
                delay = self._delay()
                if delay <= 0:
                    return
                self._wake.wait(delay)

    def _delay(self) -> float:
        """Seconds until the limit of speed allows more."""
        if not self.speed:
            return 0
        passed = time.monotonic() - self._began
        if passed >= SLICE and self._spent <= self.speed * passed:
            self._began, self._spent = time.monotonic(), 0
            return 0
        return self._spent / self.speed - passed

    def _stay_ready(self, idle: Callable[[], bool]) -> None:
        """Be ready, calling `idle` whenever there may be work, until `complete` is called.

        idle: does what there is to do, and says whether that was anything. Raises Cancelled.
        """
        self._set("ready")
        while not self._completing:
            if not idle():
                with self._wake:
                    self._wake.wait_for(lambda: self._completing or self._cancelled, SLICE)
            self._advance(0)

    def _locked(self, function: Callable[[], object]) -> None:
        """Have `function` called under the machine's lock; raises what it raises."""
        done = threading.Event()
        failure: list[BaseException] = []

        def call() -> None:
            try:
                function()
            except BaseException as error:
                failure.append(error)
            done.set()

        self.backend.post(call)
        done.wait()
        if failure:
            raise failure[0]

    def _set(self, status: Status) -> None:
        self.status = status
        self.changed(self)

    def _run(self) -> None:
        self._began = time.monotonic()
        succeeded = False
        try:
            self._work()
            succeeded = True
        except Cancelled:
            self._set("aborting")
        except (OSError, ImageError) as error:
            self.error = _text(error)
            self._set("aborting")
        try:
            self._locked(lambda: self._finish(succeeded))
        except (OSError, ImageError) as error:
            self.error = self.error or _text(error)
        self._set("concluded")


def _text(error: OSError | ImageError) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error)
