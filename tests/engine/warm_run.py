"""Run `pemu-<target>` until the guest exits and all hot code is compiled, and note what was used.

    python warm_run.py PLACES NOTES TARGET WORDS...

`PLACES` is Python's path, separated by colons. Each process appends the number of stored regions
that it put to use to the file NOTES. `PEMU_FLUSH=SECONDS` in the environment has all translated
code thrown away so often.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import NoReturn

places, notes, target, *words = sys.argv[1:]
sys.path[:0] = places.split(":")

from pemu.cli import user  # noqa: E402
from pemu.engine.engine import Engine  # noqa: E402
from pemu.engine.layout import context as c  # noqa: E402
from pemu.linux.process import Process  # noqa: E402

leave = Process.exit
begin = Engine.open_regions


def settle_and_leave(process: Process, status: int) -> NoReturn:
    """End the process when nothing waits to be compiled any more."""
    engine = process.engine
    until = time.monotonic() + 250
    while time.monotonic() < until and (engine._early or is_busy(engine)):
        time.sleep(0.01)
    try:
        with open(os.open(notes, os.O_WRONLY | os.O_APPEND), "w") as file:
            file.write(f"{engine.context[c.WARM_COUNT >> 3]}\n")
    except OSError:  # after a change of the root directory
        pass
    leave(process, status)


def is_busy(engine: Engine) -> bool:
    compiler = engine._compiler
    return compiler is not None and bool(compiler._reported or compiler._queue or compiler._busy)


def begin_flushing(engine: Engine, program: str, version: str) -> None:
    begin(engine, program, version)

    def flush() -> None:
        while True:
            time.sleep(float(os.environ["PEMU_FLUSH"]))
            engine.flush()

    threading.Thread(target=flush, daemon=True).start()


Process.exit = settle_and_leave  # type: ignore[method-assign,assignment]
if "PEMU_FLUSH" in os.environ:
    Engine.open_regions = begin_flushing  # type: ignore[method-assign,assignment]
sys.argv[1:] = words
user.entry(target)
