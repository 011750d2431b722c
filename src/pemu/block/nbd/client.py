"""An NBD client: the handshake, and requests of several threads at once on one connection.

Who waits for an answer receives for all: an answer that is another thread's is put where that one
wants it. So nobody but the threads that have requests is needed, and one alone loses no time.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from pemu.block.error import ImageError
from pemu.block.nbd import protocol as nbd
from pemu.block.nbd.channel import Channel, Gone
from pemu.block.nbd.tls import Credentials
from pemu.block.pieces import Buffers, Pieces, clear, take

MAX_REPLY = 16 << 20
"""Bytes of a chunk that is no data: block status is the longest."""

MAX_OPTION_REPLY = 64 << 10
"""Bytes of a server's answer to an option."""

MAX_REPLIES = 10000
"""Answers to one option: exports of a list."""


@dataclass
class Info:
    """What a server says of an export; sizes in bytes. contexts: identity of each, by name."""

    name: str = ""
    size: int = 0
    flags: int = 0
    description: str = ""
    least: int = 1
    best: int = 0
    most: int = nbd.MAX_REQUEST
    sizes_told: bool = False
    structured: bool = False
    contexts: dict[str, int] = field(default_factory=dict)
    offered: list[str] = field(default_factory=list)
    """Contexts that can be asked for; of a list only."""


class Negotiation:
    """The handshake with a server. Raises ImageError and Gone, as its methods do.

    structured: whether structured replies are asked for; the kernel's client does not know them.
    """

    def __init__(
        self,
        channel: Channel,
        credentials: Credentials | None = None,
        hostname: str | None = None,
        *,
        structured: bool = True,
    ) -> None:
        self.channel = channel
        greeting = channel.receive(8)
        if greeting != nbd.INIT_MAGIC:
            raise ImageError("Bad initial magic received: this is no NBD server")
        style = channel.receive(8)
        self.oldstyle = int.from_bytes(style, "big") == nbd.OLD_MAGIC
        self.structured = False
        if self.oldstyle:
            if credentials is not None:
                raise ImageError("Server does not support STARTTLS")
            return
        if style != nbd.OPTION_MAGIC:
            raise ImageError("Bad server magic received: this is no NBD server")
        flags = int.from_bytes(channel.receive(2), "big")
        self.fixed = bool(flags & nbd.FLAG_FIXED_NEWSTYLE)
        self.no_zeroes = bool(flags & nbd.FLAG_NO_ZEROES)
        answer = flags & (nbd.FLAG_FIXED_NEWSTYLE | nbd.FLAG_NO_ZEROES)
        channel.send([answer.to_bytes(4, "big")])
        if credentials is not None:
            if not self.fixed:
                raise ImageError("Server does not support STARTTLS")
            self._demand(nbd.OPT_STARTTLS, b"", "Failed to start TLS")
            channel.start_tls(credentials.context, server=False, hostname=hostname)
        if self.fixed and structured:
            kind, _ = self._ask(nbd.OPT_STRUCTURED_REPLY)[-1]
            self.structured = kind == nbd.REP_ACK

    def go(self, name: str, contexts: Sequence[str] = ()) -> Info:
        """Choose the export `name`, and of `contexts` what it has."""
        info = Info(name, structured=self.structured)
        if self.oldstyle:
            if name:
                raise ImageError("Server does not support non-empty export names")
            info.size = int.from_bytes(self.channel.receive(8), "big")
            info.flags = int.from_bytes(self.channel.receive(4)[2:], "big")
            self.channel.receive(124)
            return info
        if self.fixed:
            if self.structured and contexts:
                info.contexts = self._contexts(nbd.OPT_SET_META_CONTEXT, name, contexts)
            if self._info(nbd.OPT_GO, name, info):
                return info
        if info.contexts:
            info.contexts = {}
        self._send(nbd.OPT_EXPORT_NAME, nbd.encoded(name))
        try:
            head = nbd.ExportHead.parse(self.channel.receive(nbd.ExportHead.SIZE))
        except Gone:
            raise ImageError(f"Requested export '{name}' is not available") from None
        if not self.no_zeroes:
            self.channel.receive(124)
        info.size, info.flags = head.size, head.flags
        return info

    def exports(self) -> list[Info]:
        """All exports, and what is to be said of them."""
        if self.oldstyle:
            return [self.go("")]
        if not self.fixed:
            raise ImageError("Server does not support export lists")
        found = []
        replies = self._ask(nbd.OPT_LIST)
        self._refusal(*replies[-1], "Failed to list the exports")
        for kind, data in replies[:-1]:
            if kind != nbd.REP_SERVER or len(data) < 4:
                raise ImageError("the server's list of exports is malformed")
            length = int.from_bytes(data[:4], "big")
            if length > len(data) - 4:
                raise ImageError("the server's list of exports is malformed")
            name = nbd.text(data[4 : 4 + length])
            found.append(Info(name, description=nbd.text(data[4 + length :])))
        for info in found:
            if not self._info(nbd.OPT_INFO, info.name, info):
                continue
            info.structured = self.structured
            if self.structured:
                info.offered = list(self._contexts(nbd.OPT_LIST_META_CONTEXT, info.name, ()))
        return found

    def leave(self) -> None:
        """Go without having chosen an export."""
        try:
            if not self.oldstyle:
                self._send(nbd.OPT_ABORT, b"")
        except Gone:
            pass

    def _info(self, option: int, name: str, info: Info) -> bool:
        """Ask about an export, or choose it; False where the server is too old for that."""
        data = nbd.string(name) + b"\0\1" + nbd.INFO_BLOCK_SIZE.to_bytes(2, "big")
        replies = self._ask(option, data)
        kind, text = replies[-1]
        if kind == nbd.ERR_UNSUP:
            return False
        if kind == nbd.ERR_UNKNOWN:
            raise ImageError(f"Requested export '{name}' not available")
        self._refusal(kind, text, f"Failed to open export '{name}'")
        told = False
        for kind, data in replies[:-1]:
            if kind != nbd.REP_INFO or len(data) < 2:
                raise ImageError("the server's answer about an export is malformed")
            what = int.from_bytes(data[:2], "big")
            if what == nbd.INFO_EXPORT:
                export = nbd.ExportHead.parse(data, "the server's answer about an export", 2)
                info.size, info.flags = export.size, export.flags
                told = True
            elif what == nbd.INFO_BLOCK_SIZE:
                sizes = nbd.BlockSizes.parse(data, "the server's answer about block sizes", 2)
                info.least, info.best, info.most = sizes.minimum, sizes.preferred, sizes.maximum
                info.sizes_told = True
                if info.least & (info.least - 1) or not 1 <= info.least <= 65536:
                    raise ImageError(f"server's minimum block size {info.least} is not possible")
                if info.most < info.least:
                    raise ImageError(f"server's maximum block size {info.most} is too small")
            elif what == nbd.INFO_DESCRIPTION:
                info.description = nbd.text(data[2:])
        if not told:
            raise ImageError("the server has not said how large the export is")
        return True

    def _contexts(self, option: int, name: str, queries: Sequence[str]) -> dict[str, int]:
        data = nbd.string(name) + len(queries).to_bytes(4, "big")
        replies = self._ask(option, data + b"".join(map(nbd.string, queries)))
        if replies[-1][0] != nbd.REP_ACK:
            return {}
        return {
            nbd.text(data[4:]): int.from_bytes(data[:4], "big")
            for kind, data in replies[:-1]
            if kind == nbd.REP_META_CONTEXT and len(data) > 4
        }

    def _demand(self, option: int, data: bytes, what: str) -> None:
        self._refusal(*self._ask(option, data)[-1], what)

    def _refusal(self, kind: int, text: bytes, what: str) -> None:
        """Raise ImageError where an answer is an error."""
        if kind == nbd.REP_ACK:
            return
        reason = nbd.OPTION_ERRORS.get(kind, f"error 0x{kind:x}")
        said = f" ({nbd.text(text)})" if text else ""
        raise ImageError(f"{what}: the server refuses, {reason}{said}")

    def _ask(self, option: int, data: bytes = b"") -> list[tuple[int, bytes]]:
        """The answers to an option, of which the last one is REP_ACK or an error."""
        self._send(option, data)
        replies: list[tuple[int, bytes]] = []
        while len(replies) < MAX_REPLIES:
            head = nbd.OptionReply.parse(self.channel.receive(nbd.OptionReply.SIZE))
            if head.magic != nbd.OPTION_REPLY_MAGIC or head.option != option:
                raise ImageError("the server's answer to an option is malformed")
            if head.length > MAX_OPTION_REPLY:
                raise ImageError(f"the server's answer to an option has {head.length} bytes")
            replies.append((head.type, self.channel.receive(head.length)))
            if head.type == nbd.REP_ACK or head.type & nbd.REP_ERROR:
                return replies
        raise ImageError(f"the server has more than {MAX_REPLIES} answers to one option")

    def _send(self, option: int, data: bytes) -> None:
        self.channel.send([nbd.Option(option=option, length=len(data)).emit(), data])


class _Waiting:
    """A request whose answer is awaited."""

    __slots__ = (
        "buffers",
        "done",
        "error",
        "kind",
        "length",
        "missing",
        "offset",
        "reason",
        "status",
    )

    def __init__(self, kind: int, offset: int, length: int, buffers: Buffers) -> None:
        self.kind = kind
        self.offset = offset
        self.length = length
        self.missing = length
        self.buffers = buffers
        self.done = False
        self.error = 0
        self.reason = ""
        self.status: dict[int, list[tuple[int, int]]] = {}


class Connection:
    """Requests to the export that `info` tells of. Methods raise Gone when the connection is lost,
    other OSErrors where the server cannot do what it is asked."""

    def __init__(self, channel: Channel, info: Info) -> None:
        self.info = info
        self._channel = channel
        self._waiting: dict[int, _Waiting] = {}
        self._changed = threading.Condition()
        self._receiving = False
        self._cookie = 0
        self._users = 0
        self._closing = False
        self.lost: Gone | None = None
        """Why there is no connection any more."""

    def request(
        self,
        kind: int,
        offset: int = 0,
        length: int = 0,
        *,
        flags: int = 0,
        buffers: Buffers = (),
        pieces: Pieces = (),
    ) -> dict[int, list[tuple[int, int]]]:
        """Make a request and wait for the answer; block status is returned, by context."""
        waiting = _Waiting(kind, offset, length, buffers)
        with self._changed:
            if self.lost is not None:
                raise self.lost
            self._cookie += 1
            cookie = self._cookie
            self._waiting[cookie] = waiting
            self._users += 1
        head = nbd.Request.CODE.pack(nbd.REQUEST_MAGIC, flags, kind, cookie, offset, length)
        try:
            try:
                self._channel.send([head, *pieces])
            except Gone as error:
                self._lose(error)
            self._await(waiting)
        finally:
            self._leave()
        if waiting.error:
            number = waiting.error if waiting.error in nbd.ERRORS else errno.EINVAL
            raise OSError(number, waiting.reason or os.strerror(number))
        return waiting.status

    def _await(self, waiting: _Waiting) -> None:
        """Wait for an answer, and receive those of others as long as nobody else does."""
        with self._changed:
            while self._receiving and not waiting.done and self.lost is None:
                self._changed.wait()
            if waiting.done:
                return
            if self.lost is not None:
                raise self.lost
            self._receiving = True
        try:
            while not waiting.done:
                self._receive()
        except Gone as error:
            self._lose(error)
            raise
        except (ImageError, ValueError) as error:
            lost = Gone(errno.EPROTO, f"the server's answer is malformed: {error}")
            self._lose(lost)
            raise lost from None
        finally:
            with self._changed:
                self._receiving = False
                self._changed.notify_all()

    def _receive(self) -> None:
        """Receive one answer, or a chunk of one."""
        channel = self._channel
        start = channel.receive(nbd.SimpleReply.SIZE)
        magic, error, cookie = nbd.SimpleReply.CODE.unpack(start)
        if magic == nbd.SIMPLE_MAGIC:
            waiting = self._find(cookie)
            if waiting.kind == nbd.READ and self.info.structured:
                raise ImageError("a simple reply to a read")
            waiting.error = error
            if not error:
                for view in waiting.buffers:
                    channel.receive_into(view)
            self._finish(cookie, waiting)
        elif magic == nbd.CHUNK_MAGIC and self.info.structured:
            rest = channel.receive(nbd.Chunk.SIZE - len(start))
            _, flags, kind, cookie, length = nbd.Chunk.CODE.unpack(start + rest)
            waiting = self._find(cookie)
            self._chunk(waiting, kind, length)
            if flags & nbd.CHUNK_DONE:
                if waiting.kind == nbd.READ and waiting.missing and not waiting.error:
                    raise ImageError(f"{waiting.missing} bytes of a read are missing")
                self._finish(cookie, waiting)
        else:
            raise ImageError(f"it begins with 0x{magic:08x}")

    def _find(self, cookie: int) -> _Waiting:
        waiting = self._waiting.get(cookie)
        if waiting is None:
            raise ImageError(f"it is to a request {cookie} that there is not")
        return waiting

    def _finish(self, cookie: int, waiting: _Waiting) -> None:
        with self._changed:
            self._waiting.pop(cookie, None)  # another thread may have found the connection lost
            waiting.done = True
            if self._waiting:
                self._changed.notify_all()

    def _chunk(self, waiting: _Waiting, kind: int, length: int) -> None:
        channel = self._channel
        if kind == nbd.CHUNK_DATA:
            if length < 8 or waiting.kind != nbd.READ:
                raise ImageError("data that nobody has asked for")
            at = int.from_bytes(channel.receive(8), "big")
            for view in self._place(waiting, at, length - 8):
                channel.receive_into(view)
        elif kind == nbd.CHUNK_HOLE:
            if length != nbd.Hole.SIZE or waiting.kind != nbd.READ:
                raise ImageError("a hole that nobody has asked for")
            hole = nbd.Hole.parse(channel.receive(length))
            for view in self._place(waiting, hole.offset, hole.length):
                clear(view)
        elif length > MAX_REPLY:
            raise ImageError(f"a chunk of {length} bytes")
        else:
            data = channel.receive(length)
            if kind & nbd.CHUNK_IS_ERROR:
                head = nbd.ErrorHead.parse(data, "an error")
                waiting.error = waiting.error or head.error or errno.EIO
                text = data[head.SIZE : head.SIZE + head.length]
                waiting.reason = waiting.reason or nbd.text(text)
            elif kind == nbd.CHUNK_STATUS:
                if waiting.kind != nbd.BLOCK_STATUS or length % 8 != 4 or length < 12:
                    raise ImageError("block status that nobody has asked for")
                entries = list(struct.iter_unpack(">II", data[4:]))
                waiting.status[int.from_bytes(data[:4], "big")] = entries
            elif kind != nbd.CHUNK_NONE or length:
                raise ImageError(f"a chunk of type {kind}")

    def _place(self, waiting: _Waiting, at: int, length: int) -> Buffers:
        """Where `length` bytes from `at` on belong."""
        inside = at - waiting.offset
        waiting.missing -= length
        if inside < 0 or inside + length > waiting.length:
            raise ImageError("data beyond what was asked for")
        if not inside and length == waiting.length:
            return waiting.buffers
        return take(take(waiting.buffers, inside)[1], length)[0]

    def _lose(self, error: Gone) -> None:
        with self._changed:
            if self.lost is None:
                self.lost = error
            self._waiting.clear()
            self._changed.notify_all()
        self._channel.shut()

    def _leave(self) -> None:
        """A thread does not use the connection any longer; the last one closes it."""
        with self._changed:
            self._users -= 1
            last = self._closing and not self._users
        if last:
            self._channel.close()

    def close(self) -> None:
        """Say good-bye. Threads that have not noticed yet that the connection is lost may do so:
        until then its descriptor stays, lest they meet somebody else's under its number."""
        if self.lost is None:
            try:
                self._channel.send(
                    [nbd.Request(flags=0, type=nbd.DISCONNECT, cookie=0, offset=0, length=0).emit()]
                )
            except Gone:
                pass
        with self._changed:
            self._closing = True
            self._users += 1
        self._leave()
