"""The code cache on disk: generated code that later runs map instead of compiling again.

One directory, by default `$XDG_CACHE_HOME/pemu` (or `~/.cache/pemu`). Entries are files named by a
digest of everything the code depends on: the translator's own sources, the architecture, the host
processor and LLVM. A file is written under a temporary name and renamed, so that concurrent
processes see all of it or none; it is checked before use; and the directory is trusted only if
nobody else can write to it.

An entry of tier 0: a header {magic, checksum, sizes}, names and offsets, then code from a page
boundary on. Entries of compiled regions: see `code.regionstore`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
import zlib
from time import time

# hashlib costs ten times as much to import.
if sys.version_info >= (3, 12):
    from _sha2 import sha256
else:
    from _sha256 import sha256  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAGIC = b"pemuTIR1"
_HEADER = struct.Struct("<8sIIII")
"""Magic, checksum of all that follows it, bytes of text, offset and size of code."""

_CHECKED = 12
_PAGE = 4096
_RLIMIT_FSIZE = 1

TIER0, REGIONS = KINDS = ("tier0", "regions")
"""Kinds of entries: a part of an architecture's interpreter; compiled regions of a program."""

_MOST_TIER0 = 64 << 20
"""Bytes of a part of tier 0 that are read at all; it takes up to 0.1 MB."""

_UNFINISHED = 600
"""Seconds after which a file under a temporary name counts as left behind."""

DEFAULT_LIMIT = 512 << 20
"""Bytes of cached code kept by default: a few hundred programs' worth."""


def default_directory(environ: dict[str, str]) -> str:
    """Where the cache is if no option says otherwise; '' if there is no place for one."""
    base = environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):
        home = environ.get("HOME", "")
        if not home.startswith("/") or not os.path.isdir(home):  # as users of services have it
            return ""
        base = home + "/.cache"
    return base + "/pemu"


def _sources_digest() -> bytes:
    """Identify the translator by its source files' names, sizes and times."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    start = len(package)
    parts: list[str] = []
    folders = [os.path.join(package, "engine"), os.path.join(package, "isa")]
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    parts.append(f"{entry.path[start:]} {status.st_size} {status.st_mtime_ns}")
                elif "." not in entry.name and entry.name != "__pycache__":
                    folders.append(entry.path)
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
        if os.path.isdir(f"{folder}/llvmlite"):
            for name in os.listdir(folder):
                if name.startswith("llvmlite-") and name.endswith(".dist-info"):
                    return name
    return ""


class Entry:
    """A file of the cache. `kind`: one of `KINDS`; `used`: when last, in seconds since 1970."""

    __slots__ = ("kind", "name", "size", "used")

    def __init__(self, name: str, kind: str, size: int, used: float) -> None:
        self.name = name
        self.kind = kind
        self.size = size
        self.used = used

    @property
    def unfinished(self) -> bool:
        """Whether it has a temporary name: it is being written, or was left behind."""
        return self.name.startswith(".")


class CodeCache:
    """A cache directory. `limit`: bytes that it may hold; the longest unused entries go first."""

    __slots__ = ("_digest", "_held", "directory", "limit")

    def __init__(self, directory: str, limit: int = DEFAULT_LIMIT) -> None:
        self.directory = os.path.abspath(directory)
        self.limit = limit
        self._digest = b""
        self._held: int | None = None

    def key(self, kind: str, name: str) -> str:
        """Name of the file for a kind of code, of what `name` stands for. Raises OSError."""
        if not self._digest:
            self._digest = _sources_digest() + _host_digest()
        digest = sha256(b"\0".join([kind.encode(), os.fsencode(name), self._digest]))
        return f"{kind}-{digest.hexdigest()[:40]}"

    def open_directory(self) -> int:
        """Open the directory, which nobody else may be able to write to: a file descriptor.

        Raises OSError. Everything else is done through that descriptor, so that what was checked
        is what is used.
        """
        if self._held is not None:
            folder = os.dup(self._held)
        else:
            folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        status = os.fstat(folder)
        if status.st_uid == os.geteuid() and not status.st_mode & 0o022:
            return folder
        os.close(folder)
        raise PermissionError(errno.EPERM, "others can write to it")

    def hold(self, place: Callable[[int], int]) -> None:
        """Stay with the directory, whatever its path leads to after a change of the root directory.

        `place` moves a file descriptor to where it can be kept, and returns its new number.
        """
        if self._held is None:
            try:
                self._held = place(self.open_directory())
            except OSError:
                self._held = -1  # no directory yet: none is made in the new root

    def open(self, kind: str, name: str) -> int | None:
        """Open the entry of a kind of code for what `name` stands for: a file descriptor, or None.

        The entry counts as used.
        """
        try:
            folder = self.open_directory()
        except OSError:
            return None
        try:
            fd = open_entry(folder, self.key(kind, name))
        except OSError:
            return None
        finally:
            os.close(folder)
        try:
            os.utime(fd)
        except OSError:  # a cache that cannot be written to serves as well
            pass
        return fd

    def store(self, kind: str, name: str, parts: list[bytes]) -> None:
        """Write an entry. Failure is no error: there is no cache then."""
        try:
            key = self.key(kind, name)
            if self._held is None:
                os.makedirs(self.directory, mode=0o700, exist_ok=True)
            folder = self.open_directory()
        except OSError:
            return
        try:
            size = sum(map(len, parts))
            if _may_write(size) and self._make_room(folder, key, size):
                _write(folder, key, parts)
        except OSError:
            return
        finally:
            os.close(folder)

    def _make_room(self, folder: int, key: str, size: int) -> bool:
        """Remove entries until one of `size` bytes has room; False if it can have none.

        Files that a process left unfinished go, too.
        """
        if size > self.limit:
            return False
        others = [entry for entry in entries(folder) if entry.name != key]
        total = size + sum(entry.size for entry in others)
        long_ago = time() - _UNFINISHED
        for entry in others:
            if total > self.limit or (entry.unfinished and entry.used < long_ago):
                try:
                    os.unlink(entry.name, dir_fd=folder)
                except OSError:  # another process was faster
                    continue
                total -= entry.size
        return True

    def open_tier0(self, name: str) -> tuple[int, Tier0] | None:
        """Find a part of an architecture's tier 0: (file descriptor, what it holds), or None."""
        fd = self.open(TIER0, name)
        if fd is None:
            return None
        try:
            return fd, read_tier0(fd)
        except (OSError, ValueError):
            os.close(fd)
            return None

    def store_tier0(self, name: str, code: bytes, symbols: dict[str, int]) -> None:
        """Keep a part of an architecture's tier 0."""
        lines = [name, *(f"{symbol} {offset}" for symbol, offset in symbols.items())]
        text = "\n".join(lines).encode()
        code_at = (_HEADER.size + len(text) + _PAGE - 1) // _PAGE * _PAGE
        body = text.ljust(code_at - _HEADER.size, b"\0") + code
        header = _HEADER.pack(MAGIC, 0, len(text), code_at, len(code))
        checksum = zlib.crc32(body, zlib.crc32(header[_CHECKED:]))
        header = _HEADER.pack(MAGIC, checksum, *_HEADER.unpack(header)[2:])
        self.store(TIER0, name, [header, body])


def open_entry(folder: int, name: str) -> int:
    """Open a file of the cache directory that is open as `folder`. Raises OSError."""
    # A pipe is not waited for.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(name, flags, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a file")
    return fd


def entries(folder: int) -> list[Entry]:
    """Return what the open directory holds, the longest unused first. Raises OSError."""
    found = []
    with os.scandir(folder) as files:
        for file in files:
            kind, _, digest = file.name.lstrip(".").partition("-")
            if kind not in KINDS or not digest:
                continue
            try:
                status = file.stat(follow_symlinks=False)
            except OSError:  # another process has removed it
                continue
            if stat.S_ISREG(status.st_mode):
                found.append(Entry(file.name, kind, status.st_size, status.st_mtime))
    found.sort(key=lambda entry: entry.used)
    return found


def _may_write(size: int) -> bool:
    """Whether a file may be so large: the guest may have set a limit, which would raise SIGXFSZ."""
    limits = (ctypes.c_uint64 * 2)()
    ctypes.CDLL(None).getrlimit(_RLIMIT_FSIZE, limits)
    return size <= limits[0]


def _write(folder: int, key: str, parts: list[bytes]) -> None:
    temporary = f".{key}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=folder)
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, 0o600)  # whatever the guest's umask is
            file.writelines(parts)
        os.rename(temporary, key, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(temporary, dir_fd=folder)
        raise


class Tier0:
    """A stored part of tier 0. `name`: of architecture and part; `code_at`, `code_size`: place in
    the file."""

    __slots__ = ("code_at", "code_size", "name", "symbols")

    def __init__(self, content: bytes) -> None:
        """Read the content of a file. Raises ValueError if it is damaged."""
        if len(content) < _HEADER.size:
            raise ValueError("truncated")
        magic, checksum, text_size, code_at, code_size = _HEADER.unpack_from(content)
        body = memoryview(content)[_HEADER.size :]
        if magic != MAGIC or code_at + code_size != len(content) or code_at % _PAGE:
            raise ValueError("truncated or of another kind")
        if zlib.crc32(memoryview(content)[_CHECKED:]) != checksum:
            raise ValueError("damaged")
        self.name, *lines = bytes(body[:text_size]).decode().split("\n")
        self.code_at: int = code_at
        self.code_size: int = code_size
        self.symbols = {name: int(offset) for name, offset in map(str.split, lines)}


def read_tier0(fd: int) -> Tier0:
    """Read an entry. Raises ValueError if it is damaged, OSError."""
    size = os.fstat(fd).st_size
    if size > _MOST_TIER0:
        raise ValueError("too large")
    return Tier0(os.read(fd, size))
