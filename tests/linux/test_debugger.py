"""Threads of a debuggee that stop at awkward moments: their cpus do what each test says."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Event
from threading import Thread as HostThread
from types import SimpleNamespace
from typing import Any

import pytest

from pemu.engine.layout.exits import EXIT_HOOK, EXIT_INTERRUPT, EXIT_SYSCALL
from pemu.isa.mips.cpu import architecture
from pemu.linux import signals, syscall
from pemu.linux.debugging import debugger
from pemu.linux.debugging.debugger import Debugger
from pemu.linux.process import ThreadExit
from pemu.monitor.gdb.target import Action, Stop
from tests.linux.fakeguest import empty_space
from tests.patience import LONG, until

PLACE = 0x1000
GO_ON, STEP = Action(False), Action(True)


class ScriptedCpu:
    """Runs guest code until it leaves as it is told to."""

    interrupted = False

    def __init__(self) -> None:
        self.pc = 0
        self.gpr = [0] * 32
        self.exit_reason = 0
        self.runs = False
        self._exits: SimpleQueue[tuple[int, int] | None] = SimpleQueue()

    def leave(self, reason: int, pc: int) -> None:
        self._exits.put((reason, pc))

    def end(self) -> None:
        self._exits.put(None)

    def run(self) -> None:
        self.runs = True
        found = self._exits.get()
        self.runs = False
        if found is None:
            raise ThreadExit(0)
        self.exit_reason, self.pc = found

    def step(self) -> None:
        self.exit_reason = EXIT_INTERRUPT
        self.pc += 4

    def skip_hook(self) -> None:
        pass


class Debuggee:
    """A process of two threads, 1 and 2, under a debugger with a breakpoint at PLACE.

    `asked`: the threads that were asked to leave guest code; each does what `answer` does.
    """

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.answer: Callable[[ScriptedCpu], None] = lambda cpu: None
        engine = SimpleNamespace(
            arch=architecture("24Kf", True, "o32"),
            interrupt=self._interrupt,
            set_hooks=lambda places: None,
            set_compile=lambda on: None,
            invalidate=lambda start, end: None,
        )
        process: Any = SimpleNamespace(mem=empty_space("mips", 4, True), engine=engine, hooks=())
        self.cpus = {number: ScriptedCpu() for number in (1, 2)}
        guests: list[Any] = [
            SimpleNamespace(tid=number, cpu=cpu, process=process, restart=0)
            for number, cpu in self.cpus.items()
        ]
        self.debugger = Debugger(process, guests[0])
        self.debugger.set_breakpoint(PLACE, True)
        self._hosts = [HostThread(target=self.debugger.run, args=(guest,)) for guest in guests]
        for host in self._hosts:
            host.start()
        until(lambda: len(self.debugger.threads()) == 2, "the second thread")

    def _interrupt(self, cpu: ScriptedCpu, thread: int) -> None:
        self.asked.append(thread)
        self.answer(cpu)

    def go_on(self, thread: int | None = None) -> None:
        self.debugger.resume([(thread, GO_ON)])

    def run_both(self) -> None:
        """Go on, and wait until both threads run guest code."""
        self.go_on()
        until(lambda: all(cpu.runs for cpu in self.cpus.values()), "guest code")

    def stop(self) -> Stop:
        """The stop that comes."""
        poll = select.poll()
        poll.register(self.debugger, select.POLLIN)
        assert poll.poll(LONG * 1000), "no stop comes"
        found = self.debugger.take_stop()
        assert found is not None
        return found

    def end(self) -> None:
        self.debugger.set_breakpoint(PLACE, False)
        self.debugger.catch_calls(None)
        for cpu in self.cpus.values():
            cpu.end()
        while any(host.is_alive() for host in self._hosts):
            self.debugger.take_stop()
            self.go_on()
            self._hosts[0].join(0.001)


@pytest.fixture
def debuggee(monkeypatch: pytest.MonkeyPatch) -> Iterator[Debuggee]:
    monkeypatch.setattr(signals, "deliver", lambda thread: None)
    started = Debuggee()
    yield started
    started.end()


def meet_breakpoint(cpu: ScriptedCpu) -> None:
    cpu.leave(EXIT_HOOK, PLACE)


def obey(cpu: ScriptedCpu) -> None:
    cpu.leave(EXIT_INTERRUPT, 0)


def test_a_breakpoint_met_on_the_way_to_rest_is_not_told(debuggee: Debuggee) -> None:
    debuggee.answer = meet_breakpoint
    debuggee.run_both()
    meet_breakpoint(debuggee.cpus[1])
    stop = debuggee.stop()
    assert (stop.kind, stop.thread) == ("breakpoint", 1)
    assert 2 in debuggee.asked
    assert debuggee.debugger.take_stop() is None


def test_a_step_is_told_after_another_thread_has_met_the_breakpoint(debuggee: Debuggee) -> None:
    debuggee.answer = meet_breakpoint
    debuggee.run_both()
    meet_breakpoint(debuggee.cpus[1])
    debuggee.stop()
    debuggee.debugger.resume([(1, STEP)])
    stop = debuggee.stop()
    assert (stop.kind, stop.thread, debuggee.cpus[1].pc) == ("signal", 1, PLACE + 4)


def test_guest_code_has_all_the_time_that_it_needs_to_stop(
    debuggee: Debuggee, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debugger, "PATIENCE", 0.0001)
    late = 3 * debugger.REQUESTS

    def obey_late(cpu: ScriptedCpu) -> None:
        if len(debuggee.asked) == late:
            obey(cpu)

    debuggee.answer = obey_late
    debuggee.run_both()
    meet_breakpoint(debuggee.cpus[1])
    debuggee.stop()
    assert len(debuggee.asked) >= late


def test_a_call_that_gdb_does_not_wait_for_is_told_later(
    debuggee: Debuggee, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debugger, "PATIENCE", 0.0001)
    ready = Event()
    monkeypatch.setattr(syscall, "dispatch", lambda thread: ready.wait())
    debuggee.debugger.catch_calls(frozenset())
    debuggee.go_on(2)
    debuggee.cpus[2].leave(EXIT_SYSCALL, 0)
    assert debuggee.stop().kind == "syscall_entry"
    debuggee.go_on()
    meet_breakpoint(debuggee.cpus[1])
    assert debuggee.stop().thread == 1
    debuggee.go_on(1)
    ready.set()
    meet_breakpoint(debuggee.cpus[1])
    assert debuggee.stop().thread == 1
    debuggee.answer = obey
    debuggee.go_on()
    stop = debuggee.stop()
    assert (stop.kind, stop.thread) == ("syscall_return", 2)
