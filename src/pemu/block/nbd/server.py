"""An NBD server: listens, and gives each client threads of its own."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pemu.block.nbd.channel import Channel, Gone
from pemu.block.nbd.export import Export
from pemu.block.nbd.handshake import Handshake, Refused
from pemu.block.nbd.session import Session

if TYPE_CHECKING:
    from pemu.block.nbd.tls import TlsServer


class Server:
    """Serves `exports` on listening sockets, which it owns from now on.

    limit: clients at a time, 0 for any number; others wait. tls: what clients must prove.
    gone(number): is told, from some thread, when a client has gone that had requests, and of how
    many clients there still are. warn: is told what went wrong with a client; failed: of errors
    inside Pemu; trace: of each request.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        exports: Sequence[Export] = (),
        *,
        limit: int = 0,
        tls: TlsServer | None = None,
        gone: Callable[[int], object] = lambda number: None,
        warn: Callable[[str], object] = lambda text: None,
        failed: Callable[[str], object] = lambda text: None,
        trace: Callable[[str], object] | None = None,
    ) -> None:
        self.exports = {export.name: export for export in exports}
        self._sockets = list(sockets)
        self._tls = tls
        self._gone = gone
        self._warn = warn
        self._failed = failed
        self._trace = trace
        self._changed = threading.Condition()
        self._limit = limit
        self._coming = 0
        self._clients: dict[Channel, Export | None] = {}
        self._stopping = False
        self._threads: set[threading.Thread] = set()

    def start(self) -> None:
        """Begin to accept clients."""
        for sock in self._sockets:
            self._start(lambda sock=sock: self._accept(sock))  # type: ignore[misc]

    def serve(self, sock: socket.socket) -> None:
        """Serve one client that is connected already."""
        with self._changed:
            self._coming += 1
        self._start(lambda: self._client(sock))

    def _start(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            finally:
                with self._changed:
                    self._threads.discard(threading.current_thread())
                    self._changed.notify_all()

        thread = threading.Thread(target=run, name="nbd", daemon=True)
        with self._changed:
            self._threads.add(thread)
        thread.start()

    def _accept(self, sock: socket.socket) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._may_come)
                if self._has_stopped():
                    return
                self._coming += 1
            try:
                client = sock.accept()[0]
            except OSError as error:
                with self._changed:
                    self._coming -= 1
                    self._changed.notify_all()
                    if self._has_stopped():
                        return
                    if error.errno != errno.ECONNABORTED:
                        self._changed.wait(1)  # until a client goes, and leaves a descriptor
                continue
            self._start(lambda client=client: self._client(client))  # type: ignore[misc]

    def _has_stopped(self) -> bool:
        return self._stopping

    def _may_come(self) -> bool:
        return self._stopping or not self._limit or self._coming < self._limit

    def _client(self, sock: socket.socket) -> None:
        """All that one client does, from its first word to its last."""
        channel = Channel(sock)
        used = False
        with self._changed:
            self._clients[channel] = None
            if self._stopping:
                channel.shut()
        try:
            agreement = Handshake(channel, self.exports, self._tls).run()
            if agreement is not None:
                with self._changed:
                    self._clients[channel] = agreement.export
                used = True
                Session(agreement, self._trace).run()
        except Refused as why:
            self._warn(f"client refused: {why}")
        except Gone as why:
            if not used:
                self._warn(f"negotiation failed: {why.strerror}")
        except Exception as error:  # the other clients can go on
            self._failed(f"internal error: {type(error).__name__}: {error}")
        finally:
            channel.close()
            with self._changed:
                self._clients.pop(channel)
                self._coming -= 1
                left = len(self._clients)
                self._changed.notify_all()
            if used:
                self._gone(left)

    def remove(self, name: str) -> None:
        """Offer an export no more, and send its clients away. Raises KeyError."""
        with self._changed:
            export = self.exports.pop(name)
            for channel, used in self._clients.items():
                if used is export:
                    channel.shut()
            while export in self._clients.values():
                self._changed.wait()

    def users(self, name: str) -> int:
        """How many clients the export `name` has."""
        with self._changed:
            return sum(one is not None and one.name == name for one in self._clients.values())

    def stop(self) -> None:
        """Accept no more clients, send away those there are, and wait until they have gone."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            for sock in self._sockets:
                sock.shutdown(socket.SHUT_RDWR)  # wakes who accepts
            for channel in self._clients:
                channel.shut()
            while self._threads:
                self._changed.wait()
        for sock in self._sockets:
            path = sock.getsockname() if sock.family == socket.AF_UNIX else ""
            sock.close()
            if isinstance(path, str) and path:
                try:
                    os.unlink(path)
                except OSError:
                    pass  # somebody else has removed or replaced it
