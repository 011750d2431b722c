"""Where sockets connect or listen."""

from __future__ import annotations

import socket

import pytest

from pemu.options.error import OptionError
from pemu.sockets import Inet, connect, listen


def test_dead_connections_are_looked_for_where_that_is_wanted() -> None:
    with listen(Inet("127.0.0.1", "0")) as server:
        port = str(server.getsockname()[1])
        for wanted in (False, True):
            with connect(Inet("127.0.0.1", port, keep_alive=wanted)) as sock:
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == wanted


def test_numeric_addresses_are_not_looked_up() -> None:
    assert Inet("127.0.0.1", "80", numeric=True).resolve(socket.SOCK_STREAM)
    with pytest.raises(OptionError, match="localhost"):
        Inet("localhost", "80", numeric=True).resolve(socket.SOCK_STREAM)
