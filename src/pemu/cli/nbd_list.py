"""`pemu-nbd --list`: what another server has."""

from __future__ import annotations

from pemu.block.error import ImageError
from pemu.block.nbd import protocol as nbd
from pemu.block.nbd.channel import Channel, Gone
from pemu.block.nbd.client import Negotiation
from pemu.cli import outcome
from pemu.cli.image_options import new_graph
from pemu.cli.nbd_connection import address, tls_credentials
from pemu.cli.switches import Given
from pemu.options.error import OptionError
from pemu.sockets import connect

_OF_ONE_IMAGE = (
    "x", "D", "o", "A", "B", "c", "f", "r", "s", "l", "n", "cache", "aio", "discard",
    "detect-zeroes", "image-opts",
)  # fmt: skip


def show_exports(given: Given) -> int:
    """List a server's exports on standard output; returns the exit status. Raises OptionError."""
    if given.words or "d" in given:
        raise OptionError("List mode is incompatible with a file name")
    if any(name in given for name in _OF_ONE_IMAGE):
        raise OptionError("List mode is incompatible with per-device settings")
    if "fork" in given or "pid-file" in given:
        raise OptionError("List mode is incompatible with forking")
    if "tls-authz" in given and "tls-creds" in given:
        raise OptionError("TLS authorization is incompatible with export list")
    graph = new_graph(given.all("object"))
    credentials = tls_credentials(given, graph, server=False)
    where = address(given)
    hostname = given.get("tls-hostname") or (given.get("b") or None)
    if credentials is not None and credentials.context.check_hostname and hostname is None:
        raise OptionError("the server's name for TLS is unknown; give --tls-hostname")
    sock = connect(where)
    channel = Channel(sock)
    try:
        negotiation = Negotiation(channel, credentials, hostname)
        found = negotiation.exports()
        negotiation.leave()
    except (ImageError, Gone) as error:
        reason = error.strerror if isinstance(error, Gone) else str(error)
        raise OptionError(f"{str(where)!r}: {reason}") from None
    finally:
        channel.close()
    lines = [f"exports available: {len(found)}"]
    for info in found:
        lines.append(f" export: '{info.name}'")
        if info.description:
            lines.append(f"  description: {info.description}")
        if info.flags & nbd.HAS_FLAGS:
            names = [name for bit, name in nbd.FLAG_NAMES.items() if info.flags & bit]
            lines.append(f"  size:  {info.size}")
            lines.append(f"  flags: 0x{info.flags:x} ({''.join(f' {one}' for one in names)} )")
        if info.sizes_told:
            lines.append(f"  min block: {info.least}")
            lines.append(f"  opt block: {info.best}")
            lines.append(f"  max block: {info.most}")
        if info.offered:
            lines.append(f"  available meta contexts: {len(info.offered)}")
            lines += [f"   {name}" for name in info.offered]
    return outcome.show("\n".join(lines))
