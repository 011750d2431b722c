"""`socket`: a TCP or Unix stream, plain or in a protocol, as client or as server."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Any

from pemu import sockets
from pemu.chardev.descriptor import DescriptorChardev
from pemu.chardev.interface import Event, Host
from pemu.chardev.output import LIMIT
from pemu.chardev.wire import Telnet, Wire
from pemu.options.error import OptionError, quoted
from pemu.options.keyval import Key
from pemu.options.types import Bool, Int, Text
from pemu.sockets import Address, Inet, Inherited, Unix

KEYS = (
    Key("host", Text("host"), "TCP: where to connect or listen"),
    Key("port", Text("port"), "TCP: port, by number or name"),
    Key("to", Int(1, 65535), "TCP server: try the ports up to this one"),
    Key("ipv4", Bool(), "TCP: use IPv4 addresses"),
    Key("ipv6", Bool(), "TCP: use IPv6 addresses"),
    Key("nodelay", Bool(), "TCP: send small pieces at once"),
    Key("delay", Bool(), "TCP: the opposite of nodelay"),
    Key("path", Text("path", empty=False), "Unix: the socket's path"),
    Key("abstract", Bool(), "Unix: path is a name in Linux's abstract name space"),
    Key("tight", Bool(), "Unix: abstract names have their own length (default: on)"),
    Key("fd", Text("fd"), "a socket that Pemu was started with"),
    Key("server", Bool(), "wait for a client instead of connecting", default=False),
    Key("wait", Bool(), "server: do not start before the first client (default: on)"),
    Key("telnet", Bool(), "speak telnet", default=False),
    Key("reconnect", Int(0, 1 << 31), "client: seconds between attempts to connect again"),
    Key("websocket", Bool(), "server: speak the WebSocket protocol", default=False),
    Key("tn3270", Bool(), "not supported", default=False),
    Key("tls-creds", Text("id"), "not supported yet"),
    Key("tls-authz", Text("id"), "not supported yet"),
)

CONNECT_TIMEOUT = 30.0
"""Seconds that one attempt to connect in the background may take."""

ACCEPT_AGAIN = 1.0
"""Seconds until a client is looked at again that could not be accepted."""


class Socket(DescriptorChardev):
    """One connection at a time: after its end a server waits for the next client."""

    def __init__(self, host: Host, label: str, options: dict[str, Any]) -> None:
        super().__init__(host, label, options)
        _check(options)
        self.is_open = False
        self._is_server: bool = options["server"]
        self._wire_type = _wire_type(options)
        self._wire = Wire()
        self._no_delay = bool(options["nodelay"]) or options["delay"] is False
        self._address = _address(options)
        self._interval: int = options["reconnect"] or 0
        self._failing = False
        self._closed = False
        self._connection: socket.socket | None = None
        self._listener: socket.socket | None = None
        if self._is_server:
            self._listener = sockets.listen(self._address)
            if options["wait"] is not False:
                host.warn(f"info: waiting for a connection on {self.filename}")
                self._use(self._listener.accept()[0])
            else:
                self._listener.setblocking(False)
                host.post(self._await_client)
        elif self._interval:
            host.post(self._connect_in_background)
        else:
            self._use(sockets.connect(self._address))

    @property
    def filename(self) -> str:
        """Both ends of the connection, or where it is to be."""
        if self._connection:
            return self._describe(self._connection, connected=True)
        if self._listener:
            return "disconnected:" + self._describe(self._listener, connected=False)
        return f"disconnected:{self._prefix()}:{self._address}"

    def close(self, patience: float = 0) -> None:
        """End the connection and listen no more."""
        self._closed = True
        super().close(patience)
        if self._connection:
            self._connection.close()
            self._connection = None
        if self._listener:
            self._stop_listening(self._listener)
            self._listener.close()
            self._listener = None
            if isinstance(self._address, Unix) and not self._address.abstract:
                with contextlib.suppress(OSError):
                    os.unlink(self._address.path)

    # Connections, on the I/O thread.

    def _await_client(self) -> None:
        if self._listener and not self._connection:
            self._listener.setblocking(False)
            self.host.loop.add_reader(self._listener, self._accept)

    def _stop_listening(self, listener: socket.socket) -> None:
        if not self.host.loop.is_closed():
            self.host.loop.remove_reader(listener)

    def _accept(self) -> None:
        if not self._listener:
            return
        try:
            connection = self._listener.accept()[0]
        except (BlockingIOError, ConnectionError):
            return  # it was gone before it was looked at
        except OSError:  # no descriptors are left, maybe; the client waits
            self._stop_listening(self._listener)
            self.host.loop.call_later(ACCEPT_AGAIN, self._await_client)
            return
        self._stop_listening(self._listener)
        self._use(connection)

    def _connect_in_background(self) -> None:
        if not self._closed:
            threading.Thread(target=self._try_to_connect, daemon=True).start()

    def _try_to_connect(self) -> None:
        try:
            connection = sockets.connect(self._address, CONNECT_TIMEOUT)
        except OptionError as error:
            self.host.post(self._not_connected, str(error))
        else:
            self.host.post(self._connected, connection)

    def _connected(self, connection: socket.socket) -> None:
        if self._closed:
            connection.close()
            return
        self._failing = False
        self._use(connection)

    def _not_connected(self, reason: str) -> None:
        if self._closed:
            return
        if not self._failing:
            self._failing = True
            self.host.warn(f"{self.label}: {reason}; trying again every {self._interval} s")
        self.host.loop.call_later(self._interval, self._connect_in_background)

    def _use(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX and self._no_delay:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wire = self._wire_type()
        self._connection = connection
        self._connect(connection.fileno(), connection.fileno())
        if self._wire.is_ready:
            self.host.post(self._set_state, True)
        greeting = self._wire.greeting(self._is_server)
        if greeting:
            super()._send(greeting)

    def _ended(self) -> None:
        """Wait for the next client, or connect again after a while."""
        if not self._connection:
            return
        self._disconnect()
        self._connection.close()
        self._connection = None
        self._set_state(False)
        if self._is_server:
            self._await_client()
        elif self._interval:
            self.host.loop.call_later(self._interval, self._connect_in_background)

    def _failed(self, error: OSError) -> None:
        if not self._closed:
            self._ended()

    # The stream.

    def _incoming(self, data: bytes) -> None:
        stream = self._wire.decode(data)
        for _ in range(self._wire.breaks):
            self.event(Event.BREAK)
        self._wire.breaks = 0
        reply, self._wire.reply = self._wire.reply, b""
        if reply and self.backlog < LIMIT:  # a peer that asks and does not read gets no answers
            super()._send(reply)
        if self._wire.is_over:
            self._ended()
            return
        if self._wire.is_ready:
            self._set_state(True)
        self._deliver(stream)

    def _room(self) -> int:
        return super()._room() if self._wire.is_ready else 1

    def _write(self, data: bytes, whole: bool) -> int:
        if not self._wire.is_ready:
            return len(data)
        sent = self._wire.encode(data)
        if len(sent) == len(data):
            return super()._write(sent, whole)
        return len(data) if super()._write(sent, True) else 0  # an escape or a frame stays whole

    def _send(self, data: bytes) -> None:
        if self._wire.is_ready:
            super()._send(self._wire.encode(data))

    # Words.

    def _prefix(self) -> str:
        return "unix" if isinstance(self._address, Unix) else self._wire_type.prefix

    def _describe(self, sock: socket.socket, *, connected: bool) -> str:
        server = ",server=on" if self._is_server else ""
        if sock.family == socket.AF_UNIX:
            if not isinstance(self._address, Unix):
                return f"unix:{_unix_name(sock)}{server}"
            abstract = ""
            if self._address.abstract:
                abstract = f",abstract=on,tight={'on' if self._address.tight else 'off'}"
            return f"unix:{self._address.path}{abstract}{server}"
        text = f"{self._wire_type.prefix}:{sockets.shown(sock.getsockname())}{server}"
        if connected:
            try:
                text += f" <-> {sockets.shown(sock.getpeername())}"
            except OSError:
                pass  # it has just ended
        return text


def _unix_name(sock: socket.socket) -> str:
    name = sock.getsockname()
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _check(options: dict[str, Any]) -> None:
    """Refuse what contradicts itself, and what is not supported."""
    given = [key for key in ("path", "fd", "host") if options[key] is not None]
    if options["port"] is not None and not given:
        raise OptionError("'host' is missing beside 'port'; write host=<host>")
    if len(given) != 1:
        raise OptionError("a socket has one of 'path', 'fd' and 'host'; give one of them")
    if given[0] == "host" and options["port"] is None:
        raise OptionError("'port' is missing; write port=<port>")
    if options["server"]:
        if options["reconnect"]:
            raise OptionError("'reconnect' is for clients; leave it out with server=on")
    elif options["wait"] is not None:
        raise OptionError("'wait' is for servers; leave it out, or add server=on")
    if options["fd"] is not None and options["reconnect"]:
        raise OptionError("'reconnect' cannot be with 'fd', which is connected already")
    if options["delay"] is not None and options["nodelay"] is not None:
        raise OptionError("'delay' and 'nodelay' exclude each other; give one of them")
    if given[0] != "path":
        for key in ("abstract", "tight"):
            if options[key] is not None:
                raise OptionError(f"'{key}' is for Unix sockets; leave it out without 'path'")
    if options["websocket"] and not options["server"]:
        raise OptionError("'websocket' is for servers; add server=on")
    if options["websocket"] and options["telnet"]:
        raise OptionError("'websocket' and 'telnet' exclude each other; give one of them")
    for key in ("tn3270", "tls-creds", "tls-authz"):
        if options[key]:
            raise OptionError(f"'{key}' is not supported; use a plain or a telnet socket")


def _wire_type(options: dict[str, Any]) -> type[Wire]:
    if options["websocket"]:
        from pemu.chardev.websocket import WebSocket

        return WebSocket
    return Telnet if options["telnet"] else Wire


def _address(options: dict[str, Any]) -> Address:
    if options["path"] is not None:
        tight = options["tight"] is not False
        return Unix(options["path"], bool(options["abstract"]), tight)
    if options["fd"] is not None:
        if not options["fd"].isdigit():
            raise OptionError(f"fd: {quoted(options['fd'])} is not the number of a descriptor")
        return Inherited(int(options["fd"]))
    return Inet(options["host"], options["port"], options["ipv4"], options["ipv6"], options["to"])


BACKEND = Socket
