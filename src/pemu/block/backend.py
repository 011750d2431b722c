"""What a storage device has behind it: a medium or none, and requests that take their time.

All methods are called under the machine's lock, and so is `done` of a request. Requests run in
worker threads, several at a time and in any order. Where the machine counts instructions they run
at once, so that two runs of a guest are the same.
"""

from __future__ import annotations

import errno
import sys
import threading
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue

from pemu.block.image import Image
from pemu.block.pieces import Buffers

WORKERS = 8
"""Threads for all requests of one backend: more requests than that wait for each other."""

Done = Callable[[int], object]
"""done(error): 0, or the number of the error."""

Policy = str
"""'report' errors to the guest, 'ignore' them, 'stop' the machine, or with 'enospc' stop it when
the host has no room and report others; 'auto' is 'report' for reads, 'enospc' for writes."""


class Request:
    """One request under way. `cancel` makes sure that `done` is not called any more."""

    __slots__ = ("_backend", "_done", "_running", "_work", "_writes")

    def __init__(
        self, backend: Backend, work: Callable[[], object], done: Done, writes: bool
    ) -> None:
        self._backend = backend
        self._work = work
        self._done: Done | None = done
        self._writes = writes
        self._running = allocate_lock()
        """Held while a worker has it; what waits for the end takes it and gives it back."""

    def cancel(self) -> None:
        """Forget the request; returns when it does not touch its buffers any more."""
        self._done = None
        self.wait()
        self._backend.forget(self)

    def wait(self) -> None:
        """Return when it has been carried out."""
        with self._running:
            pass

    def run(self) -> int:
        """Do the work; returns the number of the error, or 0."""
        try:
            self._work()
        except OSError as error:
            return error.errno or errno.EIO
        except ValueError:  # of system calls
            return errno.EINVAL
        return 0

    def start(self) -> None:
        """Have a worker run it."""
        self._running.acquire()
        self._backend.enqueue(self)

    def carry_out(self) -> None:
        """Run it, as a worker does, and have the device told."""
        try:
            error = errno.ECANCELED if self._done is None else self.run()
        finally:
            self._running.release()
        self._backend.tell(self, error)

    def deliver(self, error: int) -> None:
        """Tell the device, if it still wants to know."""
        done, self._done = self._done, None
        if done is not None:
            done(error)

    @property
    def writes(self) -> bool:
        """Whether it changes the image."""
        return self._writes


class Backend:
    """The medium of one device and its requests.

    image: None without a medium. `post(function)` has a function called under the machine's lock
    soon, or at once where it is a worker that asks. immediate: requests are carried out where they
    are made. rerror, werror: what to do with errors of reads and writes; `stop` pauses the machine,
    after which `retry` is to be called.
    """

    def __init__(
        self,
        image: Image | None = None,
        *,
        post: Callable[[Callable[[], object]], object] = lambda function: function(),
        immediate: bool = False,
        unsafe: bool = False,
        writethrough: bool = False,
        rerror: Policy = "auto",
        werror: Policy = "auto",
        stop: Callable[[], object] = lambda: None,
    ) -> None:
        self.image = image
        self.post = post
        self.immediate = immediate
        self.unsafe = unsafe
        self.writethrough = writethrough
        self.rerror = "report" if rerror == "auto" else rerror
        self.werror = "enospc" if werror == "auto" else werror
        self.stop = stop
        self.changed: list[Callable[[], object]] = []
        """Called when a medium has been put in or taken out."""
        self._pending: dict[Request, None] = {}
        self._stopped: list[Request] = []
        self._requests: SimpleQueue[Request | None] = SimpleQueue()
        self._workers = 0
        self._finished: deque[tuple[Request, int]] = deque()
        self._telling = False
        self._lock = allocate_lock()
        """Guards the two above."""

    @property
    def size(self) -> int:
        """Bytes of the medium, 0 without one."""
        return self.image.size if self.image else 0

    @property
    def readonly(self) -> bool:
        """Whether the medium cannot be written."""
        return self.image is None or self.image.readonly

    # Requests; each returns None where it has been carried out already, without an error

    def read(self, offset: int, buffers: Buffers, done: Done) -> Request | None:
        """Fill `buffers` with what is at `offset`."""
        image = self._image()
        if not self.immediate and image.read_cached(offset, buffers):
            return None
        return self._submit(lambda: image.read_into(offset, buffers), done, writes=False)

    def write(
        self, offset: int, pieces: Sequence[bytes | memoryview], done: Done
    ) -> Request | None:
        """Write `pieces` one after the other."""
        image, flush = self._image(), self.writethrough

        def work() -> None:
            image.write_from(offset, pieces)
            if flush:
                image.flush()

        return self._submit(work, done, writes=True)

    def flush(self, done: Done) -> Request | None:
        """Bring all that has been written to stable storage."""
        if self.unsafe or self.image is None:
            return None
        return self._submit(self.image.flush, done, writes=True)

    def discard(self, ranges: Sequence[tuple[int, int]], done: Done) -> Request | None:
        """Note that ranges (offset, length) are of no use any more."""
        image = self._image()

        def work() -> None:
            for offset, length in ranges:
                image.discard(offset, length)

        return self._submit(work, done, writes=True)

    def write_zeroes(self, offset: int, length: int, done: Done) -> Request | None:
        """Make it all zeros there."""
        image = self._image()
        return self._submit(lambda: image.write_zeroes(offset, length), done, writes=True)

    def _image(self) -> Image:
        return self.image or _NOTHING

    def _submit(self, work: Callable[[], object], done: Done, *, writes: bool) -> Request | None:
        request = Request(self, work, done, writes)
        if self.immediate:
            error = request.run()
            if not error:
                return None
            self._pending[request] = None
            self.post(lambda: self.complete(request, error))
        else:
            self._pending[request] = None
            request.start()
        return request

    def complete(self, request: Request, error: int) -> None:
        """A request has come to its end, in the thread where devices are told."""
        if request not in self._pending:
            return
        if error:
            policy = self.werror if request.writes else self.rerror
            if policy == "stop" or (policy == "enospc" and error == errno.ENOSPC):
                self._stopped.append(request)
                self.stop()
                return
            error = 0 if policy == "ignore" else error
        self.forget(request)
        request.deliver(error)

    def retry(self) -> None:
        """The machine goes on: try what had failed again."""
        stopped, self._stopped = self._stopped, []
        for request in stopped:
            if request not in self._pending:
                continue
            if self.immediate:
                self.complete(request, request.run())
            else:
                request.start()

    def forget(self, request: Request) -> None:
        """Do not complete `request` any more."""
        self._pending.pop(request, None)

    def enqueue(self, request: Request) -> None:
        """Have a worker carry out `request`; one is started where all may be busy."""
        if self._workers < min(len(self._pending), WORKERS):
            self._workers += 1
            threading.Thread(target=self._serve, name="block", daemon=True).start()
        self._requests.put(request)

    def _serve(self) -> None:
        """Be a worker."""
        while (request := self._requests.get()) is not None:
            with _reported():
                request.carry_out()

    def tell(self, request: Request, error: int) -> None:
        """Have the device told of a request that a worker has carried out.

        One worker does that for all: the machine's lock may be held by who waits for a request that
        no worker has taken yet, so that they must not all wait for it.
        """
        with self._lock:
            self._finished.append((request, error))
            if self._telling:
                return
            self._telling = True
        while True:
            with self._lock:
                if not self._finished:
                    self._telling = False
                    return
                request, error = self._finished.popleft()
            with _reported():
                self.post(partial(self.complete, request, error))

    # The medium

    def insert(self, image: Image | None) -> None:
        """Change the medium, None for none; what is under way is finished before."""
        self.drain()
        if self.image is not None:
            self.image.close()
        self.image = image
        for listener in self.changed:
            listener()

    def replace(self, image: Image) -> None:
        """Go on with another image of the same contents; devices do not notice."""
        self.drain()
        self.image = image

    def drain(self) -> None:
        """Wait until all requests have been carried out; some are yet to be told of."""
        for request in list(self._pending):
            request.wait()

    def close(self) -> None:
        """Finish what is under way, and close the image."""
        self.drain()
        for _ in range(self._workers):
            self._requests.put(None)  # they are not waited for: they may want the machine's lock
        self._workers = 0
        self._pending.clear()
        if self.image is not None:
            if not self.unsafe and not self.image.readonly:
                try:
                    self.image.flush()
                except OSError:
                    pass  # the guest has been told of what it asked for; nobody is left to tell
            self.image.close()
            self.image = None


@contextmanager
def _reported() -> Iterator[None]:
    """Shows an error of the device that the body raises: other requests go on."""
    try:
        yield
    except Exception:
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), None)))


class _Nothing(Image):
    """What answers where there is no medium."""

    def within(self, offset: int, length: int, *, writes: bool = False) -> None:
        raise OSError(errno.ENOMEDIUM, "no medium")

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        """Is not reached, as nothing is within."""


_NOTHING = _Nothing("", 0, readonly=True)
