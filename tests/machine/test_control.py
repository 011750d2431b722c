"""Running, pausing, resetting and ending, with processors that only count."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pemu.machine.control import State
from pemu.machine.machine import Machine
from tests.patience import LONG


class Counter:
    """A processor that counts until it is kicked."""

    def __init__(self) -> None:
        self.count = 0
        self.resets = 0
        self.inside = False
        self.task: Callable[[], object] | None = None
        self._kicked = threading.Event()

    def run(self) -> None:
        self.inside = True
        while not self._kicked.is_set():
            self.count += 1
            task, self.task = self.task, None
            if task:
                task()
            time.sleep(0)
        self._kicked.clear()
        self.inside = False

    def kick(self) -> None:
        self._kicked.set()

    def line(self, number: int) -> Callable[[int], object]:
        raise NotImplementedError

    def reset(self) -> None:
        assert not self.inside
        self.resets += 1

    def close(self) -> None:
        pass


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Run:
    """A machine with one processor, whose threads run."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.control = self.machine.control
        self.cpu = Counter()
        self.machine.cpus.append(self.cpu)
        self.thread = threading.Thread(target=self.control.run_vcpu, args=(self.cpu,))
        self.thread.start()
        self.machine.iothread.start()

    def close(self) -> None:
        self.control.quit()
        self.thread.join(LONG)
        assert not self.thread.is_alive()
        self.machine.close()

    def guest(self, task: Callable[[], object]) -> None:
        """Have the processor's thread do something, as a device access does."""

        def locked() -> None:
            with self.machine.lock:
                task()

        self.cpu.task = locked
        eventually(lambda: self.cpu.task is None)


@pytest.fixture
def run() -> Iterator[Run]:
    run = Run()
    yield run
    run.close()


def test_processor_waits_until_the_machine_is_started(run: Run) -> None:
    time.sleep(0.02)
    assert run.cpu.count == 0
    assert run.control.state == "prelaunch"
    run.control.resume()
    eventually(lambda: run.cpu.count > 0)
    assert run.machine.clocks.virtual.running


def test_processor_and_time_stand_after_pause(run: Run) -> None:
    run.control.resume()
    eventually(lambda: run.cpu.count > 0)
    run.machine.iothread.call_and_wait(run.control.pause)
    count, now = run.cpu.count, run.machine.clocks.virtual.now()
    time.sleep(0.02)
    assert (run.cpu.count, run.machine.clocks.virtual.now()) == (count, now)
    run.control.resume()
    eventually(lambda: run.cpu.count > count)


def test_pause_is_not_missed_where_another_thread_resumes_at_once(run: Run) -> None:
    notify = run.control._changed.notify_all

    def resume_at_once() -> None:
        """As a thread would that gets the lock before the one that waits for the pause."""
        notify()
        if run.control.state == "paused" and threading.current_thread() is run.thread:
            run.control.resume()

    run.control._changed.notify_all = resume_at_once  # type: ignore[method-assign]
    run.control.resume()
    eventually(lambda: run.cpu.count > 0)
    run.machine.iothread.call_and_wait(run.control.pause)
    count = run.cpu.count
    eventually(lambda: run.cpu.count > count)


def test_guest_may_pause_its_own_machine(run: Run) -> None:
    run.control.resume()
    run.guest(lambda: run.control.pause("debug"))
    eventually(lambda: not run.cpu.inside)
    assert run.control.state == "debug"


def test_listeners_hear_of_states(run: Run) -> None:
    heard: list[State] = []
    run.control.listeners.append(heard.append)
    run.control.resume()
    run.machine.iothread.call_and_wait(run.control.pause)
    assert heard == ["running", "paused"]


def test_reset_happens_while_the_processor_stands(run: Run) -> None:
    done: list[bool] = []
    run.machine.at_reset.append(lambda: done.append(run.cpu.inside))
    run.control.resume()
    run.guest(run.control.request_reset)
    eventually(lambda: run.cpu.resets == 1)
    assert done == [False]
    count = run.cpu.count
    eventually(lambda: run.cpu.count > count)


def test_reset_by_the_guest_ends_a_machine_without_reboot(run: Run) -> None:
    run.control.reboot = False
    run.control.resume()
    run.guest(run.control.request_reset)
    run.thread.join(LONG)
    assert (run.control.ended, run.control.cause, run.cpu.resets) == (True, "guest-reset", 0)


def test_reset_by_the_user_starts_again_without_reboot(run: Run) -> None:
    run.control.reboot = False
    run.control.resume()
    run.control.request_reset("host-qmp-system-reset")
    eventually(lambda: run.cpu.resets == 1)


def test_shutdown_ends_with_a_status(run: Run) -> None:
    run.control.resume()
    run.guest(lambda: run.control.request_shutdown("guest-shutdown", 3))
    run.thread.join(LONG)
    assert (run.control.cause, run.control.status) == ("guest-shutdown", 3)


def test_machine_stays_after_shutdown_if_wanted(run: Run) -> None:
    run.control.stay = True
    run.control.resume()
    run.guest(run.control.request_shutdown)
    eventually(lambda: run.control.state == "shutdown")
    run.control.resume()
    assert run.control.state == "shutdown"
    assert not run.control.ended


def test_guest_that_asks_again_and_again_is_heard_once(run: Run) -> None:
    def insist() -> None:
        for _ in range(1000):
            run.control.request_reset()

    run.control.resume()
    run.guest(insist)
    eventually(lambda: run.cpu.resets > 0)
    time.sleep(0.02)
    assert run.cpu.resets == 1


def test_reset_by_the_user_wakes_a_machine_that_has_shut_down(run: Run) -> None:
    run.control.stay = True
    run.control.resume()
    run.guest(run.control.request_shutdown)
    eventually(lambda: run.control.state == "shutdown")
    run.control.request_reset("host-qmp-system-reset")
    eventually(lambda: run.control.state == "prelaunch")
    count = run.cpu.count
    run.control.resume()
    eventually(lambda: run.cpu.count > count)


def test_power_button(run: Run) -> None:
    pressed = threading.Event()
    run.control.powerdown.append(pressed.set)
    run.control.request_powerdown()
    assert pressed.wait(LONG)


# The I/O thread


def test_timers_run_under_the_lock_and_on_time(run: Run) -> None:
    ran: list[int] = []
    done = threading.Event()
    virtual = run.machine.clocks.virtual

    def expired() -> None:
        assert run.machine.lock._is_owned()  # type: ignore[attr-defined]
        ran.append(virtual.now())
        done.set()

    run.control.resume()
    with run.machine.lock:
        when = virtual.now() + 5_000_000
        virtual.timer(expired).arm(when)
    assert done.wait(LONG)
    assert ran[0] >= when


def test_timers_of_a_paused_machine_wait(run: Run) -> None:
    done = threading.Event()
    with run.machine.lock:
        run.machine.clocks.virtual.timer(done.set).arm(1_000_000)
    assert not done.wait(0.03)
    run.control.resume()
    assert done.wait(LONG)


def test_error_of_a_call_is_raised_where_it_is_waited_for(run: Run) -> None:
    with pytest.raises(ZeroDivisionError):
        run.machine.iothread.call_and_wait(lambda: 1 // 0)


def test_readable_descriptor_is_told(run: Run) -> None:
    import os

    reader, writer = os.pipe()
    got = threading.Event()

    def readable() -> None:
        os.read(reader, 1)
        got.set()

    run.machine.iothread.call_and_wait(run.machine.iothread.watch, reader, readable)
    os.write(writer, b"x")
    assert got.wait(LONG)
    run.machine.iothread.call_and_wait(run.machine.iothread.unwatch, reader)
    os.close(reader)
    os.close(writer)


def test_processors_stand_while_they_are_looked_at(run: Run) -> None:
    def look() -> tuple[int, int]:
        with run.control.standing():
            before = run.cpu.count
            time.sleep(0.02)
            return before, run.cpu.count

    run.control.resume()
    eventually(lambda: run.cpu.count > 0)
    before, after = run.machine.iothread.call_and_wait(look)
    assert before == after
    assert run.control.running
    eventually(lambda: run.cpu.count > after)


def test_what_the_guest_asks_for_while_it_is_looked_at_is_done(run: Run) -> None:
    def look() -> None:
        run.cpu.task = lambda: run.control.request_reset()
        with run.control.standing():
            pass

    run.control.resume()
    eventually(lambda: run.cpu.count > 0)
    run.machine.iothread.call_and_wait(look)
    eventually(lambda: run.cpu.resets == 1)
