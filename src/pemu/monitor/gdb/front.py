"""The gdb server of a machine, on a character device: gdb may come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pemu.chardev.interface import Event, FrontEnd
from pemu.monitor.gdb.machine import MachineTarget
from pemu.monitor.gdb.packet import Disconnected, Link
from pemu.monitor.gdb.stub import Stub
from pemu.options.error import OptionError

if TYPE_CHECKING:
    from pemu.chardev.interface import Chardev
    from pemu.machine.control import State
    from pemu.monitor.instance import Instance

LABEL = "gdb"


class GdbFrontEnd(FrontEnd):
    """Serves one gdb after the other. The machine stands as soon as gdb has come."""

    def __init__(self, instance: Instance, chardev: Chardev) -> None:
        self._instance = instance
        self._control = instance.machine.control
        self._target: MachineTarget | None = None
        self._stub: Stub | None = None
        self._link: Link | None = None
        self._chardev = chardev.attach(self)
        self._control.listeners.append(self._state_changed)

    # As a front end

    def can_receive(self) -> int:
        return 4096

    def event(self, event: Event) -> None:
        if event is Event.CLOSED:
            self._leave()

    def receive(self, data: bytes) -> None:
        try:
            link = self._link or self._begin()
            for packet in link.take(data):
                if packet is None:
                    self._interrupt()
                else:
                    self._obey(packet, link)
                if self._link is not link:
                    return  # gdb has let go
        except Disconnected:
            self._leave()

    # The dialogue

    def _begin(self) -> Link:
        """gdb has come."""
        if self._control.running:
            self._control.pause("debug")
        self._target = MachineTarget(self._instance)
        self._stub = Stub(self._target, self._target.take_stop())
        self._link = Link(self._chardev.send)
        return self._link

    def _leave(self) -> None:
        """gdb has gone: the machine stays as it is."""
        target, self._target, self._stub, self._link = self._target, None, None, None
        if target is not None:
            target.detach()

    def _interrupt(self) -> None:
        if self._stub is not None and self._stub.running:
            if self._control.running:
                self._control.pause()
            else:
                self._tell_stop()

    def _obey(self, packet: bytes, link: Link) -> None:
        stub = self._stub
        assert stub is not None
        with self._control.standing():
            reply = stub.handle(packet)
        for part in stub.output:
            link.send(b"O" + part.hex().encode())
        stub.output.clear()
        if reply is not None:
            link.send(reply)
        link.no_ack = stub.no_ack
        if stub.finished:
            target = self._target
            self._leave()
            if stub.finished == "kill" and target is not None:
                target.kill()
            else:
                self._control.resume()

    def _state_changed(self, state: State) -> None:
        if state != "running" and self._stub is not None and self._stub.running:
            self._instance.machine.iothread.call(self._tell_stop)

    def _tell_stop(self) -> None:
        stub, target, link = self._stub, self._target, self._link
        if stub is None or target is None or link is None:
            return
        if stub.running and not self._control.running:
            link.send(stub.stopped(target.take_stop()))

    def close(self) -> None:
        """Serve no longer; on the I/O thread."""
        if self._link is not None:
            self._link.send(b"W00")
        self._leave()
        self._control.listeners.remove(self._state_changed)
        self._chardev.detach()


class GdbServers:
    """Where a machine waits for gdb: at one place or none."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._front: GdbFrontEnd | None = None
        self._own = False

    def open(self, place: str) -> None:
        """Wait at `place`, as of -gdb, instead of where it was; 'none': nowhere.

        Raises OptionError. On the I/O thread, or before it runs.
        """
        if place != "none" and not self._instance.machine.cpus:
            raise OptionError("there is no processor that gdb could look at; choose one by -cpu")
        chardevs = self._instance.chardevs
        if self._front is not None:
            self._front.close()
            self._front = None
            if self._own:
                chardevs.remove(LABEL)
        if place == "none":
            return
        self._own = not place.startswith("chardev:")
        if place.startswith("tcp:"):
            place += ",wait=off,nodelay=on,server=on"
        chardev = chardevs.open(place, LABEL)
        if chardev is not None:
            self._front = GdbFrontEnd(self._instance, chardev)

    def close(self) -> None:
        """Tell gdb that the machine has ended."""
        if self._front is not None:
            self._front.close()
            self._front = None
