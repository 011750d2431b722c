"""Back ends that are one or two descriptors of the host: what they read and what they write."""

from __future__ import annotations

import os

from pemu.chardev.interface import Chardev, FrontEnd
from pemu.chardev.output import Output


class DescriptorChardev(Chardev):
    """Delivers what one descriptor has to read, and writes to another one or to the same.

    A descriptor that is written to must not wait. A back end calls `_connect` when it has its
    descriptors and `_disconnect` when it loses them. It may refine what happens to what is read
    (`_incoming`), when there is nothing more to read (`_ended`) and after an error (`_failed`).
    """

    _reading = -1
    _output: Output | None = None
    _paused = False
    _watched = False

    def attach(self, front: FrontEnd) -> Chardev:
        """Connect a front end, which receives also what has come meanwhile."""
        super().attach(front)
        self.accept_input()
        return self

    def accept_input(self) -> None:
        """Note that the front end, which could receive nothing, can receive again."""
        if self._paused:
            self._paused = False
            self.host.post(self._watch)

    @property
    def backlog(self) -> int:
        """Bytes that were taken and have not reached the host yet."""
        output = self._output
        return output.backlog if output else 0

    def close(self, patience: float = 0) -> None:
        """Write what is queued, as long as the other end takes it, and let go of the host."""
        if self._output and (error := self._output.flush(patience)):
            self._failed(error)
        self._disconnect()
        super().close()

    def _connect(self, reading: int, writing: int) -> None:
        """Use these descriptors from now on, -1 for none; the loop need not run yet."""
        if writing >= 0:
            self._output = Output(self.host, writing, self._writable, self._failed)
        if reading >= 0:
            self._read_from(reading)

    def _read_from(self, fd: int) -> None:
        self._reading = fd
        self._paused = False
        self.host.post(self._watch)

    def _disconnect(self) -> None:
        """Use them no more; what is still queued is lost. The caller closes them."""
        self._unwatch()
        self._reading = -1
        output, self._output = self._output, None
        if output:
            output.stop()

    def _incoming(self, data: bytes) -> None:
        """Deal with what was read, at most as much as `_room` has said."""
        self._deliver(data)

    def _ended(self) -> None:
        """Deal with the end of the input."""
        self._unwatch()
        self._set_state(False)

    def _failed(self, error: OSError) -> None:
        """Deal with an error of output, which is reported once."""
        self.host.warn(f"{self.label}: {self.filename}: {error.strerror}; output is lost")

    def _write(self, data: bytes, whole: bool) -> int:
        output = self._output
        return output.write(data, whole) if output else len(data)

    def _send(self, data: bytes) -> None:
        output = self._output
        if output:
            output.send(data)

    def _watch(self) -> None:
        if self._reading < 0 or self._watched:
            return
        self._watched = True
        try:
            self.host.loop.add_reader(self._reading, self._readable)
        except PermissionError:  # a file or a device that can always be read, which epoll refuses
            self.host.post(self._always_readable)
        except OSError:  # a standard descriptor that is not open
            self._ended()

    def _unwatch(self) -> None:
        if self._watched and not self.host.loop.is_closed():
            self.host.loop.remove_reader(self._reading)
        self._watched = False

    def _pause(self) -> None:
        """Read no more until the front end calls `accept_input`."""
        self._unwatch()
        self._paused = True
        if self._room() > 0:  # it called just before the pause was noted
            self.accept_input()

    def _always_readable(self) -> None:
        if self._watched:
            self._readable()
        if self._watched:
            self.host.post(self._always_readable)

    def _readable(self) -> None:
        room = self._room()
        if room <= 0:
            self._pause()
            return
        try:
            data = os.read(self._reading, room)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a connection that was reset, a terminal that hung up
        if data:
            self._incoming(data)
        else:
            self._ended()
