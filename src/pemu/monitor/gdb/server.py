"""A gdb server: waits for the one connection, then answers it on a thread of its own."""

from __future__ import annotations

import select
import socket

from pemu.monitor.gdb.packet import Connection, Disconnected
from pemu.monitor.gdb.stub import Stub
from pemu.options.error import OptionError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.monitor.gdb.target import PolledTarget, Stop

_ENDS = ("exited", "killed")


def wait_for_gdb(place: str) -> socket.socket:
    """Listen at `place` until gdb connects: on a TCP port of all IPv4 addresses, or on a socket.

    A number above 0 is a port, anything else the path of a socket to make, as QEMU has it. Raises
    OptionError.
    """
    digits = place[: len(place) - len(place.lstrip("0123456789"))]
    port = int(digits or "0")
    try:
        if port:
            listener = socket.create_server(("0.0.0.0", port), family=socket.AF_INET, backlog=1)
        else:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(place)
            listener.listen(1)
    except (OSError, OverflowError) as error:
        what = getattr(error, "strerror", None) or "a port is at most 65535"
        raise OptionError(
            f"-g {quoted(place)}: cannot listen there ({what}); give a free TCP port or the path "
            "of a socket that does not exist yet"
        ) from None
    with listener:
        connected, _ = listener.accept()
    if port:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def serve(connection: Connection, target: PolledTarget, first: Stop) -> None:
    """Obey gdb until it lets go or the debuggee has ended. The debuggee is stopped, for `first`."""
    stub = Stub(target, first)
    try:
        _talk(connection, target, stub)
    except Disconnected:
        pass
    finally:
        # As in QEMU, the program goes on when gdb is lost.
        connection.close()
        stub.files.close()
        if stub.finished == "kill":
            target.kill()
        target.detach()


def _talk(connection: Connection, target: PolledTarget, stub: Stub) -> None:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    poll.register(target.fileno(), select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if target.fileno() in ready:
            stop = target.take_stop()
            if stop is not None:
                connection.send(stub.stopped(stop))
                if stop.kind in _ENDS:
                    return
        if connection.fileno() not in ready:
            continue
        for packet in connection.receive():
            if packet is None:
                target.interrupt()
                continue
            reply = stub.handle(packet)
            if reply is not None:
                connection.send(reply)
            connection.no_ack = stub.no_ack
            if stub.finished:
                return
