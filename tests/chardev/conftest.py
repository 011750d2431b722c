"""A running I/O thread with character devices, and a front end that notes what it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from pemu.chardev.interface import Chardev, Event, FrontEnd, Host
from pemu.chardev.registry import Chardevs
from tests.patience import LONG, until


class Front(FrontEnd):
    """A front end that takes as many bytes as `room` says, and notes everything."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.got = bytearray()
        self.events: list[Event] = []
        self.threads: set[int] = set()
        self.largest = 0
        self.writable_again = threading.Event()

    def can_receive(self) -> int:
        self.threads.add(threading.get_ident())
        return self.room

    def receive(self, data: bytes) -> None:
        assert len(data) <= self.room
        self.threads.add(threading.get_ident())
        self.room -= len(data)
        self.largest = max(self.largest, len(data))
        self.got += data

    def event(self, event: Event) -> None:
        self.threads.add(threading.get_ident())
        self.events.append(event)

    def writable(self) -> None:
        self.writable_again.set()

    def expect(self, data: bytes) -> None:
        """Wait until all of `data`, and no more, has been received, and forget it."""
        until(lambda: len(self.got) >= len(data), f"{data!r} (there is {bytes(self.got)!r})")
        assert bytes(self.got) == data
        self.got.clear()

    def expect_event(self, event: Event) -> None:
        """Wait until `event` has come, and forget it and what came before."""
        until(lambda: event in self.events, str(event))
        del self.events[: self.events.index(event) + 1]


class World:
    """Character devices on an I/O thread that runs from `start` to `stop`."""

    def __init__(self, escape: int = 1) -> None:
        self.loop = asyncio.new_event_loop()
        self.said: list[str] = []
        self.warned: list[str] = []
        self.quits: list[bool] = []
        self.saves: list[bool] = []
        self.host = Host(
            self.loop,
            lock=threading.RLock(),
            say=self.said.append,
            warn=self.warned.append,
            quit=lambda: self.quits.append(True),
            save=lambda: self.saves.append(True),
            escape=escape,
        )
        self.chardevs = Chardevs(self.host)
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._running = False

    def start(self) -> None:
        """Run the loop, if it does not run yet."""
        if not self._running:
            self._running = True
            self.thread.start()

    def stop(self, patience: float = LONG) -> None:
        """Stop the loop, and close everything as a machine does that ends."""
        if self._running:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
            self._running = False
        self.chardevs.close(patience)
        if not self.loop.is_closed():
            self.loop.close()

    def connect(self, text: str, front: Front | None = None) -> tuple[Chardev, Front]:
        """Make what `-chardev` would make of `text`, attach a front end, and run the loop."""
        front = front or Front()
        made = self.chardevs.create(text)
        attached = made.attach(front)
        self.start()
        return attached, front

    def on_loop(self, call: Callable[[], object]) -> None:
        """Make a call on the I/O thread and wait for its end."""
        done = threading.Event()

        def run() -> None:
            call()
            done.set()

        self.loop.call_soon_threadsafe(run)
        assert done.wait(LONG)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.stop(patience=0)
