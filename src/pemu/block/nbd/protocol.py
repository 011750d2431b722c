"""NBD on the wire: numbers and structures. Source: doc/proto.md of the NetworkBlockDevice project.

All integers are big-endian.
"""

from __future__ import annotations

import errno

from pemu.block.structure import U16, U32, U64, Annotated, Structure

DEFAULT_PORT = 10809

INIT_MAGIC = b"NBDMAGIC"
OPTION_MAGIC = b"IHAVEOPT"
OLD_MAGIC = 0x00420281861253
OPTION_REPLY_MAGIC = 0x3E889045565A9
REQUEST_MAGIC = 0x25609513
SIMPLE_MAGIC = 0x67446698
CHUNK_MAGIC = 0x668E33EF

MAX_REQUEST = 32 << 20
"""Bytes of data in one request or reply: what the protocol has clients and servers agree on."""

MAX_STRING = 4096
"""Bytes of a name or a text, as the protocol has it."""

# Handshake
FLAG_FIXED_NEWSTYLE, FLAG_NO_ZEROES = 1, 2

(
    OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, _, OPT_STARTTLS, OPT_INFO, OPT_GO,
    OPT_STRUCTURED_REPLY, OPT_LIST_META_CONTEXT, OPT_SET_META_CONTEXT,
) = range(1, 11)  # fmt: skip

REP_ACK, REP_SERVER, REP_INFO, REP_META_CONTEXT = 1, 2, 3, 4
REP_ERROR = 1 << 31
(
    ERR_UNSUP, ERR_POLICY, ERR_INVALID, ERR_PLATFORM, ERR_TLS_REQD, ERR_UNKNOWN, ERR_SHUTDOWN,
    ERR_BLOCK_SIZE_REQD, ERR_TOO_BIG,
) = range(REP_ERROR + 1, REP_ERROR + 10)  # fmt: skip

OPTION_ERRORS = {
    ERR_UNSUP: "it does not know the request",
    ERR_POLICY: "its policy forbids it",
    ERR_INVALID: "it takes the request for malformed",
    ERR_PLATFORM: "its platform cannot do it",
    ERR_TLS_REQD: "it demands TLS; give tls-creds",
    ERR_UNKNOWN: "it has no such export",
    ERR_SHUTDOWN: "it is shutting down",
    ERR_BLOCK_SIZE_REQD: "it demands that block sizes are asked for",
    ERR_TOO_BIG: "the request is too big for it",
}
"""What a server means by refusing an option."""

INFO_EXPORT, INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE = range(4)

# Flags of an export
HAS_FLAGS, READ_ONLY, SEND_FLUSH, SEND_FUA, ROTATIONAL, SEND_TRIM, SEND_WRITE_ZEROES, SEND_DF = (
    1 << bit for bit in range(8)
)
CAN_MULTI_CONN, SEND_RESIZE, SEND_CACHE, SEND_FAST_ZERO = (1 << bit for bit in range(8, 12))

FLAG_NAMES = {
    READ_ONLY: "readonly",
    SEND_FLUSH: "flush",
    SEND_FUA: "fua",
    ROTATIONAL: "rotational",
    SEND_TRIM: "trim",
    SEND_WRITE_ZEROES: "zeroes",
    SEND_DF: "df",
    CAN_MULTI_CONN: "multi",
    SEND_RESIZE: "resize",
    SEND_CACHE: "cache",
    SEND_FAST_ZERO: "fast-zero",
}

# Requests
READ, WRITE, DISCONNECT, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS = range(8)
COMMANDS = ("read", "write", "disconnect", "flush", "trim", "cache", "write zeroes", "block status")
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = 1, 2, 4, 8, 16

# Replies
CHUNK_DONE = 1
CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE, CHUNK_STATUS = 0, 1, 2, 5
CHUNK_IS_ERROR = 1 << 15
CHUNK_ERROR, CHUNK_ERROR_OFFSET = CHUNK_IS_ERROR + 1, CHUNK_IS_ERROR + 2

# Block status
BASE_ALLOCATION = "base:allocation"
ALLOCATION_DEPTH = "qemu:allocation-depth"
DIRTY_BITMAP = "qemu:dirty-bitmap:"
STATUS_HOLE, STATUS_ZERO = 1, 2
STATUS_DIRTY = 1

ERRORS = (
    errno.EPERM, errno.EIO, errno.ENOMEM, errno.EINVAL, errno.ENOSPC, errno.EOVERFLOW,
    errno.ENOTSUP, errno.ESHUTDOWN,
)  # fmt: skip
"""The errors that the protocol has; their numbers are Linux's."""


def wire_error(number: int) -> int:
    """The error of the protocol that tells best what a host's error does."""
    if number in ERRORS:
        return number
    same = {errno.EROFS: errno.EPERM, errno.EACCES: errno.EPERM, errno.EDQUOT: errno.ENOSPC}
    same |= {errno.EFBIG: errno.ENOSPC}
    return same.get(number, errno.EINVAL if number == errno.ERANGE else errno.EIO)


class Greeting(Structure, byte_order=">"):
    """What a server says first."""

    magic: Annotated[bytes, 8] = INIT_MAGIC
    style: Annotated[bytes, 8] = OPTION_MAGIC


class Option(Structure, byte_order=">"):
    """The head of a client's request during the handshake."""

    magic: Annotated[bytes, 8] = OPTION_MAGIC
    option: U32
    length: U32


class OptionReply(Structure, byte_order=">"):
    """The head of an answer to it."""

    magic: U64 = OPTION_REPLY_MAGIC
    option: U32
    type: U32
    length: U32


class ExportHead(Structure, byte_order=">"):
    """Size and abilities of an export."""

    size: U64
    flags: U16


class BlockSizes(Structure, byte_order=">"):
    """What requests must be multiples of, should be multiples of, and may at most have; bytes."""

    minimum: U32
    preferred: U32
    maximum: U32


class Request(Structure, byte_order=">"):
    """A request once the handshake is over; data to write follow."""

    magic: U32 = REQUEST_MAGIC
    flags: U16
    type: U16
    cookie: U64
    offset: U64
    length: U32


class SimpleReply(Structure, byte_order=">"):
    """An answer; data that have been read follow."""

    magic: U32 = SIMPLE_MAGIC
    error: U32
    cookie: U64


class Chunk(Structure, byte_order=">"):
    """The head of a piece of a structured answer."""

    magic: U32 = CHUNK_MAGIC
    flags: U16
    type: U16
    cookie: U64
    length: U32


class Hole(Structure, byte_order=">"):
    """A stretch of zeros."""

    offset: U64
    length: U32


class ErrorHead(Structure, byte_order=">"):
    """An error; a text of `length` bytes follows."""

    error: U32
    length: U16


def encoded(text: str) -> bytes:
    """What `text` reads again."""
    return text.encode("utf-8", "surrogateescape")


def string(text: str) -> bytes:
    """A text with its length before it, as options have it."""
    data = encoded(text)
    return len(data).to_bytes(4, "big") + data


def text(data: bytes | memoryview) -> str:
    """A text as it came; bytes that are no UTF-8 are kept."""
    return bytes(data).decode("utf-8", "surrogateescape")
