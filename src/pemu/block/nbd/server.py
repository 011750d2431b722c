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


MAX_COMING = 512
"""Clients that have not chosen an export yet, or wait for their turn; no more are accepted then."""


class Server:
    """Serves `exports` on listening sockets, which it owns from now on.

    limit: clients at a time, 0 for any number; others wait once they have chosen an export, so that
    one that says nothing keeps nobody away. tls: what clients must prove.
    gone(number): is told, from some thread, how many clients there still are when one has gone
    that had requests, and when others go later. warn: is told what went wrong with a client;
    failed: of errors inside Pemu; trace: of each request.
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
        self._waiting = 0
        self._using = 0
        self._served = False
        self._clients: dict[Channel, Export | None] = {}
        self._stopping = False
        self._threads: list[threading.Thread] = []

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
        """Have a thread of its own do `work`. Raises RuntimeError where the host has no more."""
        thread = threading.Thread(target=work, name="nbd", daemon=True)
        with self._changed:
            self._threads = [one for one in self._threads if one.is_alive()]
            thread.start()
            self._threads.append(thread)

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
            try:
                self._start(lambda client=client: self._client(client))  # type: ignore[misc]
            except RuntimeError:  # no more threads
                client.close()
                with self._changed:
                    self._coming -= 1
                    self._changed.wait(1)

    def _has_stopped(self) -> bool:
        return self._stopping

    def _may_come(self) -> bool:
        return self._stopping or self._coming < MAX_COMING

    def _may_use(self) -> bool:
        return self._stopping or not self._limit or self._using < self._limit

    def _admit(self, channel: Channel, export: Export) -> None:
        """Wait until a client may use what it has chosen. Raises Gone, Refused."""
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(self._may_use)
            self._waiting -= 1
            if self._stopping:
                raise Gone(errno.ESHUTDOWN, "the server is shutting down")
            if self.exports.get(export.name) is not export:
                raise Refused(f"there is no export '{export.name}' any more")
            self._clients[channel] = export
            self._using += 1
            self._served = True
            self._coming -= 1
            self._changed.notify_all()

    def _client(self, sock: socket.socket) -> None:
        """All that one client does, from its first word to its last."""
        channel = Channel(sock)
        with self._changed:
            self._clients[channel] = None
            if self._stopping:
                channel.shut()
        try:
            handshake = Handshake(
                channel, self.exports, self._tls, lambda export: self._admit(channel, export)
            )
            agreement = handshake.run()
            if agreement is not None:
                Session(agreement, self._trace).run()
        except Refused as why:
            self._warn(f"client refused: {why}")
        except Gone as why:
            if self._clients[channel] is None:
                self._warn(f"negotiation failed: {why.strerror}")
        except Exception as error:  # the other clients can go on
            self._failed(f"internal error: {type(error).__name__}: {error}")
        finally:
            channel.close()
            with self._changed:
                used = self._clients.pop(channel) is not None
                if used:
                    self._using -= 1
                else:
                    self._coming -= 1
                left = len(self._clients) - self._waiting
                tell = used or self._served
                self._changed.notify_all()
            if tell:
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
        while True:
            with self._changed:
                threads = [one for one in self._threads if one.is_alive()]
            if not threads:
                break
            for thread in threads:  # while one ends, it may have started another
                thread.join()
        for sock in self._sockets:
            path = sock.getsockname() if sock.family == socket.AF_UNIX else ""
            sock.close()
            if isinstance(path, str) and path:
                try:
                    os.unlink(path)
                except OSError:
                    pass  # somebody else has removed or replaced it
