"""`pemu-img bench`: how fast an image can be read or written."""

from __future__ import annotations

import threading
import time

from pemu.block.image import Image
from pemu.block.opening import Mode
from pemu.cli.image_options import AIO, WRITETHROUGH
from pemu.cli.img_commands.session import (
    COMMON,
    Session,
    close,
    integer,
    number,
    one_file,
    say,
    usage,
)
from pemu.options.error import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SYNTAX = (
    "[-c count] [-d depth] [-f fmt] [--flush-interval=flush_interval] [-i aio] [-n] [--no-drain] "
    "[-o offset] [--pattern=pattern] [-q] [-s buffer_size] [-S step_size] [-t cache] [-w] [-U] "
    "filename"
)

HELP = """Read (or write, -w) an image in many requests and tell how long that takes.

  -c count          requests (default: 75000)
  -d depth          at the same time (default: 64)
  -o offset         where to begin
  -s buffer_size    bytes of one request (default: 4k)
  -S step_size      from one request to the next (default: as many)
  -w                write
  --pattern=byte    what is written (default: 0)
  --flush-interval  flush after so many requests
  --no-drain        without waiting for the others before a flush
  -i aio            how the host is asked: threads, native, io_uring
  -n                the same as -i native
"""

OPTIONS = COMMON + (
    "c= d= f|format= flush-interval= i= n no-drain o= pattern= q s= S= t= w U|force-share"
)

MOST = (1 << 31) - 1


def run(words: Sequence[str]) -> int:
    """Carry out `pemu-img bench`."""
    given = usage(words, OPTIONS, help=HELP)
    count = integer(given.get("c", "75000"), "Invalid request count specified", least=0, most=MOST)
    depth = integer(given.get("d", "64"), "Invalid queue depth specified", least=1, most=MOST)
    offset = number(given.get("o", "0"), "offset")
    size = number(given.get("s", "4k"), "buffer size", least=1, most=MOST)
    step = number(given.get("S", "0"), "step_size", most=MOST) or size
    pattern = integer(
        given.get("pattern", "0"), "Invalid pattern byte specified", least=0, most=255
    )
    interval = integer(
        given.get("flush-interval", "0"), "Invalid flush interval specified", least=0, most=MOST
    )
    aio = given.get("i", "threads")
    if aio not in AIO:
        raise OptionError(f"Invalid aio option: {aio}")
    writes = "w" in given
    if interval and not writes:
        raise OptionError("--flush-interval is only available in write tests")
    if interval and interval < depth:
        raise OptionError("Flush interval can't be smaller than depth")
    name = one_file(given)
    session = Session(given)
    cache = given.get("t")
    mode = Mode(readonly=not writes, aio=aio, share=session.share)
    image = session.open(name, format=given.get("f"), mode=mode, cache=cache)
    try:
        if size > image.size:
            raise OptionError(f"buffer size {size} is larger than the image ({image.size} bytes)")
        kind = "write" if writes else "read"
        say(
            f"Sending {count} {kind} requests, {size} bytes each, {depth} in parallel "
            f"(starting at offset {offset}, step size {step})"
        )
        if interval:
            say(f"Sending flush every {interval} requests")
        data = bytes([pattern]) * size if writes else None
        each = cache in WRITETHROUGH
        bench = _Bench(image, count, offset, size, step, data, interval, flush_each=each)
        say(f"Run completed in {bench.run(depth):3.3f} seconds.")
    finally:
        close(image)
    return 0


class _Bench:
    """Requests to an image. data: what is written, None to read."""

    def __init__(
        self,
        image: Image,
        count: int,
        offset: int,
        size: int,
        step: int,
        data: bytes | None,
        interval: int,
        *,
        flush_each: bool,
    ) -> None:
        self.image = image
        self.size = size
        self.step = step
        self.data = data
        self.interval = interval
        self.flush_each = flush_each
        self._left = count
        self._offset = offset
        self._sent = 0
        self._lock = threading.Lock()
        self._error: OSError | None = None

    def run(self, depth: int) -> float:
        """Send all requests, `depth` at a time; seconds that it took. Raises OptionError."""
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(depth, 64))]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise OptionError(f"Failed request: {self._error.strerror}")
        return time.monotonic() - begun

    def _work(self) -> None:
        image, size = self.image, self.size
        buffers = [memoryview(bytearray(size))]
        try:
            while True:
                with self._lock:
                    if not self._left or self._error is not None:
                        return
                    self._left -= 1
                    self._sent += 1
                    flush = bool(self.interval) and self._sent % self.interval == 0
                    offset = self._offset
                    self._offset += self.step
                    if self._offset + size > image.size:
                        self._offset = 0
                if self.data is None:
                    image.read_into(offset, buffers)
                else:
                    image.write_from(offset, [self.data])
                if flush or (self.flush_each and self.data is not None):
                    image.flush()
        except OSError as error:
            self._error = error
