"""The code cache on disk: generated code that later runs map instead of compiling again.

One directory, by default `$XDG_CACHE_HOME/pemu` (or `~/.cache/pemu`). Entries are files named by a
digest of everything the code depends on: the translator's own sources, the architecture, the host
processor and LLVM. A file is written under a temporary name and renamed, so that concurrent
processes see all of it or none; it is checked before use; and the directory is trusted only if
nobody else can write to it.

An entry of tier 0: a header {magic, checksum, sizes}, names and offsets, data, then code from a
page boundary on. Entries of compiled regions: see `regionstore`.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from time import time

# hashlib costs ten times as much to import.
if sys.version_info >= (3, 12):
    from _sha2 import sha256
else:
    from _sha256 import sha256  # type: ignore[import-not-found]

MAGIC = b"pemuCODE"
_HEADER = struct.Struct("<8sIIIII")  # magic, checksum, symbol bytes, data bytes, code at, code size
_PAGE = 4096

TIER0, REGIONS = KINDS = ("tier0", "regions")
"""Kinds of entries: the interpreter of an architecture; compiled regions of a program."""

_UNFINISHED = 600
"""Seconds after which a file under a temporary name counts as left behind."""

DEFAULT_LIMIT = 512 << 20
"""Bytes of cached code kept by default: a few hundred programs' worth."""


def default_directory(environ: dict[str, str]) -> str:
    """Where the cache is if no option says otherwise; '' if there is no place for one."""
    base = environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):
        home = environ.get("HOME", "")
        if not home.startswith("/"):
            return ""
        base = home + "/.cache"
    return base + "/pemu"


def _sources_digest() -> bytes:
    """Identify the translator by its source files' names, sizes and times."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parts: list[str] = []
    for folder in ("engine", "isa", "isa/mips"):
        with os.scandir(os.path.join(package, folder)) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    parts.append(f"{entry.name} {status.st_size} {status.st_mtime_ns}")
    return "\n".join(sorted(parts)).encode()


def _host_digest() -> bytes:
    """Identify host processor and Python/LLVM versions, without importing LLVM."""
    with open("/proc/cpuinfo", "rb") as file:
        text = file.read(8192)
    lines = [
        line
        for line in text.split(b"\n\n")[0].splitlines()
        if line.startswith((b"model name", b"flags", b"cpu family", b"stepping"))
    ]
    return b"\n".join([*lines, sys.version.encode(), _llvmlite_version().encode()])


def _llvmlite_version() -> str:
    for folder in sys.path:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if name.startswith("llvmlite-") and name.endswith(".dist-info"):
                return name
    return ""


class Entry:
    """A file of the cache. `kind`: one of `KINDS`; `used`: when last, in seconds since 1970."""

    __slots__ = ("kind", "path", "size", "used")

    def __init__(self, path: str, kind: str, size: int, used: float) -> None:
        self.path = path
        self.kind = kind
        self.size = size
        self.used = used


class CodeCache:
    """A cache directory. `limit`: bytes that it may hold; the oldest entries go first."""

    __slots__ = ("_digest", "directory", "limit")

    def __init__(self, directory: str, limit: int = DEFAULT_LIMIT) -> None:
        self.directory = directory
        self.limit = limit
        self._digest = b""

    def _key(self, kind: str, name: str) -> str:
        if not self._digest:
            self._digest = _sources_digest() + _host_digest()
        digest = sha256(b"\0".join([kind.encode(), name.encode(), self._digest]))
        return f"{kind}-{digest.hexdigest()[:40]}"

    def _trusted(self) -> bool:
        try:
            status = os.stat(self.directory)
        except OSError:
            return False
        return status.st_uid == os.geteuid() and not status.st_mode & 0o022

    def open(self, kind: str, name: str) -> int | None:
        """Open the entry of a kind of code for what `name` stands for: a file descriptor, or None.

        The entry counts as used.
        """
        if not self._trusted():
            return None
        path = f"{self.directory}/{self._key(kind, name)}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            os.utime(fd)
        except OSError:
            return None
        return fd

    def store(self, kind: str, name: str, parts: list[bytes]) -> None:
        """Write an entry. Failure is no error: there is no cache then."""
        key = self._key(kind, name)
        temporary = f"{self.directory}/.{key}.{os.getpid()}"
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            if not self._trusted() or not self._make_room(key, sum(map(len, parts))):
                return
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with open(fd, "wb") as file:
                    file.writelines(parts)
                os.rename(temporary, f"{self.directory}/{key}")
            except OSError:
                os.unlink(temporary)
        except OSError:
            return

    def entries(self) -> list[Entry]:
        """Return what the directory holds, the longest unused first. Raises OSError."""
        found = []
        with os.scandir(self.directory) as files:
            for file in files:
                kind, _, digest = file.name.lstrip(".").partition("-")
                if kind in KINDS and digest and file.is_file(follow_symlinks=False):
                    status = file.stat(follow_symlinks=False)
                    found.append(Entry(file.path, kind, status.st_size, status.st_mtime))
        found.sort(key=lambda entry: entry.used)
        return found

    def _make_room(self, key: str, size: int) -> bool:
        """Remove entries until one of `size` bytes has room; False if it can have none.

        Files that a process left unfinished go, too.
        """
        if size > self.limit:
            return False
        entries = [e for e in self.entries() if e.path != f"{self.directory}/{key}"]
        total = size + sum(entry.size for entry in entries)
        long_ago = time() - _UNFINISHED
        for entry in entries:
            unfinished = os.path.basename(entry.path).startswith(".")
            if total > self.limit or (unfinished and entry.used < long_ago):
                os.unlink(entry.path)
                total -= entry.size
        return True

    def open_tier0(self, name: str) -> tuple[int, int, int, bytes, dict[str, int]] | None:
        """Find an architecture's tier 0.

        Returns (file descriptor, offset of the code, its size, data, symbols), or None.
        """
        fd = self.open(TIER0, name)
        if fd is None:
            return None
        entry = check_tier0(fd)
        if entry is None:
            os.close(fd)
            return None
        return (fd, *entry)

    def store_tier0(self, name: str, code: bytes, data: bytes, symbols: dict[str, int]) -> None:
        """Keep an architecture's tier 0."""
        text = "\n".join(f"{symbol} {offset}" for symbol, offset in symbols.items()).encode()
        code_at = (_HEADER.size + len(text) + len(data) + _PAGE - 1) // _PAGE * _PAGE
        body = (text + data).ljust(code_at - _HEADER.size, b"\0") + code
        header = _HEADER.pack(MAGIC, zlib.crc32(body), len(text), len(data), code_at, len(code))
        self.store(TIER0, name, [header, body])


def check_tier0(fd: int) -> tuple[int, int, bytes, dict[str, int]] | None:
    """Check an entry: (offset of the code, its size, data, symbols), or None if damaged."""
    try:
        content = os.read(fd, os.fstat(fd).st_size)
        magic, checksum, text_size, data_size, code_at, code_size = _HEADER.unpack_from(content)
        body = memoryview(content)[_HEADER.size :]
        if magic != MAGIC or code_at + code_size != len(content) or code_at % _PAGE:
            return None
        if zlib.crc32(body) != checksum:
            return None
        symbols = {}
        for line in bytes(body[:text_size]).decode().splitlines():
            symbol, offset = line.split()
            symbols[symbol] = int(offset)
        return code_at, code_size, bytes(body[text_size : text_size + data_size]), symbols
    except (OSError, struct.error, ValueError):
        return None
