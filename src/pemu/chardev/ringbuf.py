"""`ringbuf`, also called `memory`: what is written stays in memory, the newest of it.

The monitor reads it (`ringbuf_read`) and may add to it (`ringbuf_write`).
"""

from __future__ import annotations

from _thread import allocate_lock
from typing import Any

from pemu.chardev.interface import Chardev, Host
from pemu.options.error import OptionError
from pemu.options.keyval import Key
from pemu.options.types import Size

KEYS = (Key("size", Size(1, 1 << 30), "bytes that are kept, a power of two", default=64 * 1024),)


class RingBuffer(Chardev):
    """The last `size` bytes that were written and have not been read."""

    def __init__(self, host: Host, label: str, options: dict[str, Any]) -> None:
        super().__init__(host, label, options)
        self.kind = options["backend"]
        self.size: int = options["size"]
        if self.size & (self.size - 1):
            raise OptionError(f"size: '{self.size}' is not a power of two")
        self._lock = allocate_lock()
        self._kept = bytearray()

    def read(self, size: int) -> bytes:
        """The oldest bytes, at most `size`, which are then no longer kept. From any thread."""
        with self._lock:
            data = bytes(self._kept[:size])
            del self._kept[:size]
        return data

    def _write(self, data: bytes, whole: bool) -> int:
        with self._lock:
            self._kept += data[-self.size :]
            del self._kept[: -self.size]
        return len(data)


BACKEND = RingBuffer
