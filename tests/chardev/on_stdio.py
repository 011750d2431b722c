"""A program with the back end `stdio`, for the tests to run on terminals and pipes.

Arguments: the value of `-chardev`, and what to do: `echo` sends each byte back in brackets until a
`q` comes; `raise` and `abort` break off then; `flood` writes many lines and ends; `idle` does not
get as far as running its loop. Then, maybe, seconds to wait for readers at the end.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time

from pemu.chardev.interface import Chardev, Event, FrontEnd, Host
from pemu.chardev.registry import Chardevs
from tests.patience import LONG

LINES = 20000


class Echo(FrontEnd):
    """Shows what comes, and asks for the end at a `q`."""

    port: Chardev

    def __init__(self, end: threading.Event) -> None:
        self.end = end

    def can_receive(self) -> int:
        return 100

    def receive(self, data: bytes) -> None:
        self.port.send(b"".join(b"[%02x]" % byte for byte in data))
        if b"q" in data:
            self.end.set()

    def event(self, event: Event) -> None:
        self.port.send(b"<%s>" % event.name.lower().encode())


def main(chardev: str, task: str, patience: str = str(LONG)) -> None:
    end = threading.Event()
    loop = asyncio.new_event_loop()
    chardevs = Chardevs(Host(loop, quit=end.set))
    front = Echo(end)
    front.port = chardevs.create(chardev).attach(front)
    if task == "idle":
        os.write(2, b"<idle>")
        time.sleep(100)
    threading.Thread(target=loop.run_forever, daemon=True).start()
    if task == "flood":
        for number in range(LINES):
            front.port.send(b"line %d\n" % number)
    else:
        while not end.wait(0.01):  # so short that Python's signal handlers are called soon
            pass
    if task == "raise":
        raise SystemExit(3)
    if task == "abort":
        os.abort()
    loop.call_soon_threadsafe(loop.stop)
    chardevs.close(float(patience))


if __name__ == "__main__":
    main(*sys.argv[1:])
