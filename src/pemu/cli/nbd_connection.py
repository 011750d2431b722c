"""Where pemu-nbd listens or connects, and what proves who is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pemu.options.error import OptionError

if TYPE_CHECKING:
    from pemu.block.graph import Graph
    from pemu.block.nbd.tls import Credentials
    from pemu.cli.switches import Given
    from pemu.sockets import Address

PROGRAM = "pemu-nbd"


def address(given: Given) -> Address:
    """Where to listen or connect. Raises OptionError."""
    from pemu.block.nbd.protocol import DEFAULT_PORT
    from pemu.sockets import Inet, Unix

    if "k" in given:
        path = given.get("k")
        if not path.startswith("/"):
            raise OptionError("socket path must be absolute")
        return Unix(path)
    return Inet(given.get("b") or "0.0.0.0", given.get("p") or str(DEFAULT_PORT))


def tls_credentials(given: Given, graph: Graph, *, server: bool) -> Credentials | None:
    """The credentials that the command line names, None for none. Raises OptionError.

    server: for a server, not for one of its clients.
    """
    from pemu.block.error import ImageError

    if "tls-creds" not in given:
        if "tls-authz" in given:
            raise OptionError("--tls-authz is not permitted without --tls-creds")
        if "tls-hostname" in given:
            raise OptionError("--tls-hostname is not permitted without --tls-creds")
        return None
    from pemu.block.nbd.tls import find_credentials

    try:
        return find_credentials(graph.objects, given.get("tls-creds"), server=server)
    except ImageError as error:
        raise OptionError(f"Failed to get TLS creds: {error}") from None
