"""Running, pausing, resetting and ending a machine, and why.

The I/O thread carries these out; any thread may ask for them. Processor threads come to
`admit` whenever they have been kicked, and wait there while the machine does not run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from pemu.machine.clock import Clocks
    from pemu.machine.iothread import IoThread

State = Literal[
    "prelaunch",  # not started yet (-S)
    "running",
    "paused",  # by the user
    "debug",  # by a debugger
    "shutdown",  # the guest has ended (-no-shutdown)
    "internal-error",
    "guest-panicked",
    "io-error",
    "inmigrate",
    "suspended",
]
"""What a machine does, in QEMU's words."""

Cause = Literal[
    "guest-shutdown",
    "guest-reset",
    "guest-panic",
    "host-signal",
    "host-qmp-quit",
    "host-qmp-system-reset",
    "host-ui",
    "host-error",
]
"""Why a machine ends or is reset, in QEMU's words."""


class Vcpu(Protocol):
    """What the machine needs of a processor."""

    def run(self) -> None:
        """Run the guest until `kick` is called; without the lock, in the processor's thread."""

    def kick(self) -> None:
        """Make `run` return soon, also from idle, or the next `run` at once, if none is going on.

        From any thread; does not wait.
        """

    def reset(self) -> None:
        """Be as after power-on; under the lock, while the processor does not run."""

    def close(self) -> None:
        """Let go of what it holds, after the machine has ended."""

    def line(self, number: int) -> Callable[[int], object]:
        """What is called, under the lock, with the level of interrupt input `number`."""


class Controlled(Protocol):
    """What is run, paused and reset: a `machine.Machine`."""

    @property
    def lock(self) -> threading.RLock: ...

    @property
    def clocks(self) -> Clocks: ...

    @property
    def iothread(self) -> IoThread: ...

    def reset(self, cause: Cause) -> None: ...


class Control:
    """Whether a machine runs.

    state: what it does. reboot: whether a reset by the guest starts it again (not so with
        -no-reboot). stay: whether it is kept when the guest shuts down (-no-shutdown).
    status: the exit status, known when it has ended; cause: why it has.
    threads: the host's numbers of the threads that run processors.
    listeners: called with the new state, under the lock. powerdown: what is called when the user
        presses the power button.
    """

    def __init__(self, machine: Controlled) -> None:
        self.machine = machine
        self.state: State = "prelaunch"
        self.reboot = True
        self.stay = False
        self.ended = False
        self.status = 0
        self.cause: Cause | None = None
        self.listeners: list[Callable[[State], object]] = []
        self.powerdown: list[Callable[[], object]] = []
        self.threads: dict[Vcpu, int] = {}
        self._active: dict[int, Vcpu] = {}
        self._changed = threading.Condition(machine.lock)
        self._wanted: list[Callable[[], object]] = []
        self._held = 0

    @property
    def running(self) -> bool:
        """Whether the guest runs."""
        return self.state == "running"

    @property
    def ending(self) -> bool:
        """Whether somebody has asked for the end, or a reset, or there it is."""
        return self.ended or bool(self._wanted)

    @property
    def halting(self) -> bool:
        """Whether processors are to come to `admit`: one that waits for the host must look."""
        return self.state != "running" or self._held > 0

    # Processor threads

    def run_vcpu(self, cpu: Vcpu) -> None:
        """Be the thread of `cpu` until the machine ends."""
        self.threads[cpu] = threading.get_native_id()
        while self.admit(cpu):
            cpu.run()

    def admit(self, cpu: Vcpu) -> bool:
        """Wait until `cpu` may run; False when the machine has ended. Called by its thread."""
        me = threading.get_ident()
        with self._changed:
            self._active.pop(me, None)
            self._changed.notify_all()
            while not self.ended and (self.state != "running" or self._wanted or self._held):
                self._changed.wait()
            if not self.ended:
                self._active[me] = cpu
            return not self.ended

    def abandon(self, cpu: Vcpu) -> None:
        """The thread of `cpu` ends by an error: the machine, too. Called by it, under the lock."""
        self._active.pop(threading.get_ident(), None)
        self._changed.notify_all()
        self.quit("host-error", status=1)

    def _halt(self) -> None:
        """Make all processor threads come to `admit`, and wait for those but one's own.

        Meanwhile none of them goes on, even if another thread has the machine resumed: who waits
        here would miss that they stood.
        """
        me = threading.get_ident()
        for cpu in self._active.values():
            cpu.kick()
        self._held += 1
        try:
            while any(thread != me for thread in self._active):
                self._changed.wait()
        finally:
            self._held -= 1
            self._changed.notify_all()

    # What any thread may do

    def resume(self) -> None:
        """Let the guest run, if it has not ended."""
        with self.machine.lock:
            if self.state not in ("running", "shutdown") and not self.ended:
                self.machine.clocks.virtual.start()
                self._become("running")
                self._changed.notify_all()

    def pause(self, state: State = "paused") -> None:
        """Stop the guest and wait until it stands, in `state`.

        The thread of a processor does not wait for itself: it stops when it leaves `Vcpu.run`.
        """
        with self.machine.lock:
            if self.state == "running":
                self.machine.clocks.virtual.stop()
                self._become(state)
            self._halt()

    @contextmanager
    def standing(self) -> Iterator[None]:
        """While this lasts the processors stand, so that their registers can be looked at.

        What the machine does is not changed by it. Not in the thread of a processor.
        """
        with self.machine.lock:
            self._held += 1
            try:
                self._halt()
                yield
            finally:
                self._held -= 1
                self._changed.notify_all()

    def request_reset(self, cause: Cause = "guest-reset") -> None:
        """Reset the machine as soon as the processors stand. From any thread, does not wait."""
        if cause == "guest-reset" and not self.reboot:
            self.request_shutdown(cause)
        else:
            self._request(lambda: self._reset(cause), cause)

    def request_shutdown(self, cause: Cause = "guest-shutdown", status: int = 0) -> None:
        """End the machine, with exit status `status`; or with -no-shutdown pause it for good.

        From any thread, does not wait.
        """
        self._request(lambda: self._shutdown(cause, status), cause)

    def request_powerdown(self) -> None:
        """Press the power button."""
        self.machine.iothread.call(lambda: [button() for button in self.powerdown])

    def quit(self, cause: Cause = "host-qmp-quit", status: int = 0) -> None:
        """End the machine at once, whatever -no-shutdown says. From any thread, does not wait."""
        self._request(lambda: self._end(cause, status), cause)

    def _request(self, action: Callable[[], object], cause: Cause) -> None:
        with self.machine.lock:
            if self._wanted and cause.startswith("guest-"):
                return  # it still runs a little after having asked for something
            self._wanted.append(action)
            for cpu in self._active.values():
                cpu.kick()
        self.machine.iothread.call(self._carry_out)

    # In the I/O thread

    def _carry_out(self) -> None:
        """Do what has been asked for, while the processors stand."""
        self._halt()
        while self._wanted and not self.ended:
            self._wanted[0]()
            del self._wanted[:1]
        self._changed.notify_all()

    def _reset(self, cause: Cause) -> None:
        self.machine.reset(cause)
        if self.state != "running":
            self._become("prelaunch")  # also where the guest had shut down

    def _shutdown(self, cause: Cause, status: int) -> None:
        if not self.stay or cause == "host-signal":
            self._end(cause, status)
            return
        self.machine.clocks.virtual.stop()
        self._become("shutdown")

    def _end(self, cause: Cause, status: int) -> None:
        self.machine.clocks.virtual.stop()
        self.ended = True
        self.cause = cause
        self.status = status
        self._changed.notify_all()
        self.machine.iothread.stop()

    def _become(self, state: State) -> None:
        self.state = state
        for listener in self.listeners:
            listener(state)
