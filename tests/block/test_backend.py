"""Requests of devices: carried out by workers, told of, cancelled, tried anew."""

from __future__ import annotations

import errno
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pemu.block.backend import WORKERS, Backend
from pemu.block.image import Image
from pemu.block.pieces import Buffers
from tests.patience import LONG


class Memory(Image):
    """An image in memory that can be told to fail or to wait."""

    def __init__(self, size: int) -> None:
        super().__init__("memory", size, readonly=False)
        self.data = bytearray(size)
        self.error = 0
        self.gate = threading.Event()
        self.gate.set()

    def _access(self) -> None:
        self.gate.wait(LONG)
        if self.error:
            raise OSError(self.error, "failed")

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        self._access()
        for view in buffers:
            view[:] = self.data[offset : offset + len(view)]
            offset += len(view)

    def _write_from(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        self._access()
        data = b"".join(pieces)
        self.data[offset : offset + len(data)] = data


class Bench:
    """A backend whose completions are run by the test."""

    def __init__(self, **options: Any) -> None:
        self.posted: queue.Queue[Callable[[], object]] = queue.Queue()
        self.stops: list[bool] = []
        self.image = Memory(4096)
        self.backend = Backend(
            self.image, post=self.posted.put, stop=lambda: self.stops.append(True), **options
        )
        self.done: list[int] = []

    def run_one(self) -> None:
        self.posted.get(timeout=LONG)()


def test_request_is_completed_where_devices_are_told() -> None:
    bench = Bench()
    assert bench.backend.write(512, [b"ab", b"cd"], bench.done.append) is not None
    bench.backend.drain()
    assert bench.done == []
    bench.run_one()
    assert (bench.done, bytes(bench.image.data[512:516])) == ([0], b"abcd")
    bench.backend.close()


def test_error_reaches_the_device() -> None:
    bench = Bench()
    bench.image.error = errno.EIO
    bench.backend.read(0, [memoryview(bytearray(512))], bench.done.append)
    bench.run_one()
    assert bench.done == [errno.EIO]
    bench.backend.close()


def test_cancelled_request_is_not_told_of() -> None:
    bench = Bench()
    request = bench.backend.write(0, [b"x"], bench.done.append)
    assert request is not None
    request.cancel()
    bench.backend.close()
    while not bench.posted.empty():
        bench.run_one()
    assert bench.done == []


def test_machine_stops_where_the_host_is_full_and_goes_on_later() -> None:
    bench = Bench()
    bench.image.error = errno.ENOSPC
    bench.backend.write(0, [b"x"], bench.done.append)
    bench.run_one()
    assert (bench.stops, bench.done) == ([True], [])
    bench.image.error = 0
    bench.backend.retry()
    bench.run_one()
    assert (bench.done, bench.image.data[0]) == ([0], ord("x"))
    bench.backend.close()


@pytest.mark.parametrize(("policy", "told"), [("report", [errno.EIO]), ("ignore", [0])])
def test_error_policy(policy: str, told: list[int]) -> None:
    bench = Bench(werror=policy)
    bench.image.error = errno.EIO
    bench.backend.write(0, [b"x"], bench.done.append)
    bench.run_one()
    assert bench.done == told
    bench.backend.close()


def test_requests_are_carried_out_at_once_where_instructions_are_counted() -> None:
    bench = Bench(immediate=True)
    assert bench.backend.write(0, [b"x"], bench.done.append) is None
    bench.image.error = errno.EIO
    assert bench.backend.flush(bench.done.append) is None
    assert bench.backend.write(0, [b"x"], bench.done.append) is not None
    bench.run_one()
    assert bench.done == [errno.EIO]


def test_without_a_medium() -> None:
    bench = Bench(immediate=True)
    bench.backend.insert(None)
    assert (bench.backend.size, bench.backend.readonly) == (0, True)
    bench.backend.read(0, [memoryview(bytearray(1))], bench.done.append)
    bench.run_one()
    assert bench.done == [errno.ENOMEDIUM]


def test_change_of_medium_is_told() -> None:
    bench = Bench()
    changes: list[int] = []
    bench.backend.changed.append(lambda: changes.append(bench.backend.size))
    bench.backend.insert(Memory(1024))
    assert changes == [1024]


def test_a_device_that_fails_does_not_end_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: queue.Queue[type[BaseException]] = queue.Queue()
    monkeypatch.setattr("threading.excepthook", lambda hook: failures.put(hook.exc_type))
    backend = Backend(Memory(4096), post=lambda function: function())
    done: queue.Queue[int] = queue.Queue()

    def fail(error: int) -> None:
        raise RuntimeError("a device's mistake")

    backend.write(0, [b"first"], fail)
    assert failures.get(timeout=LONG) is RuntimeError
    backend.write(0, [b"second"], done.put)
    assert done.get(timeout=LONG) == 0
    backend.close()


@pytest.mark.parametrize("count", [1, 3 * WORKERS])
def test_closing_under_the_lock_that_workers_want(count: int) -> None:
    lock = threading.RLock()

    def post(function: Callable[[], object]) -> None:
        with lock:
            function()

    bench = Memory(4096)
    backend = Backend(bench, post=post)
    with lock:
        for number in range(count):
            backend.write(7 * number, [b"written"], lambda error: None)
        backend.close()
    assert bench.data.startswith(b"written" * count)
