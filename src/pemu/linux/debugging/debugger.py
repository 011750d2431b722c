"""A Linux process as a debuggee: its threads run, stop together, and tell why.

Threads of a process with a debugger run in `Debugger.run` instead of `running.run`. All stop
together: a thread with something to tell posts it and rests; the server's thread then makes the
others leave native code, or the system call they wait in, and rest, too. Breakpoints are
the engine's hooks. They are put in place when the debuggee is resumed, so that gdb, which takes
all of them away at each stop and puts them back, does not cost translations.
"""

from __future__ import annotations

import errno
import os
from _thread import get_native_id, start_new_thread
from threading import Condition

from pemu.engine.host.masking import with_signals_blocked
from pemu.engine.layout.exits import EXIT_FAULT, EXIT_HOOK, EXIT_INTERRUPT, EXIT_SYSCALL
from pemu.isa.mips.names import A3, V0
from pemu.linux import fdtable, running, signals, syscall
from pemu.linux.debugging.debuggee import Debuggee
from pemu.linux.debugging.watch import Watchpoints
from pemu.linux.mips import signals as ms
from pemu.linux.mips.gdb_signals import from_gdb, to_gdb
from pemu.linux.mips.signals import SigInfo
from pemu.linux.process import ThreadExit
from pemu.linux.sigactions import SIG_DFL
from pemu.monitor.gdb.target import EINVAL, ESRCH, Action, Stop, TargetError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pemu.linux.process import Process, Thread

PATIENCE = 0.05
"""Seconds after which threads that have not come to rest are asked once more."""

REQUESTS = 20
"""How often threads in system calls are asked: where no signal reaches, one counts as stopped."""

FAREWELL = 5.0
"""Seconds that an ending process waits for gdb to be told."""

MOST_STEPPED = 64
"""Places single-stepped over whose blocks are dropped one by one."""

MOST_WATCHED = 1 << 16
"""Bytes of a watchpoint: the guest is slow on all of its pages."""

_SIGINT, _SIGTRAP = 2, 5


class ThreadState:
    """A thread under the debugger.

    `action`: how it goes on when the debuggee runs, None if it does not. `calling`: it makes a
    system call. `resting`: it is in neither guest code nor a system call. `pending`: a stop that
    gdb has not been told yet. `info`: the signal it has stopped for. `inject`: one to take effect.
    """

    __slots__ = ("action", "calling", "info", "inject", "pending", "resting", "thread")

    def __init__(self, thread: Thread, action: Action | None) -> None:
        self.thread = thread
        self.action = action
        self.calling = False
        self.resting = False
        self.pending: Stop | None = None
        self.info: SigInfo | None = None
        self.inject = 0


class Debugger(Debuggee):
    """The debuggee that is `process`. It begins stopped, before its first instruction.

    `descriptors`: of Pemu's own, what a forked child closes.
    """

    def __init__(self, process: Process, thread: Thread) -> None:
        super().__init__(process)
        self.detached = False
        self._condition = Condition()
        self._states: dict[int, ThreadState] = {}
        self._default: Action | None = Action(False)
        self._stopping = True
        self._running = False
        self._event: Stop | None = None
        self._breakpoints: set[int] = set()
        self._stepped: set[int] = set()
        self._watchpoints = Watchpoints(process.mem)
        self._passing = False  # a thread is at a watched page, and the others have to wait
        self._passed: frozenset[int] = frozenset()
        self._caught: Callable[[int], bool] | None = None
        self._wake = fdtable.reserve(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        self.descriptors = [self._wake]
        self._enter(thread)

    # The guest's threads.

    def run(self, t: Thread) -> int:
        """Run a thread until it ends; returns its exit status."""
        state = self._states.get(t.tid) or self._enter(t)
        try:
            while not self.detached:
                if self._stopping or self._passing or state.action is None:
                    self._rest(state)
                elif state.inject:
                    signo, state.inject = state.inject, 0
                    signals.take_effect(t, SigInfo(signo, ms.SI_USER))
                elif state.action.step:
                    self._step(state, state.action)
                else:
                    t.cpu.run()
                    self._settle(state)
        except ThreadExit as end:
            return end.status
        finally:
            self._leave(state)
        return running.run(t)

    def _enter(self, t: Thread) -> ThreadState:
        with self._condition:
            state = self._states[t.tid] = ThreadState(t, self._default)
        return state

    def _leave(self, state: ThreadState) -> None:
        if self.detached:
            return
        with self._condition:
            self._states.pop(state.thread.tid, None)
            if not any(other.action for other in self._states.values()):
                self._post(Stop("idle"))
            self._condition.notify_all()

    def _settle(self, state: ThreadState) -> None:
        """Do what the cpu has left native code for."""
        t = state.thread
        cpu = t.cpu
        reason = cpu.exit_reason
        if reason == EXIT_SYSCALL:
            number: int = cpu.gpr[V0]
            caught = self._caught is not None and self._caught(number)
            if caught:
                self._stop(state, Stop("syscall_entry", t.tid, _SIGTRAP, number=number))
            self._call(state)
            if t.restart or cpu.interrupted:
                signals.deliver(t)
            elif caught:
                self._stop(state, Stop("syscall_return", t.tid, _SIGTRAP, number=number))
        elif reason == EXIT_FAULT and self._watchpoints.concerned(cpu):
            self._access(state)
        elif reason == EXIT_HOOK and cpu.pc in self._breakpoints:
            self._stop(state, Stop("breakpoint", t.tid), lasting=False)
        else:
            running.settle(t, reason)
            if self._watchpoints.active:
                self._watchpoints.close()

    def _call(self, state: ThreadState) -> None:
        """Make a system call, to which watched pages are open."""
        t = state.thread
        state.calling = True
        try:
            if not self._watchpoints.active:
                syscall.dispatch(t)
            elif len(self._states) == 1:
                # A thread that the call makes waits until it has returned.
                self._passing = True
                try:
                    with self._watchpoints.opened():
                        syscall.dispatch(t)
                finally:
                    self._pass_on()
            else:
                # It may wait, while other threads run: open pages are only for calls that fail.
                registers = t.cpu.gpr
                before = registers[V0], registers[A3]
                syscall.dispatch(t)
                if registers[A3] and registers[V0] == errno.EFAULT:
                    registers[V0], registers[A3] = before
                    with self._watchpoints.opened():
                        syscall.dispatch(t)
                self._watchpoints.close()
        finally:
            state.calling = False

    def _access(self, state: ThreadState) -> None:
        """A thread has come to an access to a watched page: stop, or let it pass."""
        cpu = state.thread.cpu
        hit = self._watchpoints.hit(cpu)
        if hit is not None:
            kind, address = hit
            stop = Stop(kind, state.thread.tid, _SIGTRAP, address=address)
            self._stop(state, stop, lasting=False)
            return
        with self._condition:
            if self._passing or self._stopping:
                return  # it comes here again
            self._passing = True
            while moving := [
                other
                for other in self._states.values()
                if other is not state and not other.resting and not other.calling
            ]:
                for other in moving:
                    other.thread.cpu.kick()
                self._condition.wait(PATIENCE)
            with self._watchpoints.opened():
                cpu.step()
        self._pass_on()
        if cpu.exit_reason != EXIT_INTERRUPT:
            self._settle(state)

    def _pass_on(self) -> None:
        """Let threads run that had to wait for one to pass a watched page."""
        if self.detached:
            return  # a child, in which nobody gives the lock back
        with self._condition:
            self._passing = False
            self._condition.notify_all()

    def _step(self, state: ThreadState, action: Action) -> None:
        """Run one instruction, and stop after it unless the step is to go on."""
        cpu = state.thread.cpu
        before = cpu.pc
        cpu.step()
        self._stepped.add(before)
        if cpu.exit_reason == EXIT_INTERRUPT:
            if action.start <= cpu.pc < action.end:
                if cpu.interrupted:
                    signals.deliver(state.thread)
                return
        else:
            self._settle(state)
            # A signal stop has had its answer; a page is tracked now; a call begins again.
            if state.action is not action or cpu.pc == before:
                return
        if not self._stopping:
            self._stop(state, Stop("signal", state.thread.tid, _SIGTRAP), lasting=False)

    def _rest(self, state: ThreadState) -> None:
        """Wait until the thread may run."""
        with self._condition:
            state.resting = True
            self._condition.notify_all()
            while not self.detached and (self._stopping or self._passing or state.action is None):
                self._condition.wait()
            state.resting = False

    def _post(self, stop: Stop) -> bool:
        """Stop the debuggee for this, unless it stops for something else. The lock is held."""
        if not self._running or self._event is not None:
            return False
        self._event = stop
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        return True

    def _stop(self, state: ThreadState, stop: Stop, *, lasting: bool = True) -> None:
        """Stop the debuggee in the running thread, and wait until that may go on.

        Where gdb is being told something else, or waits for other threads only, it is told of a
        lasting stop later; others come again when the thread runs on, or mean no more then.
        """
        with self._condition:
            told = state.action is not None and self._post(stop)
            if lasting and not told:
                state.pending = stop
            state.resting = True  # nobody need ask it to
        self._rest(state)

    # What the process tells.

    def on_signal(self, t: Thread, info: SigInfo) -> SigInfo | None:
        """A signal is about to take effect on the running thread: what gdb makes of it.

        An interrupted system call is made to begin again: gdb may call functions before it goes on.
        """
        state = self._states.get(t.tid)
        number = to_gdb(info.signo)
        if self.detached or state is None or number in self._passed:
            return info
        kind, cpu = t.restart, t.cpu
        syscall.settle_restart(t, False)
        place = cpu.pc
        state.info = info
        self._stop(state, Stop("signal", t.tid, number))
        state.info = None
        signo: int | None = info.signo
        if not self.detached:
            signo, state.inject = state.inject, 0
        if not signo:
            return None
        if kind and cpu.pc == place:
            t.restart = kind
            cpu.pc += self.process.engine.arch.insn_bytes
        return info if signo == info.signo else SigInfo(signo, ms.SI_USER)

    def executed(self, t: Thread) -> None:
        """The process runs another program now."""
        self._breakpoints.clear()
        self._watchpoints.clear()
        self._prepare()
        self._passing = False
        if self.reports_exec:
            path = os.fsencode(self.process.exe)
            self._stop(self._states[t.tid], Stop("exec", t.tid, _SIGTRAP, path=path))

    def forked(self) -> None:
        """This process is a new child, which runs without a debugger."""
        self.detached = True
        self.process.debugger = None
        for descriptor in self.descriptors:
            fdtable.release(descriptor)
            os.close(descriptor)
        self.process.engine.set_hooks(set())
        self._watchpoints.clear()
        self._watchpoints.close()
        self.process.engine.set_compile(True)
        self._restore_signals()

    def exited(self, status: int) -> None:
        """The process is about to end."""
        self._end(Stop("exited", status=status))

    def killed(self, signo: int) -> None:
        """The process is about to be ended by a signal."""
        self._end(Stop("killed", signal=to_gdb(signo)))

    def _end(self, stop: Stop) -> None:
        with self._condition:
            state = self._states.get(get_native_id())
            if state is not None:
                state.resting = True
                self._condition.notify_all()
            # While the debuggee is stopped, or about to, gdb does not listen.
            self._condition.wait_for(
                lambda: self.detached or (self._running and self._event is None)
            )
            if not self.detached:
                self._event = stop
                os.eventfd_write(self._wake, 1)
                self._condition.wait_for(lambda: self.detached, FAREWELL)

    # Stopping and going on.

    def fileno(self) -> int:
        return self._wake

    def take_stop(self) -> Stop | None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return None
        with self._condition:
            stop, self._event = self._event, None
            if stop is not None:
                self._running = False  # another thread's stop on its way to rest has to wait
                if stop.kind not in ("exited", "killed"):
                    self._halt()
            return stop

    def _halt(self) -> None:
        """Bring all threads to rest. The lock is held."""
        engine = self.process.engine
        requests = REQUESTS
        while requests:
            moving = [state for state in self._states.values() if not state.resting]
            if not moving:
                return
            for state in moving:
                engine.interrupt(state.thread.cpu, state.thread.tid)
            self._condition.wait(PATIENCE)
            # Guest code always ends, however slow the machine; some system calls never do.
            requests = requests - 1 if all(state.calling for state in moving) else REQUESTS

    def resume(self, actions: Sequence[tuple[int | None, Action]]) -> None:
        with self._condition:
            self._default = next((action for thread, action in actions if thread is None), None)
            waiting: Stop | None = None
            for tid, state in self._states.items():
                state.action = next(
                    (action for thread, action in actions if thread in (tid, None)), None
                )
                if state.action is None:
                    continue
                state.inject = from_gdb(state.action.signal) or 0
                if state.pending is not None and waiting is None:
                    waiting, state.pending = state.pending, None
            self._running = True
            if waiting is not None:
                self._post(waiting)
                return
            self._prepare()
            self._stopping = False
            self._condition.notify_all()

    def _prepare(self) -> None:
        """Make translations fit the breakpoints; drop those that stepping left in pieces."""
        engine = self.process.engine
        engine.set_hooks(self._breakpoints)
        self._watchpoints.close()
        if self._watchpoints.active:
            # Compiled code would be dropped at each access to a watched page.
            engine.set_compile(False)
        if any(state.action and state.action.step for state in self._states.values()):
            return
        engine.set_compile(not self._watchpoints.active)
        if len(self._stepped) > MOST_STEPPED:
            engine.flush()
        else:
            for address in self._stepped:
                engine.invalidate(address, address + 1)
        self._stepped.clear()

    def interrupt(self) -> None:
        with self._condition:
            thread = next((tid for tid, state in self._states.items() if state.action), 0)
            self._post(Stop("signal", thread, _SIGINT))

    def detach(self) -> None:
        with self._condition:
            if self.detached:
                return
            self._breakpoints.clear()
            self._watchpoints.clear()
            for state in self._states.values():
                state.action = Action(False)
            self._prepare()
            self.process.debugger = None
            self._restore_signals()
            self.detached = True
            self._condition.notify_all()

    def kill(self) -> None:
        os.write(2, f"pemu-{self.process.target.name}: terminated by gdb\n".encode())
        self.process.engine.close()
        os._exit(0)

    # Signals.

    def pass_signals(self, signals: frozenset[int]) -> None:
        self._passed = signals

    def catch_calls(self, numbers: frozenset[int] | None) -> None:
        if numbers is None:
            self._caught = None
        else:
            self._caught = lambda number: not numbers or number in numbers

    def watch_signals(self) -> None:
        """Have signals whose default action is the kernel's business come here first."""
        self._restore_signals()

    def _restore_signals(self) -> None:
        """Choose afresh who gets the signals that the guest has left alone."""
        process = self.process
        for signo in range(1, ms.NSIG):
            action = signals.action_of(process, signo)
            if action.handler == SIG_DFL and signo not in (ms.SIGKILL, ms.SIGSTOP):
                signals.set_action(process, signo, action)

    def signal_info(self, thread: int) -> bytes | None:
        info = self._state(thread).info
        return None if info is None else info.pack(self.process.target)

    # Threads.

    def threads(self) -> list[int]:
        return list(self._states)

    def _state(self, thread: int) -> ThreadState:
        state = self._states.get(thread)
        if state is None:
            raise TargetError(ESRCH, "no such thread")
        return state

    def guest_thread(self, number: int) -> Thread:
        return self._state(number).thread

    # Breakpoints and watchpoints.

    def set_breakpoint(self, address: int, on: bool) -> None:
        address = self.guest_address(address)
        if address % self.process.engine.arch.insn_bytes:
            raise TargetError(EINVAL, "no instruction is there")
        if on:
            self._breakpoints.add(address)
        else:
            self._breakpoints.discard(address)

    def set_watchpoint(self, kind: str, address: int, size: int, on: bool) -> None:
        address = self.guest_address(address)
        if size > MOST_WATCHED or address + size > self.process.mem.size:
            raise TargetError(EINVAL, "too much to watch")
        self._watchpoints.set(kind, address, size, on)


def attach(process: Process, thread: Thread, place: str) -> None:
    """Wait for gdb at `place` and put it in charge of a process that has not begun to run.

    Raises OptionError.
    """
    from pemu.monitor.gdb.packet import Connection
    from pemu.monitor.gdb.server import serve, wait_for_gdb

    connected = wait_for_gdb(place)
    descriptor = fdtable.reserve(connected.detach())
    connection = Connection(type(connected)(fileno=descriptor))
    debugger = Debugger(process, thread)
    debugger.descriptors.append(descriptor)
    process.debugger = debugger
    debugger.watch_signals()
    first = Stop("signal", thread.tid, _SIGTRAP)
    with_signals_blocked(lambda: start_new_thread(serve, (connection, debugger, first)))
