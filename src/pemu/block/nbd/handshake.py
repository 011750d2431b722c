"""What server and client say before there are requests: the server's side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pemu.block.nbd import protocol as nbd
from pemu.block.nbd.channel import Channel
from pemu.block.nbd.export import Export

if TYPE_CHECKING:
    from pemu.block.nbd.tls import TlsServer

PATIENCE = 60.0
"""Seconds that a client has for its handshake: one that says nothing holds a place others want.
So many because a host that is busy may let either side stand for some."""

MAX_OPTION = 1 << 16
"""Bytes of one option: a name of `MAX_STRING` bytes and a good many contexts."""

MAX_SKIPPED = 1 << 20
"""Bytes of an option that is refused as too big; more than that, and the client is sent away."""

MAX_OPTIONS = 1000
"""Options of one handshake; a client has use for about ten."""

MAX_CONTEXTS = 64
"""Contexts that a client can choose."""


class Refused(Exception):
    """A client that cannot be served, and why."""


@dataclass
class Agreement:
    """What a handshake has come to: `contexts` are the names chosen for block status."""

    channel: Channel
    export: Export
    structured: bool = False
    contexts: list[str] = field(default_factory=list)


class Handshake:
    """One client's handshake. exports: by name. tls: demanded where it is not None.

    admit: is called before an export is given to the client, and may take its time.
    """

    def __init__(
        self,
        channel: Channel,
        exports: Mapping[str, Export],
        tls: TlsServer | None,
        admit: Callable[[Export], object],
    ) -> None:
        self._channel = channel
        self._exports = exports
        self._tls = tls
        self._admit = admit
        self._structured = False
        self._no_zeroes = False
        self._contexts: tuple[str, list[str]] | None = None

    def run(self) -> Agreement | None:
        """Answer options until an export is chosen; None where the client goes without.

        Raises OSError, or Refused for what a client must not do.
        """
        channel = self._channel
        channel.limit(PATIENCE)
        flags = nbd.FLAG_FIXED_NEWSTYLE | nbd.FLAG_NO_ZEROES
        channel.send([nbd.Greeting().emit(), flags.to_bytes(2, "big")])
        answer = int.from_bytes(channel.receive(4), "big")
        if answer & ~flags:
            raise Refused(f"unknown flags 0x{answer:x}")
        self._no_zeroes = bool(answer & nbd.FLAG_NO_ZEROES)
        fixed = bool(answer & nbd.FLAG_FIXED_NEWSTYLE)
        for _ in range(MAX_OPTIONS):
            head = nbd.Option.parse(self._channel.receive(nbd.Option.SIZE))
            if head.magic != nbd.OPTION_MAGIC:
                raise Refused("an option does not begin as one")
            if not fixed and head.option != nbd.OPT_EXPORT_NAME:
                raise Refused("only an export's name may come without fixed newstyle")
            data = self._data(head)
            if data is None:
                continue
            if head.option == nbd.OPT_ABORT:
                self._reply(head.option, nbd.REP_ACK)
                return None
            export = self._answer(head.option, data)
            if export is not None:
                self._channel.limit(None)
                chosen = self._contexts
                contexts = chosen[1] if chosen and chosen[0] == export.name else []
                return Agreement(self._channel, export, self._structured, contexts)
        raise Refused(f"more than {MAX_OPTIONS} options")

    def _data(self, head: nbd.Option) -> bytes | None:
        """An option's data; None where it has been refused for its length."""
        if head.length <= MAX_OPTION:
            return self._channel.receive(head.length)
        if head.length > MAX_SKIPPED or head.option == nbd.OPT_EXPORT_NAME:
            raise Refused(f"an option of {head.length} bytes")
        self._channel.receive(head.length)
        self._error(head.option, nbd.ERR_TOO_BIG, f"more than {MAX_OPTION} bytes")
        return None

    def _answer(self, option: int, data: bytes) -> Export | None:
        """Answer one option; the export that it has chosen."""
        if self._tls is not None and not self._channel.encrypted and option != nbd.OPT_STARTTLS:
            if option == nbd.OPT_EXPORT_NAME:
                raise Refused("TLS is needed")
            self._error(option, nbd.ERR_TLS_REQD, "use STARTTLS first")
            return None
        if option == nbd.OPT_EXPORT_NAME:
            return self._by_name(data)
        if option in (nbd.OPT_INFO, nbd.OPT_GO):
            return self._info(option, data)
        simple: dict[int, Callable[[bytes], None]] = {
            nbd.OPT_LIST: self._list,
            nbd.OPT_STARTTLS: self._start_tls,
            nbd.OPT_STRUCTURED_REPLY: self._structured_reply,
            nbd.OPT_LIST_META_CONTEXT: lambda data: self._meta(nbd.OPT_LIST_META_CONTEXT, data),
            nbd.OPT_SET_META_CONTEXT: lambda data: self._meta(nbd.OPT_SET_META_CONTEXT, data),
        }
        if option in simple:
            simple[option](data)
        else:
            self._error(option, nbd.ERR_UNSUP, f"Unsupported option {option}")
        return None

    def _by_name(self, data: bytes) -> Export:
        export = self._exports.get(nbd.text(data))
        if export is None:
            raise Refused("no export of that name")
        self._wait_for_turn(export)
        self._channel.send([self._head(export), b"" if self._no_zeroes else bytes(124)])
        return export

    def _info(self, option: int, data: bytes) -> Export | None:
        """INFO and GO: a name, then the kinds of information that are wanted."""
        reader = _Reader(data)
        name = reader.string()
        count = reader.number(2)
        asked = {reader.number(2) for _ in range(count or 0) if not reader.short}
        if reader.short or reader.left():
            self._error(option, nbd.ERR_INVALID, "the lengths inside do not match")
            return None
        export = self._exports.get(name)
        if export is None:
            self._error(option, nbd.ERR_UNKNOWN, f"export '{name}' not present")
            return None
        if option == nbd.OPT_GO:
            self._wait_for_turn(export)
        if nbd.INFO_NAME in asked:
            self._inform(option, nbd.INFO_NAME, nbd.encoded(export.name))
        if export.description:
            self._inform(option, nbd.INFO_DESCRIPTION, nbd.encoded(export.description))
        least, best, most = export.block_size()
        sizes = nbd.BlockSizes(
            minimum=least if nbd.INFO_BLOCK_SIZE in asked else 1, preferred=best, maximum=most
        )
        self._inform(option, nbd.INFO_BLOCK_SIZE, sizes.emit())
        self._inform(option, nbd.INFO_EXPORT, self._head(export))
        self._reply(option, nbd.REP_ACK)
        return export if option == nbd.OPT_GO else None

    def _wait_for_turn(self, export: Export) -> None:
        self._admit(export)
        self._channel.limit(PATIENCE)  # anew: the client was not to blame

    def _head(self, export: Export) -> bytes:
        flags = export.flags(structured=self._structured)
        return nbd.ExportHead(size=export.size, flags=flags).emit()

    def _inform(self, option: int, kind: int, data: bytes) -> None:
        self._reply(option, nbd.REP_INFO, kind.to_bytes(2, "big") + data)

    def _list(self, data: bytes) -> None:
        if data:
            self._error(nbd.OPT_LIST, nbd.ERR_INVALID, "the option has no data")
            return
        for export in self._exports.values():
            said = nbd.string(export.name) + nbd.encoded(export.description)
            self._reply(nbd.OPT_LIST, nbd.REP_SERVER, said)
        self._reply(nbd.OPT_LIST, nbd.REP_ACK)

    def _start_tls(self, data: bytes) -> None:
        if data or self._channel.encrypted:
            why = "the option has no data" if data else "TLS is in use already"
            self._error(nbd.OPT_STARTTLS, nbd.ERR_INVALID, why)
        elif self._tls is None:
            self._error(nbd.OPT_STARTTLS, nbd.ERR_POLICY, "TLS not configured")
        else:
            self._reply(nbd.OPT_STARTTLS, nbd.REP_ACK)
            self._tls.accept(self._channel)
            self._structured, self._contexts = False, None  # said by nobody knows whom

    def _structured_reply(self, data: bytes) -> None:
        if data or self._structured:
            why = "the option has no data" if data else "structured replies are in use already"
            self._error(nbd.OPT_STRUCTURED_REPLY, nbd.ERR_INVALID, why)
            return
        self._structured = True
        self._reply(nbd.OPT_STRUCTURED_REPLY, nbd.REP_ACK)

    def _meta(self, option: int, data: bytes) -> None:
        """List or choose contexts: an export's name, then queries."""
        if option == nbd.OPT_SET_META_CONTEXT:
            self._contexts = None
        if not self._structured:
            self._error(option, nbd.ERR_INVALID, "structured replies are not in use")
            return
        reader = _Reader(data)
        name = reader.string()
        count = reader.number(4)
        queries: list[str] = []
        while len(queries) < count and not reader.short:
            queries.append(reader.string())
        if reader.short or reader.left():
            self._error(option, nbd.ERR_INVALID, "the lengths inside do not match")
            return
        export = self._exports.get(name)
        if export is None:
            self._error(option, nbd.ERR_UNKNOWN, f"export '{name}' not present")
            return
        listing = option == nbd.OPT_LIST_META_CONTEXT
        if listing and not queries:
            found = list(export.contexts)
        elif listing:
            found = [one for query in queries for one in export.matching(query)]
        else:
            found = [one for one in queries if one in export.contexts]
        found = list(dict.fromkeys(found))[:MAX_CONTEXTS]
        for number, context in enumerate(found):
            identity = 0 if listing else number
            self._reply(
                option, nbd.REP_META_CONTEXT, identity.to_bytes(4, "big") + context.encode()
            )
        self._reply(option, nbd.REP_ACK)
        if not listing:
            self._contexts = (name, found)

    def _reply(self, option: int, kind: int, data: bytes = b"") -> None:
        head = nbd.OptionReply(option=option, type=kind, length=len(data)).emit()
        self._channel.send([head, data])

    def _error(self, option: int, kind: int, text: str) -> None:
        self._reply(option, kind, nbd.encoded(text)[: nbd.MAX_STRING])


class _Reader:
    """Reads the parts of an option's data. short: whether there was less than there had to be."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self.short = False

    def number(self, width: int) -> int:
        """An integer of `width` bytes."""
        return int.from_bytes(self._take(width), "big")

    def string(self) -> str:
        """A text with its length before it."""
        return nbd.text(self._take(self.number(4)))

    def left(self) -> int:
        """Bytes that have not been read."""
        return len(self._data) - self._at

    def _take(self, length: int) -> bytes:
        if length > self.left():
            self.short = True
            self._at = len(self._data)
            return b""
        self._at += length
        return self._data[self._at - length : self._at]
